"""Streams of several meters in arrival order, clean or dirty, and a detector that follows them call by call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
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

DAY = 86_400
NUMBERS = ("score", "threshold", "expected_kw", "lower_kw", "upper_kw")


@dataclass(frozen=True)
class Stream:
    """Readings of several meters in the order of their arrival."""

    meter_ids: tuple[str, ...]
    meter: Ints  # (n,)
    at: Ints  # (n,)
    channels: Floats  # (7, n)

    def of(self, *meter_ids: str) -> Stream:
        """The readings of some meters alone."""
        rows = np.flatnonzero(np.isin(np.array(self.meter_ids)[self.meter], meter_ids))
        places = np.array([self.meter_ids.index(one) for one in meter_ids])
        order = np.argsort(places)
        return Stream(
            meter_ids, order[np.searchsorted(places[order], self.meter[rows])], self.at[rows], self.channels[:, rows]
        )


def one_meter(meter_id: str, at: Ints, channels: Floats) -> Stream:
    """A stream of one meter."""
    return Stream((meter_id,), np.zeros(len(at), np.int64), at, channels)


@dataclass
class Follower:
    """A detector and what was last answered for each meter, as a caller keeps it."""

    detector: Detector
    states: dict[str, bytes] = field(default_factory=dict)
    profiles: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, tuple[str, Event]] = field(default_factory=dict)  # by id: meter and newest standing
    verdicts: list[tuple[object, ...]] = field(default_factory=list)  # a reading each: words, and numbers as bytes

    def ask(self, stream: Stream, begin: int, end: int) -> tuple[list[str], Ints, Observation]:
        """Judge the stream's readings from `begin` to before `end` in one call, and remember nothing."""
        order = begin + np.argsort(stream.meter[begin:end], kind="stable")
        present, meter = np.unique(stream.meter[order], return_inverse=True)
        ids = [stream.meter_ids[m] for m in present]
        readings = Readings(meter.astype(np.int64), stream.at[order], stream.channels[:, order])
        states, profiles = [self.states.get(m) for m in ids], [self.profiles.get(m) for m in ids]
        return ids, order - begin, self.detector.observe(ids, states, profiles, readings)

    def follow(self, stream: Stream, cuts: Iterable[int] = (), *, stumble: bool = False) -> Follower:
        """Judge the stream, cut before the given readings; a caller that stumbles asks twice, first for too much."""
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream.at)}), len(stream.at)]
        for begin, end in zip(edges, edges[1:], strict=False):
            if stumble:
                self.ask(stream, begin, min(end + 7, len(stream.at)))
            ids, order, answer = self.ask(stream, begin, end)
            self.states |= dict(zip(ids, answer.states, strict=True))
            self.profiles |= {m: profile for m, profile in zip(ids, answer.profiles, strict=True) if profile}
            for event in answer.events:
                self.events[event.event_id] = ids[event.meter], replace(event, meter=0)
            self.verdicts += _rows(answer, order)
        return self

    def fresh(self) -> Follower:
        """Another caller with the same detector and the same memory of the meters."""
        return Follower(self.detector, dict(self.states), dict(self.profiles))


def _rows(answer: Observation, order: Ints) -> list[tuple[object, ...]]:
    verdicts = answer.verdicts
    numbers = np.stack([getattr(verdicts, name) for name in NUMBERS], axis=1)
    rows = [
        (status, flag, verdicts.reasons[reason], row.tobytes())
        for status, flag, reason, row in zip(
            verdicts.status.tolist(), verdicts.anomalous.tolist(), verdicts.reason, numbers, strict=True
        )
    ]
    return [rows[i] for i in np.argsort(order)]


@dataclass(frozen=True)
class Kind:
    """A kind of meter: its id, what it has seen before, and what it measures."""

    meter_id: str
    cadence: int
    days: int  # of history; 0: a new meter
    channels: int  # how many of the seven


KINDS = (
    Kind("minute", 60, 9, 7),
    Kind("minute power alone", 60, 6, 1),
    Kind("half hour", 1800, 40, 1),
    Kind("hour", 3600, 30, 4),
    Kind("second", 1, 2, 7),
    Kind("new minute", 60, 0, 7),
    Kind("new half hour", 1800, 0, 1),
    Kind("new hour", 3600, 0, 1),
)


@cache
def past(kind: Kind) -> Stream:
    """What a meter has sent so far; it ends a few readings before the meter's profile may change."""
    at, channels = household(max(kind.days, 1), 5, kind.cadence, _end(kind) - kind.days * DAY)
    channels[kind.channels :] = np.nan
    return one_meter(kind.meter_id, at[: kind.days * DAY // kind.cadence], channels[:, : kind.days * DAY // kind.cadence])


def _end(kind: Kind) -> int:
    turn = int.from_bytes(meter_digest(kind.meter_id), "little") % SLOTS_A_DAY * SLOT_S
    return START + 60 * DAY + turn - (12 if kind.days else 3) * kind.cadence


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
        st.sampled_from((0, 0, 1, 2, 5, 17)),
    )
    parts = [_walk(kind, draw(st.lists(steps, min_size=1, max_size=most))) for kind in chosen]
    turn = np.repeat(np.arange(len(parts)), [len(at) for at, _ in parts])
    at = np.concatenate([at for at, _ in parts])
    channels = np.concatenate([channels for _, channels in parts], axis=1)
    if draw(st.booleans()):
        return Stream(tuple(kind.meter_id for kind in chosen), turn, at, channels)
    # Each meter keeps its own order; who speaks next is mixed.
    turn = np.random.default_rng(len(turn)).permutation(turn)
    place = np.argsort(np.argsort(turn, kind="stable"))
    return Stream(tuple(kind.meter_id for kind in chosen), turn, at[place], channels[:, place])


def _walk(kind: Kind, steps: Sequence[tuple[float, str, str, int]]) -> tuple[Ints, Floats]:
    rng = np.random.default_rng(len(steps))
    sent: list[tuple[int, Floats]] = []
    now = _end(kind) - kind.cadence
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
    return np.array([at for at, _ in sent]), np.stack([row for _, row in sent], axis=1)


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
