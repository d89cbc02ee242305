"""Rejected records: listed safely, and each content sent again once, whatever is refused meanwhile."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from meterwatch.cli import app
from meterwatch.commands.output import preview
from meterwatch.settings import Settings
from meterwatch.storage import rejects
from meterwatch.storage.migrate import migrate
from streaming import resending
from streaming.accounts import broken_identities
from streaming.errors import StreamError
from streaming.replay import Result
from streaming.resending import resend

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streaming.lines import Record

Content = tuple[bytes | None, bytes | None, str]  # key, raw, reason
FIRST: list[Content] = [
    (b"a", b"x;y", "bad_fields"),
    (b"a", b"x;y", "bad_fields"),
    (None, b"\xff\xfe\x1b[31m\x07", "not_utf8"),
    (b"b", b"1/1/2007;00:00:00;1.x;;;;;;", "bad_number"),
    (b"b", None, "empty"),
    (b"b", b"", "empty"),
]


class Topic:
    """A topic whose records are refused as before, and a broker that takes them or does not."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.sent, self.refuses = settings, list[tuple[bytes | None, bytes | None]](), False
        migrate(settings.run_dir / "meterwatch.db")
        self.put(FIRST)

    def put(self, contents: list[Content]) -> None:
        """Refuse records as the stream would."""
        with closing(sqlite3.connect(self.settings.run_dir / "meterwatch.db")) as db, db:
            begin = db.execute("SELECT coalesce(max(next_offset), 0) FROM offsets").fetchone()[0]
            db.executemany(
                "INSERT INTO rejected (topic_id, topic, partition, record_offset, record_key, raw, reason) "
                "VALUES ('id', 'first', 0, ?, ?, ?, ?)",
                [(begin + k, *content) for k, content in enumerate(contents)],
            )
            n = len(contents)
            db.execute(
                "INSERT INTO offsets (topic_id, topic, partition, next_offset, records, stored, duplicates, rejected, "
                "held, pruned) VALUES ('id', 'first', 0, ?, ?, 0, 0, ?, 0, 0) ON CONFLICT DO UPDATE SET "
                "next_offset = next_offset + ?, records = records + ?, rejected = rejected + ?",
                [n] * 6,
            )

    def replay(self, _: Settings) -> Topic:
        """Stands for `Replay`."""
        return self

    def run(self, records: Iterable[Record]) -> Result:
        """Take the records, and refuse them once more while the sending goes on."""
        taken = [(record.key, record.value) for record in records]
        if self.refuses:
            return Result(len(taken), 0, len(taken), 1.0, "away")
        self.sent += taken
        reasons = {(key, raw): reason for key, raw, reason in FIRST}
        self.put([(key, raw, reasons[key, raw]) for key, raw in taken])
        return Result(len(taken), len(taken), 0, 1.0, None)


@pytest.fixture
def topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Topic:
    found = Topic(Settings(run_dir=tmp_path))
    monkeypatch.setattr(resending, "Replay", found.replay)
    monkeypatch.setattr(rejects, "PIECE", 2)
    return found


def test_each_content_is_sent_once_and_not_twice_unless_told_to(topic: Topic) -> None:
    """With its key and bytes as they were, in order; what is refused anew meanwhile is the same record."""
    contents = list(dict.fromkeys((key, raw) for key, raw, _ in FIRST))
    assert resend(topic.settings) == (5, 5, 0)
    assert topic.sent == contents
    assert resend(topic.settings) == (0, 0, 5)
    assert topic.sent == contents
    assert resend(topic.settings, again=True) == (5, 5, 0)
    assert topic.sent == contents * 2
    assert broken_identities(topic.settings) == []


def test_by_reason_and_number(topic: Topic) -> None:
    assert resend(topic.settings, "empty", limit=1) == (1, 1, 0)
    assert resend(topic.settings, "empty") == (1, 1, 1)
    assert topic.sent == [(b"b", None), (b"b", b"")]
    assert resend(topic.settings, "no_such") == (0, 0, 0)
    assert resend(topic.settings)[:2] == (3, 3)


def test_what_the_broker_did_not_take_is_sent_the_next_time(topic: Topic) -> None:
    topic.refuses = True
    with pytest.raises(StreamError, match="not acknowledged"):
        resend(topic.settings)
    topic.refuses = False
    assert resend(topic.settings) == (5, 5, 0)


def listed(settings: Settings, *words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(
        app, ["rejected", "list", "--json", *words], env={"METERWATCH_RUN_DIR": str(settings.run_dir)}
    )
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_list_names_place_reason_and_beginning(topic: Topic) -> None:
    """The newest first, and each says when it was sent again."""
    resend(topic.settings, "bad_fields")
    rows = listed(topic.settings)
    assert [row["offset"] for row in rows] == [6, 5, 4, 3, 2, 1, 0]
    assert {row["offset"] for row in rows if row["sent_again_at"]} == {0, 1, 6}
    assert rows[4] == {"topic": "first", "partition": 0, "offset": 2, "reason": "not_utf8", "key": "", "bytes": 8,
                       "preview": "\\xff\\xfe\\x1b[31m\\x07", "sent_again_at": None}  # fmt: skip
    assert [row["offset"] for row in listed(topic.settings, "--reason", "empty", "--limit", "1")] == [5]


@given(st.binary(max_size=120))
def test_a_preview_is_printable_and_short(raw: bytes) -> None:
    shown = preview(raw)
    assert shown.isprintable()
    assert len(shown) <= 80 * 4 + 1
