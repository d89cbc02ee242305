"""Which Java is taken, and what is said where there is none. The Javas are scripts that say a version."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import cjdk
import pytest

from meterwatch import java
from meterwatch.java import INSTALL, JavaError, find, find_or_fetch, version
from tests.instances import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def a_java(home: Path, says: str) -> Path:
    """A Java of a few lines; the real ones speak on standard error."""
    (home / "bin").mkdir(parents=True)
    script = home / "bin" / "java"
    script.write_text(f"#!/bin/sh\n/bin/echo 'Picked up JAVA_TOOL_OPTIONS: -Xmx1g' >&2\n/bin/echo '{says}' >&2\n")
    script.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("says", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "11.0.2" 2019-01-15', 11),
        ("this is no Java", None),
    ],
)
def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, major: int | None) -> None:
    home = a_java(tmp_path / "java", says)
    assert version(home) == major
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find() == (home if major is not None and major >= 17 else None)


def test_no_java_has_no_version(tmp_path: Path) -> None:
    assert version(tmp_path) is None
    assert find() is None


def test_java_home_goes_before_the_path_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = a_java(tmp_path / "8", 'java version "1.8.0"'), a_java(tmp_path / "21", 'openjdk version "21"')
    on_path = a_java(tmp_path / "17", 'openjdk version "17"')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(on_path / "bin" / "java")  # as Debian's alternatives do
    assert find() == on_path
    monkeypatch.setenv("JAVA_HOME", str(new))
    assert find() == new
    for useless in (old, tmp_path / "absent"):
        monkeypatch.setenv("JAVA_HOME", str(useless))
        assert find() == on_path


def test_a_java_that_is_there_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(a_java(tmp_path / "17", 'openjdk version "17"')))
    monkeypatch.setattr(cjdk, "java_home", lambda **_: pytest.fail("fetched"))
    assert find_or_fetch() == tmp_path / "17"


def test_where_there_is_none_one_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {}
    monkeypatch.setattr(cjdk, "java_home", lambda **what: asked.update(what) or tmp_path)
    assert find_or_fetch() == tmp_path
    assert asked["version"] == str(java.OLDEST)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_no_java_and_no_network_is_one_line_that_names_the_package(tmp_path: Path) -> None:
    """The real cjdk, with nowhere to go."""
    nowhere = f"https://127.0.0.1:{free_port()}"
    env = {
        "HOME": str(tmp_path),
        "PATH": str(tmp_path / "bin"),
        "CJDK_CACHE_DIR": str(tmp_path / "cache"),
        "CJDK_INDEX_URL": f"{nowhere}/index.json",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "METERWATCH_RUN_DIR": str(tmp_path / "run"),
        "METERWATCH_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    command = [sys.executable, "-m", "meterwatch.cli", "broker", "start"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert INSTALL in line
    assert "apt-get install openjdk-17-jre-headless" in line


def test_a_failed_fetch_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise cjdk.InstallError("a\n b")

    monkeypatch.setattr(cjdk, "java_home", fail)
    with pytest.raises(JavaError, match=r"none could be fetched \(a b\)"):
        find_or_fetch()
