"""One record looked at closely: JSON objects, unusual lines, and what is no reading, with the reason why."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from meterwatch.detection.readings import CHANNELS
from streaming.lines import CLOCK, MISSING, NUMBER, TIME

MAX_VALUE_BYTES = 64 * 1024
BLANK = " \t\r\n\ufeff"
BAD_FIELDS, BAD_NUMBER, BAD_TIME = "bad_fields", "bad_number", "bad_time"
WIDEST_S = 18 * 3600  # of an offset
HEADER = re.compile(r"""["']?date["']?[;,]["']?time["']?(?:[;,]|\Z)""", re.ASCII | re.IGNORECASE)
OBJECT = re.compile(r"\{[^{}]*+\}")
ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,6})?)?(Z|([+-])(\d{2})(?::?([0-5]\d))?)?", re.ASCII
)
# Everything as text: a number that cannot be read must be told from one that is absent.
OBJECTS = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
ENERGY, INTERVAL = "energy_kwh", "interval_s"


class UnreadError(Exception):
    """The record is no reading; the message is the reason."""


class Told(NamedTuple):
    """What a record says."""

    seconds: int  # unix seconds; of a local time as if it were in UTC
    is_local: bool
    channels: list[float]  # the seven, NaN where missing


def read(value: bytes, fault: str | None) -> Told:
    """What a record says.

    Args:
        value: of the record.
        fault: what is wrong with its key.

    Raises:
        UnreadError: it says nothing.
    """
    if len(value) > MAX_VALUE_BYTES or fault == "too_large":
        raise UnreadError("too_large")
    try:
        text = value.decode().strip(BLANK)
    except UnicodeDecodeError:
        raise UnreadError("not_utf8") from None
    if fault is not None:
        raise UnreadError(fault)
    return _object(text) if OBJECT.fullmatch(text) else _line(text)


def seconds(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """A time as if it were in UTC: seconds since 1970.

    Raises:
        UnreadError: there is no such time.
    """
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        raise UnreadError(BAD_TIME) from None


def _line(text: str) -> Told:
    if not text:
        raise UnreadError("empty")
    if HEADER.match(text):
        raise UnreadError("header")
    fields = text.split(";" if ";" in text else ",")
    if len(fields) != TIME + len(CHANNELS):
        raise UnreadError(BAD_FIELDS)
    channels = [math.nan if field in MISSING else _number(field) for field in fields[TIME:]]
    match = CLOCK.fullmatch(";".join(fields[:TIME]))
    if match is None:
        raise UnreadError(BAD_TIME)
    day, month, year, clock = match.groups()
    local = seconds(int(year), int(month), int(day), *map(int, clock.split(":")))
    return Told(local, is_local=True, channels=channels)


def _object(text: str) -> Told:
    try:
        said = OBJECTS.decode(text)
    except (ValueError, RecursionError):
        raise UnreadError(BAD_FIELDS) from None
    energy, interval = said.get(ENERGY), said.get(INTERVAL)
    if said.get("at") is None or (energy is None) != (interval is None):
        raise UnreadError(BAD_FIELDS)
    if energy is not None and said.get(CHANNELS[0]) is not None:
        raise UnreadError(BAD_FIELDS)
    channels = [math.nan if (found := said.get(name)) is None else _number(found) for name in CHANNELS]
    if energy is not None:
        channels[0] = _mean_kw(_number(energy), _number(interval))
    return Told(*_moment(said["at"]), channels)


def _mean_kw(energy_kwh: float, interval_s: float) -> float:
    kw = energy_kwh * 3600.0 / interval_s if interval_s > 0 else math.inf
    return kw if math.isfinite(kw) else _bad_number()


def _number(text: object) -> float:
    if not isinstance(text, str) or not NUMBER.fullmatch(text) or math.isinf(number := float(text)):
        return _bad_number()
    return number


def _bad_number() -> NoReturn:
    raise UnreadError(BAD_NUMBER)


def _moment(text: object) -> tuple[int, bool]:
    """Seconds, and whether they are local."""
    match = ISO.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UnreadError(BAD_TIME)
    *parts, zone, sign, hours, minutes = match.groups()
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    if offset > WIDEST_S:
        raise UnreadError(BAD_TIME)
    local = seconds(*(int(part or 0) for part in parts))
    return local + (offset if sign == "-" else -offset), zone is None
