"""The sequence model over a segment is the model step by step, to the bit, and sees nothing of the judged reading."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from meterwatch.detection.errors import BundleError
from meterwatch.detection.params import PAST, RECEPTIVE
from meterwatch.detection.sequence import (
    PAST_INPUTS,
    TIME_INPUTS,
    SequenceModel,
    past_inputs,
    scaled,
    time_inputs,
    unscaled,
    windows,
)

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


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=4), more=st.integers(0, 9))
def test_windows_end_before_the_judged_reading(counts: list[int], more: int) -> None:
    """For each judged reading the PAST ones before it, remembered or of this segment, as a plain loop finds them."""
    rng = np.random.default_rng(len(counts))
    rings, values = rng.integers(0, 99, (len(counts), PAST)), rng.integers(100, 999, max(sum(counts), 1))
    first = np.cumsum([0, *counts[:-1]])
    length = max(counts) + more
    rows = np.array([row for row, count in enumerate(counts) if count], np.int64)
    if not len(rows) or not length:
        return
    found = windows(rings[rows], values, first[rows], np.array(counts)[rows], length)
    assert found.shape == (len(rows), PAST + length - 1)
    for place, row in enumerate(rows.tolist()):
        everything = [*rings[row].tolist(), *values[first[row] : first[row] + counts[row]].tolist()]
        for judged in range(counts[row]):
            assert found[place, judged : judged + PAST].tolist() == everything[judged : judged + PAST]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1), st.integers(1_000, 10**10))
def test_scaling_has_an_inverse_and_keeps_order(powers: list[int], level: int) -> None:
    """Export keeps its sign; to a millionth."""
    values, unit = np.sort(np.array(powers)), np.full(len(powers), float(level))
    there = scaled(values, unit)
    np.testing.assert_allclose(unscaled(there, unit), values, rtol=1e-6, atol=1e-3)
    assert (np.diff(there) >= 0).all()
    assert (scaled(-values, unit) == -there).all()


def test_units_do_not_matter() -> None:
    """A meter that says a thousand times as much, of a level a thousand times as high, gives the same inputs."""
    rng = np.random.default_rng(3)
    at, power = 1_600_000_000 + 60 * np.arange(PAST)[None], rng.integers(0, 10**7, (1, PAST))
    small = past_inputs(power, at, np.array([400_000.0]), np.array([60.0]))
    large = past_inputs(power * 1000, at, np.array([400_000_000.0]), np.array([60.0]))
    np.testing.assert_allclose(small, large, rtol=1e-6)
    slow = past_inputs(power, 1_600_000_000 + 3600 * np.arange(PAST)[None], np.array([400_000.0]), np.array([3600.0]))
    np.testing.assert_array_equal(small, slow)


def test_unknown_contexts_are_said() -> None:
    """No usual power is zero with a mark beside it, and every input is a number."""
    day = 86_400
    at = day * np.arange(7) + 3 * 3600
    days, weeks = np.full(7, 5e5), np.full(7, 4e5)
    days[0] = weeks[1] = np.nan
    context = np.stack([days, weeks])
    told = time_inputs(at, (context, context - 1e5, context + 1e5), np.full(7, 4e5), np.full(7, 60.0))
    assert told.shape == (TIME_INPUTS, 7)
    assert np.isfinite(told).all()
    assert told[4:6, :3].tolist() == [[0, 1, 1], [1, 0, 1]]  # known by days, by weeks
    assert told[[0, 2], 0].tolist() == told[[1, 3], 1].tolist() == [0, 0]
    assert told[10].tolist() == [0, 0, 1, 1, 0, 0, 0]  # 1970-01-03 was a Saturday


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
