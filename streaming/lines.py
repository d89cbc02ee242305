"""The data lines of a file, as they are: what a replay sends."""

from __future__ import annotations

import gzip
import json
import lzma
import math
import re
from typing import IO, TYPE_CHECKING, NamedTuple

from meterwatch.detection.readings import CHANNELS
from streaming.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DEFAULT_METER = b"default"
BLANK = b" \t\r\n"
BOM = b"\xef\xbb\xbf"
HEADER = re.compile(rb"""\s*["']?(date["']?[;,]["']?time|(?:[\w ]+[;,])*at)["']?(?:[;,]|\s*\Z)""", re.IGNORECASE)
MISSING = ("", "?")
TIME = 2  # fields of a UCI line before its numbers


class Record(NamedTuple):
    """What goes on the topic."""

    key: bytes
    value: bytes


def data_lines(path: Path, limit: int | None = None) -> Iterator[bytes]:
    """Each line of a file (plain, .xz or .gz) without its end; headers and empty lines are left out.

    Raises:
        StreamError: the file cannot be read to its end.
    """
    sent = 0
    try:
        with _opened(path) as file:
            for line in file:
                value = line.rstrip(b"\r\n")
                if not value.strip(BLANK) or is_header(value):
                    continue
                if sent == limit:
                    return
                sent += 1
                yield value
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise StreamError(f"{path} cannot be read after its line {sent:,}: {error}") from error


def is_header(line: bytes) -> bool:
    """Whether a line names columns: those of the UCI text, or of a CSV with `at`."""
    return HEADER.match(line.removeprefix(BOM)) is not None


def as_they_are(lines: Iterable[bytes], meter: str | None) -> Iterator[Record]:
    """Records of one meter, each line its value."""
    key = meter.encode() if meter else DEFAULT_METER
    return (Record(key, line) for line in lines)


def as_json(path: Path, lines: Iterable[bytes], meter: str | None) -> Iterator[Record]:
    """Records whose values are JSON objects, made of the lines of a UCI text or of a CSV with a header.

    A `meter_id` column gives the key. A line that does not fit is sent as it is: nothing is repaired.
    """
    names = _columns(path)
    default = meter.encode() if meter else DEFAULT_METER
    for line in lines:
        fields = _fields(line)
        if fields is None or len(fields) != len(names):
            yield Record(default, line)
            continue
        row = dict(zip(names, fields, strict=True))
        key = row.pop("meter_id", None)
        if "date" in row:
            row = {"at": _iso(row.pop("date"), row.pop("time")), **row}
        told = {name: text if name == "at" else _number(text) for name, text in row.items() if text not in MISSING}
        value = json.dumps(told, separators=(",", ":")).encode()
        yield Record(key.encode() if key and not meter else default, value)


def numbers(line: bytes) -> list[float] | None:
    """The seven channels of a UCI line, NaN where missing; None where it is not one."""
    fields = _fields(line)
    if fields is None or len(fields) != TIME + len(CHANNELS):
        return None
    try:
        return [math.nan if field in MISSING else float(field) for field in fields[TIME:]]
    except ValueError:
        return None


def _columns(path: Path) -> list[str]:
    with _opened(path) as file:
        first = _fields(file.readline().removeprefix(BOM).rstrip(b"\r\n")) or []
    names = [name.strip(" \"'").lower() for name in first]
    return names if "at" in names else ["date", "time", *CHANNELS]


def _fields(line: bytes) -> list[str] | None:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    return [field.strip() for field in text.split(";" if ";" in text else ",")]


def _iso(date: str, time: str) -> str:
    day, _, rest = date.partition("/")
    month, _, year = rest.partition("/")
    return f"{year}-{month:0>2}-{day:0>2}T{time}"


def _number(text: str) -> float | str:
    """A number where it is one; what it is not, the quarantine will say."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _opened(path: Path) -> IO[bytes] | lzma.LZMAFile | gzip.GzipFile:
    if path.suffix == ".xz":
        return lzma.open(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
