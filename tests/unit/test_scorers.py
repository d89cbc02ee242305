"""One contract for every scorer: higher is worse, a row is a row in any company, nothing is changed by asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from meterwatch.detection.catalogue import SLOW_SERIES_ONLY, STATISTICS
from meterwatch.detection.detector import Detector
from meterwatch.detection.events import severity
from meterwatch.detection.params import RECEPTIVE
from meterwatch.detection.sequence import PAST_INPUTS, TIME_INPUTS
from training.seed_3sigma import deviations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMES = ("forest", "weigher", "surprise", "slow tail", "fast tail", "severity", "seed-3sigma")


@dataclass(frozen=True)
class Scorer:
    """A scorer of rows, and what is ordinary and strange to it."""

    score: Callable[[Floats], Floats]  # (n, width) → (n,)
    ordinary: Floats
    strange: Floats  # each row worse than the ordinary ones on the whole
    unknown: Floats | None = None  # rows of which not everything is known, where that can be


@pytest.fixture(scope="module")
def scorers(bundle: Path) -> dict[str, Scorer]:
    """Every scorer of a bundle, and the original project's."""
    models, rng = Detector.load(bundle).models, np.random.default_rng(3)
    assert models.forest
    assert models.weigher
    assert models.sequence
    assert models.slow
    assert models.fast
    network, width = models.sequence, len(STATISTICS)
    past = rng.normal(size=(1, PAST_INPUTS, RECEPTIVE)).astype(np.float32)
    time = rng.normal(size=(1, TIME_INPUTS, 1)).astype(np.float32)

    def surprise(rows: Floats) -> Floats:
        middle, low, high = network.expect(past, time)[0, :, 0]
        return np.abs(rows[:, 0] - middle) / np.where(rows[:, 0] > middle, high - middle, middle - low)

    def seed(rows: Floats) -> Floats:  # a row: the last hundred errors, the judged one at the end
        return np.array([deviations(row, 100)[-1] for row in rows])

    ordinary = rng.normal(0, 0.3, (60, width + 1))
    ordinary[:, -1] = models.forest.score(np.ascontiguousarray(ordinary[:, :-1][:, SLOW_SERIES_ONLY]))
    strange = ordinary + 0.0
    strange[:, [one.side > 0 and one.series == 0 for one in STATISTICS] + [False]] = 40.0
    strange[:, -1] = models.forest.score(np.ascontiguousarray(strange[:, :-1][:, SLOW_SERIES_ONLY]))
    gaps = np.where(rng.random(ordinary.shape) < 0.3, np.nan, ordinary)
    line, errors = rng.normal(size=(60, 1)), rng.exponential(size=(60, 100))
    large = errors.copy()
    large[:, -1] = 30.0
    return {
        "forest": Scorer(models.forest.score, *(x[:, :-1][:, SLOW_SERIES_ONLY] for x in (ordinary, strange, gaps))),
        "weigher": Scorer(models.weigher.score, ordinary, strange, gaps),
        "surprise": Scorer(surprise, line, line + 60),
        "slow tail": Scorer(lambda rows: models.slow.period(rows[:, 0]), line, line + 60),  # type: ignore[union-attr]
        "fast tail": Scorer(lambda rows: models.fast.period(rows[:, 0]), line, line + 60),  # type: ignore[union-attr]
        "severity": Scorer(lambda rows: np.array([severity(float(x)) for x in rows[:, 0]]), line, line + 60),
        "seed-3sigma": Scorer(seed, errors, large),
    }


def check_higher_is_worse(scorer: Scorer) -> None:
    assert np.median(scorer.score(scorer.strange)) > np.median(scorer.score(scorer.ordinary))


def check_rows_do_not_know_each_other(scorer: Scorer) -> None:
    rows = np.concatenate([scorer.ordinary, scorer.strange])
    whole = scorer.score(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    assert scorer.score(rows[order]).tobytes() == whole[order].tobytes()
    for i in (0, 17, len(rows) - 1):
        assert scorer.score(rows[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


def check_asking_changes_nothing(scorer: Scorer) -> None:
    rows = scorer.ordinary.copy()
    rows.flags.writeable = False
    first = scorer.score(rows)
    scorer.score(scorer.strange)
    assert scorer.score(rows).tobytes() == first.tobytes()


def check_shape_and_numbers(scorer: Scorer) -> None:
    for rows in (scorer.ordinary, scorer.strange, scorer.unknown):
        if rows is not None:
            score = scorer.score(rows)
            assert score.shape == (len(rows),)
            assert np.isfinite(score).all()
    assert scorer.score(scorer.ordinary[:0]).shape == (0,)


CHECKS = (
    check_higher_is_worse,
    check_rows_do_not_know_each_other,
    check_asking_changes_nothing,
    check_shape_and_numbers,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_scorer_keeps_the_contract(
    scorers: dict[str, Scorer], name: str, check: Callable[[Scorer], None]
) -> None:
    """Each check crossed with each scorer."""
    check(scorers[name])


def test_no_scorer_is_left_out(scorers: dict[str, Scorer]) -> None:
    """The list of names is the list of scorers."""
    assert set(scorers) == set(NAMES)
