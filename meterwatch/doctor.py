"""What this machine needs, whether it is there, and the command that installs it."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sqlite3
import sys
from typing import TYPE_CHECKING, NamedTuple

from meterwatch import java
from meterwatch.storage import models

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings

LEAST_GB = 2
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
EXTRAS = {"stream": "pyspark", "serve": "fastapi", "train": "tensorflow"}


class Finding(NamedTuple):
    """One thing that is needed."""

    what: str
    ok: bool
    fact: str  # what was found, or the next step
    needed: bool = True  # False: only the tests want it


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed."""
    return [
        _python(),
        *(_packages(extra, module) for extra, module in EXTRAS.items()),
        _java(),
        _disk(settings.run_dir),
        _champion(settings),
        _port("service", settings.host, settings.port, "METERWATCH_PORT"),
        _browser(),
    ]


def _python() -> Finding:
    version = sys.version.split()[0]
    return Finding("Python", sys.version_info[:2] == (3, 11), f"{version}; 3.11 is needed")


def _packages(extra: str, module: str) -> Finding:
    found = importlib.util.find_spec(module) is not None
    return Finding(f"packages to {extra}", found, f"{module} is there" if found else "install them: make setup")


def _java() -> Finding:
    home = java.find()
    fact = f"{home} is {java.version(home)}" if home is not None else f"none; {java.INSTALL}"
    return Finding("Java", home is not None, fact)


def _disk(run_dir: Path) -> Finding:
    there = next(path for path in (run_dir.absolute(), *run_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    return Finding("disk", free >= LEAST_GB, f"{free:.1f} GB free at {there}; {LEAST_GB} GB are needed")


def _champion(settings: Settings) -> Finding:
    try:
        found = models.champion(settings)
    except sqlite3.Error as error:
        return Finding("model", ok=False, fact=f"the registry cannot be read ({error}); mend it, or dvc repro")
    if found is None:
        return Finding("model", ok=False, fact="no champion; make one: .venv/bin/dvc repro")
    return Finding("model", ok=True, fact=f"version {found.version} is champion")


def _port(what: str, host: str, port: int, name: str) -> Finding:
    """A port is fine when it is free, and when what listens there is ours."""
    from serving.client import Client

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            with Client(f"http://{host}:{port}") as client:
                if client.ready():
                    return Finding(f"port of the {what}", ok=True, fact=f"our service runs on {port}")
            return Finding(f"port of the {what}", ok=False, fact=f"{port}: {error.strerror}; set {name} to a free one")
    return Finding(f"port of the {what}", ok=True, fact=f"{port} is free")


def _browser() -> Finding:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    advice = "none, only make test wants one; install it (Debian: apt-get install chromium)"
    return Finding("browser", found is not None, found or advice, needed=False)
