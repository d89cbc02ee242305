"""The shapes of requests and answers, as they are validated and as `/docs` shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, JsonValue, Strict, TypeAdapter, with_config
from typing_extensions import TypedDict

MAX_METERS = 10_000  # of one request
MAX_READINGS = 1_000_000  # of one request
LONGEST_METER_ID = 256  # bytes of UTF-8, as on the topic
LONGEST_PART = 128 * 1024  # characters of a base64 state or profile
# The same times as on the topic: a date, a time of day, and perhaps an offset.
ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$"

Time = Annotated[str, Field(pattern=ISO_TIME, examples=["2007-11-01T18:04:00Z"])]
Channel = Annotated[float | None, Field(allow_inf_nan=False), Strict()]
MeterId = Annotated[str, Field(min_length=1, max_length=LONGEST_METER_ID, examples=["default"])]
Part = Annotated[str | None, Field(max_length=LONGEST_PART)]
Status = Literal["scored", "warming_up", "gap", "late", "duplicate", "rejected"]
Label = Literal["real", "false_alarm"]

READING: dict[str, JsonValue] = {
    "at": "2007-11-01T18:04:00Z",
    "active_power_kw": 1.408,
    "reactive_power_kvar": 0.12,
    "voltage_v": 239.6,
    "current_a": 5.8,
    "sub_metering_1_wh": 0.0,
    "sub_metering_2_wh": 1.0,
    "sub_metering_3_wh": 17.0,
}
_EXACT = ConfigDict(extra="forbid")  # a misspelt channel would be taken for a missing one


@with_config(_EXACT)
class Reading(TypedDict):
    """One reading; a channel that is absent or null is missing, a time without an offset is in METERWATCH_TIMEZONE."""

    at: Time
    active_power_kw: NotRequired[Channel]
    reactive_power_kvar: NotRequired[Channel]
    voltage_v: NotRequired[Channel]
    current_a: NotRequired[Channel]
    sub_metering_1_wh: NotRequired[Channel]
    sub_metering_2_wh: NotRequired[Channel]
    sub_metering_3_wh: NotRequired[Channel]


@with_config(_EXACT)
class MeterReadings(TypedDict):
    """A meter with what was answered for it last, and its next readings in the order of their arrival."""

    meter_id: MeterId
    state: NotRequired[Part]
    profile: NotRequired[Part]
    readings: Annotated[list[Reading], Field(fail_fast=True)]


@with_config(
    ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"meters": [{"meter_id": "m", "state": None, "profile": None, "readings": [READING]}]}]
        },
    )
)
class ScoreRequest(TypedDict):
    """Meters, each with its state and its new readings."""

    meters: Annotated[list[MeterReadings], Field(fail_fast=True, max_length=MAX_METERS)]


class Verdict(BaseModel):
    """What was judged of one reading; numbers are null unless the status is `scored`."""

    meter_id: str
    at: str
    status: Status
    score: float | None
    threshold: float | None
    anomalous: bool | None
    expected_kw: float | None
    lower_kw: float | None
    upper_kw: float | None
    reason: str | None
    model_version: str


class Event(BaseModel):
    """A run of anomalous readings as it stands; `end_at` is null while it is open."""

    event_id: str
    meter_id: str
    start_at: str
    end_at: str | None
    peak_at: str
    severity: float
    kind: str
    energy_kwh: float | None
    model_version: str


class LabelledEvent(Event):
    """A stored event with its analyst's label."""

    label: Label | None
    note: str | None


class ScoredMeter(BaseModel):
    """A meter's new state, one verdict a reading in their order, and each event that opened, changed or ended."""

    meter_id: str
    state: str
    profile: str | None = Field(description="null: unchanged, keep the one you have")
    verdicts: list[Verdict]
    events: list[Event]


class ScoreAnswer(BaseModel):
    """The meters in the order of the request."""

    model_version: str
    meters: list[ScoredMeter]


@with_config(_EXACT)
class SentMeter(TypedDict):
    """A meter with readings for the topic; each reading is looked at for itself."""

    meter_id: MeterId
    readings: list[dict[str, Any]]


@with_config(
    ConfigDict(extra="forbid", json_schema_extra={"examples": [{"meters": [{"meter_id": "m", "readings": [READING]}]}]})
)
class SentReadings(TypedDict):
    """As for scoring, without states; instead of power a reading may have `energy_kwh` with `interval_s`."""

    meters: Annotated[list[SentMeter], Field(max_length=MAX_METERS)]


class SentReading(Reading):
    """A reading as it may stand on the topic."""

    energy_kwh: NotRequired[Channel]
    interval_s: NotRequired[Annotated[float | None, Field(allow_inf_nan=False, gt=0), Strict()]]


class Refused(BaseModel):
    """A reading that was not put on the topic."""

    index: int = Field(description="counted over all readings of the request, from 0")
    reason: str


class Accepted(BaseModel):
    """How many readings the broker has acknowledged, and which were not sent."""

    accepted: int
    rejected: list[Refused]


class LabelRequest(BaseModel):
    """An analyst's judgement of an event."""

    model_config = ConfigDict(extra="forbid")
    label: Label
    note: str = Field("", max_length=2000)
    labelled_by: str = Field("", max_length=200, description="With an API key, the key's name is taken instead.")


class Fault(BaseModel):
    """Where a body is at fault."""

    path: str = Field(examples=["meters[0].readings[3].at"])
    detail: str


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


SCORE_REQUEST: TypeAdapter[ScoreRequest] = TypeAdapter(ScoreRequest)
SENT_READINGS: TypeAdapter[SentReadings] = TypeAdapter(SentReadings)
SENT_READING: TypeAdapter[SentReading] = TypeAdapter(SentReading)
