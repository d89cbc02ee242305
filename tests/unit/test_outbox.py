"""What others are told of events: the history of the table, in order, at least once, whoever is interrupted when."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.storage import outbox, tables
from meterwatch.storage.meters import MeterStore
from meterwatch.storage.outbox import Outbox, enlist
from meterwatch.storage.tables import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

READERS = ("topic", "webhook")
Event = dict[str, Any]
standings = st.tuples(st.integers(0, 2), st.none() | st.integers(10, 11), st.floats(0, 100, allow_subnormal=False))
commits = st.lists(st.tuples(st.integers(0, 2), standings), max_size=4, unique_by=lambda one: one[0])
steps = st.lists(
    commits | st.tuples(st.sampled_from(READERS), st.integers(1, 3), st.booleans()), min_size=1, max_size=25
)


def event(number: int, standing: tuple[int, int | None, float]) -> Event:
    peak, end, severity = standing
    return {"event_id": f"e{number}", "meter_id": "m", "start_at": number, "end_at": end, "peak_at": peak,
            "severity": severity, "kind": "surge", "energy_kwh": None if peak == 0 else severity / 7,
            "model_version": "1"}  # fmt: skip


def commit(store: MeterStore, events: list[Event]) -> None:
    """A batch that brings nothing but events."""
    nothing = {
        name: getattr(tables, name.upper()).empty_table()
        for name in ("readings", "verdicts", "states", "profiles", "snapshots", "rejected")
    }
    store.commit(
        Batch("id", "first", **nothing, events=pa.Table.from_pylist(events, schema=tables.EVENTS), advances=[])
    )


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def folded(changes: Iterator[Event] | list[Event]) -> dict[str, Event]:
    """What a receiver knows that drops what it has heard, or newer, by the sequence."""
    known: dict[str, Event] = {}
    for change in changes:
        if change["sequence"] > known.get(change["event_id"], {"sequence": 0})["sequence"]:
            known[change["event_id"]] = change
    return known


@settings(max_examples=40, deadline=None)
@given(steps)
def test_each_reader_is_told_the_history_of_the_table(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Any commits between any deliveries, of which some are not acknowledged and come again as they were."""
    path = tmp_path_factory.mktemp("outbox") / "m.db"
    history: list[Event] = []
    standing: dict[str, Event] = {}
    heard: dict[str, list[Event]] = {name: [] for name in READERS}
    again: dict[str, list[Event]] = {}

    def hears(name: str, most: int, *, acknowledges: bool) -> int:
        with Outbox(path, name) as box:
            changes = box.take(most)
            again[name] = again.get(name) or changes
            assert changes == again[name][:most]
            heard[name] += changes
            if acknowledges and changes:
                box.told(changes[-1]["sequence"])
                del again[name]
            return len(changes)

    with MeterStore(path) as store:
        commit(store, [event(9, (1, None, 1.0))])  # before anybody is to be told
        enlist(path, READERS)
        for step in steps:
            if isinstance(step, tuple):
                hears(*step[:2], acknowledges=step[2])
                continue
            events = [event(*one) for one in step]
            commit(store, events)
            for one in events:
                if standing.get(one["event_id"]) != one:
                    change = "closed" if one["end_at"] else "updated" if one["event_id"] in standing else "opened"
                    history.append({"change": change, **one})
                    standing[one["event_id"]] = one
        for name in READERS:
            while hears(name, 2, acknowledges=True):
                pass
    for name in READERS:
        once = list({change["sequence"]: change for change in heard[name]}.values())
        assert [change["sequence"] for change in once] == sorted(change["sequence"] for change in once)
        assert [{key: change[key] for key in change if key != "sequence"} for change in once] == history
        known = {
            key: {column: change[column] for column in tables.EVENTS.names}
            for key, change in folded(heard[name]).items()
        }
        assert known == standing
    assert rows(path, "SELECT count(*) FROM outbox") == [(0,)]


def test_only_who_is_enlisted_is_told_and_nothing_is_kept_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "m.db"

    def commits(severity: float, end: int | None = None) -> None:
        with MeterStore(path) as store:  # closed before a second SQLite of this process looks
            commit(store, [event(0, (1, end, severity))])

    commits(1.0)
    assert rows(path, "SELECT count(*) FROM outbox") == [(0,)]
    enlist(path, ["topic"])
    commits(2.0)
    enlist(path, READERS)
    commits(2.0, 11)
    with Outbox(path, "topic") as box:
        box.failed("is away")
    with closing(sqlite3.connect(path)) as db:
        told = outbox.standing(db)
    assert told == {"topic": {"waiting": 2, "fault": "is away"}, "webhook": {"waiting": 1, "fault": None}}
    enlist(path, ["webhook"])
    assert rows(path, "SELECT change FROM outbox") == [("closed",)]
    enlist(path, [])
    assert rows(path, "SELECT count(*) FROM outbox") == [(0,)]


def test_numbers_only_grow_over_a_reset_and_a_restored_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MeterStore(tmp_path / "m.db"):
        pass
    (first,) = rows(tmp_path / "m.db", "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
    monkeypatch.setattr(outbox.time, "time", lambda: first[0] / 1000 + 5)
    with closing(sqlite3.connect(tmp_path / "m.db")) as db, db:
        outbox.restored(db)
    assert rows(tmp_path / "m.db", "SELECT seq FROM sqlite_sequence") == [(first[0] + 5000,)]
