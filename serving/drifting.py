"""How far the live readings have moved from what the model was made of: looked at once a minute, and told."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterwatch.detection import drift
from meterwatch.detection.drift import SIGNALS, Distance
from meterwatch.storage import model_evaluations, models, queries
from meterwatch.storage.days import days
from serving.repeating import Repeating

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.detection.drift import Reference
    from meterwatch.settings import Settings
    from serving.champion import Champion
    from serving.metrics import Metrics

LOG = logging.getLogger("meterwatch.service")
LOOK_SECONDS = 60.0
SHARE = 0.05  # of one core at most
METERS, READINGS = 100, 200_000  # that are looked at
RECORD_SECONDS = 3600.0  # between two figures in MLflow


class Drift(NamedTuple):
    """The newest day of some meters beside a model's reference."""

    version: str
    meters: int  # whose day was compared; 0: none has a week of readings and a day to compare
    distances: list[Distance] | None  # in the order of SIGNALS; None: the model's bundle has no reference


class Drifting:
    """Keeps `current` up to date: None before the first look."""

    def __init__(self, settings: Settings, champion: Champion, metrics: Metrics) -> None:
        self._settings = settings
        self._champion = champion
        self._metrics = metrics
        self._references: tuple[Path, dict[str, Reference] | None] | None = None
        self._ledger: list[dict[str, object]] | None = None
        self._recorded_at = -RECORD_SECONDS
        self._repeating = Repeating("the look for drift", self.look)
        self.current: Drift | None = None

    def start(self) -> None:
        """Begin to look."""
        self._repeating.start()

    def stop(self) -> None:
        """End."""
        self._repeating.stop()

    def look(self) -> float:
        """Compare the newest day; answers after how many seconds to look again."""
        begun = time.perf_counter()
        model = self._champion.current
        if model is None:
            return 1.0
        if self._references is None or self._references[0] != model.bundle_dir:
            self._references, self._ledger = (model.bundle_dir, drift.load(model.bundle_dir)), None
        references = self._references[1]
        if references is None:
            self.current = Drift(model.version, 0, None)
        else:
            with queries.reading(self._settings) as db:
                ledger = queries.ledger(db)
                if ledger == self._ledger:
                    return LOOK_SECONDS
                found = list(days(db, METERS, READINGS))
            self._ledger = ledger
            counts = {name: np.zeros(len(one.edges) + 1, np.int64) for name, one in references.items()}
            for day in found:
                values = drift.signals(day.channels, day.level_kw, day.score)
                for name, value in zip(SIGNALS, values, strict=True):
                    if name in references:
                        counts[name] += references[name].counts(value)
            distances = [
                Distance(name, float(one.distance(counts[name])) if counts[name].any() else None, one.usual)
                for name in SIGNALS
                if (one := references.get(name)) is not None
            ]
            self.current = Drift(model.version, len(found), distances)
            self._record(self.current, model.bundle_dir)
        self._metrics.drifted(self.current)
        return max(LOOK_SECONDS, (time.perf_counter() - begun) / SHARE)

    def _record(self, found: Drift, bundle_dir: Path) -> None:
        """Tell MLflow, hourly, as metrics of the model's run."""
        known = {f"drift/{one.signal}": one.distance for one in found.distances or () if one.distance is not None}
        if not known or time.monotonic() < self._recorded_at + RECORD_SECONDS:
            return
        self._recorded_at = time.monotonic()
        version = models.numbered(self._settings, found.version)
        if version is not None and version.run_id is not None and version.bundle_dir == bundle_dir:
            model_evaluations.record(self._settings, version.run_id, known)
