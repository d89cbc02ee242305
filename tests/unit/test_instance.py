"""An instance's status and its removal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch import instance
from meterwatch.instance import InstanceError
from meterwatch.processes import registered
from meterwatch.settings import Settings
from meterwatch.storage.migrate import migrate
from streaming.accounts import lag

if TYPE_CHECKING:
    from pathlib import Path

PARTITIONS = st.dictionaries(st.integers(0, 4), st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1)


@given(parts=PARTITIONS, done=st.integers(0, 100))
def test_lag_is_what_is_on_the_topic_and_not_in_the_ledger(parts: dict[int, tuple[int, int]], done: int) -> None:
    ends = {number: (first, first + kept) for number, (first, kept) in parts.items()}
    ledger = [
        {"topic_id": "now", "partition": number, "next_offset": min(done, end)} for number, (_, end) in ends.items()
    ]
    left = sum(len(set(range(*span)) - set(range(done))) for span in ends.values())
    assert lag("now", ends, ledger) == left
    assert lag("now", ends, []) == sum(kept for _, kept in parts.values())
    foreign = [{**row, "topic_id": "before"} for row in ledger]
    assert lag("now", ends, foreign) == lag("now", ends, [])


def test_reset_deletes_what_the_instance_made_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)
    migrate(tmp_path / "meterwatch.db")
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    mine = tmp_path / "notes.txt"
    mine.write_text("keep me")
    doomed = instance.contents(settings)
    assert {path.name for path in doomed} >= {"meterwatch.db", "kafka"}
    instance.reset(settings)
    assert list(tmp_path.iterdir()) == [mine]
    assert instance.contents(settings) == []


def test_a_running_instance_is_not_reset(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)
    migrate(tmp_path / "meterwatch.db")
    with registered(settings, "stream"), pytest.raises(InstanceError, match=rf"stream \({os.getpid()}\)"):
        instance.reset(settings)
    assert (tmp_path / "meterwatch.db").exists()
