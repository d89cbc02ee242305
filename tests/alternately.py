"""Lets a test store into a database that its own process reads, which no process of the program does."""

from __future__ import annotations

from meterwatch.storage import lending


def stop_reading() -> None:
    """Close this thread's read connection: a second SQLite in one process would drop the locks of the first."""
    if hasattr(lending._local, "db"):
        lending._local.db.close()
        del lending._local.db, lending._local.identity
