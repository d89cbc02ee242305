"""The jars: each is the locked one, or is fetched again, or is refused. The repository is one on loopback."""

from __future__ import annotations

import re
import threading
import tomllib
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import jgo.maven
import pytest

from streaming.errors import StreamError
from streaming.jars import BESIDE_PYSPARK, BROKER, CONNECTOR, ENDPOINTS, HERE, jars
from tests.instances import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = "spark-token-provider-kafka-0-10_2.13-4.2.0.jar"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Not a word."""


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def real() -> dict[str, Path]:
    """The connector's jars of this machine by their place in a repository."""
    found = {}
    for path in jars(CONNECTOR):
        group = next(name for name in ("org", "com") if name in path.parts)
        found[str(Path(*path.parts[path.parts.index(group) :]))] = path
    return found


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: dict[str, Path]) -> Path:
    """A local repository of this test's own that has all of the connector's jars."""
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    fill(tmp_path / "m2", real)
    return tmp_path / "m2"


def fill(directory: Path, real: dict[str, Path]) -> None:
    for place, path in real.items():
        (directory / place).parent.mkdir(parents=True)
        (directory / place).symlink_to(path)


def small(directory: Path) -> Path:
    (found,) = directory.rglob(SMALL)
    return found


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def fetch_from(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(jgo.maven, "MavenContext", partial(jgo.maven.MavenContext, remote_repos={"here": url}))


@pytest.mark.parametrize("damage", [b"", b"cut short", None])
def test_a_damaged_or_missing_jar_is_fetched_again(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: dict[str, Path], damage: bytes | None
) -> None:
    whole = small(private).read_bytes()
    small(private).unlink() if damage is None else replace(small(private), damage)
    fill(tmp_path / "remote", real)
    with serving(tmp_path / "remote") as url:
        fetch_from(monkeypatch, url)
        found = jars(CONNECTOR)
    assert [path.relative_to(private).as_posix() for path in found] == list(real)
    assert small(private).read_bytes() == whole


def test_a_jar_that_is_not_the_locked_one_is_never_used(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: dict[str, Path]
) -> None:
    small(private).unlink()
    fill(tmp_path / "remote", real)
    replace(small(tmp_path / "remote"), b"something else")
    with serving(tmp_path / "remote") as url:
        fetch_from(monkeypatch, url)
        with pytest.raises(StreamError, match=f"{re.escape(SMALL)} as fetched is not the locked one"):
            jars(CONNECTOR)
    assert list(private.rglob(SMALL)) == []  # the next start fetches it again


@pytest.mark.parametrize("repository", ["away", "lacks it"])
def test_a_jar_that_cannot_be_fetched_is_named(
    private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: str
) -> None:
    small(private).unlink()
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as url:
        fetch_from(monkeypatch, url if repository == "lacks it" else f"http://127.0.0.1:{free_port()}")
        with pytest.raises(StreamError, match=rf"{re.escape(SMALL)} cannot be fetched .* check the network"):
            jars(CONNECTOR)


@pytest.mark.parametrize("name", [BROKER, CONNECTOR])
def test_the_locks_pin_every_jar_and_name_no_place(name: str) -> None:
    text = (HERE / f"{name}.lock").read_text()
    lock = tomllib.loads(text)["dependencies"]
    locked = {f"{jar['groupId']}:{jar['artifactId']}:{jar['version']}" for jar in lock}
    assert len(locked) == len(lock)
    assert set(ENDPOINTS[name].split("+")) <= locked
    for jar in lock:
        assert re.fullmatch(r"\d[\w.-]*", jar["version"])
        assert "SNAPSHOT" not in jar["version"]
        assert re.fullmatch(r"[0-9a-f]{64}", jar["sha256"])
    assert "://" not in text
    assert "/" not in text.replace("T", "")


def test_the_connector_fits_pyspark() -> None:
    """The connector's version is that of the pinned pyspark; what pyspark brings is not fetched twice."""
    (pyspark,) = re.findall(r"pyspark==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert ENDPOINTS[CONNECTOR].endswith(f":{pyspark}")
    lock = tomllib.loads((HERE / "connector.lock").read_text())["dependencies"]
    assert {jar["artifactId"] for jar in lock} == set(BESIDE_PYSPARK)
