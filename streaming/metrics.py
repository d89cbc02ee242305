"""The stream's Prometheus metrics."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterwatch.storage.tables import Batch

HOST = "127.0.0.1"
# A record is one of these; a rejected one is its reason.
OUTCOMES = ("scored", "warming_up", "gap", "late", "duplicate", "bad_fields", "bad_number", "bad_time", "out_of_range",
            "conflict", "clock_jump", "too_old", "too_large", "not_utf8", "no_key", "header", "empty")  # fmt: skip
SEVERITIES = ((67.0, "high"), (34.0, "medium"), (0.0, "low"))


class StreamMetrics:
    """Counts since the start of this process, told once a batch is committed."""

    def __init__(self, held: int = 0) -> None:
        self.registry = CollectorRegistry()
        self._readings = Counter(
            "meterwatch_readings", "Records by what became of them.", ["outcome"], registry=self.registry
        )
        for outcome in OUTCOMES:
            self._readings.labels(outcome)
        self._held = Gauge("meterwatch_held_readings", "Readings that wait to be put in order.", registry=self.registry)
        self._held.set(held)
        self._events = Counter("meterwatch_events", "Events that ended.", ["severity"], registry=self.registry)
        self._seconds = Histogram(
            "meterwatch_batch_seconds", "From a batch's first record in hand to its commit.", registry=self.registry
        )
        self._stages = Counter(
            "meterwatch_stage_seconds", "Spent in each stage of the batches; stages overlap.", ["stage"],
            registry=self.registry,
        )  # fmt: skip
        self._lag = Gauge(
            "meterwatch_consumer_lag", "Records on the topic that are not yet committed.", ["partition"],
            registry=self.registry,
        )  # fmt: skip
        self._newest = Gauge(
            "meterwatch_last_reading_timestamp_seconds", "Time of the newest stored reading.", registry=self.registry
        )
        self._model = Gauge(
            "meterwatch_model_info", "The model of the newest verdict.", ["version"], registry=self.registry
        )

        self._alerts = Counter(
            "meterwatch_alerts", "Changes of events that were told, and tries in vain.", ["receiver", "outcome"],
            registry=self.registry,
        )  # fmt: skip

    def serve(self, port: int) -> None:
        """Answer scrapes on loopback."""
        start_http_server(port, addr=HOST, registry=self.registry)

    def committed(self, batch: Batch, seconds: float, held: int) -> None:
        """Count a batch that is in the database; `held` readings wait after it."""
        for column in (batch.verdicts["status"], batch.rejected["reason"]):
            for row in column.value_counts().to_pylist():
                self._readings.labels(row["values"]).inc(row["counts"])
        self._readings.labels("duplicate").inc(sum(advance.duplicates for advance in batch.advances))
        self._held.set(held)
        ended = batch.events.filter(batch.events["end_at"].is_valid())
        for severity in ended["severity"].to_pylist():
            self._events.labels(next(name for least, name in SEVERITIES if severity >= least)).inc()
        self._seconds.observe(seconds)
        if batch.readings.num_rows:
            self._newest.set(max(self._newest._value.get(), batch.readings["at"].to_numpy().max()))  # noqa: SLF001
            self._model.clear()
            self._model.labels(batch.verdicts["model_version"][-1].as_py()).set(1)

    def told(self, receiver: str, changes: int) -> None:
        """Count changes of events that were acknowledged."""
        self._alerts.labels(receiver, "told").inc(changes)

    def untold(self, receiver: str) -> None:
        """Count a try in vain."""
        self._alerts.labels(receiver, "failed").inc()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time that the block takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._stages.labels(name).inc(time.monotonic() - began)

    def lag(self, records: dict[int, int]) -> None:
        """Records behind, by partition."""
        for partition, behind in records.items():
            self._lag.labels(str(partition)).set(behind)
