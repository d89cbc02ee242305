"""`/v1/score` in JSON: text to columns, columns to text."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import orjson
from pydantic import ValidationError

from meterwatch.detection.readings import CHANNELS, SCORED, STATUSES, Readings
from serving.problems import Problem, invalid
from serving.question import Question, check_meters
from serving.schemas import SCORE_REQUEST, MeterReadings
from serving.times import TimeError, text, texts, unix

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray
    from pydantic import TypeAdapter

    from meterwatch.detection.readings import Observation, Verdicts

T = TypeVar("T")


def validated(adapter: TypeAdapter[T], body: bytes) -> T:
    """A body in its shape.

    Raises:
        Problem: 400 for what is not JSON, 422 with the path of what is at fault.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        malformed = any(item["type"] == "json_invalid" for item in found)
        raise invalid(found, status=400 if malformed else 422) from None


def decode(body: bytes, zone: tzinfo) -> Question:
    """Read a request.

    Args:
        body: JSON in the shape of `ScoreRequest`.
        zone: of times without an offset.

    Raises:
        Problem: see `validated`.
    """
    meters = validated(SCORE_REQUEST, body)["meters"]
    ids = [meter["meter_id"] for meter in meters]
    counts = np.array([len(meter["readings"]) for meter in meters], np.int64)
    check_meters(ids, counts)
    readings: list[Any] = [reading for meter in meters for reading in meter["readings"]]
    try:
        at = np.array([unix(reading["at"], zone) for reading in readings], np.int64)
    except TimeError:
        raise _bad_time(meters, zone) from None
    channels = np.empty((len(CHANNELS), len(readings)))
    for k, name in enumerate(CHANNELS):
        channels[k] = [reading.get(name) for reading in readings]  # None becomes NaN
    return Question(
        ids,
        [_part(meters, k, "state") for k in range(len(meters))],
        [_part(meters, k, "profile") for k in range(len(meters))],
        Readings(np.repeat(np.arange(len(ids)), counts), at, channels),
    )


def _part(meters: list[MeterReadings], k: int, name: str) -> bytes | None:
    value: Any = meters[k].get(name)
    if value is None:
        return None
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError):
        path, fact = f"meters[{k}].{name}", "is not base64; send the text that was last answered"
        raise Problem(422, f"{path}: {fact}", errors=[(path, fact)]) from None


def _bad_time(meters: list[MeterReadings], zone: tzinfo) -> Problem:
    for k, meter in enumerate(meters):
        for i, reading in enumerate(meter["readings"]):
            try:
                unix(reading["at"], zone)
            except TimeError as error:
                path = f"meters[{k}].readings[{i}].at"
                return Problem(422, f"{path}: {error}", errors=[(path, str(error))])
    raise AssertionError("unreachable: one of the times was at fault")


def encode(question: Question, observed: Observation, version: str) -> bytes:
    """Write an answer in the shape of `ScoreAnswer`."""
    ids, readings = question.meter_ids, question.readings
    rows = _verdict_rows(ids, readings.meter, readings.at, observed.verdicts, version)
    bounds = np.searchsorted(readings.meter, np.arange(len(ids) + 1)).tolist()
    meters: list[dict[str, Any]] = [
        {
            "meter_id": meter_id,
            "state": b64encode(state).decode(),
            "profile": None if profile is None else b64encode(profile).decode(),
            "verdicts": rows[bounds[k] : bounds[k + 1]],
            "events": [],
        }
        for k, (meter_id, state, profile) in enumerate(zip(ids, observed.states, observed.profiles, strict=True))
    ]
    for event in observed.events:
        meters[event.meter]["events"].append(
            {
                "event_id": event.event_id,
                "meter_id": ids[event.meter],
                "start_at": text(event.start_at),
                "end_at": None if event.end_at is None else text(event.end_at),
                "peak_at": text(event.peak_at),
                "severity": event.severity,
                "kind": event.kind,
                "energy_kwh": event.energy_kwh,
                "model_version": version,
            }
        )
    return orjson.dumps({"model_version": version, "meters": meters})


def _verdict_rows(
    ids: list[str], meter: NDArray[np.int64], at: NDArray[np.int64], verdicts: Verdicts, version: str
) -> list[dict[str, Any]]:
    """One object a reading; NaN becomes null on writing."""
    return [
        {
            "meter_id": ids[m],
            "at": told,
            "status": STATUSES[status],
            "score": score,
            "threshold": threshold,
            "anomalous": anomalous if status == SCORED else None,
            "expected_kw": expected,
            "lower_kw": lower,
            "upper_kw": upper,
            "reason": verdicts.reasons[reason] or None,
            "model_version": version,
        }
        for m, told, status, score, threshold, anomalous, expected, lower, upper, reason in zip(
            meter.tolist(),
            texts(at),
            verdicts.status.tolist(),
            verdicts.score.tolist(),
            verdicts.threshold.tolist(),
            verdicts.anomalous.tolist(),
            verdicts.expected_kw.tolist(),
            verdicts.lower_kw.tolist(),
            verdicts.upper_kw.tolist(),
            verdicts.reason.tolist(),
            strict=True,
        )
    ]
