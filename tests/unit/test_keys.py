"""API keys on the command line and in their file: shown once, kept hashed, gone when revoked."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from meterwatch.cli import app
from serving import keys
from serving.keys import Caller, Keys, KeysError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERWATCH_API_KEYS_FILE", str(tmp_path / "private" / "keys.json"))
    return tmp_path / "private" / "keys.json"


def run(*words: str) -> str:
    return CliRunner().invoke(app, ["keys", *words], catch_exceptions=False).stdout


def test_a_key_is_made_listed_used_and_revoked(path: Path) -> None:
    assert "no key" in run("list")
    ada, app_key = (run("add", name, "--role", role).strip() for name, role in (("ada", "read"), ("app", "score")))
    listed = json.loads(run("list", "--json"))
    assert [(key["name"], key["role"]) for key in listed] == [("ada", "read"), ("app", "score")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for key in (ada, app_key):
        assert key.rpartition("_")[2] not in path.read_text() + run("list") + run("list", "--json")
    held = Keys(path)
    assert held.caller(ada) == Caller("ada", "read")
    assert held.caller(ada[:-1] + ("A" if ada[-1] != "A" else "B")) is None
    assert listed[0]["id"] in run("revoke", listed[0]["id"])
    assert held.remembered(ada) is None
    assert held.caller(ada) is None
    assert held.caller(app_key) == Caller("app", "score")


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["add", "x", "--role", "king"], "read, score, admin"),
        (["add", "a\nb", "--role", "read"], "printable"),
        (["revoke", "00000000"], "keys list"),
    ],
)
def test_what_cannot_be_is_told(path: Path, words: list[str], fact: str) -> None:
    with pytest.raises(KeysError, match=fact):
        run(*words)
    assert not path.exists()


def test_no_key_is_lost_when_many_are_made_at_once(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda k: keys.add(path, f"k{k}", "read"), range(12)))
    assert {key.split("_")[1] for key in made} == {key["id"] for key in keys.load(path)}


def test_a_damaged_file_is_named(path: Path) -> None:
    keys.add(path, "ada", "read")
    for text in ("{", "[]", '{"keys": [{"id": "1"}]}', path.read_text().replace("read", "king")):
        path.write_text(text)
        with pytest.raises(KeysError, match="key file"):
            Keys(path)
