"""Times in a request: the same for JSON and Arrow, in any zone."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.settings import zone_of
from serving import arrow, jsontext, times
from serving.problems import Problem

if TYPE_CHECKING:
    from serving.question import Question

ZONES = [zone_of(name) for name in ("UTC", "+05:45", "Europe/Paris", "Australia/Lord_Howe")]
PARIS = zone_of("Europe/Paris")


def by_json(text: str, zone: tzinfo) -> Question:
    return jsontext.decode(f'{{"meters": [{{"meter_id": "m", "readings": [{{"at": "{text}"}}]}}]}}'.encode(), zone)


def by_arrow(moment: datetime, zone: tzinfo) -> Question:
    kind = pa.list_(pa.struct([("at", pa.timestamp("us"))]))
    table = pa.table({"meter_id": ["m"], "readings": pa.array([[{"at": moment}]], kind)})
    return arrow.decode(arrow.stream(table), zone)


@given(
    moment=st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 30)),  # noqa: DTZ001 - naive on purpose
    zone=st.sampled_from(ZONES),
)
@settings(deadline=None)
def test_a_local_time_is_the_same_instant_in_both_forms(moment: datetime, zone: tzinfo) -> None:
    text = moment.isoformat()
    try:
        told = by_json(text, zone).readings.at
    except Problem:
        with pytest.raises(Problem):
            by_arrow(moment, zone)
    else:
        assert np.array_equal(told, by_arrow(moment, zone).readings.at)


@given(at=st.integers(0, times.LAST))
def test_written_and_read_again(at: int) -> None:
    (text,) = times.texts(np.array([at]))
    assert text == times.text(at)
    assert times.parse(text, PARIS) == at


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2007-10-28T02:30:00", PARIS, datetime(2007, 10, 28, 0, 30, tzinfo=UTC)),  # the first of two
        ("2007-10-28 02:30", PARIS, datetime(2007, 10, 28, 0, 30, tzinfo=UTC)),
        ("2007-10-28T02:30:00+01:00", PARIS, datetime(2007, 10, 28, 1, 30, tzinfo=UTC)),
        ("2007-10-28T02:30:00.999Z", PARIS, datetime(2007, 10, 28, 2, 30, tzinfo=UTC)),
    ],
)
def test_instants(text: str, zone: tzinfo, expected: datetime) -> None:
    assert times.parse(text, zone) == int(expected.timestamp())


@pytest.mark.parametrize(
    "text",
    ["2007-03-25T02:30:00", "2007-02-31T00:00:00Z", "1969-12-31T23:59:59Z", "2007", "x", "2007-01-01T24:00:00Z", ""],
)
def test_no_instants(text: str) -> None:
    with pytest.raises(times.TimeError):
        times.parse(text, PARIS)
