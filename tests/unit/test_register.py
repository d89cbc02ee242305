"""Stage `register`: who becomes champion, and what is refused a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meterwatch.storage.models import MANIFEST, ModelVersion
from training.register import EVALUATED_ON, RECALL, better

if TYPE_CHECKING:
    from pathlib import Path

MARGIN = 0.02


def champion(bundle: Path, **tags: str) -> ModelVersion:
    """A champion whose files are there."""
    bundle.mkdir(exist_ok=True)
    (bundle / MANIFEST).write_text("{}")
    held = {RECALL: "0.5", EVALUATED_ON: "these"} | tags
    return ModelVersion("1", "run", bundle, frozenset({"champion"}), held)


@pytest.mark.parametrize(("recall", "wins"), [(0.5, True), (0.4801, True), (0.4799, False), (0.9, True), (0.0, False)])
def test_a_version_that_is_not_worse_by_more_than_the_margin_wins(tmp_path: Path, recall: float, wins: bool) -> None:  # noqa: FBT001
    won, why = better(recall, "these", champion(tmp_path), MARGIN)

    assert won is wins
    assert f"{recall:.3f}" in why
    assert "0.500" in why
    assert "0.02" in why


def test_recall_on_other_readings_is_not_compared_however_high(tmp_path: Path) -> None:
    won, why = better(1.0, "those", champion(tmp_path), MARGIN)

    assert not won
    assert "meterwatch models promote" in why


def test_without_a_champion_whose_evaluation_is_known_the_new_version_wins(tmp_path: Path) -> None:
    gone = champion(tmp_path / "gone")
    (gone.bundle_dir / MANIFEST).unlink()
    silent = ModelVersion("1", "run", champion(tmp_path / "silent").bundle_dir, frozenset({"champion"}), {})

    assert better(0.1, "these", None, MARGIN) == (True, "the first version")
    assert better(0.1, "these", gone, MARGIN) == (True, "the champion's files are gone")
    assert better(0.1, "these", silent, MARGIN) == (True, "the champion has no evaluation on record")
