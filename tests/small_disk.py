"""A disk of a few megabytes that a test may fill: a tmpfs in a namespace of its own, which ends with its holder."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNT = 'mount -t tmpfs -o size="$1" none "$0" && echo ready && exec cat'


class SmallDisk:
    """The disk as seen from outside, and how a command gets to see it at its place."""

    def __init__(self, place: Path, holder: int) -> None:
        self.place = place
        self._holder = holder
        self.outside = Path(f"/proc/{holder}/root{place}")  # not for SQLite, which resolves links

    def inside(self, *words: object) -> list[str]:
        """The command, run where the disk is mounted."""
        enter = ["nsenter", "--target", str(self._holder), "--user", "--mount", "--preserve-credentials"]
        return [*enter, f"--wd={Path.cwd()}", *map(str, words)]


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of `size` (as 8m) at a directory until the end of the block."""
    holder = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(place), size],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("this machine lets its users mount nothing")
        yield SmallDisk(place, holder.pid)
    finally:
        holder.kill()
        holder.communicate()


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    file = disk / "full"
    with file.open("wb", buffering=0) as out:
        while (free := _free(disk) - leave) > 0:
            out.write(b"x" * min(free, 65536))
    return file


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize
