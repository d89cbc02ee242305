"""Judges a stored reading again: from an earlier state of its meter, by the models that judged, in the same order."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DetectionError
from meterwatch.detection.explanation import explain
from meterwatch.detection.memory import NEVER, Memory
from meterwatch.detection.readings import CHANNELS, Readings
from meterwatch.storage import models, snapshots
from serving import times

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from meterwatch.detection.explanation import Explanation
    from meterwatch.storage.snapshots import Judged, Snapshot
    from serving.parts import Parts

CLOSELY = 86_400  # seconds before the reading from which on it is traced what a score is made of


class ReplayError(Exception):
    """The reading cannot be judged again; the message says why."""


class Past(NamedTuple):
    """What a replay starts from and what it judges; the last reading is the one that was asked about."""

    snapshot: Snapshot
    readings: list[Judged]

    @property
    def is_disordered(self) -> bool:
        """Whether records did not come in the order of their times: a clock was set back, or a topic made anew."""
        return any(one.record_offset > other.record_offset for one, other in pairwise(self.readings))


def past(db: sqlite3.Connection, meter_id: str, at: int) -> Past:
    """Read what a replay needs.

    Raises:
        ReplayError: the reading was late, or a state or the order of readings before it is not known any more.
    """
    snapshot = snapshots.before(db, meter_id, at)
    if snapshot is None:
        raise ReplayError(
            "no state of the meter from before this reading is kept: the readings from which it came were pruned"
        )
    readings = snapshots.judged(db, meter_id, snapshot.at, at)
    if not readings or readings[-1].at != at:
        raise ReplayError("it came late, after newer readings: it is stored, but was not scored")
    return Past(snapshot, readings)


def judge_again(parts: Parts, meter_id: str, found: Past) -> Explanation:
    """Judge the readings of a `Past` once more, and take the last one's score apart.

    Raises:
        ReplayError: a model that judged is gone or cannot be loaded.
    """
    state, profile = found.snapshot.state, found.snapshot.profile
    newest, jump = (found.snapshot.at, pending_jump(meter_id, state)) if state is not None else (None, NEVER)
    close = found.readings[-1].at - CLOSELY
    runs = [list(run) for _, run in groupby(found.readings, key=lambda one: (one.model_version, one.at >= close))]
    try:
        for run in runs[:-1]:
            detector = _detector(parts, run[0].model_version)
            observed = detector.observe([meter_id], [state], [profile], as_readings(run, newest, jump, detector))
            state, profile = observed.states[0], observed.profiles[0] or profile
            newest, jump = run[-1].at, NEVER
        detector = _detector(parts, runs[-1][0].model_version)
        readings = as_readings(runs[-1], newest, jump, detector)
        return explain(detector, meter_id, state, profile, readings, len(readings.at) - 1)
    except DetectionError as error:
        raise ReplayError(str(error)) from error


def as_readings(run: Sequence[Judged], newest: int | None, jump: int, detector: Detector) -> Readings:
    """The readings of one meter as a detector's call.

    One that is far ahead was judged because another one, rejected as a clock jump, had come just before. That one is
    not stored as a reading; its time and values count for nothing, so one a second earlier stands for it, unless the
    state at the start remembers the `jump` itself.
    """
    at = np.array([one.at for one in run], np.int64)
    channels = np.array([one.channels for one in run], np.float64).reshape(-1, len(CHANNELS)).T
    limit = detector.params.clock_jump_s
    far = np.flatnonzero(np.diff(at, prepend=at[:1] if newest is None else newest) > limit)
    if len(far) and far[0] == 0 and 0 < at[0] - jump <= limit:
        far = far[1:]
    at = np.insert(at, far, at[far] - 1)
    channels = np.insert(channels, far, np.nan, axis=1)
    return Readings(np.zeros(len(at), np.int64), at, channels)


def together(runs: Sequence[Readings]) -> Readings:
    """The readings of several meters, one run each, as one call."""
    return Readings(
        np.repeat(np.arange(len(runs)), [len(run.at) for run in runs]),
        np.concatenate([run.at for run in runs]),
        np.concatenate([run.channels for run in runs], axis=1),
    )


def pending_jump(meter_id: str, state: bytes) -> int:
    """The time of a reading that was rejected as a clock jump just before a state; NEVER where there was none."""
    return int(Memory.decode([meter_id], [state], [None]).hot["jump_at"][0])


def _detector(parts: Parts, version: str) -> Detector:
    current = parts.champion.current
    if current is not None and current.version == version:
        return current.detector
    known = models.numbered(parts.settings, version)
    if known is None:
        raise ReplayError(f"model version {version}, which judged, is not in the registry")
    return _loaded(known.bundle_dir)


@lru_cache(maxsize=2)
def _loaded(bundle_dir: Path) -> Detector:
    return Detector.load(bundle_dir)


def pruned(db: sqlite3.Connection, meter_id: str, at: int) -> str | None:
    """What is to say of a reading that is not there but may have been: that it is older than what is kept."""
    kept, had = snapshots.oldest_known(db, meter_id)
    if kept is None or had is None or not had <= at < kept:
        return None
    since = times.text(kept)
    return f"Readings of {meter_id!r} are kept from {since} on; what is older was pruned (METERWATCH_RETENTION_DAYS)."
