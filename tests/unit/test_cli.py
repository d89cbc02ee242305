"""The command line: help everywhere, exit codes, one line for what can be foreseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from meterwatch import __version__, cli
from meterwatch.cli import app
from meterwatch.settings import PREFIX, SettingsError
from meterwatch.storage.meters import MeterStore
from tests.unit.test_docs import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

runner = CliRunner()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty instance on ports that nobody listens on."""
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERWATCH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("METERWATCH_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("METERWATCH_PORT", "2")


def test_version() -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"meterwatch {__version__}\n"


@pytest.mark.parametrize(
    "words", ["", *(path for path, _ in commands()), "models", "broker", "rejected", "threshold", "keys"]
)
def test_help_on_every_level(words: str) -> None:
    result = runner.invoke(app, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize(
    "words", [["nonsense"], ["events", "--limit", "0"], ["replay", "absent.txt"], ["backtest", "x"], ["up", "--rate"]]
)
def test_wrong_usage_is_exit_2(words: list[str]) -> None:
    assert runner.invoke(app, words).exit_code == 2


def test_an_empty_instance_answers_with_nothing_and_no_error() -> None:
    told = json.loads(runner.invoke(app, ["status", "--json"], catch_exceptions=False).stdout)
    assert (told["lag"], told["broker"], told["service"]) == (None, "away", "away")
    assert [told[name] for name in ("records", "stored", "duplicates", "rejected", "events")] == [0] * 5
    assert (told["model_version"], told["processes"]) == (None, [])
    for words in (["events"], ["rejected", "list"], ["models", "list"], ["sql", "SELECT * FROM offsets"]):
        assert runner.invoke(app, words, catch_exceptions=False).exit_code == 0
        assert json.loads(runner.invoke(app, [*words, "--json"]).stdout) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sql", "DELETE FROM offsets"], "readonly"),
        (["sql", "SELEC"], "syntax error"),
        (["models", "promote", "7"], "models list"),
        (["models", "rollback"], "dvc repro"),
        (["models", "show"], "dvc repro"),
        (["threshold", "suggest"], "dvc repro"),
        (["threshold", "apply", "1"], "dvc repro"),
        (["retrain"], "git repository"),
        (["explain", "m", "2007-01-01T00:00:00Z"], "meterwatch serve"),
        (["export", "verdicts", "out.xls"], ".csv or .parquet"),
        (["export", "readings", "out.csv"], "verdicts or events"),
        (["export", "events", "absent/out.csv"], "make it first"),
        (["score", "absent.txt"], "absent.txt"),
        (["broker", "topic"], "broker start"),
        (["keys", "list"], "METERWATCH_API_KEYS_FILE"),
    ],
)
def test_what_can_be_foreseen_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    MeterStore(tmp_path / "run" / "meterwatch.db").close()
    status, stderr = _main(words)
    assert status == 1
    assert says in stderr
    assert len(stderr.splitlines()) == 1


def test_an_unknown_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERWATCH_PROT", "1")
    assert _main(["status"]) == (1, "meterwatch: unknown setting METERWATCH_PROT; did you mean METERWATCH_PORT?\n")


@pytest.mark.parametrize("error", [SettingsError("a\nb"), OSError("a b")])
def test_errors_written_for_people_become_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.setattr(cli, "app", _raising(error))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert capsys.readouterr().err == "meterwatch: a b\n"


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", _raising(TypeError("a mistake")))
    with pytest.raises(TypeError):
        cli.main()


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m meterwatch.cli events --json | head -c 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def _main(words: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "meterwatch.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def _raising(error: Exception) -> Callable[[], None]:
    def stand_in() -> None:
        raise error

    return stand_in
