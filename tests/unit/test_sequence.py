"""The sequence model over a segment is the model step by step, to the bit, and sees nothing of the judged reading."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import BundleError
from meterwatch.detection.memory import Memory
from meterwatch.detection.params import RECEPTIVE
from meterwatch.detection.rounds import Trace
from meterwatch.detection.sequence import PAST_INPUTS, TIME_INPUTS, SequenceModel, scaled
from tests import naive
from tests.streams import DAY, KINDS, Caller, Kind, one_meter, past

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Inputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture(scope="module")
def model(bundle: Path) -> SequenceModel:
    """The network that the tests' bundle was trained with."""
    return SequenceModel(bundle / "sequence.onnx", (1.3, 0.8))


def inputs(seed: int, meters: int, length: int) -> Inputs:
    """Past and time inputs as large as they come."""
    rng = np.random.default_rng(seed)
    past = rng.normal(0, 2, (meters, PAST_INPUTS, length + RECEPTIVE - 1)).astype(np.float32)
    return past, rng.normal(0, 2, (meters, TIME_INPUTS, length)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    meters=st.integers(1, 5),
    length=st.integers(1, 1500),
    cuts=st.lists(st.integers(1, 1499)),
)
def test_a_segment_is_its_pieces(model: SequenceModel, seed: int, meters: int, length: int, cuts: list[int]) -> None:
    """Any length, any cut, any company, and some of its readings one by one: the same bits."""
    past, time = inputs(seed, meters, length)
    whole = model.expect(past, time)
    assert whole.shape == (meters, 3, length)
    edges = [0, *sorted({cut for cut in cuts if cut < length}), length]
    single = np.random.default_rng(seed).integers(0, length, 8).tolist()
    for begin, end in [*pairwise(edges), *((k, k + 1) for k in single)]:
        piece = model.expect(past[:1, :, begin : end + RECEPTIVE - 1], time[:1, :, begin:end])
        assert piece.tobytes() == np.ascontiguousarray(whole[:1, :, begin:end]).tobytes()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(2, 200), share=st.floats(0, 1))
def test_nothing_later_is_looked_at(model: SequenceModel, seed: int, length: int, share: float) -> None:
    """Readings from the judged one on, and later calendars, leave what was expected as it was."""
    past, time = inputs(seed, 1, length)
    judged = int(share * (length - 1))
    before = model.expect(past, time)[:, :, : judged + 1]
    past[:, :, judged + RECEPTIVE :] = 9.0  # past[…, k] is the reading before the judged one of place k - RECEPTIVE + 1
    time[:, :, judged + 1 :] = -9.0
    assert model.expect(past, time)[:, :, : judged + 1].tobytes() == before.tobytes()


def test_the_readings_right_before_are_looked_at(model: SequenceModel) -> None:
    """The newest one and the oldest of those that the model sees, and none before."""
    past, time = inputs(2, 100, 1)
    before = model.expect(past, time)
    newest, oldest = past.copy(), past.copy()
    newest[:, 0, -1] += 3.0
    oldest[:, 0, 0] += 30.0
    assert past.shape[2] == RECEPTIVE
    assert (model.expect(newest, time) != before).any(axis=(1, 2)).mean() > 0.5
    assert (model.expect(oldest, time) != before).any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1), st.integers(1_000, 10**10))
def test_scaling_has_an_inverse_and_keeps_order(powers: list[int], level: int) -> None:
    """Export keeps its sign; to a millionth."""
    values, unit = np.sort(np.array(powers)), np.full(len(powers), float(level))
    there = scaled(values, unit)
    back = np.sign(there) * np.expm1(np.abs(there)) * 0.1 * unit
    np.testing.assert_allclose(back, values, rtol=1e-6, atol=1e-3)
    assert (np.diff(there) >= 0).all()
    assert (scaled(-values, unit) == -there).all()


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[3]], ids=lambda kind: kind.meter_id)
def test_what_the_network_sees_equals_its_slow_twin(bundle: Path, kind: Kind) -> None:
    """The readings before the judged one, what is usual there, the calendar: to the bit, over lost ones and gaps."""
    detector, after = Detector.load(bundle), past(kind, 2)
    begin, end = 14, 14 + min(DAY // kind.cadence - 8, 120)  # of one roll day
    at, channels = after.at.copy(), after.channels.copy()
    channels[0, begin + 7 : begin + 9] = np.nan
    at[begin + 15 : end] += 3 * kind.cadence + 7
    stream = one_meter(kind.meter_id, at, channels)
    known = Caller(detector).follow(past(kind)).follow(one_meter(kind.meter_id, at[:begin], channels[:, :begin]))
    memory = Memory.decode([kind.meter_id], [known.states[kind.meter_id]], [known.profiles[kind.meter_id]])
    ids, _, readings = stream.grouped(begin, end)
    trace = Trace(want_inputs=True)
    detector.observe(ids, [known.states[kind.meter_id]], [known.profiles[kind.meter_id]], readings, trace)
    ((counts, seen, time, _, times),) = trace.past
    power = ~np.isnan(readings.channels[0])
    assert times[0].tolist() == readings.at[power].tolist()
    assert counts.tolist() == [power.sum()]
    sent = list(zip(readings.at[power].tolist(), readings.channels[0, power].tolist(), strict=True))
    for k in range(len(sent)):
        own_past, own_time = naive.network_inputs(memory, sent, k)
        assert seen[0, :, k : k + RECEPTIVE].tolist() == own_past
        assert time[0, :, k].tolist() == own_time


def test_the_network_knows_the_week(bundle: Path) -> None:
    """Hour and weekend of every judged time over a week, as the calendar has them; the cadence beside them."""
    kind = KINDS[2]
    known, stream = Caller(Detector.load(bundle)).follow(past(kind)), past(kind, 9)
    ids, _, readings = stream.grouped(0, len(stream))
    trace = Trace(want_inputs=True)
    known.detector.observe(ids, [known.states[kind.meter_id]], [known.profiles[kind.meter_id]], readings, trace)
    judged = [(at, row) for _, _, time, _, times in trace.past for at, row in zip(times[0], time[0].T, strict=True)]
    moments = [datetime.fromtimestamp(int(at), UTC) for at, _ in judged]
    weekend = [float(row[10]) for _, row in judged]
    assert weekend == [float(moment.weekday() >= 5) for moment in moments]
    assert set(weekend) == {0.0, 1.0}
    angle = np.array([2 * np.pi * (moment.hour + moment.minute / 60) / 24 for moment in moments])
    told = np.array([row[6:10] for _, row in judged])
    waves = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    np.testing.assert_allclose(told, np.transpose(waves), atol=1e-6)
    np.testing.assert_allclose([row[11] for _, row in judged], np.log(2), atol=1e-6)


def test_the_band_holds_the_middle_and_follows_its_factors(bundle: Path, model: SequenceModel) -> None:
    """Lower <= middle <= upper; twice and three times the factor is as much farther."""
    past, time = inputs(5, 2, 50)
    middle, low, high = model.expect(past, time).transpose(1, 0, 2)
    lower, upper = middle - low, high - middle
    assert (lower >= 0).all()
    assert (upper >= 0).all()
    middle, low, high = SequenceModel(bundle / "sequence.onnx", (2.6, 2.4)).expect(past, time).transpose(1, 0, 2)
    np.testing.assert_allclose(middle - low, lower * 2, atol=1e-12)
    np.testing.assert_allclose(high - middle, upper * 3, atol=1e-12)


def network(width: int, path: Path) -> Path:
    """Two convolutions with so many channels between them, of the shape that a bundle's network has."""
    rng = np.random.default_rng(width)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["past", "a"], ["h"], kernel_shape=[RECEPTIVE]),
        helper.make_node("Conv", ["h", "b"], ["x"], kernel_shape=[1]),
        helper.make_node("Conv", ["time", "c"], ["y"], kernel_shape=[1]),
        helper.make_node("Add", ["x", "y"], ["out"]),
    ]
    weights = [weight("a", width, 2, RECEPTIVE), weight("b", 3, width, 1), weight("c", 3, TIME_INPUTS, 1)]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", rows, None])
        for name, rows in (("past", 2), ("time", TIME_INPUTS), ("out", 3))
    ]
    graph = helper.make_graph(nodes, "wide", values[:2], values[2:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_network_that_would_depend_on_the_cut_is_refused(tmp_path: Path) -> None:
    """Sums too long for one block of the runtime come out differently in segments of different lengths."""
    SequenceModel(network(128, tmp_path / "narrow.onnx"))
    with pytest.raises(BundleError, match=r"wide\.onnx answers a segment otherwise than step by step; train it with"):
        SequenceModel(network(300, tmp_path / "wide.onnx"))
