"""A real Kafka broker of this instance: one node, on loopback, with data that outlive it."""

from __future__ import annotations

import base64
import errno
import ipaddress
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from meterwatch import processes
from meterwatch.java import find_or_fetch
from meterwatch.kafka import client_config
from streaming import topics
from streaming.errors import StreamError
from streaming.jars import BROKER, jars

if TYPE_CHECKING:
    from meterwatch.settings import Settings

PROPERTIES = Path(__file__).with_name("broker.properties")
HEAP = "512m"
# Short starts and a small process: one collector thread, half the compiler.
JAVA_OPTIONS = ("-Xms64m", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss'Z'", "-Duser.timezone=UTC")  # fmt: skip
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

    def start(self, *, supervised: bool = False) -> Found:
        """Start it, unless it runs, and wait until it answers and has the topic.

        Args:
            supervised: it belongs to this process, a supervisor, who ends it.

        Raises:
            StreamError: the address is not this machine's, its port is taken, or Kafka ended at once.
            JavaError: there is no Java.
        """
        host, port = self._address()
        if processes.running(self._settings, processes.BROKER) is None:
            self._launch(host, port, os.getpid() if supervised else 0)
        self._wait()
        topics.ensure(self._settings)
        return self.status()

    def stop(self) -> bool:
        """Stop it and wait until it is gone; False where none runs.

        Raises:
            StreamError: it does not go.
        """
        part = processes.running(self._settings, processes.BROKER)
        if part is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                process = psutil.Process(part.pid)
                process.send_signal(number)
                process.wait(STOP_SECONDS)
            except psutil.NoSuchProcess:
                return True
            except psutil.TimeoutExpired:
                continue
            return True
        raise StreamError(f"the broker (process {part.pid}) does not end; end it by hand: kill -9 {part.pid}")

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
        holder = processes.take(self._settings, processes.BROKER)
        try:
            java = [str(find_or_fetch() / "bin/java"), *JAVA_OPTIONS, "-cp", os.pathsep.join(map(str, jars(BROKER)))]
            config = self._configure(host, port)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._format([*java, "kafka.tools.StorageTool"], config)
                process = subprocess.Popen(
                    [*java, "kafka.Kafka", config],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[holder],
                    start_new_session=True,  # Ctrl-C is for whoever started it, who stops it in its turn
                )
            processes.note(holder, process.pid, supervisor)
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
            "log.dirs": str(self._dir / "data").replace("\\", "\\\\"),
        }
        config = self._dir / "server.properties"
        self._dir.mkdir(parents=True, exist_ok=True)
        config.write_text(PROPERTIES.read_text() + "".join(f"{name}={value}\n" for name, value in places.items()))
        return config

    def _format(self, tool: list[str], config: Path) -> None:
        """Give the data directory its identity, once in its life; one that a kill left half done is finished."""
        if (self._dir / "data" / "meta.properties").exists():
            return
        # Kafka refuses an identity that begins with a dash.
        identity = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        done = subprocess.run(
            [*tool, "format", "--ignore-formatted", "--cluster-id", identity, "--config", config],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StreamError(f"Kafka cannot format {self._dir / 'data'}: {_last_line(done.stdout + done.stderr)}")

    def _wait(self) -> None:
        admin = AdminClient({**client_config(self._settings), "reconnect.backoff.max.ms": 200})
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                admin.list_topics(timeout=0.5)
            except KafkaException as error:
                if processes.running(self._settings, processes.BROKER) is None:
                    told = _last_line(self.log.read_text(errors="replace"))
                    raise StreamError(f"Kafka ended at once: {told} (see {self.log})") from error
                if time.monotonic() > deadline:
                    raise StreamError(
                        f"the broker does not answer at {self._settings.kafka_bootstrap_servers} after "
                        f"{READY_SECONDS:.0f} s; see {self.log}"
                    ) from error
            else:
                return


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


def _free_port(host: str) -> int:
    with _socket(host) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _last_line(text: str) -> str:
    """What went wrong, of all that Java says."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("at ")]
    causes = [line for line in lines if "Exception" in line or "rror" in line]
    return (causes or lines or ["without a word"])[-1]
