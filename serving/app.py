"""The service: `create_app` puts it together, `serve` runs it."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from meterwatch.settings import zone_of
from meterwatch.storage import models
from serving import documentation, problems
from serving.champion import Champion
from serving.connection import Connection
from serving.dashboard.app import mount
from serving.drifting import Drifting
from serving.feed import Feed
from serving.guard import Guard
from serving.intake import Intake
from serving.keys import Keys, KeysError
from serving.metrics import Metrics
from serving.parts import Parts
from serving.routes import events, health, intake, login, meters, original, score
from serving.routes import models as registry
from serving.shadowing import Shadow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from meterwatch.settings import Settings
    from meterwatch.storage.models import ModelVersion
    from serving.champion import Registered

LOG = logging.getLogger("meterwatch.service")
ENDING_SECONDS = 5  # that requests on their way get
UNREAD_SECONDS = 60  # after which a caller who does not take his answer is left
DESCRIPTION = """Judges the readings of electricity meters, and shows what was judged.

Times are ISO-8601 in UTC. Every error is an RFC 9457 problem. With a key file, send `Authorization: Bearer KEY`."""


class ServeError(Exception):
    """The service cannot start; the message names the next step."""


def create_app(
    settings: Settings,
    *,
    find_champion: Callable[[], Registered | None] | None = None,
    find_challenger: Callable[[], ModelVersion | None] | None = None,
) -> FastAPI:
    """Put the service together; nothing is loaded before it starts.

    Args:
        settings: where things are.
        find_champion: asks for the model that judges; default: the registry.
        find_challenger: asks for the model that judges in its shadow; default: the registry, but beside a given
            champion none.

    Raises:
        ServeError: the key file cannot be used.
    """
    metrics = Metrics()
    champion = Champion(
        find_champion or partial(models.champion, settings), lambda model: metrics.judging(model.version)
    )
    drift = Drifting(settings, champion, metrics)
    registered = partial(models.challenger, settings) if find_champion is None else lambda: None
    shadow = Shadow(settings, find_challenger or registered, champion, metrics)
    zone = zone_of(settings.timezone)
    try:
        keys = Keys(settings.api_keys_file) if settings.api_keys_file is not None else None
    except KeysError as error:
        raise ServeError(str(error)) from None
    parts = Parts(settings, zone, champion, drift, metrics, Feed(settings), Intake(settings, zone), keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(champion.start)
        if champion.current is None:
            LOG.warning("there is no champion model yet; `dvc repro` makes one, it is taken as soon as it is there")
        drift.start()
        shadow.start()
        yield
        parts.feed.close()
        await run_in_threadpool(shadow.stop)
        await run_in_threadpool(drift.stop)
        await run_in_threadpool(champion.stop)
        await run_in_threadpool(parts.intake.close)

    app = FastAPI(
        title="meterwatch",
        version=_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry=None,
    )
    app.state.parts = parts
    problems.install(app)
    documentation.install(app, keyed=keys is not None)
    for subject in (score, health, meters, events, intake, registry, original, login):
        app.include_router(subject.routes(parts))
    mount(
        app,
        settings,
        lambda: champion.current.version if champion.current is not None else None,
        lambda: drift.current,
    )
    app.add_middleware(Guard, metrics=metrics, keys=keys)
    return app


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT; requests on their way are answered first.

    Raises:
        ServeError: the address is taken, or the key file cannot be used.
    """
    app = create_app(settings)
    listening = _listen(settings.host, settings.port)
    with listening:
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=ENDING_SECONDS,
        )
        LOG.info("listening on http://%s:%d", settings.host, settings.port)
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the endless answers of `/v1/stream` first: the others are waited for."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.parts.feed.close()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol named: else asyncio leaves Nagle's algorithm on, and an answer waits 40 ms for an ACK.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000
        )  # accepted ones inherit
        listening.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeError(f"port {port} is in use; end what listens there, or set METERWATCH_PORT") from None
        raise ServeError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listening


def _version() -> str:
    try:
        return version("meterwatch")
    except PackageNotFoundError:
        return "0"
