"""Streams of several meters in the order of arrival, clean or dirty, and a caller that has them judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from meterwatch.detection.memory import meter_digest
from meterwatch.detection.params import SLOT_S, SLOTS_A_DAY
from meterwatch.detection.readings import Event, Readings
from tests.households import START, household

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from meterwatch.detection.detector import Detector
    from meterwatch.detection.readings import Observation

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Step = tuple[float, str, str, int]

DAY = 86_400
NUMBERS = ("score", "threshold", "expected_kw", "lower_kw", "upper_kw")


@dataclass(frozen=True)
class Stream:
    """Readings of several meters in the order of their arrival."""

    meter_ids: tuple[str, ...]
    meter: Ints  # (n,)
    at: Ints  # (n,)
    channels: Floats  # (7, n)

    def __len__(self) -> int:
        return len(self.at)

    def alone(self, meter_id: str) -> Stream:
        """The readings of one meter."""
        mine = self.meter == self.meter_ids.index(meter_id)
        return one_meter(meter_id, self.at[mine], self.channels[:, mine])

    def grouped(self, begin: int, end: int) -> tuple[list[str], Ints, Readings]:
        """The readings from `begin` to before `end` as a call's: its meters, each reading's place, the readings."""
        order = begin + np.argsort(self.meter[begin:end], kind="stable")
        present, meter = np.unique(self.meter[order], return_inverse=True)
        readings = Readings(meter.astype(np.int64), self.at[order], self.channels[:, order])
        return [self.meter_ids[m] for m in present], order - begin, readings


def one_meter(meter_id: str, at: Ints, channels: Floats) -> Stream:
    """A stream of one meter."""
    return Stream((meter_id,), np.zeros(len(at), np.int64), at, channels)


def mixed(parts: Sequence[Stream], seed: int | None = None) -> Stream:
    """One stream of several; each keeps its own order, who comes next is mixed (without a seed: by time)."""
    meter = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    at = np.concatenate([part.at for part in parts])
    turn = meter[np.argsort(at, kind="stable")] if seed is None else np.random.default_rng(seed).permutation(meter)
    place = np.argsort(np.argsort(turn, kind="stable"))
    channels = np.concatenate([part.channels for part in parts], axis=1)
    return Stream(tuple(part.meter_ids[0] for part in parts), turn, at[place], channels[:, place])


@dataclass
class Caller:
    """Asks a detector and keeps what was last answered for each meter."""

    detector: Detector
    states: dict[str, bytes] = field(default_factory=dict)
    profiles: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, tuple[str, Event]] = field(default_factory=dict)  # by id: meter and newest standing
    verdicts: list[tuple[object, ...]] = field(default_factory=list)  # a reading each: words, and numbers as bytes

    def ask(self, meter_ids: Sequence[str], readings: Readings) -> Observation:
        """Have readings judged and remember nothing."""
        states, profiles = [self.states.get(m) for m in meter_ids], [self.profiles.get(m) for m in meter_ids]
        return self.detector.observe(meter_ids, states, profiles, readings)

    def follow(self, stream: Stream, cuts: Iterable[int] = (), *, stumble: bool = False) -> Caller:
        """Have a stream judged, cut before the readings given; who stumbles first asks for too much, in vain."""
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
        for begin, end in pairwise(edges):
            if stumble:
                ids, _, readings = stream.grouped(begin, min(end + 7, len(stream)))
                self.ask(ids, readings)
            ids, order, readings = stream.grouped(begin, end)
            answer = self.ask(ids, readings)
            self.states |= dict(zip(ids, answer.states, strict=True))
            self.profiles |= {m: profile for m, profile in zip(ids, answer.profiles, strict=True) if profile}
            for event in answer.events:
                self.events[event.event_id] = ids[event.meter], replace(event, meter=0)
            rows = verdict_rows(answer)
            self.verdicts += [rows[i] for i in np.argsort(order)]
        return self

    def again(self) -> Caller:
        """Another caller with the same detector and the same memory of the meters."""
        return Caller(self.detector, dict(self.states), dict(self.profiles))


def verdict_rows(answer: Observation) -> list[tuple[object, ...]]:
    """Each verdict's status, flag, reason and the bytes of its numbers, so that equality is equality to the bit."""
    verdicts = answer.verdicts
    numbers = np.stack([getattr(verdicts, name) for name in NUMBERS], axis=1)
    columns = verdicts.status.tolist(), verdicts.anomalous.tolist(), verdicts.reason.tolist(), numbers
    rows = zip(*columns, strict=True)
    return [(status, flag, verdicts.reasons[why], row.tobytes()) for status, flag, why, row in rows]


@dataclass(frozen=True)
class Kind:
    """A kind of meter: its id, what it has sent before, and what it measures."""

    meter_id: str
    cadence: int
    days: int  # of history; 0: a new meter
    channels: int  # how many of the seven

    @property
    def end(self) -> int:
        """When its history ends: a few readings before the moment at which its profile changes."""
        turn = int.from_bytes(meter_digest(self.meter_id), "little") % SLOTS_A_DAY * SLOT_S
        return START + 60 * DAY + turn - (12 if self.days else 3) * self.cadence


KINDS = (
    Kind("minute", 60, 9, 7),
    Kind("minute, power alone", 60, 6, 1),
    Kind("half hour", 1800, 40, 1),
    Kind("hour", 3600, 30, 4),
    Kind("second", 1, 2, 7),
    Kind("new minute", 60, 0, 7),
    Kind("new half hour", 1800, 0, 1),
    Kind("new hour", 3600, 0, 1),
)


@cache
def past(kind: Kind, days: int | None = None) -> Stream:
    """What a meter has sent so far, or what it will send in the next days."""
    start = kind.end if days else kind.end - kind.days * DAY
    at, channels = household(days or max(kind.days, 1), 5, kind.cadence, start)
    channels[kind.channels :] = np.nan
    whole = (days or kind.days) * DAY // kind.cadence
    return one_meter(kind.meter_id, at[:whole], channels[:, :whole])


PAUSES = (1, 1, 1, 1, 0.5, 0.1, 2, 4, 70)  # cadences before a reading that may be odd
LONG = (2 * 3600, DAY, 9 * DAY, 40 * DAY)  # seconds
VALUES = ("usual",) * 6 + ("high", "zero", "stuck", "no power", "nothing", "export", "absurd", "no rest")
ORDERS = ("next",) * 8 + ("again", "other", "older", "between", "far", "far and on")


@st.composite
def dirty(draw: st.DrawFn, kinds: Sequence[Kind] = KINDS, most: int = 12) -> Stream:
    """What goes wrong in one stream: pauses of any length, odd values, repeats, late ones, jumps; meters mixed."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))
    steps = st.tuples(
        st.one_of(*[st.sampled_from(PAUSES)] * 5, st.sampled_from(LONG)),
        st.sampled_from(VALUES),
        st.sampled_from(ORDERS),
        st.sampled_from((0, 0, 1, 2, 5, 17)),  # ordinary readings after it
    )
    parts = [_walk(kind, draw(st.lists(steps, min_size=1, max_size=most))) for kind in chosen]
    return mixed(parts, draw(st.none() | st.integers(0, 9)))


def _walk(kind: Kind, steps: Sequence[Step]) -> Stream:
    rng = np.random.default_rng(len(steps))
    sent: list[tuple[int, Floats]] = []
    now = kind.end - kind.cadence
    for pause, value, order, more in steps:
        pause_s = int(pause) if pause in LONG else max(int(pause * kind.cadence), 1)
        row = _value(kind, value, sent, rng)
        if order == "next" or not sent:
            now += pause_s
            sent.append((now, row))
        elif order in ("again", "other"):
            before, same = sent[-1 - int(rng.integers(0, min(len(sent), 40)))]
            sent.append((before, same if order == "again" else row))
        elif order in ("older", "between"):
            sent.append((now - (pause_s if order == "older" else pause_s // 2), row))
        else:
            far = now + 35 * DAY + pause_s
            sent.append((far, row))
            now = far if order == "far and on" else now
        for _ in range(more):
            now += kind.cadence
            sent.append((now, _value(kind, "usual", sent, rng)))
    return one_meter(kind.meter_id, np.array([at for at, _ in sent]), np.stack([row for _, row in sent], axis=1))


def _value(kind: Kind, value: str, sent: Sequence[tuple[int, Floats]], rng: np.random.Generator) -> Floats:
    row = np.array([0.4, 0.1, 240.5, 1.7, 0.0, 1.0, 2.0])
    row[0] = np.round(0.4 + rng.exponential(0.5), 3)
    if value == "stuck" and sent:
        return sent[-1][1]
    if value == "high":
        row[:4] *= np.array([20, 10, 1, 20])
    elif value == "zero":
        row[:] = 0.0
    elif value == "no power":
        row[0] = np.nan
    elif value == "nothing":
        row[:] = np.nan
    elif value == "export":
        row[0] = -row[0]
    elif value == "absurd":
        row[int(rng.integers(0, kind.channels))] = rng.choice([np.inf, -2e6, 2e6, 1e308])
    elif value == "no rest":
        row[1:] = np.nan
    row[kind.channels :] = np.nan
    return row
