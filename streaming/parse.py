"""From the bytes on the topic to columns: what a record says, or the reason why it says nothing.

Column expressions only, so that Spark compiles them to Java code and no row passes through Python. A line of the usual
shape is recognised by one regular expression; the finer questions are asked of the others alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from meterwatch.detection.readings import CHANNELS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

MAX_VALUE_BYTES = 64 * 1024
MAX_KEY_BYTES = 256
CARRIED_BYTES = 512  # of key and value together; the batch's memory must not depend on what is on the topic
DEFAULT_METER = "default"
DEFAULT_KEYS = ("", "key", DEFAULT_METER)
BLANK = " \t\r\n\ufeff"

# Possessive quantifiers (`++`): a megabyte of digits is read once, not once for each way to divide it.
NUMBER = r"[+-]?+(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
CLOCK = r"\d{1,2}/\d{1,2}/\d{4}%s\d{2}:\d{2}:\d{2}"
# The usual line: short numbers without exponent, so that none is infinite. All else is looked at more closely. Written
# out for each separator, without a group that repeats, which Java would match at half the speed.
SHORT_NUMBER = r"(?:[+-]?+\d{1,15}+(?:\.\d{0,15}+)?+|\?)?+"
PLAIN_LINE = rf"\A(?:{'|'.join(CLOCK % mark + (mark + SHORT_NUMBER) * len(CHANNELS) for mark in ';,')})\z"
IS_NUMBER = rf"\A{NUMBER}\z"
IS_FIELD = rf"\A(?:{NUMBER}|\?)?\z"
IS_CLOCK = rf"\A{CLOCK % ';'}\z"
IS_HEADER = r"""(?i)\A["']?date["']?[;,]["']?time["']?(?:[;,]|\z)"""
IS_OBJECT = r"\A\{[^{}]*+\}\z"
# Spark reads no zone behind minutes: what has no seconds gets them.
NO_SECONDS = r"\A(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2})([Z+-].*)?\z"
ISO = r"\A\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6}+)?)?(Z|[+-]\d{2}(?::?\d{2})?)?\z"
FIXED_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")

NUMBER_NAMES = (*CHANNELS, "energy_kwh", "interval_s")
# Everything as text: a number that cannot be read must be told from one that is absent.
JSON_SCHEMA = StructType([StructField(name, StringType()) for name in ("at", *NUMBER_NAMES, "_broken")])
JSON_OPTIONS = {"columnNameOfCorruptRecord": "_broken", "allowSingleQuotes": "false"}


def parse(records: DataFrame, *, timezone: str, partitions: int) -> DataFrame:
    """Read the records of a topic.

    Each step is a projection of its own, so that what several later columns need is computed once.

    Args:
        records: Kafka's columns `key`, `value` (binary), `partition`, `offset`.
        timezone: zone of times without an offset: an IANA name or a fixed offset like `+01:00`. The session's own
            must be UTC.
        partitions: how many partitions the topic has; with several, a record without a key is `no_key`.

    Returns:
        `partition`, `offset`, `key`, `value` as they came, but null where the `size` of both together is more than
        `CARRIED_BYTES`; `meter_id`; `reason`, null where the record is a reading, and for those `at` (unix seconds UTC)
        and `channels` (the seven as an array of doubles, null where missing).
    """
    key, value = F.col("key").cast("string"), F.col("value").cast("string")
    text, fields, json = F.col("text"), _fields(), F.col("json")
    origin = ("partition", "offset", "key", "value", "size", "meter_id", "unread")
    size = F.coalesce(F.length("key"), F.lit(0)) + F.coalesce(F.length("value"), F.lit(0))
    framed = records.select(
        *origin[:2],
        *(F.when(size <= CARRIED_BYTES, F.col(name)).alias(name) for name in origin[2:4]),
        size.alias("size"),
        F.when(key.isNull() | key.isin(*DEFAULT_KEYS), DEFAULT_METER)
        .when(F.is_valid_utf8(key) & (F.length("key") <= MAX_KEY_BYTES), key)
        .alias("meter_id"),
        F.when(_too_large(), "too_large")
        .when(~F.is_valid_utf8(value) | ~F.is_valid_utf8(key), "not_utf8")
        .when(F.lit(partitions > 1) & (F.coalesce(key, F.lit("")) == ""), "no_key")
        .alias("unread"),
        F.when(~_too_large(), F.btrim(value, F.lit(BLANK))).alias("text"),
    )
    # What a row carries from one step to the next is copied each time: no list of texts.
    split = framed.select(
        *origin,
        text.rlike(PLAIN_LINE).alias("is_plain"),
        F.when(text.startswith("{") & text.rlike(IS_OBJECT), F.from_json(text, JSON_SCHEMA, JSON_OPTIONS)).alias(
            "json"
        ),
        F.concat_ws(";", fields[0], fields[1]).alias("clock"),
        F.slice(fields, 3, len(CHANNELS)).cast("array<double>").alias("numbers"),
        text,
    )
    clock = F.col("clock")
    told = F.when(F.col("is_plain") | clock.rlike(IS_CLOCK), F.try_to_timestamp(clock, F.lit("d/M/yyyy;HH:mm:ss")))
    told = F.when(json.isNull(), told).when(
        json["at"].rlike(ISO), F.regexp_replace(json["at"], NO_SECONDS, "$1:00$2").cast("timestamp")
    )
    # Without a zone of its own a time is local.
    instant = F.when(F.regexp_extract(json["at"], ISO, 1) != "", told).otherwise(_instant(told, timezone))
    timed = split.select(
        *origin,
        F.when(~F.col("is_plain"), text).alias("text"),
        "is_plain",
        "json",
        F.unix_seconds(instant).alias("at"),
        F.when(json.isNotNull(), _json_channels()).otherwise(F.col("numbers")).alias("channels"),
    )
    reason = (
        F.when(F.col("unread").isNotNull(), F.col("unread"))
        .when(F.col("is_plain"), F.when(_no_time(), "bad_time"))
        .when(json.isNotNull(), _json_reason())
        .otherwise(_line_reason())
    )
    return timed.select(*origin[:6], reason.alias("reason"), "at", "channels")


def _fields() -> Column:
    return F.split("text", F.when(F.col("text").contains(";"), ";").otherwise(","))


def _too_large() -> Column:
    return (F.coalesce(F.length("value"), F.lit(0)) > MAX_VALUE_BYTES) | (
        F.coalesce(F.length("key"), F.lit(0)) > MAX_KEY_BYTES
    )


def _no_time() -> Column:
    return F.col("at").isNull() | (F.col("at") < 0)


def _line_reason() -> Column:
    """Why a line is not a reading; null where it is one after all, only not of the usual shape."""
    text, fields = F.col("text"), _fields()
    numbers = F.slice(fields, 3, len(CHANNELS))
    return (
        F.when(text.isNull() | (text == ""), "empty")
        .when(text.rlike(IS_HEADER), "header")
        .when(F.size(fields) != len(CHANNELS) + 2, "bad_fields")
        .when(~F.forall(numbers, lambda field: field.rlike(IS_FIELD)) | _infinite(), "bad_number")
        .when(_no_time(), "bad_time")
    )


def _json_reason() -> Column:
    """Why a JSON object is no reading; null where it is one."""
    json = F.col("json")
    energy, interval = json["energy_kwh"], json["interval_s"]
    numbers = F.array_compact(F.array(*(json[name] for name in NUMBER_NAMES)))
    return (
        F.when(json["_broken"].isNotNull() | json["at"].isNull(), "bad_fields")
        .when(energy.isNull() != interval.isNull(), "bad_fields")
        .when(energy.isNotNull() & json[CHANNELS[0]].isNotNull(), "bad_fields")
        .when(~F.forall(numbers, lambda number: number.rlike(IS_NUMBER)) | _infinite(), "bad_number")
        .when(interval.cast("double") <= 0, "bad_number")
        .when(_no_time(), "bad_time")
    )


def _infinite() -> Column:
    return F.coalesce(F.exists("channels", lambda number: F.abs(number) == float("inf")), F.lit(0) == 1)


def _json_channels() -> Column:
    """The seven numbers of an object; the mean power of its energy where it has that instead."""
    json = F.col("json")
    numbers = {name: json[name].cast("double") for name in NUMBER_NAMES}
    mean_kw = numbers["energy_kwh"] * 3600.0 / numbers["interval_s"]
    return F.array(F.coalesce(numbers[CHANNELS[0]], mean_kw), *(numbers[name] for name in CHANNELS[1:]))


def _instant(local: Column, timezone: str) -> Column:
    """The instant of a local time written as if in UTC: the first of two, null where the clock jumped over it."""
    if timezone == "UTC":
        return local
    if fixed := FIXED_OFFSET.fullmatch(timezone):
        seconds = (1 if fixed[1] == "+" else -1) * (int(fixed[2]) * 3600 + int(fixed[3]) * 60)
        return F.timestamp_seconds(F.unix_seconds(local) - seconds)
    instant = F.to_utc_timestamp(local, timezone)
    return F.when(F.from_utc_timestamp(instant, timezone) == local, instant)
