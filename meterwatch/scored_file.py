"""Scores the readings of a file through the running service, without storing anything."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from meterwatch.detection.readings import CHANNELS
from serving.client import Client, ServiceUnavailable
from training.meter_files import meters, read_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meterwatch.settings import Settings
    from training.series import Series

CHUNK = 100_000  # readings a request: a second or two of the service's time
STDIN = Path("-")
READING = pa.struct([("at", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in CHANNELS)])


class ScoreError(Exception):
    """The readings were not scored; the message says why."""


def score_file(settings: Settings, file: Path, meter: str | None = None) -> Iterator[dict[str, Any]]:
    """Verdicts of each reading, meter by meter in order of time.

    Args:
        settings: where the service is.
        file: as `training.meter_files.read_frame` takes it; `-` for standard input.
        meter: selects a meter, or names the only one.

    Raises:
        DataError: the file cannot be used.
        ScoreError: no service answers.
        ServiceRefused: the service will not score this.
    """
    with tempfile.NamedTemporaryFile(prefix="meterwatch-") as copy:
        if file == STDIN:
            copy.write(sys.stdin.buffer.read())
            copy.flush()
            file = Path(copy.name)
        data = meters(read_frame(file), settings.timezone, meter)
    with Client(settings.service_urls, settings.api_key) as client:
        for series in data.series:
            try:
                yield from _verdicts(client, series)
            except ServiceUnavailable as error:
                raise ScoreError(f"no service to ask: {error}; start one with `meterwatch serve`") from None


def _verdicts(client: Client, series: Series) -> Iterator[dict[str, Any]]:
    state: bytes | None = None
    profile: bytes | None = None
    for begin in range(0, len(series.at), CHUNK):
        part = slice(begin, begin + CHUNK)
        answer = client.score_table(_request(series, part, state, profile))
        state = answer["state"][0].as_py()
        profile = answer["profile"][0].as_py() or profile
        for verdict in answer["verdicts"][0].as_py():
            yield {**verdict, "at": verdict["at"].strftime("%Y-%m-%dT%H:%M:%SZ")}


def _request(series: Series, part: slice, state: bytes | None, profile: bytes | None) -> pa.Table:
    at = pa.array(series.at[part] * 1_000_000).cast(READING.field("at").type)
    columns = [pa.array(channel[part], from_pandas=True) for channel in series.channels]
    readings = pa.StructArray.from_arrays([at, *columns], fields=list(READING))
    offsets = pa.array(np.array([0, len(at)], np.int32))
    return pa.table(
        {
            "meter_id": pa.array([series.meter_id]),
            "state": pa.array([state], pa.binary()),
            "profile": pa.array([profile], pa.binary()),
            "readings": pa.ListArray.from_arrays(offsets, readings),
        }
    )
