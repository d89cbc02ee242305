"""What a detector remembers of each meter, and its two-part codec.

The state (hot, one fixed record of under 4 KB) changes with every reading. The profile (slot series of four and
eight weeks) changes at most once a day, at a slot of the day that depends on the meter. Both carry a schema
number, the meter they belong to, and a digest; `decode(encode(x)) == x` to the last bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.errors import StateError
from meterwatch.detection.kinds import WORDS
from meterwatch.detection.library import LIBRARY, pointer
from meterwatch.detection.novelty import HOURS, NOTHING
from meterwatch.detection.params import HISTORY, HOT, PAST, RECENT, SLOTS_A_DAY
from meterwatch.detection.profiles import LAYOUT, pack, unpack
from meterwatch.detection.slots import COARSE, LENGTHS, MISSING, OFFSETS, SERIES, WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCHEMA = 2
NEVER = -(2**40)  # a time before all others
NO_DAY = -(2**31)  # before the first reading
BEYOND = 2**62  # more than any power in mW: `least` of a slot without readings, and -BEYOND its `largest`

HOT_DTYPE = np.dtype(
    [
        ("newest", "<i8"),  # time of the newest accepted reading
        ("jump_at", "<i8"),  # time of a reading that was rejected as a clock jump just now
        ("cadence", "<i4"),  # seconds between readings; negative while provisional, 0 until two have come
        ("seen", "<i4"),  # readings with power, saturating
        ("first_day", "<i4"),  # roll day of the first reading
        ("day", "<i4"),  # roll day of the newest reading
        ("last_power_at", "<i8"),
        ("resumed_at", "<i8"),  # when readings with power came back after an absence
        ("level", "<i8"),  # the meter's usual power in mW, by which it is made comparable with others
        ("slot", "<i8"),  # the open slot
        ("closed", "<i8"),  # slots below this one are closed
        ("sums", "<i8", (6,)),  # of the open slot, in thousandths: `slotting.PARTS`
        ("counts", "<i4", (6,)),  # readings behind each sum; none in the first: no open slot
        ("largest", "<i8"),
        ("least", "<i8"),
        ("slot_run", "<i4"),
        ("run", "<i4"),  # readings in a row that were the same in every channel
        ("run_hash", "<u4"),
        ("slow_score", "<f8"),  # of the last closed slot that was judged
        ("slow_slot", "<i8"),
        ("slow_why", "<i2"),
        ("peak_hour", "<i8"),  # the last hour in which a slot was judged
        ("peaks", "<f4", (HOURS + 1,)),  # what the weigher said at most in each hour up to then
        ("ev_start", "<i8"),  # the open event; NEVER: none
        ("ev_last", "<i8"),
        ("ev_peak", "<i8"),
        ("ev_score", "<f8"),
        ("ev_why", "<i2"),
        ("ev_energy", "<i8"),  # joules above the expected, up to the last anomalous reading
        ("ev_pending", "<i8"),  # and since then
        ("recent_at", "<i8", (RECENT,)),
        ("recent_hash", "<u4", (RECENT,)),
        ("past_mw", "<i8", (PAST,)),
        ("past_at", "<i8", (PAST,)),
        ("hot_flag", "u1", (HOT,)),
        ("hole_from", "<i8"),  # newest time before the last jump; NEVER: the meter began with one
        ("hole_until", "<i8"),  # first accepted time after it; NEVER: no jump is remembered
        ("back_at", "<i8"),  # time of the last of the readings in a row that came from within the hole
        ("back", "<i4"),  # how many these are
        ("hot", "<i2", (len(SERIES), HOT)),  # slots since the profile changed; comes last
    ]
)
if getattr(LIBRARY, "mw_record_size", int)() != HOT_DTYPE.itemsize:
    raise ImportError("meterwatch.detection._kernel was built of another version; run make setup")
STATE_SIZE = HOT_DTYPE.itemsize - len(COARSE) * HOT  # of the record in a state: coarse series in bytes
_HEAD = struct.Struct("<4sHH8s8s")  # magic, schema, series present, meter, digest
_STATE_MAGIC, _PROFILE_MAGIC = b"MWst", b"MWpf"


def meter_digest(meter_id: str) -> bytes:
    """Eight bytes that stand for a meter in its state, its roll slot and its events' ids."""
    return hashlib.blake2b(meter_id.encode(), digest_size=8, person=b"meterwatch").digest()


@dataclass(slots=True)
class Memory:
    """The decoded states of a call's meters as arrays; changed in place while observing."""

    hot: NDArray[np.void]  # (m,) of HOT_DTYPE
    slots: NDArray[np.int16]  # (m, WIDTH) one series after another
    series: list[NDArray[np.int16]]  # per series (m, length), views of `slots`
    flag: NDArray[np.uint8]  # (m, HISTORY) 1: the slot was anomalous
    changed: NDArray[np.bool_]  # (m,) the profile differs from the one that came in
    digests: list[bytes]
    roll_slot: NDArray[np.int64]  # (m,) slot of the day at which the profile may change

    @classmethod
    def decode(
        cls, meter_ids: Sequence[str], states: Sequence[bytes | None], profiles: Sequence[bytes | None]
    ) -> Memory:
        """Open each meter's state; None starts a meter anew.

        Raises:
            StateError: damaged, foreign or of another schema, naming the meter and the part.
        """
        m = len(meter_ids)
        digests = [meter_digest(meter_id) for meter_id in meter_ids]
        bodies = [
            _FRESH_STATE if raw is None else _open(meter_id, "state", raw, _STATE_MAGIC, digest)[1]
            for meter_id, raw, digest in zip(meter_ids, states, digests, strict=True)
        ]
        for meter_id, body in zip(meter_ids, bodies, strict=True):
            if len(body) != STATE_SIZE:
                raise StateError(meter_id, "state", "has a wrong length")
        roll_slot = np.array([int.from_bytes(d, "little") % SLOTS_A_DAY for d in digests], np.int64)
        hot, absurd = _unpacked(b"".join(bodies), roll_slot)
        if absurd < m:
            raise StateError(meter_ids[absurd], "state", "says what no detector writes")
        slots = np.full((m, WIDTH), MISSING, np.int16)
        series = [slots[:, begin : begin + length] for begin, length in zip(OFFSETS, LENGTHS, strict=True)]
        flag = np.zeros((m, HISTORY), np.uint8)
        for i, raw in enumerate(profiles):
            if raw is not None:
                if states[i] is None:
                    raise StateError(meter_ids[i], "profile", "came without a state")
                present, body = _open(meter_ids[i], "profile", raw, _PROFILE_MAGIC, digests[i])
                if not unpack(slots, flag, i, present, body):  # sealed well, but shorter than what it says it holds
                    raise StateError(meter_ids[i], "profile", "has a wrong length")
        return cls(hot, slots, series, flag, np.zeros(m, np.bool_), digests, roll_slot)

    def encode_states(self) -> list[bytes]:
        """The hot parts, one a meter."""
        size, raw = STATE_SIZE, _packed(self.hot)
        return [_seal(_STATE_MAGIC, 0, digest, raw[i * size : (i + 1) * size]) for i, digest in enumerate(self.digests)]

    def encode_profiles(self) -> list[bytes | None]:
        """The profiles that changed; None for the others."""
        return [self._profile(i) if changed else None for i, changed in enumerate(self.changed)]

    def _profile(self, i: int) -> bytes:
        # Readings every half hour fill slots in pairs; the first may be half a pair.
        present, body = pack(self.slots, self.flag, i, int(self.roll_slot[i]) % 2)
        return _seal(_PROFILE_MAGIC, present, self.digests[i], body)


def _seal(magic: bytes, present: int, digest: bytes, body: bytes) -> bytes:
    return _HEAD.pack(magic, SCHEMA, present, digest, _check(magic, present, digest, body)) + body


def _check(magic: bytes, present: int, digest: bytes, body: bytes) -> bytes:
    """Eight bytes that change with any bit of what they are made of."""
    return hashlib.blake2b(body, digest_size=8, key=magic + digest, salt=present.to_bytes(2, "little")).digest()


def _open(meter_id: str, part: str, raw: bytes, magic: bytes, digest: bytes) -> tuple[int, bytes]:
    if len(raw) < _HEAD.size:
        raise StateError(meter_id, part, "is too short")
    found, schema, present, owner, check = _HEAD.unpack_from(raw)
    body = raw[_HEAD.size :]
    if found != magic:
        raise StateError(meter_id, part, f"is not a {part}")
    if schema != SCHEMA:
        raise StateError(meter_id, part, f"has schema {schema}, this model reads {SCHEMA}")
    if owner != digest:
        raise StateError(meter_id, part, "belongs to another meter")
    if _check(magic, present, digest, body) != check:
        raise StateError(meter_id, part, "was altered or cut")
    return present, body


def _packed(hot: NDArray[np.void]) -> bytes:
    """Records of HOT_DTYPE as they stand in states, coarse series in bytes."""
    out = np.empty((len(hot), STATE_SIZE), np.uint8)
    LIBRARY.mw_pack_states(ctypes.byref(LAYOUT), pointer(hot.view(np.uint8)), ctypes.c_int64(len(hot)), pointer(out))
    return out.tobytes()


def _unpacked(raw: bytes, roll_slot: NDArray[np.int64]) -> tuple[NDArray[np.void], int]:
    """The inverse of `_packed`, and the first record that would lead beyond what is there: a seal can be forged."""
    hot = np.empty(len(roll_slot), HOT_DTYPE)
    absurd = LIBRARY.mw_unpack_states(
        ctypes.byref(LAYOUT), raw, ctypes.c_int64(len(hot)), pointer(roll_slot), len(STATISTICS), len(WORDS),
        pointer(hot.view(np.uint8)),
    )  # fmt: skip
    return hot, absurd


def _fresh() -> NDArray[np.void]:
    record = np.zeros(1, HOT_DTYPE)
    for name in ("newest", "jump_at", "last_power_at", "resumed_at", "ev_start", "slow_slot", "slot", "closed",
                 "peak_hour", "hole_from", "hole_until", "back_at"):  # fmt: skip
        record[name] = NEVER
    record["day"] = record["first_day"] = NO_DAY
    record["largest"], record["least"] = -BEYOND, BEYOND
    record["recent_at"] = record["past_at"] = NEVER
    record["peaks"] = NOTHING
    record["hot"] = MISSING
    return record


FRESH = _fresh()  # what is remembered of a new meter
_FRESH_STATE = _packed(FRESH)
