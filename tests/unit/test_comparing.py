"""The storm's judge: a row less, a row more, another last bit, and nothing else, are told."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.comparing import Compared, compare, differences
from tests.households import household
from tests.stored import store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal databases."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    at, channels = household(days=1, seed=1)
    store(first, "a", at[:50], channels[:, :50])
    shutil.copy(first, second)
    return first, second


def change(file: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        assert db.execute(sql, values).rowcount == 1


def test_equal_ones_are_equal_whenever_they_were_made(pair: tuple[Path, Path]) -> None:
    with closing(sqlite3.connect(pair[1])) as db, db:
        db.execute("UPDATE schema_version SET applied_at = 7")
    found = compare(*pair)
    assert differences(found) == 0
    assert found["power_data"] == Compared(50, 0, 0)


def test_what_differs_is_counted_on_its_side(pair: tuple[Path, Path]) -> None:
    change(pair[0], "DELETE FROM power_data WHERE at = (SELECT max(at) FROM power_data)")
    assert compare(*pair)["power_data"] == Compared(49, 0, 1)
    change(pair[1], "DELETE FROM verdicts WHERE at = (SELECT min(at) FROM verdicts)")
    assert compare(*pair)["verdicts"] == Compared(50, 1, 0)
    assert differences(compare(*pair)) == 2


def test_the_last_bit_counts(pair: tuple[Path, Path]) -> None:
    with closing(sqlite3.connect(pair[0])) as db:
        at, score = db.execute("SELECT at, expected_kw FROM verdicts LIMIT 1").fetchone()
    change(pair[1], "UPDATE verdicts SET expected_kw = ? WHERE at = ?", float(np.nextafter(score, 9)), at)
    assert compare(*pair)["verdicts"] == Compared(50, 1, 1)
