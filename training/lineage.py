"""Where a run came from: the git revision, the state of `dvc.lock`, the environment, the `dvc repro` it belongs to."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import psutil

LOCK = Path("dvc.lock")


def revision() -> dict[str, str]:
    """The git revision; nothing outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git, as in a container
        return {}
    return {"git_revision": done.stdout.strip()} if done.returncode == 0 else {}


def environment() -> str:
    """Python, machine, and each installed package with its version, a line each."""
    packages = sorted({f"{one.name}=={one.version}" for one in distributions()}, key=str.lower)
    machine = f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores"
    return "\n".join([machine, *packages, ""])


def lock_hash() -> dict[str, str]:
    """The hash of `dvc.lock`: which data, code and parameters the stages before this one saw."""
    return {"dvc_lock_sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest()} if LOCK.exists() else {}


def repro() -> str:
    """Names the nearest `dvc` process above this one, so that a queue's worker is not taken for one `dvc repro`.

    This process where it was started by hand.
    """
    here = psutil.Process()
    for above in here.parents():
        try:
            words = above.cmdline()[:3]
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words):
            here = above
            break
    return f"{here.pid}-{here.create_time():.2f}"
