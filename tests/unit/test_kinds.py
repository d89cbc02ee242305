"""Kinds: taught with the worst slots of each fault, told only where one is likely, and counted as they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.fault_kinds import KINDS
from meterwatch.detection.faults import Label
from meterwatch.detection.forest import Trees
from meterwatch.detection.kinds import SURE, WORDS, Kinds
from meterwatch.detection.readings import Event
from training import confusion, kinds
from training.forest import save_trees
from training.teaching import Copy, Rows

if TYPE_CHECKING:
    from pathlib import Path

SLOT = 900
NAMES = ("outage", "stuck", "surge")


def shown(seed: int, faults: int = 40) -> list[Copy]:
    """Faults whose kind is the feature that is large in their worst slots; before them they look alike."""
    rng = np.random.default_rng(seed)
    labels, features = [], []
    for i in range(faults):
        name = NAMES[i % 3]
        start = i * 100 * SLOT
        labels.append(Label(name, start, start + 9 * SLOT, 0.5, 1.0))
        part = rng.normal(size=(10, 4))
        part[:, 3] = np.arange(10)  # what the weigher says of each slot
        part[-1, NAMES.index(name)] = 20
        features.append(part)
    at = np.concatenate([label.start_at + SLOT * np.arange(10) for label in labels])
    nothing = np.zeros(len(at), np.int64)
    return [Copy(Rows(nothing, at, np.concatenate(features), nothing + 1, np.ones(len(at))), [labels])]


class Weigher:
    """Says what the last feature says."""

    def decision_function(self, features: np.ndarray) -> np.ndarray:
        """(n, features) → (n,)."""
        return np.asarray(features[:, 3], np.float64)


def test_the_worst_slots_teach(tmp_path: Path) -> None:
    """A kind is told from them, in the runtime copy as in the fitted one, and not where nothing points to one."""
    model = kinds.teach(shown(1), Weigher(), seed=1)
    save_trees(model, tmp_path / "kinds.treelite")
    trees = Trees(tmp_path / "kinds.treelite")
    other = shown(2)[0]
    worst = other.rows.features[9::10]
    np.testing.assert_allclose(trees.probabilities(worst), model.predict_proba(worst.astype(np.float32)), atol=1e-6)
    told = Kinds(trees, model.classes_.tolist()).probable(worst)
    names = [list(WORDS)[place - 1] for place in told if place]
    assert len(names) > 0.9 * len(told)
    assert names == [label.kind for label, place in zip(other.labels[0], told, strict=True) if place]
    plain = worst.copy()
    plain[:, :3] = 0
    sure = trees.probabilities(plain).max(axis=1) >= SURE
    assert (Kinds(trees, model.classes_.tolist()).probable(plain) > 0).tolist() == sure.tolist()
    alone = np.concatenate([trees.probabilities(row[None]) for row in worst])
    assert alone.tobytes() == trees.probabilities(worst).tobytes()


def test_every_kind_of_fault_has_words() -> None:
    """Distinct ones, and at most as many as a state has room for."""
    assert set(WORDS) == set(KINDS)
    assert len(set(WORDS.values())) == len(WORDS) < 128


def event(start: int, end: int | None, kind: str) -> Event:
    return Event(0, f"e{start}", start, end, start, 50.0, kind, 1.0)


def test_events_are_counted_by_the_fault_that_they_touch() -> None:
    """One that touches none counts nowhere; words that are true of several kinds are true, but not the kind's own."""
    labels = [Label("surge", 100_000, 103_600, 0.5, 1.0), Label("theft", 500_000, 900_000, 0.5, 1.0)]
    events = [
        event(102_000, 102_600, WORDS["surge"]),
        event(105_000, 105_300, "sudden rise"),  # within the half hour that widens it
        event(300_000, 301_000, WORDS["outage"]),
        event(600_000, 610_000, WORDS["drop"]),
        event(899_000, None, WORDS["voltage_sag"]),
    ]
    table = confusion.told(labels, events)
    assert table == {
        ("surge", WORDS["surge"]): 1, ("surge", "sudden rise"): 1, ("theft", WORDS["drop"]): 1,
        ("theft", WORDS["voltage_sag"]): 1,
    }  # fmt: skip
    assert confusion.figures(table) == {"kind_events": 4.0, "kind_right": 0.25, "kind_true": 0.75}
    assert confusion.figures({}) == {}
