"""The whole loop on real parts: dirty lines through broker, Spark, service and database, started by one command."""

from __future__ import annotations

import json
import lzma
import random
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.instances import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.instances import Instance

YEAR = ROOT / "data/raw/household_power_consumption_2007.txt.xz"
HEADER = "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"
GOOD = 3000
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


@pytest.fixture(scope="module")
def good() -> list[bytes]:
    """Real lines, none of them missing."""
    with lzma.open(YEAR) as text:
        next(text)
        lines: Iterator[bytes] = (line.rstrip(b"\r\n") for line in text)
        return [line for _, line in zip(range(GOOD), (line for line in lines if b"?" not in line), strict=False)]


def dirty(good: list[bytes]) -> tuple[list[bytes], Counter[str]]:
    """Garbage, doubles and contradictions mixed into good lines, and how many of each there are."""
    rng = random.Random(5)
    lines, counts = list(good), Counter[str]()
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


def test_dirty_lines_end_where_they_belong(instance: Instance, good: list[bytes], tmp_path: Path) -> None:
    lines, counts = dirty(good)
    file = tmp_path / "in.txt"
    file.write_bytes(b"\n".join([HEADER.encode(), *lines, b"", b""]))
    instance.env["METERWATCH_API_KEYS_FILE"] = str(tmp_path / "keys.json")  # a service that asks for a key
    instance.env["METERWATCH_API_KEY"] = instance.run("keys", "add", "stream", "--role", "score").stdout.split()[-1]
    instance.run("up", "--replay", file, "--rate", "max", "--exit-when-done")

    # The replay leaves header and empty lines out wherever they stand; all other lines reach the topic as they are.
    refused = {reason: number for reason, number in counts.items() if reason not in ("duplicates", "header")}
    (ledger,) = instance.rows(
        "SELECT sum(records), sum(stored), sum(duplicates), sum(rejected), sum(held), sum(pruned) FROM offsets"
    )
    assert ledger == (len(lines) - 1, GOOD, counts["duplicates"], sum(refused.values()), 0, 0)
    assert dict(instance.rows("SELECT reason, count(*) FROM rejected GROUP BY reason")) == refused
    assert instance.rows("SELECT count(*) FROM power_data") == [(GOOD,)]
    assert instance.rows("SELECT count(*) FROM verdicts JOIN power_data USING (meter_id, at)") == [(GOOD,)]
    assert instance.rows(
        "SELECT count(*) FROM verdicts WHERE (score IS NULL) = (status = 'scored') OR anomalous != (score >= threshold)"
    ) == [(0,)]
    kept = instance.rows("SELECT raw FROM rejected WHERE reason IN ('not_utf8', 'too_large') ORDER BY length(raw)")
    assert kept == [(b"\xff\xfe\x00garbage",), (b"x" * 1_000_000,)]
    assert instance.processes() == []


def test_a_second_start_goes_on_and_repeats_nothing_and_a_user_finds_it_all(
    instance: Instance, good: list[bytes], tmp_path: Path, champion: str
) -> None:
    first, both = tmp_path / "first.txt", tmp_path / "both.txt"
    first.write_bytes(b"\n".join(good[:1000]))
    both.write_bytes(b"\n".join([*good[:1500], b"x;y"]))
    instance.run("up", "--replay", first, "--exit-when-done")
    before = instance.rows("SELECT * FROM verdicts ORDER BY at")
    shutil.rmtree(instance.dir / "spark")  # Spark's checkpoint with it: the ledger knows
    instance.run("up", "--replay", both, "--exit-when-done")
    told = instance.status()
    assert (told["stored"], told["duplicates"], told["rejected"]) == (1500, 1000, 1)
    assert told["model_version"] == champion
    assert told["processes"] == []
    after = instance.rows("SELECT * FROM verdicts ORDER BY at")
    assert after[:1000] == before

    # What a user asks of an instance that has ended.
    assert json.loads(instance.run("rejected", "list", "--json").stdout)[0]["reason"] == "bad_fields"
    assert isinstance(json.loads(instance.run("events", "--json").stdout), list)
    out = tmp_path / "verdicts.csv"
    assert "1,500 rows" in instance.run("export", "verdicts", out).stdout
    assert len(out.read_text().splitlines()) == 1501
    asked = instance.run("reset", check=False)
    assert asked.returncode == 1
    assert instance.rows("SELECT count(*) FROM power_data") == [(1500,)]
    instance.run("reset", "--yes")
    assert instance.status()["stored"] == 0


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
