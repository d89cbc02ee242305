"""From records to requests and back: nothing lost, nothing out of order, no request too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.readings import CHANNELS, STATUSES
from streaming import scoring
from streaming.scoring import AnswerError, group, score
from tests.unit.test_batches import judge, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.test_batches import Record

RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "\u00e9"]),
        st.none() | st.integers(0, 50).map(lambda k: 60 * k),
        st.none() | st.floats(0, 20),
    ),
    max_size=60,
).filter(lambda records: any(at is not None for _, at, _ in records))


def readings_of(records: list[Record]) -> scoring.Grouped:
    table = parsed(records)
    return group(table, np.flatnonzero([at is not None for _, at, _ in records]))


def no_states(meter_ids: pa.Array) -> pa.Table:
    nothing = pa.nulls(len(meter_ids), pa.binary())
    at = pa.nulls(len(meter_ids), pa.int64())
    return pa.table({"meter_id": meter_ids, "state": nothing, "profile": nothing, "at": at})


@settings(deadline=None)
@given(RECORDS)
def test_a_group_is_a_meter_s_readings_in_arrival_order(records: list[Record]) -> None:
    found = readings_of(records)
    told = {}
    for number, meter in enumerate(found.meter_ids.to_pylist()):
        mine = slice(found.bounds[number], found.bounds[number + 1])
        powers = [None if np.isnan(power) else power for power in found.channels[mine, 0].tolist()]
        told[meter] = list(zip(found.row[mine].tolist(), found.at[mine].tolist(), powers, strict=True))
        assert (found.meter[mine] == number).all()
    expected: dict[str, list[tuple[int, int | None, float | None]]] = {}
    for row, (meter, at, power) in enumerate(records):
        if at is not None:
            expected.setdefault(meter, []).append((row, at, power))
    assert told == expected
    assert np.isnan(found.channels[:, 1:]).all()


@settings(deadline=None)
@given(records=RECORDS, meters=st.integers(1, 4), readings=st.integers(1, 30))
def test_requests_are_small_and_together_the_whole(records: list[Record], meters: int, readings: int) -> None:
    """However small the pieces: each meter is asked about once, whole; the answers stand in the readings' order."""
    requests = []

    def ask(request: pa.Table) -> pa.Table:
        requests.append(request)
        return judge(request)

    grouped = readings_of(records)
    whole = score(grouped, no_states, judge)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "MAX_METERS", meters)
        patch.setattr(scoring, "MAX_READINGS", readings)
        cut = score(grouped, no_states, ask)
    for request in requests:
        lengths = pc.list_value_length(request["readings"]).to_pylist()
        assert len(lengths) <= meters
        assert len(lengths) == 1 or sum(lengths) <= readings
    assert [meter for request in requests for meter in request["meter_id"].to_pylist()] == grouped.meter_ids.to_pylist()
    assert cut.status.tolist() == whole.status.tolist()
    for name in ("verdicts", "states", "events"):
        assert getattr(cut, name).to_pylist() == getattr(whole, name).to_pylist()


def test_the_wire_carries_what_was_read() -> None:
    """Times in UTC, channels by name, what is missing as null."""
    requests = []

    def ask(request: pa.Table) -> pa.Table:
        requests.append(request)
        return judge(request)

    score(readings_of([("a", 60, 1.5), ("b", 60, None), ("a", 120, 2.5)]), no_states, ask)
    (request,) = requests
    assert request.column_names == ["meter_id", "state", "profile", "readings"]
    rows = {row["meter_id"]: row["readings"] for row in request.to_pylist()}
    assert [(r["at"].isoformat(), r["active_power_kw"], r["voltage_v"]) for r in rows["a"]] == [
        ("1970-01-01T00:01:00+00:00", 1.5, None),
        ("1970-01-01T00:02:00+00:00", 2.5, None),
    ]
    assert rows["b"][0]["active_power_kw"] is None
    assert list(rows["a"][0]) == ["at", *CHANNELS]


def test_each_meter_s_own_state_is_sent_along() -> None:
    sent = {}

    def ask(request: pa.Table) -> pa.Table:
        sent.update(zip(request["meter_id"].to_pylist(), request["state"].to_pylist(), strict=True))
        return judge(request.set_column(1, "state", pa.nulls(request.num_rows, pa.binary())))

    def states(meter_ids: pa.Array) -> pa.Table:
        own = pa.array([f"of {meter}".encode() for meter in meter_ids.to_pylist()])
        return no_states(meter_ids).set_column(1, "state", own)

    score(readings_of([(meter, 60, 1.0) for meter in "cab"]), states, ask)
    assert sent == {meter: f"of {meter}".encode() for meter in "abc"}


def test_the_answer_is_taken_over() -> None:
    found = score(readings_of([("a", 60 * k, 30.0 if k == 25 else 1.0) for k in range(30)]), no_states, judge)
    assert [STATUSES[k] for k in found.status] == ["warming_up"] * 20 + ["scored"] * 10
    assert found.verdicts["anomalous"].to_pylist() == [k == 25 for k in range(30)]
    assert set(found.states["model_version"].to_pylist()) == {"1"}
    (event,) = found.events.to_pylist()
    assert (event["start_at"], event["peak_at"], event["end_at"]) == (1500, 1500, None)  # unix seconds


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer.slice(1),
        lambda answer: answer.slice(0, 0),
        lambda answer: answer.take([1, 0]),
    ],
    ids=["a meter less", "nothing", "another order"],
)
def test_an_answer_to_other_meters_is_refused(spoil: Callable[[pa.Table], pa.Table]) -> None:
    for more in ([], [("b", 120, 1.0)]):
        grouped = readings_of([("a", 60, 1.0), ("a", 120, 1.0), ("b", 60, 1.0), *more])
        with pytest.raises(AnswerError):
            score(grouped, no_states, lambda request: spoil(judge(request)))


def test_an_answer_with_too_few_verdicts_is_refused() -> None:
    def ask(request: pa.Table) -> pa.Table:
        return judge(request.set_column(3, "readings", pc.list_slice(request["readings"], 0, 1)))

    with pytest.raises(AnswerError):
        score(readings_of([("a", 60, 1.0), ("a", 120, 1.0)]), no_states, ask)
