"""What the database says for another threshold: high scores, labels, and how long was judged."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.alarms import MONTH_S, Scored
from meterwatch.detection.faults import Label
from meterwatch.storage.lending import reading

if TYPE_CHECKING:
    from meterwatch.settings import Settings

_HOUR_S = 3_600
_SCORES = "SELECT meter_id, at, score FROM verdicts WHERE score >= ? ORDER BY meter_id, at"
# Hours whose verdicts are still there: the counts of hours stay longer than those.
_HOURS = """
SELECT count(*) FROM rollups AS r WHERE r.period = 'hour' AND r.scored > 0
AND r.at >= (SELECT min(v.at) - 3600 FROM verdicts AS v WHERE v.meter_id = r.meter_id)
"""
_LABELS = """
SELECT l.meter_id, l.label, l.start_at, coalesce(e.end_at, l.end_at, l.start_at) AS end_at
FROM labels AS l LEFT JOIN events AS e ON e.event_id = l.event_id
WHERE l.start_at >= (SELECT min(v.at) FROM verdicts AS v WHERE v.meter_id = l.meter_id) ORDER BY l.start_at
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A row a meter."""

    meters: list[Scored]  # `labels` are the events that were labelled real
    wrong: list[list[Label]]  # those that were labelled false alarms
    months: float  # judged meter-months
    versions: list[str]  # the models that judged


def evidence(settings: Settings, lowest: float) -> Evidence:
    """Scores from `lowest` on, and all labels of events whose scores are still stored.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with reading(settings) as db:
        by_meter = itertools.groupby(db.execute(_SCORES, (lowest,)), key=lambda row: str(row[0]))
        scores = {meter: np.array([row[1:] for row in rows]) for meter, rows in by_meter}
        labels = db.execute(_LABELS).fetchall()
        hours = int(db.execute(_HOURS).fetchone()[0])
        versions = [str(row[0]) for row in db.execute("SELECT DISTINCT model_version FROM verdicts ORDER BY 1")]
    meters, wrong = [], []
    for meter in sorted({*scores, *(str(row["meter_id"]) for row in labels)}):
        mine = scores.get(meter, np.zeros((0, 2)))
        said: dict[str, list[Label]] = {"real": [], "false_alarm": []}
        for row in labels:
            if row["meter_id"] == meter:
                said[row["label"]].append(Label(row["label"], row["start_at"], row["end_at"], 0.0, 0.0))
        meters.append(Scored(mine[:, 0].astype(np.int64), mine[:, 1], said["real"], _HOUR_S))
        wrong.append(said["false_alarm"])
    return Evidence(meters, wrong, hours * _HOUR_S / MONTH_S, versions)
