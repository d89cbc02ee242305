"""What is remembered of a meter: exact through its codec, small for good, refused when it was touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection import memory as codec
from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import StateError
from meterwatch.detection.kinds import WORDS, packed
from meterwatch.detection.memory import HOT_DTYPE, Memory
from meterwatch.detection.params import HISTORY, HOT, SLOT_S, SLOTS_A_DAY, DetectorParams
from meterwatch.detection.rounds import Models
from meterwatch.detection.slots import COARSE, LENGTHS, MISSING, from_bytes, to_bytes
from tests.streams import DAY, KINDS, Caller, Stream, one_meter, past

if TYPE_CHECKING:
    from collections.abc import Callable

BLANK = Detector(DetectorParams(), Models())  # it needs no model to remember
IDS = ("a", "Zähler 7", "")
HOUR_S = 3600
LATEST = 2**41  # a time, slot or hour after all others
TIMES = ("newest", "jump_at", "last_power_at", "resumed_at", "slot", "closed", "slow_slot", "peak_hour",
         "ev_start", "ev_last", "ev_peak", "hole_from", "hole_until", "back_at")  # fmt: skip


def filled(seed: int, shape: str) -> Memory:
    """Three meters' memory with any bits in it; slot series missing, paired as every half hour leaves them, or not."""
    rng = np.random.default_rng(seed)
    memory = Memory.decode(IDS, [None] * 3, [None] * 3)
    memory.hot = np.frombuffer(rng.bytes(3 * HOT_DTYPE.itemsize), HOT_DTYPE).copy()
    memory.hot["newest"] = rng.integers(LATEST // 2, LATEST, 3)
    memory.hot["day"] = rng.integers(-1000, 20_000, 3)
    for name in TIMES[1:]:
        memory.hot[name] = rng.integers(codec.NEVER, memory.hot["newest"] // HOUR_S)
    memory.hot["slot"] = memory.hot["day"] * SLOTS_A_DAY + memory.roll_slot + rng.integers(0, HOT, 3)
    for name in ("slow_why", "ev_why"):
        memory.hot[name] = packed(rng.integers(-1, len(STATISTICS), 3), rng.integers(0, len(WORDS) + 1, 3))
    coarse = np.array(list(COARSE))
    memory.hot["hot"][:, coarse] = from_bytes(to_bytes(memory.hot["hot"][:, coarse], coarse), coarse)
    for k, length in enumerate(LENGTHS):
        values = rng.integers(-32_768, 32_768, (3, length)).astype(np.int16)
        if shape in ("paired", "nearly paired") or (shape == "both" and k % 2):
            values[:, 1::2] = values[:, ::2]
        if shape == "nearly paired":
            values[:, -1] ^= 1
        if shape == "sparse" and k % 3:
            values[:] = MISSING
        if k in COARSE:
            series = np.array([k])
            values = from_bytes(to_bytes(values[:, None], series), series)[:, 0]
        memory.series[k][:] = values
    memory.flag = rng.integers(0, 2, memory.flag.shape).astype(np.uint8)
    memory.changed[:] = True
    return memory


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(["full", "paired", "nearly paired", "both", "sparse"]))
def test_what_is_encoded_is_decoded(seed: int, shape: str) -> None:
    """Every bit of every field and series; encoded again it gives the same bytes."""
    memory = filled(seed, shape)
    states, profiles = memory.encode_states(), memory.encode_profiles()
    back = Memory.decode(IDS, states, profiles)
    assert back.hot.tobytes() == memory.hot.tobytes()
    assert all(np.array_equal(one, other) for one, other in zip(back.series, memory.series, strict=True))
    assert np.array_equal(back.flag, memory.flag)
    assert not back.changed.any()
    assert back.encode_profiles() == [None] * 3
    back.changed[:] = True
    assert (back.encode_states(), back.encode_profiles()) == (states, profiles)


@pytest.mark.parametrize("shape", ["full", "paired", "sparse"])
def test_sizes_are_bounded_by_their_form(shape: str) -> None:
    """No content makes a state larger than 4,096 bytes or a profile larger than 49 KB."""
    memory = filled(1, shape)
    assert {len(state) for state in memory.encode_states()} == {codec.STATE_SIZE + codec._HEAD.size}
    assert codec.STATE_SIZE + codec._HEAD.size <= 4096
    assert max(len(profile or b"") for profile in memory.encode_profiles()) <= 49 * 1024


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2], KINDS[3]], ids=lambda kind: kind.meter_id)
def test_memory_does_not_grow_with_time(kind: object) -> None:
    """Once eight weeks are remembered it keeps its size."""
    stream, caller, sizes = past(kind, 120), Caller(BLANK), []  # type: ignore[arg-type]
    for part in np.array_split(np.arange(len(stream)), 6):
        caller.follow(one_meter(stream.meter_ids[0], stream.at[part], stream.channels[:, part]))
        state, profile = (memory[stream.meter_ids[0]] for memory in (caller.states, caller.profiles))
        sizes.append((len(state), len(profile)))
    assert len(set(sizes[3:])) == 1
    assert max(state for state, _ in sizes) <= 4096
    assert max(profile for _, profile in sizes) <= 49 * 1024


@pytest.fixture(scope="module")
def kept() -> tuple[bytes, bytes]:
    """A half-hourly meter's state and profile."""
    caller = Caller(BLANK).follow(past(KINDS[2]))
    return caller.states["half hour"], caller.profiles["half hour"]


def refused(state: bytes | None, profile: bytes | None, meter_id: str = "half hour") -> StateError:
    """The error with which a memory is refused."""
    with pytest.raises(StateError) as caught:
        Memory.decode(["other", meter_id], [None, state], [None, profile])
    assert caught.value.meter_id == meter_id
    return caught.value


@settings(max_examples=200, deadline=None)
@given(data=st.data(), part=st.sampled_from(["state", "profile"]))
def test_any_changed_bit_is_noticed(kept: tuple[bytes, bytes], data: st.DataObject, part: str) -> None:
    """Wherever it lies, in the head as in the body."""
    raw = bytearray(kept[part == "profile"])
    # As often in the first bytes, where what the rest means is written, as anywhere.
    raw[data.draw(st.integers(0, 23) | st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    error = refused(bytes(raw), None) if part == "state" else refused(kept[0], bytes(raw))
    assert error.part == part


ABSURD = {
    **dict.fromkeys(TIMES, (codec.NEVER - 1, LATEST + 1, -(2**63), 2**63 - 1)),
    "day": (2**31 - 1,), "slow_why": (len(STATISTICS), (len(WORDS) + 1) << 8), "ev_why": (len(STATISTICS),),
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in ABSURD.items() for value in values])
def test_what_no_detector_writes_is_refused_however_well_sealed(
    kept: tuple[bytes, bytes], field: str, value: int
) -> None:
    """A seal is no secret: a time beyond all others would be another meter's, a slot that is not there be looked at."""
    memory = Memory.decode(["half hour"], [kept[0]], [kept[1]])
    memory.hot[field] = value
    (forged,) = memory.encode_states()
    assert "says what no detector writes" in str(refused(forged, kept[1]))


@pytest.mark.parametrize("beside", [-1, HOT])
def test_an_open_slot_belongs_to_its_day(kept: tuple[bytes, bytes], beside: int) -> None:
    memory = Memory.decode(["half hour"], [kept[0]], [kept[1]])
    memory.hot["slot"] = memory.hot["day"] * SLOTS_A_DAY + memory.roll_slot + beside
    (forged,) = memory.encode_states()
    assert "says what no detector writes" in str(refused(forged, kept[1]))


def _other_schema(raw: bytes) -> bytes:
    return raw[:4] + (codec.SCHEMA + 1).to_bytes(2, "little") + raw[6:]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is too short"),
    "head only in part": (lambda raw: raw[:20], "is too short"),
    "no body": (lambda raw: raw[:24], "was altered or cut"),
    "last byte lost": (lambda raw: raw[:-1], "was altered or cut"),
    "a byte more": (lambda raw: raw + b"\0", "was altered or cut"),
    "another schema": (_other_schema, f"has schema {codec.SCHEMA + 1}, this model reads {codec.SCHEMA}"),
    "something else": (lambda raw: b"PK\3\4" + raw[4:], "is not a"),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("part", ["state", "profile"])
def test_damage_is_named(kept: tuple[bytes, bytes], name: str, part: str) -> None:
    """With the meter, the part, the fact and what to do."""
    damage, fact = DAMAGE[name]
    error = refused(damage(kept[0]), kept[1]) if part == "state" else refused(kept[0], damage(kept[1]))
    assert error.part == part
    assert fact in str(error)
    assert f"meter 'half hour': its {part}" in str(error)
    assert "null to start" in str(error)


def test_another_meters_memory_is_refused(kept: tuple[bytes, bytes]) -> None:
    """State, profile, and one taken for the other."""
    assert "belongs to another meter" in str(refused(kept[0], None, "half hour 2"))
    own = Caller(BLANK).follow(past(KINDS[3])).states["hour"]
    assert "belongs to another meter" in str(refused(own, kept[1], "hour"))
    assert "is not a state" in str(refused(kept[1], None))
    assert "is not a profile" in str(refused(kept[0], kept[0]))
    assert "came without a state" in str(refused(None, kept[1]))


def test_a_sealed_record_of_another_length_is_refused(kept: tuple[bytes, bytes]) -> None:
    """What was sealed well but is no record, or no series, of this schema."""
    owner = codec.meter_digest("half hour")
    assert "wrong length" in str(refused(codec._seal(b"MWst", 0, owner, b"\0" * 10), None))
    for length in (10, HISTORY // 8, HISTORY // 8 + 7):
        assert "wrong length" in str(refused(kept[0], codec._seal(b"MWpf", 1, owner, b"\0" * length)))


def test_a_profile_changes_once_a_day_at_the_meters_own_minute() -> None:
    """A reading at a time: at most one change in 24 h, always at the same minute, spread over meters."""
    ids, start = tuple(f"meter {k}" for k in range(24)), 14_000 * DAY
    caller, moments = Caller(BLANK), {meter_id: [0] * 0 for meter_id in ids}
    each = np.arange(len(ids))
    for now in range(start, start + 2 * DAY + 1, SLOT_S):
        before = dict(caller.profiles)
        caller.follow(Stream(ids, each, np.full(len(ids), now), np.full((7, len(ids)), 0.5)))
        for meter_id, profile in caller.profiles.items():
            if profile != before.get(meter_id):
                moments[meter_id].append(now)
    for meter_id, changes in moments.items():
        assert len(changes) >= 1
        assert set(np.diff(changes)) <= {DAY}
        turn = int.from_bytes(codec.meter_digest(meter_id), "little") % SLOTS_A_DAY
        assert {at // SLOT_S % SLOTS_A_DAY for at in changes} == {turn}
    first = [changes[0] for changes in moments.values()]
    assert len(set(first)) > 15
    assert max(first.count(moment) for moment in first) < 4
