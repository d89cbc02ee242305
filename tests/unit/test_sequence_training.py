"""Stage `sequence`: which readings it learns from, and that the exported network is the one that was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.params import RECEPTIVE, DetectorParams
from meterwatch.detection.rounds import Models, Trace
from meterwatch.detection.sequence import PAST_INPUTS, TIME_INPUTS, SequenceModel
from tests.households import household
from training.sequence import SEGMENT, fit_network, scaler, segments, to_onnx
from training.series import Series
from training.traces import observe_all

if TYPE_CHECKING:
    from pathlib import Path


def block(counts: list[int], length: int, start: int) -> tuple[np.ndarray, ...]:
    """A round as a trace holds it: the target of each reading is its number, repeated beyond a meter's count."""
    rows = len(counts)
    target = np.zeros((rows, length), np.float32)
    for row, count in enumerate(counts):
        target[row] = start + np.minimum(np.arange(length), count - 1)
        start += count
    past = np.repeat(target[:, None, :1], PAST_INPUTS, axis=1) + np.zeros((1, 1, length + RECEPTIVE - 1), np.float32)
    time = np.repeat(target[:, None], TIME_INPUTS, axis=1)
    return np.array(counts), past, time, target, np.zeros((rows, length), np.int64)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3 * SEGMENT), min_size=1, max_size=3), min_size=1, max_size=3))
def test_every_reading_is_learned_from_once(rounds: list[list[int]]) -> None:
    trace, start = Trace(want_inputs=True), 0
    for counts in rounds:
        trace.past.append(block(counts, max(counts), start))  # type: ignore[arg-type]
        start += sum(counts)

    past, time, target, weight = segments(trace, 10**6, seed=1)

    assert past.shape[1:] == (PAST_INPUTS, SEGMENT + RECEPTIVE - 1)
    assert time.shape[1:] == (TIME_INPUTS, SEGMENT)
    assert sorted(target[weight == 1].tolist()) == list(range(start))


def test_no_more_segments_than_asked_for_and_the_same_for_the_same_seed() -> None:
    trace = Trace(want_inputs=True)
    trace.past.append(block([50 * SEGMENT], 50 * SEGMENT, 0))  # type: ignore[arg-type]

    one, two, other = (segments(trace, 10, seed)[2] for seed in (1, 1, 2))

    assert len(one) == 10
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_nothing_to_learn_from_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="24 h"):
        segments(Trace(), 10, 1)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, ...]:
    at, channels = household(days=12, seed=2, cadence=300)
    trace = observe_all(Detector(DetectorParams(), Models()), [Series("m", at, channels)], inputs=True)
    return segments(trace, 120, seed=1)


def test_the_scaler_is_mean_and_deviation_of_each_input(data: tuple[np.ndarray, ...]) -> None:
    scale = scaler(data[0], data[1])

    for name, values in (("past", data[0]), ("time", data[1])):
        wide = values.astype(np.float64)
        np.testing.assert_allclose(scale[f"{name}_mean"], wide.mean(axis=(0, 2)), atol=1e-9)
        deviation = wide.std(axis=(0, 2))
        np.testing.assert_allclose(scale[f"{name}_scale"], np.where(deviation > 0, deviation, 1.0), rtol=1e-6)


def test_training_twice_gives_the_same_weights_and_reports_each_epoch(data: tuple[np.ndarray, ...]) -> None:
    scale, epochs = scaler(data[0], data[1]), []

    def run() -> list[np.ndarray]:
        epochs.clear()
        model = fit_network(
            data, scale, filters=4, epochs=2, seed=7,  # type: ignore[arg-type]
            on_epoch=lambda epoch, logs: epochs.append((epoch, sorted(logs))),
        )  # fmt: skip
        return list(model.get_weights())

    for one, two in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [epoch for epoch, _ in epochs] == [0, 1]
    assert all({"loss", "val_loss"} <= set(logs) for _, logs in epochs)


def test_the_exported_network_expects_what_the_trained_one_does(data: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    """Scaler, dilations, order of outputs and softplus: all of it is written by hand for the export."""
    scale = scaler(data[0], data[1])
    model = fit_network(data, scale, filters=4, epochs=1, seed=7)  # type: ignore[arg-type]
    to_onnx(model, scale, tmp_path / "sequence.onnx")

    found = SequenceModel(tmp_path / "sequence.onnx").expect(data[0], data[1])

    past, time = (
        (values - np.array(scale[f"{name}_mean"])[:, None]) / np.array(scale[f"{name}_scale"])[:, None]
        for name, values in (("past", data[0]), ("time", data[1]))
    )
    raw = model.predict([past.transpose(0, 2, 1), time.transpose(0, 2, 1)], verbose=0).transpose(0, 2, 1)
    middle, low, high = raw[:, 0], np.logaddexp(0, raw[:, 1]), np.logaddexp(0, raw[:, 2])
    np.testing.assert_allclose(found, np.stack([middle, middle - low, middle + high], axis=1), atol=2e-5)


def test_a_trace_changes_no_verdict(bundle: Path) -> None:
    at, channels = household(days=6, seed=9, cadence=300)
    detector, series = Detector.load(bundle), [Series("m", at, channels)]

    with_inputs, without = (observe_all(detector, series, inputs=inputs) for inputs in (True, False))

    np.testing.assert_array_equal(np.concatenate(with_inputs.weighed), np.concatenate(without.weighed))
    np.testing.assert_array_equal(np.concatenate(with_inputs.residual), np.concatenate(without.residual))
    assert with_inputs.past
    assert not without.past
