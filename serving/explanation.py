"""Why a reading was judged so, from what is stored: a first, plain version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.storage import models, queries
from serving import champion, times
from serving.formats import objects
from serving.parts import unknown_meter
from serving.problems import Problem

if TYPE_CHECKING:
    import sqlite3

    from serving.parts import Parts

HOUR, WEEK = 3600, 7 * 86_400
WEEKS = 8  # the statistics look back so far


def explain(parts: Parts, meter_id: str, at: int) -> dict[str, Any]:
    """A stored verdict with what it can be compared with.

    Raises:
        Problem: 404, no reading of this meter is stored for this time.
    """
    with queries.reading(parts.settings) as db:
        if queries.newest(db, meter_id) is None:
            raise unknown_meter(meter_id)
        stored = queries.at_times(db, "readings", meter_id, [at])
        verdict = queries.at_times(db, "verdicts", meter_id, [at])
        if not stored["at"]:
            raise Problem(404, f"No reading of {meter_id!r} is stored for {times.text(at)}.")
        earlier = [_hour(db, meter_id, at, week) for week in range(1, WEEKS + 1)]
    told = objects(verdict)[0]
    return {
        "meter_id": meter_id,
        "at": times.text(at),
        "reading": objects(stored)[0],
        "verdict": told,
        "same_hour_earlier_weeks": [hour for hour in earlier if hour is not None],
        "lineage": {"model_version": told["model_version"], **_lineage(parts, told["model_version"])},
    }


def _hour(db: sqlite3.Connection, meter_id: str, at: int, weeks: int) -> dict[str, Any] | None:
    """The hour around the same time some weeks earlier; None where nothing was measured."""
    middle = at - weeks * WEEK
    found = queries.page(
        db, "readings", meter_id, middle - HOUR // 2, middle + HOUR // 2, after=None, limit=HOUR
    ).columns["active_power_kw"]
    power = np.array(found, np.float64)
    power = power[~np.isnan(power)]
    if not len(power):
        return None
    shown = {"mean_kw": power.mean(), "least_kw": power.min(), "greatest_kw": power.max()}
    return {"at": times.text(middle), **{name: round(float(value), 6) for name, value in shown.items()}}


def _lineage(parts: Parts, version: str) -> dict[str, Any]:
    for known in models.versions(parts.settings):
        if known.version == version:
            return {"run_id": known.run_id, **champion.lineage(known.bundle_dir)}
    return {}
