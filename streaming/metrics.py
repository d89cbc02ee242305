"""The stream's Prometheus metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

if TYPE_CHECKING:
    from meterwatch.storage.meters import Batch

HOST = "127.0.0.1"
SEVERITIES = ((67.0, "high"), (34.0, "medium"), (0.0, "low"))


class StreamMetrics:
    """Counts since the start of this process, told once a batch is committed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._readings = Counter(
            "meterwatch_readings", "Records by what became of them.", ["outcome"], registry=self.registry
        )
        self._events = Counter("meterwatch_events", "Events that ended.", ["severity"], registry=self.registry)
        self._seconds = Histogram(
            "meterwatch_batch_seconds", "From a batch's first record in hand to its commit.", registry=self.registry
        )
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

    def serve(self, port: int) -> None:
        """Answer scrapes on loopback."""
        start_http_server(port, addr=HOST, registry=self.registry)

    def committed(self, batch: Batch, seconds: float) -> None:
        """Count a batch that is in the database."""
        for outcome in ("stored", "duplicates", "rejected", "held"):
            self._readings.labels(outcome).inc(sum(getattr(advance, outcome) for advance in batch.advances))
        ended = batch.events.filter(batch.events["end_at"].is_valid())
        for severity in ended["severity"].to_pylist():
            self._events.labels(next(name for least, name in SEVERITIES if severity >= least)).inc()
        self._seconds.observe(seconds)
        if batch.readings.num_rows:
            self._newest.set(max(self._newest._value.get(), batch.readings["at"].to_numpy().max()))  # noqa: SLF001
            self._model.clear()
            self._model.labels(batch.verdicts["model_version"][-1].as_py()).set(1)

    def lag(self, records: dict[int, int]) -> None:
        """Records behind, by partition."""
        for partition, behind in records.items():
            self._lag.labels(str(partition)).set(behind)
