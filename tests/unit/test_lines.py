"""What a replay sends of a file: every data line as it is, nothing else, whatever else stands there."""

from __future__ import annotations

import gzip
import json
import lzma
import math
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meterwatch.detection.readings import CHANNELS
from streaming.errors import StreamError
from streaming.lines import BOM, as_json, as_they_are, data_lines, is_header, numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UCI = b"Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"
HEADERS = (UCI, UCI.upper(), b'"Date","Time","x"', b"at,active_power_kw", b"meter_id;at;energy_kwh", b'"at","x_v"')
BLANKS = (b"", b"   ", b"\t", b" \t ")
OPENERS: dict[str, Callable[[bytes], bytes]] = {".txt": bytes, ".xz": lzma.compress, ".gz": gzip.compress}
FIELDS = st.sampled_from(
    ["1.5", "-0.25", "0", "", "?", "1e3", "+7.", ".5", "1_0", "1.x", "nan", "inf", "1e999", " 2", "\u0661", "--1", "\0"]
)
CLOCKS = st.sampled_from(
    ["1/1/2007;00:00:00", "31/12/2007;23:59:59", "31/02/2007;00:00:00", "1/1/07;00:00:00", "1/1/2007;00:00", "x;y", ";"]
)
UCI_LINES = st.builds(
    lambda clock, fields: ";".join([clock, *fields]).encode(), CLOCKS, st.lists(FIELDS, min_size=6, max_size=8)
)
GARBAGE = st.one_of(st.binary(max_size=60), UCI_LINES).map(lambda raw: raw.replace(b"\n", b" "))


def is_data(line: bytes) -> bool:
    """Neither empty nor a header; a carriage return at its end would be half of the line's end."""
    return bool(line.strip(b" \t\r\n")) and not is_header(line) and not line.endswith(b"\r")


@settings(deadline=None)
@given(
    lines=st.lists(st.one_of(GARBAGE.filter(is_data), st.sampled_from([*HEADERS, *BLANKS])), max_size=30),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=30, max_size=30),
    suffix=st.sampled_from(sorted(OPENERS)),
    limit=st.none() | st.integers(0, 31),
    closed=st.booleans(),
)
def test_every_data_line_is_sent_as_it_is_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ends: list[bytes], suffix: str, limit: int | None,
    *, closed: bool,
) -> None:  # fmt: skip
    text = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    file = tmp_path_factory.getbasetemp() / f"in{suffix}"
    file.write_bytes(OPENERS[suffix](text if closed else text.removesuffix(b"\n")))
    expected = [line for line in lines if line not in HEADERS and line not in BLANKS]
    assert list(data_lines(file, limit)) == expected[:limit]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("before", [b"", BOM, b" "])
def test_headers_are_known(header: bytes, before: bytes) -> None:
    assert is_header(before + header)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1).map(lambda row: ";".join(map(str, row)).encode()))
@example(b"1/1/2007;00:00:00;1;0;240;4;0;0;0")
@example(b"at the end, 5")
@example(b"x,at,1.5,2")  # a word is not a row of names
@example(b"2007-01-01T00:00:00Z,1.3")
@example(b"data;Date;Time")
@example(b"date")
def test_data_are_no_header(line: bytes) -> None:
    assert not is_header(line)


@pytest.mark.parametrize(
    "line", [b" " * 10**6 + b"x;1", b"at," * 300_000 + b"1", b"x " * 500_000, b'"' * 10**6, b"a" * 10**6 + b";at;5"]
)
def test_a_megabyte_is_read_once(line: bytes) -> None:
    """A pattern that tried each way to divide it would not come back before the time is up."""
    assert not is_header(line)


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(BOM + UCI + b"\r\n1/1/2007;00:00:00;1;0;240;4;0;0;0\r\n")
    assert list(data_lines(file)) == [b"1/1/2007;00:00:00;1;0;240;4;0;0;0"]


@settings(deadline=None)
@given(place=st.integers(0, 200), garbage=st.binary(min_size=1, max_size=20), suffix=st.sampled_from([".xz", ".gz"]))
def test_a_damaged_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, place: int, garbage: bytes, suffix: str
) -> None:
    """Whatever is wrong with it: either the lines come out, or one line says which file and how far."""
    whole = bytearray(OPENERS[suffix](b"1/1/2007;00:00:00;1;0;240;4;0;0;0\n" * 40))
    whole[place : place + len(garbage)] = garbage
    file = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    file.write_bytes(whole)
    for read in (lambda: list(data_lines(file)), lambda: list(as_json(file, [b"x"], None))):
        try:
            read()
        except StreamError as error:
            assert str(file) in str(error)  # noqa: PT017 - it may come out whole


def test_a_file_that_was_cut_short_is_named_when_its_end_is_reached(tmp_path: Path) -> None:
    """And its lines come one by one until then: a file of any size costs the memory of a line."""
    for suffix in (".xz", ".gz"):
        file = tmp_path / f"in{suffix}"
        file.write_bytes(OPENERS[suffix](b"1;2\n" * 100_000)[:-20])
        found = data_lines(file)
        assert list(islice(found, 3)) == [b"1;2"] * 3
        with pytest.raises(StreamError, match=r"cannot be read after its line \d"):
            list(found)


def test_keys() -> None:
    assert [record.key for record in as_they_are([b"a", b"b"], None)] == [b"default"] * 2
    assert next(as_they_are([b"a"], "z\u00e4hler \udcff")) == (b"z\xc3\xa4hler \xff", b"a")


@settings(deadline=None)
@given(line=UCI_LINES)
def test_the_json_form_says_what_the_line_says(tmp_path_factory: pytest.TempPathFactory, line: bytes) -> None:
    """The same numbers; what is no number stays text for the quarantine; what is no UCI line stays as it is."""
    file = tmp_path_factory.getbasetemp() / "uci.txt"
    file.write_bytes(UCI + b"\n" + line)
    (record,) = as_json(file, [line], None)
    date, time, *fields = line.decode().split(";")
    if record.value == line:
        assert len(fields) != len(CHANNELS) or len(date.rpartition("/")[2]) != 4 or len(time) != 8
        return
    told = json.loads(record.value)
    day, month, year = date.split("/")
    assert told.pop("at") == f"{year}-{int(month):02}-{int(day):02}T{time}"
    present = {name: field for name, field in zip(CHANNELS, fields, strict=True) if field not in ("", "?")}
    assert told.keys() == present.keys()
    read = numbers(line)
    if read is None:
        assert any(told[name] == field for name, field in present.items())
    else:
        assert {name: value for name, value in zip(CHANNELS, read, strict=True) if not math.isnan(value)} == told


@pytest.mark.parametrize("field", ["1_0", "nan", "inf", "1e999", " 2", "\u0661", "1.x", "0x1"])
def test_what_python_takes_for_a_number_and_spark_does_not_is_none(field: str) -> None:
    assert numbers(f"1/1/2007;00:00:00;{field};0;240;4;0;0;0".encode()) is None


def test_a_csv_becomes_json_with_its_own_names_and_keys(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    rows = ["At, meter_id ,active_power_kw", "2007-01-01T00:00:00Z,m 1, 1.50", "2007-01-01T00:01:00Z,,?", "7,8"]
    file.write_text("\n".join(rows))
    records = list(as_json(file, data_lines(file), None))
    assert [record.key for record in records] == [b"m 1", b"default", b"default"]
    assert [json.loads(record.value) for record in records[:2]] == [
        {"at": "2007-01-01T00:00:00Z", "active_power_kw": 1.5},
        {"at": "2007-01-01T00:01:00Z"},
    ]
    assert records[2].value == b"7,8"
    assert [record.key for record in as_json(file, data_lines(file), "mine")] == [b"mine"] * 3
