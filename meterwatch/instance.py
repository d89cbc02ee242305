"""What an instance leaves on the disk, and how it is removed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from meterwatch.processes import processes
from meterwatch.storage.migrate import database_path

if TYPE_CHECKING:
    from pathlib import Path

    from meterwatch.settings import Settings

MADE_HERE = ("kafka", "spark", "logs", "processes")  # below RUN_DIR, by the parts


class InstanceError(Exception):
    """The instance cannot be removed now; the message says why."""


def contents(settings: Settings) -> list[Path]:
    """Files and directories that this instance made and that are there now: never anything else below RUN_DIR."""
    database = database_path(settings.database_url)
    files = [database.with_name(database.name + ending) for ending in ("", "-wal", "-shm", "-shadow")]
    return [path for path in (*files, *(settings.run_dir / name for name in MADE_HERE)) if path.exists()]


def check_stopped(settings: Settings) -> None:
    """Prove that nothing of the instance runs.

    Raises:
        InstanceError: a part does.
    """
    if running := processes(settings):
        names = ", ".join(f"{part.name} ({part.pid})" for part in running)
        raise InstanceError(f"this instance is running: {names}; stop it first (Ctrl-C, or `meterwatch broker stop`)")


def reset(settings: Settings) -> None:
    """Delete the database, broker data, checkpoints and logs.

    Raises:
        InstanceError: a part of the instance is running.
    """
    check_stopped(settings)
    for path in contents(settings):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
