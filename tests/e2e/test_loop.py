"""The whole loop on real parts: dirty lines through broker, Spark, service and database, started by one command.

The tests before the last are one story of one instance, in the order of the file.
"""

from __future__ import annotations

import json
import lzma
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from tests.households import YEAR
from tests.instances import PATIENCE, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"
GOOD, MORE, LAST = 3000, 500, 60
DAY = 86_400
GARBAGE = {
    b"\xff\xfe\x00garbage": "not_utf8",
    b"1/1/2008;00:00:00;1;0;240;4;0;0": "bad_fields",  # 8 fields
    b"1/1/2008;00:01:00;1;0;240;4;0;0;0;0": "bad_fields",  # 10 fields
    b"1/1/2008;00:02:00;1.x;0;240;4;0;0;0": "bad_number",
    b"31/02/2007;00:03:00;1;0;240;4;0;0;0": "bad_time",
    b"1/1/2008;25:00:00;1;0;240;4;0;0;0": "bad_time",
    b'{"at": 3}': "bad_time",
    b"1/1/2008;00:05:00;9e99;0;240;4;0;0;0": "out_of_range",
    HEADER.encode(): "header",
    b"x" * 1_000_000: "too_large",
}


# Every column but those that hold the time of writing.
TABLES = {
    "power_data": "*", "verdicts": "*", "events": "*", "rollups": "*", "meter_states": "meter_id, at, state, profile",
    "rejected": "topic, partition, record_offset, raw, reason",
    "offsets": "topic, partition, next_offset, records, stored, duplicates, rejected, held, pruned",
}  # fmt: skip


def dump(instance: Instance) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table; floats come out as they are, so that equality is equality to the last bit."""
    return {table: sorted(instance.rows(f"SELECT {columns} FROM {table}")) for table, columns in TABLES.items()}


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    """Real lines, none of them missing."""
    with lzma.open(YEAR) as text:
        next(text)
        lines: Iterator[bytes] = (line.rstrip(b"\r\n") for line in text)
        return [
            line
            for _, line in zip(range(GOOD + MORE + LAST), (line for line in lines if b"?" not in line), strict=False)
        ]


def dirty(good: list[bytes]) -> tuple[list[bytes], Counter[str]]:
    """Garbage, doubles and contradictions mixed into good lines, and how many of each there are."""
    rng = random.Random(5)
    lines, counts = good[:GOOD], Counter[str]()
    for k in sorted(rng.sample(range(200, GOOD - 1), 40), reverse=True):
        lines.insert(k + 1, good[k])
        counts["duplicates"] += 1
    for k in sorted(rng.sample(range(200, GOOD - 1), 20)):
        date, time, _, rest = good[k].split(b";", 3)
        lines.append(b";".join([date, time, b"7.777", rest]))
        counts["conflict"] += 1
    for raw, reason in GARBAGE.items():
        lines.insert(rng.randrange(1, len(lines)), raw)
        counts[reason] += 1
    return lines, counts


@pytest.fixture(scope="module")
def calm(registry: str, good: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that took dirty lines undisturbed; its broker was started by hand, its service asks for a key."""
    found = Instance(tmp_path_factory.mktemp("calm"), registry)
    file = found.dir / "in.txt"
    file.write_bytes(b"\n".join([HEADER.encode(), *dirty(good)[0], b"", b""]))
    found.env["METERWATCH_API_KEYS_FILE"] = str(found.dir / "keys.json")
    found.env["METERWATCH_API_KEY"] = found.run("keys", "add", "stream", "--role", "score").stdout.split()[-1]
    try:
        found.run("broker", "start")
        broker = found.pids()
        found.run("up", "--replay", file, "--rate", "max", "--exit-when-done")
        assert found.pids() == broker  # it was not ours to end
        yield found
    finally:
        found.end()
    assert found.processes() == []


@pytest.fixture(scope="module")
def both(good: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dirty lines, and more behind them."""
    path = tmp_path_factory.mktemp("lines") / "both.txt"
    path.write_bytes(b"\n".join([*dirty(good)[0], *good[GOOD:-LAST], b"x;y"]))
    return path


def test_dirty_lines_end_where_they_belong(calm: Instance, good: list[bytes]) -> None:
    lines, counts = dirty(good)
    # The replay leaves header and empty lines out wherever they stand; all other lines reach the topic as they are.
    refused = {reason: number for reason, number in counts.items() if reason not in ("duplicates", "header")}
    (ledger,) = calm.rows(
        "SELECT sum(records), sum(stored), sum(duplicates), sum(rejected), sum(held), sum(pruned) FROM offsets"
    )
    assert ledger == (len(lines) - 1, GOOD, counts["duplicates"], sum(refused.values()), 0, 0)
    assert dict(calm.rows("SELECT reason, count(*) FROM rejected GROUP BY reason")) == refused
    assert calm.rows("SELECT count(*) FROM power_data") == [(GOOD,)]
    assert calm.rows("SELECT count(*) FROM verdicts JOIN power_data USING (meter_id, at)") == [(GOOD,)]
    assert calm.rows(
        "SELECT count(*) FROM verdicts WHERE (score IS NULL) = (status = 'scored') OR anomalous != (score >= threshold)"
    ) == [(0,)]
    kept = calm.rows("SELECT raw FROM rejected WHERE reason IN ('not_utf8', 'too_large') ORDER BY length(raw)")
    assert kept == [(b"\xff\xfe\x00garbage",), (b"x" * 1_000_000,)]


def test_a_second_start_goes_on_and_repeats_nothing(calm: Instance, good: list[bytes], both: Path) -> None:
    _, counts = dirty(good)
    refused = sum(counts.values()) - counts["duplicates"] - counts["header"]
    before = calm.rows("SELECT * FROM verdicts ORDER BY at")
    shutil.rmtree(calm.dir / "spark")  # Spark's checkpoint with it: the ledger knows
    calm.run("up", "--replay", both, "--exit-when-done")
    told = calm.status()
    found = (told["stored"], told["duplicates"], told["rejected"])
    assert found == (GOOD + MORE, GOOD + 2 * counts["duplicates"], 2 * refused + 1)
    assert told["model_version"] == "1"
    assert [part["name"] for part in told["processes"]] == ["broker"]
    after = calm.rows("SELECT * FROM verdicts ORDER BY at")
    assert after[:GOOD] == before


def test_a_user_finds_it_all(calm: Instance, tmp_path: Path) -> None:
    assert json.loads(calm.run("rejected", "list", "--json").stdout)[0]["reason"] == "bad_fields"
    assert isinstance(json.loads(calm.run("events", "--json").stdout), list)
    out = tmp_path / "verdicts.csv"
    assert f"{GOOD + MORE:,} rows" in calm.run("export", "verdicts", out).stdout
    assert len(out.read_text().splitlines()) == GOOD + MORE + 1


def test_a_topic_made_anew_is_a_question_and_its_answer_keeps_what_is_stored(calm: Instance, both: Path) -> None:
    admin = AdminClient({"bootstrap.servers": calm.env["METERWATCH_KAFKA_BOOTSTRAP_SERVERS"]})
    admin.delete_topics(["first"])["first"].result()
    before = dump(calm)
    calm.refused("up", says="is not the one that was read so far")
    for words in (("up",), ("stream", "--once")):
        calm.refused(*words, says="--accept-new-topic")
        calm.refused(*words, says="or stop and bring back the old broker's data")
    calm.run("up", "--replay", both, "--exit-when-done", "--accept-new-topic")
    after = dump(calm)
    for table in ("power_data", "verdicts", "events", "rollups", "meter_states"):
        assert after[table] == before[table]
    _, new = calm.rows("SELECT records, stored, duplicates + rejected FROM offsets ORDER BY stored DESC")
    assert new == (len(both.read_bytes().splitlines()) - 1, 0, new[0])  # but for the header


def test_what_is_older_than_the_retention_is_pruned_and_sums_and_events_stay(
    calm: Instance, good: list[bytes], tmp_path: Path
) -> None:
    """A stream with a limit of a day, which reads an hour more and the first reading once again."""
    ((first,),) = calm.rows("SELECT min(at) FROM power_data")
    with closing(sqlite3.connect(calm.dir / "meterwatch.db")) as db, db:  # whatever this model found so far
        db.execute(
            "INSERT INTO events SELECT 'of-old', meter_id, at, at, at, 50, 'surge', 1, '1' FROM power_data"
            " WHERE at = ?",
            (first,),
        )
    before = dump(calm)
    file = tmp_path / "last.txt"
    file.write_bytes(b"\n".join([*good[-LAST:], good[0]]))
    calm.run("replay", file)
    calm.env["METERWATCH_RETENTION_DAYS"] = "1"
    service = calm.spawn("serve")
    calm.run("stream", "--once")
    service.terminate()
    service.wait(PATIENCE)
    del calm.env["METERWATCH_RETENTION_DAYS"]

    after = dump(calm)
    newest = max(row[1] for row in after["power_data"])
    kept = [row for row in before["power_data"] if row[1] >= newest - DAY]
    assert 0 < len(kept) < len(before["power_data"])
    assert [row for row in after["power_data"] if row in set(kept)] == kept
    assert len(after["power_data"]) == len(after["verdicts"]) == len(kept) + LAST
    closed = {row for row in before["events"] if row[3] is not None}
    assert closed
    assert closed <= set(after["events"])
    assert calm.rows("SELECT sum(readings) FROM rollups GROUP BY period") == [(GOOD + MORE + LAST,)] * 2
    ((stored, pruned),) = calm.rows("SELECT sum(stored), sum(pruned) FROM offsets")
    assert (stored, pruned) == (GOOD + MORE + LAST, GOOD + MORE - len(kept))
    assert calm.rows("SELECT count(*) FROM rejected WHERE reason = 'too_old'") == [(1,)]
    assert calm.run("status").returncode == 0


def test_what_does_not_add_up_is_exit_1(calm: Instance) -> None:
    """A row is lost."""
    with closing(sqlite3.connect(calm.dir / "meterwatch.db")) as db, db:
        db.execute("DELETE FROM verdicts WHERE at = (SELECT max(at) FROM verdicts)")
    done = calm.run("up", "--exit-when-done", check=False)
    assert done.returncode == 1
    assert "DOES NOT ADD UP  one verdict for each row of power_data" in done.stdout
    assert list(calm.pids()) == ["broker"]


def test_starting_over_is_asked_about(calm: Instance) -> None:
    calm.run("broker", "stop")
    assert calm.run("reset", check=False).returncode == 1
    assert calm.stored() == GOOD + MORE + LAST
    calm.run("reset", "--yes")
    assert calm.status()["stored"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "default", "2007-01-01T00:00:00Z"), "meterwatch serve"),
        (("replay", "{file}", "--limit", "1"), "broker"),
        (("stream", "--once"), "broker"),
    ],
)
def test_what_is_away_is_said_in_one_line(
    instance: Instance, good: list[bytes], tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"\n".join(good[:10]))
    done = instance.run(*(word.format(file=file) for word in words), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr
