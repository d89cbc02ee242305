"""A real Kafka broker of this instance: one node, on loopback, with data that outlive it."""

from __future__ import annotations

import base64
import errno
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from meterwatch import processes
from meterwatch.java import find_or_fetch
from meterwatch.kafka import client_config, is_away
from streaming import topics
from streaming.children import trim
from streaming.errors import BrokerAwayError, StreamError
from streaming.jars import BROKER, jars

if TYPE_CHECKING:
    import threading

    from meterwatch.settings import Settings

PROPERTIES = Path(__file__).with_name("broker.properties")
HEAP = "512m"
# Short starts and a small process: one collector thread, half the compiler.
JAVA_OPTIONS = ("-Xms64m", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss'Z'", "-Duser.timezone=UTC")  # fmt: skip
# One process from the first step on: whoever started it may be killed at any moment, and it still goes its way. The
# data directory is given its identity once in its life; one that a kill left half done is finished.
FORMAT_ONCE_AND_RUN = """
config=$0 data=$1 identity=$2; shift 2
[ -e "$data/meta.properties" ] ||
    "$@" kafka.tools.StorageTool format --ignore-formatted --cluster-id "$identity" --config "$config" || exit
exec "$@" kafka.Kafka "$config"
"""
LEAST_MB = 50  # with less Kafka soon ends, and cannot even write why
READY_SECONDS = 60.0
STOP_SECONDS = 20.0


class Found(NamedTuple):
    """A broker that runs."""

    address: str
    pid: int


class Broker:
    """The broker of an instance. Any process may start it, ask for it and stop it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dir = settings.run_dir.absolute() / "kafka"
        self.log = settings.run_dir.absolute() / "logs" / "broker.log"
        self._begins = 0  # where in the log this start's lines begin

    @cached_property
    def java(self) -> list[str]:
        """The words that start its Java, looked for and proven once.

        Raises:
            StreamError: a jar cannot be fetched, or is not the locked one.
            JavaError: there is no Java.
        """
        return [str(find_or_fetch() / "bin/java"), *JAVA_OPTIONS, "-cp", os.pathsep.join(map(str, jars(BROKER)))]

    @cached_property
    def admin(self) -> AdminClient:
        """A client of it, for whoever asks often; it finds the broker again soon after it was away."""
        return AdminClient({**client_config(self._settings), "reconnect.backoff.max.ms": 200})

    def answers(self) -> bool:
        """Whether it does, within a second."""
        if is_away(self._settings.kafka_bootstrap_servers):
            return False
        try:
            self.admin.list_topics(timeout=1.0)
        except KafkaException:
            return False
        return True

    def start(self, *, supervised: bool = False, told: threading.Event | None = None) -> Found:
        """Start it, unless it runs, and wait until it answers and has the topic.

        Args:
            supervised: it belongs to this process, a supervisor, who ends it.
            told: to end; it is not waited for any longer once this is set.

        Raises:
            StreamError: the address is not this machine's, or its port is taken.
            BrokerAwayError: Kafka ended at once.
            JavaError: there is no Java.
        """
        host, port = self._address()
        if processes.running(self._settings, processes.BROKER) is None:
            with suppress(processes.RunningError):  # another process was first
                self._launch(host, port, os.getpid() if supervised else 0)
        if self._came_up(told):
            for name in filter(None, (self._settings.kafka_topic, self._settings.kafka_events_topic)):
                topics.ensure(self._settings, name)
        return self.status()

    def stop(self) -> bool:
        """Stop it and wait until it is gone; False where none runs.

        Raises:
            StreamError: it does not go.
        """
        part = processes.running(self._settings, processes.BROKER)
        if part is None:
            return False
        if not processes.end(self._settings, part, STOP_SECONDS):
            raise StreamError(f"the broker (process {part.pid}) does not end; end it by hand: kill -9 {part.pid}")
        return True

    def status(self) -> Found:
        """Which broker runs.

        Raises:
            StreamError: none does.
        """
        part = processes.running(self._settings, processes.BROKER)
        if part is None:
            raise StreamError(f"no broker of {self._settings.run_dir} runs; start it with `meterwatch broker start`")
        return Found(self._settings.kafka_bootstrap_servers, part.pid)

    def _address(self) -> tuple[str, int]:
        servers = self._settings.kafka_bootstrap_servers
        host, _, port = servers.rpartition(":")
        bare = host.strip("[]")
        try:
            is_here = bare == "localhost" or ipaddress.ip_address(bare).is_loopback
        except ValueError:
            is_here = False
        if not is_here:
            raise StreamError(
                f"METERWATCH_KAFKA_BOOTSTRAP_SERVERS={servers} is not one address of this machine's loopback: "
                "the broker there is not ours to start"
            )
        return bare, int(port)

    def _launch(self, host: str, port: int, supervisor: int) -> None:
        """Start Java; it inherits the lock, so that the broker counts as running for as long as it lives."""
        check_free(host, port, "the broker", "METERWATCH_KAFKA_BOOTSTRAP_SERVERS")
        self._dir.mkdir(parents=True, exist_ok=True)
        check_space(self._dir, LEAST_MB)
        holder = processes.take(self._settings, processes.BROKER, supervisor)
        try:
            # Kafka refuses an identity that begins with a dash.
            identity = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
            places = [str(self._configure(host, port)), str(self._dir / "data"), identity]
            command = ["sh", "-c", FORMAT_ONCE_AND_RUN, *places, *self.java]
            self.log.parent.mkdir(parents=True, exist_ok=True)
            trim(self.log)
            with self.log.open("ab") as log:
                self._begins = log.tell()
                subprocess.Popen(
                    processes.as_holder(self._settings, processes.BROKER, supervisor, command),
                    env={**os.environ, "LC_ALL": "C.UTF-8"},  # else Java opens no file whose name is not plain ASCII
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[holder],
                    start_new_session=True,  # Ctrl-C is for whoever started it, who stops it in its turn
                )
        finally:
            os.close(holder)

    def _configure(self, host: str, port: int) -> Path:
        """Write the properties file: what is always so, then the places of this instance."""
        at = f"[{host}]" if ":" in host else host
        controller = _free_port(host)
        places = {
            "listeners": f"CLIENT://{at}:{port},CONTROLLER://{at}:{controller}",
            "advertised.listeners": f"CLIENT://{at}:{port}",
            "controller.quorum.voters": f"1@{at}:{controller}",
            "log.dirs": json.dumps(str(self._dir / "data"))[1:-1],  # properties are Latin-1 and know these escapes
        }
        config = self._dir / "server.properties"
        config.write_text(PROPERTIES.read_text() + "".join(f"{name}={value}\n" for name, value in places.items()))
        return config

    def _came_up(self, told: threading.Event | None) -> bool:
        """Wait until it answers; False when told to end meanwhile."""
        deadline = time.monotonic() + READY_SECONDS
        while told is None or not told.is_set():
            try:
                self.admin.list_topics(timeout=0.5)
            except KafkaException as error:
                if processes.running(self._settings, processes.BROKER) is None:
                    raise BrokerAwayError(f"Kafka ended at once: {self._last_line()} (see {self.log})") from error
                if time.monotonic() > deadline:
                    raise BrokerAwayError(
                        f"the broker does not answer at {self._settings.kafka_bootstrap_servers} after "
                        f"{READY_SECONDS:.0f} s; see {self.log}"
                    ) from error
            else:
                return True
        return False

    def _last_line(self) -> str:
        """What went wrong, of all that Java has said since this start."""
        said = self.log.read_bytes()[self._begins :].decode(errors="replace") if self.log.exists() else ""
        lines = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().startswith("at ")]
        causes = [line for line in lines if "Exception" in line or "rror" in line]
        return (causes or lines or ["without a word"])[-1]


def check_free(host: str, port: int, what: str, setting: str) -> None:
    """Prove that nobody listens on a port that a part is going to use.

    Raises:
        StreamError: somebody does, or the address is not this machine's.
    """
    try:
        with _socket(host) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StreamError(f"port {port} for {what} is in use; end what listens there, or set {setting}") from None
        raise StreamError(f"{what} cannot listen on {host}:{port}: {error.strerror or error}; set {setting}") from None


def check_space(directory: Path, least_mb: int) -> None:
    """Prove that there is room on a disk.

    Raises:
        StreamError: there is less.
    """
    free = shutil.disk_usage(directory).free // 10**6
    if free < least_mb:
        raise StreamError(f"{free} MB of disk are free at {directory}, {least_mb} are needed; make space")


def _free_port(host: str) -> int:
    with _socket(host) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
