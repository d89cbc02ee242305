"""A service that listens in a thread of the test's process, and what a registry tells it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from serving.connection import Connection
from tests.instances import PATIENCE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI


@dataclass(frozen=True)
class Found:
    """What a registry says of its champion."""

    version: str
    bundle_dir: Path
    bundle_sha256: str | None = None


@contextmanager
def listening(app: FastAPI) -> Iterator[int]:
    """The port at which it listens, until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Connection, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for("the service to listen", lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        app.state.parts.feed.close()
        server.should_exit = True
        thread.join(PATIENCE)
