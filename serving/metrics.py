"""The service's Prometheus metrics. Labels come from fixed sets, so that no caller can make them grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from meterwatch.detection.readings import STATUSES

if TYPE_CHECKING:
    from meterwatch.detection.readings import Observation, Readings
    from meterwatch.storage.shadow import Comparison, Events
    from serving.drifting import Drift

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SEVERITIES = ((67.0, "high"), (34.0, "medium"), (0.0, "low"))
SHADOW = {
    "agreement": "Share of readings that champion and challenger call the same.",
    "readings": "Readings that both have scored.",
    "behind_seconds": "How far the challenger is behind the stream, by the times of readings.",
    "events_champion_only": "Events that the champion alone has.",
    "events_challenger_only": "Events that the challenger alone has.",
}


class Metrics:
    """Counts since the start of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._readings = Counter(
            "meterwatch_readings", "Scored readings by what became of them.", ["outcome"], registry=self.registry
        )
        self._events = Counter("meterwatch_events", "Events that ended.", ["severity"], registry=self.registry)
        self._score = Histogram(
            "meterwatch_score_seconds", "Judging the readings of a request.", registry=self.registry, buckets=SECONDS
        )
        self._request = Histogram(
            "meterwatch_request_seconds",
            "From a request's head to its last byte.",
            ["route", "code"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self._newest = Gauge(
            "meterwatch_last_reading_timestamp_seconds", "Time of the newest scored reading.", registry=self.registry
        )
        self._model = Gauge("meterwatch_model_info", "The model that judges.", ["version"], registry=self.registry)
        self._drift = Gauge(
            "meterwatch_drift_distance",
            "By how many percentile points / 100 a signal's newest day has moved from what the model was made of.",
            ["signal"],
            registry=self.registry,
        )
        self._usual = Gauge(
            "meterwatch_drift_usual_distance",
            "What one in a hundred days of those that the model was made of exceeds.",
            ["signal"],
            registry=self.registry,
        )
        self._shadow = {
            name: Gauge(f"meterwatch_shadow_{name}", told, ["challenger"], registry=self.registry)
            for name, told in SHADOW.items()
        }

    def scored(self, readings: Readings, observed: Observation, seconds: float) -> None:
        """Count a judged request."""
        self._score.observe(seconds)
        for status, count in enumerate(np.bincount(observed.verdicts.status, minlength=len(STATUSES)).tolist()):
            if count:
                self._readings.labels(STATUSES[status]).inc(count)
        for event in observed.events:
            if event.end_at is not None:
                self._events.labels(next((name for least, name in SEVERITIES if event.severity >= least), "low")).inc()
        if len(readings.at):
            self._newest.set(int(readings.at.max()))

    def answered(self, route: str, code: int, seconds: float) -> None:
        """Count an answered request; `route` is a route's pattern, never a path."""
        self._request.labels(route, str(code)).observe(seconds)

    def judging(self, version: str) -> None:
        """Name the model that judges from now on."""
        self._model.clear()
        self._model.labels(version).set(1)

    def drifted(self, found: Drift) -> None:
        """How far each signal is from its reference; what is not known is not told."""
        self._drift.clear()
        self._usual.clear()
        for one in found.distances or ():
            self._usual.labels(one.signal).set(one.usual)
            if one.distance is not None:
                self._drift.labels(one.signal).set(one.distance)

    def shadowed(self, standing: Comparison | None, events: Events | None) -> None:
        """How a challenger compares; nothing where none is compared."""
        for gauge in self._shadow.values():
            gauge.clear()
        if standing is None or events is None:
            return
        figures = {
            "agreement": standing.agreement,
            "readings": standing.counts.readings,
            "behind_seconds": standing.behind_s,
            "events_champion_only": events.champion_only,
            "events_challenger_only": events.challenger_only,
        }
        for name, value in figures.items():
            if value is not None:
                self._shadow[name].labels(standing.challenger).set(value)

    def exposed(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
