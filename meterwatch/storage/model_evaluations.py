"""What evaluation and live readings say of each registered version, straight from and into MLflow's database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meterwatch.storage.models import BUNDLE_SHA256, database, reading, versions, writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.settings import Settings

# The pipeline's evaluate run names the bundle; the detectors' runs beside it, below the same parent, hold the figures.
_METRICS = """
SELECT m.key, m.value FROM latest_metrics AS m
WHERE m.is_nan = 0 AND m.run_uuid = (
    SELECT found.run_uuid
    FROM tags AS bundle
    JOIN tags AS stage ON stage.run_uuid = bundle.run_uuid AND stage.key = 'stage' AND stage.value = 'evaluate'
    JOIN tags AS parent ON parent.run_uuid = bundle.run_uuid AND parent.key = 'mlflow.parentRunId'
    JOIN tags AS sibling ON sibling.key = 'mlflow.parentRunId' AND sibling.value = parent.value
    JOIN tags AS detector
      ON detector.run_uuid = sibling.run_uuid AND detector.key = 'detector' AND detector.value = 'meterwatch'
    JOIN runs AS found ON found.run_uuid = sibling.run_uuid
    WHERE bundle.key = ? AND bundle.value = ?
    ORDER BY found.start_time DESC LIMIT 1
)
"""


def evaluations(settings: Settings) -> dict[str, dict[str, float]]:
    """Metrics by their MLflow name for each version of the registry; none where MLflow knows of no evaluation.

    Raises:
        RegistryError: the registry is not a SQLite file.
        sqlite3.Error: it cannot be read.
    """
    known = versions(settings)
    if not known:
        return {}
    path = database(settings)
    with reading(path) as db:
        return {
            found.version: dict(db.execute(_METRICS, (BUNDLE_SHA256, found.tags.get(BUNDLE_SHA256, ""))).fetchall())
            for found in known
        }


def record(settings: Settings, run_id: str, figures: Mapping[str, float]) -> None:
    """Add a point to metrics of a run, as MLflow's client would; the steps are hours, and all runs' are comparable.

    Raises:
        RegistryError: there is no registry.
        sqlite3.Error: it cannot be written now.
    """
    now = time.time()
    rows = [(name, float(value), int(now * 1000), int(now // 3600), run_id) for name, value in figures.items()]
    with writing(settings) as db:
        for table in ("metrics", "latest_metrics"):
            db.executemany(
                f"INSERT OR REPLACE INTO {table} (key, value, timestamp, step, is_nan, run_uuid) "  # noqa: S608
                "VALUES (?, ?, ?, ?, 0, ?)",
                rows,
            )


def experiment_of(settings: Settings, run_ids: list[str]) -> dict[str, str]:
    """The experiment of each run that MLflow knows, for links into its UI."""
    path = database(settings)
    if not path.exists():
        return {}
    with reading(path) as db:
        places = ", ".join("?" * len(run_ids))
        rows = db.execute(f"SELECT run_uuid, experiment_id FROM runs WHERE run_uuid IN ({places})", run_ids)  # noqa: S608
        return {run: str(experiment) for run, experiment in rows}
