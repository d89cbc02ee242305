"""The parse of a whole table against a slow twin that reads one record at a time, straight from the contract."""

from __future__ import annotations

import json
import math
import random
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from meterwatch.detection.readings import CHANNELS
from streaming.closely import MAX_VALUE_BYTES
from streaming.parse import MAX_KEY_BYTES, RECORDS, parse

if TYPE_CHECKING:
    from datetime import tzinfo

Record = tuple[bytes | None, bytes | None]
Reading = tuple[str, int, list[float | None]]
LINE = b"16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000"


class RefusedError(Exception):
    """The twin's word for a reason."""


def zone_of(name: str) -> tzinfo:
    """An IANA zone or a fixed offset."""
    if name[0] in "+-":
        hours, minutes = int(name[1:3]), int(name[4:6])
        return timezone((1 if name[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    return ZoneInfo(name)


def twin(record: Record, zone: str, partitions: int) -> Reading | str:
    """A reading or the reason why there is none."""
    key, value = record
    try:
        return _read(key, value, zone_of(zone), partitions)
    except RefusedError as refused:
        return str(refused)


def _read(key: bytes | None, value: bytes | None, zone: tzinfo, partitions: int) -> Reading:
    if len(value or b"") > MAX_VALUE_BYTES or len(key or b"") > MAX_KEY_BYTES:
        raise RefusedError("too_large")
    try:
        name, text = (key or b"").decode(), (value or b"").decode().strip(" \t\r\n\ufeff")
    except UnicodeDecodeError:
        raise RefusedError("not_utf8") from None
    if not name and partitions > 1:
        raise RefusedError("no_key")
    if not text:
        raise RefusedError("empty")
    at, channels = _object(text, zone) if re.fullmatch(r"\{[^{}]*\}", text) else _line(text, zone)
    return ("default" if name in ("", "key") else name, at, channels)


def _number(text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) or math.isinf(float(text)):
        raise RefusedError("bad_number")
    return float(text)


def _line(text: str, zone: tzinfo) -> tuple[int, list[float | None]]:
    if re.match(r"""["']?date["']?[;,]["']?time["']?([;,]|\Z)""", text, re.IGNORECASE):
        raise RefusedError("header")
    fields = text.split(";" if ";" in text else ",")
    if len(fields) != 9:
        raise RefusedError("bad_fields")
    channels = [None if field in ("?", "") else _number(field) for field in fields[2:]]
    match = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4});(\d\d):(\d\d):(\d\d)", ";".join(fields[:2]), re.ASCII)
    if not match:
        raise RefusedError("bad_time")
    day, month, year, *clock = (int(part) for part in match.groups())
    return _instant((year, month, day, *clock), zone), channels


def _instant(parts: tuple[int, ...], zone: tzinfo) -> int:
    try:
        local = datetime(*parts, tzinfo=zone)  # type: ignore[misc,arg-type]  # fold=0: the first of two
    except ValueError:
        raise RefusedError("bad_time") from None
    there_and_back = local.astimezone(UTC).astimezone(zone)
    seconds = int(local.timestamp())
    if there_and_back.replace(tzinfo=None) != local.replace(tzinfo=None) or seconds < 0:
        raise RefusedError("bad_time")
    return seconds


def _object(text: str, zone: tzinfo) -> tuple[int, list[float | None]]:
    try:
        said = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise RefusedError("bad_fields") from None
    said = {name: json.dumps(value) if isinstance(value, (bool, list)) else value for name, value in said.items()}
    energy, interval = said.get("energy_kwh"), said.get("interval_s")
    if said.get("at") is None or (energy is None) != (interval is None):
        raise RefusedError("bad_fields")
    if energy is not None and said.get(CHANNELS[0]) is not None:
        raise RefusedError("bad_fields")
    channels = [None if said.get(name) is None else _number(said[name]) for name in CHANNELS]
    if energy is not None:
        if _number(interval) <= 0:
            raise RefusedError("bad_number")
        channels[0] = _number(energy) * 3600.0 / _number(interval)
    return _iso(said["at"], zone), channels


def _iso(text: str, zone: tzinfo) -> int:
    match = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,6})?)?(Z|[+-]\d\d(?::?\d\d)?)?", text, re.ASCII
    )
    if not match:
        raise RefusedError("bad_time")
    *parts, offset = match.groups()
    if offset == "Z":
        zone = UTC
    elif offset:
        digits = offset[1:].replace(":", "").ljust(4, "0")
        zone = zone_of(f"{offset[0]}{digits[:2]}:{digits[2:]}")
    return _instant(tuple(int(part or 0) for part in parts), zone)


def reads(records: list[Record], zone: str = "UTC", partitions: int = 1) -> list[Reading | str]:
    """What the stream makes of records, in their order; checks that they come through as they were."""
    rows = [{"partition": 0, "offset": k, "key": key, "value": value} for k, (key, value) in enumerate(records)]
    came = pa.Table.from_pylist(rows, schema=pa.schema(list(RECORDS)[:4]))
    found = parse(came, timezone=zone, partitions=partitions)
    assert found.schema == RECORDS
    assert found.select(came.column_names).equals(came)
    return [row["reason"] or (row["meter_id"], row["at"], row["channels"]) for row in found.to_pylist()]


GOLDEN: list[tuple[bytes | None, bytes | None, Reading | str]] = [
    (None, LINE, ("default", 1166289840, [4.216, 0.418, 234.84, 18.4, 0.0, 1.0, 17.0])),
    (b"key", LINE + b"\r\n", ("default", 1166289840, [4.216, 0.418, 234.84, 18.4, 0.0, 1.0, 17.0])),
    ("zähler 7".encode(), LINE.replace(b";", b","), ("zähler 7", 1166289840, [4.216, 0.418, 234.84, 18.4, 0, 1, 17])),
    (b"m", b"1/2/2007;00:00:00;?;?;?;?;?;?;", ("m", 1170288000, [None] * 7)),
    (b"m", b"1/2/2007;00:00:00;-1e3;+.5;1.;0;;?;00", ("m", 1170288000, [-1000.0, 0.5, 1.0, 0.0, None, None, 0.0])),
    (b"m", b"Date;Time;Global_active_power", "header"),
    (b"m", b"\xef\xbb\xbfDate,Time,Global_active_power", "header"),
    (b"m", b"", "empty"),
    (b"m", b" \r\n", "empty"),
    (b"m", None, "empty"),
    (b"m", b"\x00\x01\x02", "bad_fields"),
    (b"m", "ü".encode() * 50, "bad_fields"),
    (b"m", b"\xff\xfe\x00", "not_utf8"),
    (b"\xff", LINE, "not_utf8"),
    (b"m", b"1" * 1_000_000, "too_large"),
    (b"m" * 300, LINE, "too_large"),
    (b"m", LINE + b";1", "bad_fields"),
    (b"m", LINE.rsplit(b";", 1)[0], "bad_fields"),
    (b"m", LINE.replace(b"4.216", b"4.2x6"), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"1,5.2"), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"NaN"), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"Infinity"), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"1d"), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"9" * 400), "bad_number"),
    (b"m", LINE.replace(b"4.216", b"1e400"), "bad_number"),
    (b"m", LINE.replace(b"16/12/2006", b"31/02/2007"), "bad_time"),
    (b"m", LINE.replace(b"16/12/2006", b"2006-12-16"), "bad_time"),
    (b"m", LINE.replace(b"17:24:00", b"24:00:00"), "bad_time"),
    (b"m", LINE.replace(b"17:24:00", b"7:24:00"), "bad_time"),
    (b"m", LINE.replace(b"16/12/2006", b"16/12/1906"), "bad_time"),
    (b"m", b'{"at": 3}', "bad_time"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z"}', ("m", 1170288000, [None] * 7)),
    (b"m", b'{"at": "2007-02-01 01:00+01:00", "active_power_kw": 1.5}', ("m", 1170288000, [1.5, *[None] * 6])),
    (b"m", b'{"at": "2007-02-01T00:00:00.9", "voltage_v": 230}', ("m", 1170288000, [None, None, 230.0, *[None] * 4])),
    (
        b"m",
        b'{"at": "2007-02-01T00:00:00Z", "energy_kwh": 0.6, "interval_s": 1800}',
        ("m", 1170288000, [1.2, *[None] * 6]),
    ),
    (b"m", b'{"at": "2007-02-01T00:00:00Z", "energy_kwh": 0.6, "interval_s": 0}', "bad_number"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z", "energy_kwh": 0.6}', "bad_fields"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z", "active_power_kw": "x"}', "bad_number"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z", "active_power_kw": NaN}', "bad_number"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z", "active_power_kw": true}', "bad_number"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z"} {"at": "2007-02-01T00:00:00Z"}', "bad_fields"),
    (b"m", b'{"at": "2007-02-01T00:00:00Z"', "bad_fields"),
    (b"m", b"{}", "bad_fields"),
    (b"m", b"[1, 2]", "bad_fields"),
    (b"m", b'{"at": ' + b"[" * 5000 + b"}", "bad_fields"),
]  # fmt: skip


def test_golden_records() -> None:
    """Each kind of record ends as the contract says, here and in the twin."""
    records = [(key, value) for key, value, _ in GOLDEN]
    expected = [answer for _, _, answer in GOLDEN]
    assert [twin(record, "UTC", 1) for record in records] == expected
    assert reads(records) == expected


def test_no_key_matters_on_several_partitions_only() -> None:
    """Where records without a key would scatter a meter over partitions they are refused."""
    records: list[Record] = [(None, LINE), (b"", LINE), (b"m", LINE)]
    told = reads(records, partitions=3)
    assert told[:2] == ["no_key", "no_key"]
    assert told[2][0] == "m"
    assert told == [twin(record, "UTC", 3) for record in records]


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/St_Johns", "+05:30", "-03:00"])
def test_local_times(zone: str) -> None:
    """Around both clock changes: a time that was jumped over is refused, an ambiguous one is the first."""
    begin = [datetime(2007, month, day) for month, day in ((3, 10), (3, 24), (10, 27), (11, 3))]  # noqa: DTZ001
    times = [start + timedelta(minutes=30 * k) for start in begin for k in range(96)]
    records: list[Record] = [(b"m", f"{t:%d/%m/%Y;%H:%M:%S};1;1;1;1;1;1;1".encode()) for t in times]
    records += [(b"m", f'{{"at": "{t:%Y-%m-%dT%H:%M:%S}"}}'.encode()) for t in times]
    expected = [twin(record, zone, 1) for record in records]
    assert ("bad_time" in expected) == ("/" in zone)
    assert reads(records, zone) == expected


def test_mutated_lines() -> None:
    """Thousands of lines with a few characters exchanged, doubled or dropped read like the twin reads them."""
    rng = random.Random(7)
    seeds = [value.decode() for _, value, _ in GOLDEN if value and len(value) < 200 and not value.startswith(b"\xff")]
    alphabet = '0123456789.;,/:?-+eEdfTZ {}"x\u00fc\u0660'
    records: list[Record] = []
    for _ in range(4000):
        text = list(rng.choice(seeds))
        for _ in range(rng.choice([1, 1, 2, 4])):
            place = rng.randrange(len(text) + 1)
            text[place : place + rng.choice([0, 1, 1])] = rng.choice(["", rng.choice(alphabet)])
        records.append((b"m", "".join(text).encode()))
    told = reads(records)
    for record, one in zip(records, told, strict=True):
        assert one == twin(record, "UTC", 1), record
    assert len({one for one in told if isinstance(one, str)}) >= 5


NUMBERS = ("1.", "-.5", ".5", "+1", "-0", "007.50", "1e3", "1E-3", "1e400", "9" * 15, "9" * 16, "9" * 400, "5e-324",
           " 1", "0." + "0" * 330 + "1", "9007199254740993", "1.00000005960464477539", "0.1", "?", "", "--1", "1d",
           "0x1", "1_0")  # fmt: skip
DATES = ("16/12/2006", "1/1/2007", "29/2/2008", "29/2/2007", "31/12/1969", "1/1/1970", "31/12/9999", "1/1/0000",
         "1/13/2007")  # fmt: skip
TIMES = ("17:24:00", "23:59:59", "24:00:00", "23:60:00", "23:59:60", "29:00:00", "17:24")
WRAPS = ("", " ", "\r\n", "\ufeff", "\x00")


@pytest.mark.parametrize("mark", [";", ","])
def test_usual_and_unusual_forms_in_one_line(mark: str) -> None:
    """Which way a line is read is not seen in what it says: every form of number, date and time, and what is around."""
    lines = [[date, time, *["0.5"] * 7] for date in DATES for time in TIMES]
    lines += [["1/2/2007", "01:02:03", *["0.5"] * place, number, *["240"] * (6 - place)]
              for place in (0, 3, 6) for number in NUMBERS]  # fmt: skip
    records: list[Record] = [
        (b"m", f"{before}{mark.join(fields)}{after}".encode())
        for fields in lines
        for before in WRAPS
        for after in WRAPS
    ]
    assert reads(records) == [twin(record, "UTC", 1) for record in records]


OBJECTS = ('{"at":"%",C}', '{"at": "%", C}', '{ "at":"%",C}', '{C,"at":"%"}', '{"at":"%" ,C}', '{"at":"%",  C}',
           '{"at":"%",C }', '{"at":"%",C,}', '{"at":"%",C,C}', '{"at":"%",C,"more":1}', '{"at":"%"}', '{"at":"%"}\n',
           ' {"at":"%",C}', '"%",C}', '{"at":"%",C}}', '{"at":"%",,C}', '{"AT":"%",C}')  # fmt: skip
MOMENTS = tuple(
    date + clock + zone
    for date in ("2006-12-16", "2007-02-29", "1969-12-31", "1970-01-01", "9999-12-31", "0000-01-01", "2007-3-25",
                 "2007-03-25")
    for clock in ("T02:30:00", " 02:30:00", "T24:00:00", "T23:59:59.5", "T23:59", "T1:00:00")
    for zone in ("Z", "", "+00:00", "z")
)  # fmt: skip
VALUES = ("null", "1.5", '"1.5"', '""', "true", "-1", "1e3", "01", "1.", "-0", ".5", "NaN", "9" * 15, "9" * 16, '"?"')


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris"])
def test_usual_and_unusual_objects(zone: str) -> None:
    """Nor is it with objects: every order, spacing, time and number."""
    named = [f'"{name}": {value}' for name in (CHANNELS[0], CHANNELS[6]) for value in VALUES]
    many = [",".join(f'"{name}":{k}.25' for k, name in enumerate(some)) for some in (CHANNELS, CHANNELS[::-1])]
    records: list[Record] = [
        (b"m", shape.replace("C", said).replace("%", at).encode())
        for shape in OBJECTS
        for at, said in [*((MOMENTS[0], said) for said in named + many), *((at, named[1]) for at in MOMENTS)]
    ]
    assert reads(records, zone) == [twin(record, zone, 1) for record in records]


def test_a_large_record_is_read_to_the_limit() -> None:
    """What is around a line counts for its size."""
    fits = MAX_VALUE_BYTES - len(LINE)
    records: list[Record] = [(b"m", LINE + b" " * fits), (b"m", LINE + b" " * (fits + 1)), (b"k" * MAX_KEY_BYTES, LINE)]
    told = reads(records)
    assert [isinstance(one, tuple) for one in told] == [True, False, True]
    assert told == [twin(record, "UTC", 1) for record in records]
