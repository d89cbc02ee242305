"""The data lines of a file, as they are: what a replay sends."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import re
import zlib
from itertools import repeat
from typing import IO, TYPE_CHECKING, NamedTuple

from meterwatch.detection.readings import CHANNELS
from streaming.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DEFAULT_METER = b"default"
BLANK = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
# Possessive quantifiers (`++`): a megabyte of spaces is read once.
UCI_HEADER = re.compile(rb"""\s*+["']?date["']?[;,]["']?time["']?(?:[;,]|\s*+\Z)""", re.IGNORECASE)
NAME = re.compile(rb"""["']?[A-Za-z_][\w ]*["']?""")
CLOCK = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4});(\d{2}:\d{2}:\d{2})", re.ASCII)
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)  # float() takes more
MISSING = ("", "?")
TIME = 2  # fields of a UCI line before its numbers
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)


class Record(NamedTuple):
    """What goes on the topic."""

    key: bytes | None
    value: bytes | None


def data_lines(path: Path, limit: int | None = None) -> Iterator[bytes]:
    """Each line of a file (plain, .xz or .gz) without its end; headers and empty lines are left out.

    Raises:
        StreamError: the file cannot be read to its end.
    """
    sent = 0
    try:
        with _opened(path) as file:
            for line in file:
                value = line.removesuffix(b"\n").removesuffix(b"\r")
                if not value[:1].isdigit() and (not value.strip(BLANK) or is_header(value)):  # neither begins with one
                    continue
                if sent == limit:
                    return
                sent += 1
                yield value
    except UNREADABLE as error:
        raise StreamError(f"{path} cannot be read after its line {sent:,}: {error}") from error


def is_header(line: bytes) -> bool:
    """Whether a line names columns: those of the UCI text, or of a CSV with `at`."""
    bare = line.removeprefix(BOM)
    if UCI_HEADER.match(bare):
        return True
    fields = re.split(b"[;,]", bare)
    return all(NAME.fullmatch(field.strip()) for field in fields) and "at" in _names(bare)


def as_they_are(lines: Iterable[bytes], meter: str | None) -> Iterator[Record]:
    """Records of one meter, each line its value."""
    return map(Record, repeat(_key(meter)), lines)


def as_json(path: Path, lines: Iterable[bytes], meter: str | None) -> Iterator[Record]:
    """Records whose values are JSON objects, made of the lines of a UCI text or of a CSV with a header.

    A `meter_id` column gives the key. A line that does not fit is sent as it is: nothing is repaired.
    """
    names = _columns(path)
    for line in lines:
        fields = _fields(line)
        row = _uci(fields) if names is None else _row(names, fields)
        if row is None:
            yield Record(_key(meter), line)
            continue
        key = row.pop("meter_id", None)
        told = {name: _told(name, text) for name, text in row.items() if text not in MISSING}
        yield Record(_key(meter or key), json.dumps(told, separators=(",", ":")).encode())


def numbers(line: bytes) -> list[float] | None:
    """The seven channels of a UCI line, NaN where missing; None where it is not one."""
    fields = _fields(line)
    if len(fields) != TIME + len(CHANNELS):
        return None
    found = [math.nan if field in MISSING else _number(field) for field in fields[TIME:]]
    read = [number for number in found if number is not None]
    return read if len(read) == len(found) else None


def _told(name: str, text: str) -> float | str:
    """A number where it is one; what it is not, the quarantine will say."""
    number = None if name == "at" else _number(text)
    return text if number is None else number


def _key(meter: str | None) -> bytes:
    return meter.encode(errors="surrogateescape") if meter else DEFAULT_METER  # a name typed in bytes stays these


def _columns(path: Path) -> list[str] | None:
    """The columns that a CSV's header names; None where the file is UCI text."""
    try:
        with _opened(path) as file:
            names = _names(file.readline())
    except UNREADABLE as error:
        raise StreamError(f"{path} cannot be read: {error}") from error
    return names if "at" in names else None


def _names(header: bytes) -> list[str]:
    return [field.strip(" \"'").lower() for field in _fields(header)]


def _fields(line: bytes) -> list[str]:
    """A line's fields, blanks around the line apart; none where it is not UTF-8."""
    try:
        text = line.removeprefix(BOM).strip(BLANK).decode()
    except UnicodeDecodeError:
        return []
    return text.split(";" if ";" in text else ",")


def _uci(fields: list[str]) -> dict[str, str] | None:
    clock = CLOCK.fullmatch(";".join(fields[:TIME]))
    if clock is None or len(fields) != TIME + len(CHANNELS):
        return None
    day, month, year, time = clock.groups()
    return {"at": f"{year}-{month:0>2}-{day:0>2}T{time}", **dict(zip(CHANNELS, fields[TIME:], strict=True))}


def _row(names: list[str], fields: list[str]) -> dict[str, str] | None:
    return {n: f.strip() for n, f in zip(names, fields, strict=True)} if len(names) == len(fields) else None


def _number(text: str) -> float | None:
    """A finite number as the stream's parse reads it; None where it is none."""
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def _opened(path: Path) -> IO[bytes] | lzma.LZMAFile | gzip.GzipFile:
    if path.suffix == ".xz":
        return lzma.open(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
