"""Why a reading was judged so: what its score is made of, what is usual at that hour, and which model said it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meterwatch.detection.explanation import DIGITS
from meterwatch.storage import models, queries
from serving import champion, replaying, times
from serving.formats import objects
from serving.parts import unknown_meter
from serving.problems import Problem
from serving.replaying import ReplayError

if TYPE_CHECKING:
    import sqlite3

    from meterwatch.detection.explanation import Contribution, Explanation
    from serving.parts import Parts
    from serving.replaying import Past

HOUR, WEEK = 3600, 7 * 86_400
WEEKS = 8  # the statistics look back so far
COMPARED = ("status", "score", "threshold", "anomalous", "expected_kw", "lower_kw", "upper_kw", "reason")


def explain(parts: Parts, meter_id: str, at: int, *, replay: bool = False) -> dict[str, Any]:
    """A stored verdict with what its score is made of and what it can be compared with.

    Args:
        parts: of the service.
        meter_id: whose.
        at: time of the reading, unix seconds.
        replay: also state the verdict as it was computed again, and whether it is the same to the last bit.

    Raises:
        Problem: 404, no reading of this meter is stored for this time.
    """
    with queries.reading(parts.settings) as db:
        if queries.newest(db, meter_id) is None:
            raise unknown_meter(meter_id)
        stored = queries.at_times(db, "readings", meter_id, [at])
        verdict = queries.at_times(db, "verdicts", meter_id, [at])
        if not stored["at"]:
            gone = replaying.pruned(db, meter_id, at)
            raise Problem(404, gone or f"No reading of {meter_id!r} is stored for {times.text(at)}.")
        earlier = _same_hour(db, meter_id, at)
        past, why = _past(db, meter_id, at)
    told = objects(verdict)[0]
    again: Explanation | None = None
    if past is not None:
        try:
            again = replaying.judge_again(parts, meter_id, past)
        except ReplayError as error:
            why = str(error)
    return {
        "meter_id": meter_id,
        "at": times.text(at),
        "reading": objects(stored)[0],
        "verdict": told,
        **_made_of(again, why),
        "nearest_normal": next((hour for hour in earlier if not hour["anomalous"]), None),
        "same_hour_earlier_weeks": earlier,
        "lineage": {"model_version": told["model_version"], **_lineage(parts, told["model_version"])},
        **({"replay": _replay(told, past, again, why)} if replay else {}),
    }


def _past(db: sqlite3.Connection, meter_id: str, at: int) -> tuple[Past | None, str | None]:
    try:
        return replaying.past(db, meter_id, at), None
    except ReplayError as error:
        return None, str(error)


def _made_of(again: Explanation | None, why: str | None) -> dict[str, Any]:
    """The parts of the score, and their sums by channel and by time scale (trailing minutes)."""
    if again is None:
        return {"contributions": None, "contributions_missing": why}
    return {
        "decided_by": again.decided_by,
        "judged_at": None if again.judged_at is None else times.text(again.judged_at),
        "contributions": [asdict(part) for part in again.contributions],
        "by_channel": _sums(again.contributions, "channel"),
        "by_window_min": _sums(again.contributions, "window_min"),
    }


def _sums(contributions: tuple[Contribution, ...], name: str) -> dict[str, float]:
    """Amounts by one property; what does not have it is `other`, so that the sums are the score too."""
    sums: dict[str, float] = {}
    for part in contributions:
        own = getattr(part, name)
        key = "other" if own is None else str(own)
        sums[key] = round(sums.get(key, 0.0) + part.amount, DIGITS)
    return sums


def _replay(told: dict[str, Any], past: Past | None, again: Explanation | None, why: str | None) -> dict[str, Any]:
    """The verdict as it was computed again beside the stored one; `same` is null where that could not be done."""
    if past is None or again is None:
        return {"same": None, "why": why}
    values = {name: getattr(again, name) for name in COMPARED}
    if again.score is None:
        values["anomalous"] = None
    values["reason"] = values["reason"] or None
    same = values == {name: told[name] for name in COMPARED}
    if not same:
        disordered = "records did not come in the order of their times: a clock was set back, or a topic made anew"
        why = disordered if past.is_disordered else "the same model says something else of the same readings"
    return {
        "same": same,
        "why": why,
        "verdict": values,
        "from": times.text(past.snapshot.at) if past.snapshot.state is not None else None,
        "readings": len(past.readings),
        "model_versions": list(dict.fromkeys(one.model_version for one in past.readings)),
    }


def _same_hour(db: sqlite3.Connection, meter_id: str, at: int) -> list[dict[str, Any]]:
    """The hour (UTC) of the reading in earlier weeks, the nearest first; weeks without a power are left out."""
    found = queries.hours(db, meter_id, [at - at % HOUR - week * WEEK for week in range(1, WEEKS + 1)])
    return [{**hour, "at": times.text(hour["at"])} for hour in reversed(found)]


def _lineage(parts: Parts, version: str) -> dict[str, Any]:
    known = models.numbered(parts.settings, version)
    return {"run_id": known.run_id, **champion.lineage(known.bundle_dir)} if known else {}
