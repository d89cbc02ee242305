"""Stage `calibrate`: what teaches, what is held out, and that later days never reach the weigher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.faults import Label
from meterwatch.detection.forest import Trees
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.rounds import Models, Trace
from tests.households import household
from training import calibrate as stage
from training import teaching
from training.calibrate import band_factors, daily_maxima, out_of_fold
from training.series import Series
from training.teaching import DAY_S, FAULT_WEIGHT, Rows, coarse, inject_all, rows, teach, weigh
from training.traces import observe_all

if TYPE_CHECKING:
    from pathlib import Path

SLOT = 900
DAYS = 28


def naive_maxima(meter: list[int], at: list[int], values: list[float]) -> list[float]:
    """The largest of each meter's day, kept in a dictionary."""
    best: dict[tuple[int, int], float] = {}
    for m, t, value in zip(meter, at, values, strict=True):
        if not np.isnan(value):
            best[m, t // DAY_S] = max(best.get((m, t // DAY_S), -np.inf), value)
    return [best[key] for key in sorted(best)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 5 * DAY_S),
            st.one_of(st.floats(-5, 5), st.just(float("nan"))),
        ),
        max_size=60,
    )
)
def test_daily_maxima_equal_those_kept_by_hand(slots: list[tuple[int, int, float]]) -> None:
    meter, at, values = ([slot[i] for slot in slots] for i in range(3))

    found = daily_maxima(np.array(meter, np.int64), np.array(at, np.int64), np.array(values, np.float64))

    assert found.tolist() == naive_maxima(meter, at, values)


def traced(meters: int, slots: int) -> Trace:
    trace = Trace()
    for m in range(meters):
        trace.slot_meter.append(np.full(slots, m))
        trace.slot_at.append(SLOT * np.arange(1, slots + 1))
        trace.deviations.append(np.zeros((slots, 3)))
        trace.forest.append(np.zeros(slots))
    return trace


def test_slots_in_a_fault_teach_those_soon_after_it_do_not() -> None:
    fault = Label("surge", start_at=10 * SLOT, end_at=13 * SLOT, severity=0.5, size=1.0)

    found = rows(traced(2, 200), [[fault], []])

    mine, other = found.label[found.meter == 0], found.label[found.meter == 1]
    at = found.at[found.meter == 0]
    assert at[mine == 1].tolist() == [SLOT * k for k in (10, 11, 12, 13)]
    after = (at > fault.end_at) & (at < fault.end_at + DAY_S)
    assert set(mine[after]) == {-1}
    assert set(mine[~after & (mine != 1)]) == {0}
    assert set(other) == {0}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.integers(1, 50))
def test_a_fault_weighs_the_same_however_long_it_is(first: int, lasts: int) -> None:
    fault = Label("surge", first * SLOT, (first + lasts) * SLOT, 0.5, 1.0)

    found = rows(traced(1, 200), [[fault]])

    assert found.weight[found.label == 1].sum() == pytest.approx(FAULT_WEIGHT)
    assert set(found.weight[found.label == 0]) == {1.0}


def test_a_slot_belongs_to_its_meter_whoever_else_is_silent() -> None:
    """Days without readings and an early end leave other meters alone in a round: their slots stay theirs."""
    at, channels = household(days=DAYS, seed=1, cadence=1800)
    absent = (at - at[0]) // DAY_S % 7 == 5
    series = [
        Series("absent", at[~absent], channels[:, ~absent]),
        Series("short", at[: len(at) // 2], channels[:, : len(at) // 2]),
        Series("whole", at, channels),
    ]
    blank = Detector(DetectorParams(), Models())

    trace = observe_all(blank, series)

    meter, closed = np.concatenate(trace.slot_meter), np.concatenate(trace.slot_at)
    deviation = np.concatenate(trace.deviations)
    for m, one in enumerate(series):
        alone = observe_all(blank, [one])
        assert closed[meter == m].tolist() == np.concatenate(alone.slot_at).tolist()
        np.testing.assert_array_equal(deviation[meter == m], np.concatenate(alone.deviations))


def test_nothing_judged_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="24 h"):
        rows(Trace(), [])


def test_faults_differ_between_meters_and_copies_and_are_the_same_for_the_same_seed() -> None:
    at, channels = household(days=DAYS, seed=1, cadence=600)
    series = [Series("a", at, channels), Series("b", at, channels)]

    once, labels = inject_all(series, 5, 12.0)
    again, _ = inject_all(series, 5, 12.0)
    other, _ = inject_all(series, 6, 12.0)

    assert labels[0]
    assert labels[0] != labels[1]
    np.testing.assert_array_equal(once[0].channels, again[0].channels)
    assert not np.array_equal(once[0].channels, other[0].channels)
    np.testing.assert_array_equal(series[0].channels, channels)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 400), st.sampled_from([-1000.0, 1.0]))
def test_coarse_features_are_the_nearest_of_few_steps_of_their_column(data: st.DataObject, n: int, low: float) -> None:
    column = np.array(data.draw(st.lists(st.floats(low, 1e3, width=32), min_size=n, max_size=n)))
    column[data.draw(st.integers(0, n)) :] = np.nan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "BINS", 7)
        found = coarse(column[:, None])[:, 0]

    known = np.isfinite(column)
    np.testing.assert_array_equal(np.isfinite(found), known)
    if known.any():
        least, most = column[known].min(), column[known].max()
        steps = np.array(
            [least * (most / least) ** (k / 6) if least > 0 else least + k * (most - least) / 6 for k in range(7)]
        )
        nearest = np.abs(steps[None] - column[known][:, None]).min(axis=1)
        np.testing.assert_allclose(np.abs(found[known] - column[known]), nearest, atol=1e-3)


def test_the_weigher_judges_what_taught_it_as_it_was_taught(rng: np.random.Generator) -> None:
    """Its bounds lie between the coarse values, so that a value is on the same side of each before and after."""
    features = rng.normal(size=(3000, 4))
    features[rng.random(features.shape) < 0.1] = np.nan
    label = (np.nan_to_num(features[:, 0]) + rng.normal(size=3000) > 1).astype(np.int64)
    weight = rng.uniform(0.1, 2, 3000)
    part = Rows(label * 0, np.arange(3000), features, label, weight)

    model = teach([part], iterations=20, seed=1)

    np.testing.assert_array_equal(weigh(model, features), weigh(model, coarse(features)))


def test_a_block_of_days_without_a_slot_is_weighed_too(rng: np.random.Generator) -> None:
    """As of very few days, or in a copy of them that shows no fault."""
    at = np.arange(192) * SLOT
    quiet = Rows(at * 0, at, rng.normal(2, 1, (192, 3)), at * 0, np.ones(192))
    taught = Rows(at * 0, at, rng.normal(5, 1, (192, 3)), at * 0 + 1, np.ones(192))

    assert np.isfinite(out_of_fold(quiet, [taught], folds=3, iterations=2, seed=1)).all()


class Remembering:
    """A weigher that only remembers which days it was shown."""

    def __init__(self, days: set[int]) -> None:
        self.days = days

    def decision_function(self, features: np.ndarray) -> np.ndarray:
        """1 for slots of a day it was shown; their day is their first feature."""
        return np.isin(features[:, 0], list(self.days)).astype(float)


@settings(max_examples=25, deadline=None)
@given(days=st.integers(6, 40), folds=st.integers(2, 5), fault_day=st.integers(0, 39))
def test_no_slot_is_scored_by_a_weigher_that_saw_its_day(days: int, folds: int, fault_day: int) -> None:
    def shown(parts: list[Rows], **_: Any) -> Remembering:
        return Remembering({int(day) for part in parts for day in part.features[:, 0]})

    day = np.repeat(np.arange(days), 4)
    quiet = Rows(day * 0, day * DAY_S, day[:, None].astype(float), day * 0, np.ones(len(day)))
    at = np.array([fault_day % days])
    taught = Rows(at * 0, at * DAY_S, at[:, None].astype(float), at * 0 + 1, np.ones(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "teach", shown)
        scores = out_of_fold(quiet, [taught], folds=folds, iterations=1, seed=1)

    assert set(scores) == {0.0}


class Constant:
    """Expects zero, with bounds one below and two above."""

    def expect(self, past: np.ndarray, time: np.ndarray) -> np.ndarray:
        """(n, 3, L)."""
        del past
        return np.stack([np.full((len(time), time.shape[2]), value) for value in (0.0, -1.0, 2.0)], axis=1)


def test_the_band_holds_its_share_of_readings(rng: np.random.Generator) -> None:
    target = rng.normal(size=(1, 4000)).astype(np.float32)
    trace = Trace()
    trace.past.append((np.array([4000]), target[:, None], target[:, None], target, np.zeros((1, 4000), np.int64)))

    low, high = band_factors(Constant(), trace, 0.95)  # type: ignore[arg-type]

    inside = (target >= -low) & (target <= 2 * high)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)


def test_without_readings_the_band_stays_as_trained() -> None:
    assert band_factors(Constant(), Trace(), 0.95) == (1.0, 1.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def meter() -> Series:
    at, channels = household(days=DAYS, seed=11, cadence=900)
    return Series("m", at, channels)


def calibrated(bundle: Path, train: Series, quiet: Series, out: Path) -> dict[str, Any]:
    out.mkdir()
    return stage.calibrate(
        DetectorParams(), Trees(bundle / "forest.treelite", -1.0), bundle / "sequence.onnx", [train], [quiet], out,
        faults=1, per_month=12.0, iterations=8, folds=2, seed=3,
    )  # fmt: skip


def test_days_kept_from_teaching_change_the_scale_of_scores_but_not_the_weigher(
    bundle: Path, tmp_path: Path, meter: Series
) -> None:
    cut = int(meter.at[0]) + 20 * DAY_S
    train = meter.between(int(meter.at[0]), cut)
    louder = meter.channels.copy()
    louder[0, meter.at >= cut] *= 3

    plain = calibrated(bundle, train, meter, tmp_path / "plain")
    loud = calibrated(bundle, train, Series("m", meter.at, louder), tmp_path / "loud")

    weighers = [(tmp_path / name / "weigher.treelite").read_bytes() for name in ("plain", "loud")]
    assert weighers[0] == weighers[1]
    assert plain != loud


def test_too_few_days_are_refused(bundle: Path, tmp_path: Path, meter: Series) -> None:
    few = meter.between(int(meter.at[0]), int(meter.at[0]) + 6 * DAY_S)

    with pytest.raises(DataError, match="days"):
        calibrated(bundle, few, few, tmp_path / "few")
