"""Where things run: `METERWATCH_*` environment variables and a `.env` file, nothing else."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "METERWATCH_"
ENV_FILE = ".env"
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_SERVER = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})")


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used."""


class Settings(BaseSettings):
    """Every setting with its one sentence of help. Built once, by a door; nothing reads the environment on import."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    run_dir: Path = Field(Path("data/run"), description="Database, broker data, checkpoints and logs of one instance.")
    database_url: str = Field("", description="The database; empty: `sqlite:///<RUN_DIR>/meterwatch.db`.")
    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="The broker's address.")
    kafka_topic: str = Field("first", pattern=r"^[a-zA-Z0-9._-]{1,249}$", description="The topic of the readings.")
    kafka_security: Path | None = Field(None, description="A file of librdkafka properties for TLS and SASL.")
    kafka_events_topic: str = Field(
        "meterwatch.events",
        pattern=r"^[a-zA-Z0-9._-]{0,249}$",
        description="The topic that is told of events opened, updated and closed; empty for none.",
    )
    mlflow_tracking_uri: str = Field("sqlite:///mlruns/mlflow.db", description="Runs and the model registry.")
    model_name: str = Field("meterwatch", min_length=1, description="The registered model that is served.")
    service_url: str = Field(
        "", description="Where the service answers; several, separated by commas; empty: `http://<HOST>:<PORT>`."
    )
    host: str = Field("127.0.0.1", min_length=1, description="The address the service listens on.")
    port: int = Field(8000, ge=1, le=65535, description="The port the service listens on.")
    api_keys_file: Path | None = Field(None, description="Hashed API keys; required when HOST is not loopback.")
    api_key: str = Field(
        "", repr=False, description="The key that the stream and the commands show to the service; role score or more."
    )
    spark_master: str = Field("local[*]", min_length=1, description="The Spark master.")
    stream_metrics_port: int = Field(0, ge=0, le=65535, description="The stream's Prometheus port; 0 for none.")
    trigger_seconds: float = Field(
        0.2, ge=0, allow_inf_nan=False, description="Least time between two micro-batches; 0: no pause."
    )
    max_offsets_per_trigger: int = Field(200_000, ge=1, description="Most records in a micro-batch.")
    timezone: str = Field(
        "UTC",
        description="Zone of times without an offset and of what the pages show: an IANA name, or an offset as +01:00.",
    )
    retention_days: int = Field(
        0,
        ge=0,
        description="Days that readings and verdicts are kept, back from the newest of their meter; 0 keeps all.",
    )
    energy_price: float = Field(
        0.25, ge=0, allow_inf_nan=False, description="Price of a kWh, for the cost of an event."
    )
    webhook_url: str = Field(
        "", repr=False, description="Where events opened, updated and closed are posted; empty for nowhere."
    )
    webhook_secret_file: Path | None = Field(
        None, description="The secret that signs them, base64 of 24 to 64 bytes; required with WEBHOOK_URL."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for machines.")

    @field_validator("run_dir", "kafka_security", "api_keys_file", "webhook_secret_file", mode="before")
    @classmethod
    def _home_is_known(cls, value: str | Path | None) -> Path | None:
        return Path(value).expanduser() if value else None  # a `.env` file is read by no shell

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        zone_of(value)
        if match := _OFFSET.fullmatch(value):
            return f"{match[1]}{match[2]}:{match[3]}"  # the one spelling that Spark knows too
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers_have_ports(cls, value: str) -> str:
        for server in value.split(","):
            match = _SERVER.fullmatch(server.strip())
            if not match or not 1 <= int(match[1]) <= 65535:  # noqa: PLR2004
                raise ValueError(f"{server.strip()!r} is not of the form HOST:PORT")
        return value

    @field_validator("service_url")
    @classmethod
    def _services_are_addresses(cls, value: str) -> str:
        for url in value.split(",") if value else []:
            if not _is_address(url.strip()) or "?" in url or "#" in url:
                raise ValueError(f"{url.strip()!r} is not of the form http://HOST:PORT")
        return value

    @model_validator(mode="after")
    def _derived(self) -> Settings:
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.run_dir}/meterwatch.db")
        if not self.service_url:
            object.__setattr__(self, "service_url", self.own_url)
        if not _is_loopback(self.host) and self.api_keys_file is None:
            raise ValueError(
                f"{PREFIX}HOST={self.host} would be open to others; set {PREFIX}API_KEYS_FILE, or use 127.0.0.1"
            )
        if self.webhook_url and not _is_address(self.webhook_url):
            raise ValueError(f"{PREFIX}WEBHOOK_URL is not of the form https://HOST/PATH")
        if self.webhook_url and self.webhook_secret_file is None:
            raise ValueError(
                f"{PREFIX}WEBHOOK_URL needs {PREFIX}WEBHOOK_SECRET_FILE, or anybody could post in our name; "
                "make one: openssl rand -base64 32 > FILE"
            )
        if self.kafka_events_topic == self.kafka_topic:
            raise ValueError(f"{PREFIX}KAFKA_EVENTS_TOPIC and {PREFIX}KAFKA_TOPIC are both {self.kafka_topic}")
        if self.stream_metrics_port == self.port:
            raise ValueError(f"{PREFIX}STREAM_METRICS_PORT and {PREFIX}PORT are both {self.port}; choose two ports")
        return self

    @property
    def own_url(self) -> str:
        """Where the service that this instance starts answers."""
        return f"http://{_reachable(self.host)}:{self.port}"

    @property
    def service_urls(self) -> list[str]:
        """Every address of the service; the first is the one that people are told."""
        return [url.strip().rstrip("/") for url in self.service_url.split(",")]


def load() -> Settings:
    """Read the settings from the environment and `.env`.

    Raises:
        SettingsError: an unknown `METERWATCH_` name (the near one is suggested) or an unusable value.
    """
    for place, values in (("", os.environ), (f"{ENV_FILE}: ", _from_file())):
        for name, value in values.items():
            if name.upper().startswith(PREFIX):
                _check_name(place, name.upper(), value)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_told(dict(fault)) for fault in error.errors())) from None


def zone_of(name: str) -> tzinfo:
    """The zone that a `TIMEZONE` names: an IANA name, or a fixed offset such as +01:00.

    Raises:
        ValueError: there is no such zone.
    """
    if name == "UTC":
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= timedelta(hours=14) and int(match[3]) < 60:  # noqa: PLR2004 - the widest offset in use
            return timezone(offset if match[1] == "+" else -offset)
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # ZoneInfo tells in several ways that there is none
        raise ValueError(
            f"{name!r} is no time zone; give an IANA name as Europe/Paris, or an offset as +01:00"
        ) from None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port  # refuse what no request could be sent to
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and host != b"" and url.isprintable() and " " not in url


def _from_file() -> dict[str, str | None]:
    try:
        return dotenv_values(ENV_FILE, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error}") from error


def _check_name(place: str, name: str, value: str | None) -> None:
    field = Settings.model_fields.get(name.removeprefix(PREFIX).lower())
    if field is None:
        known = [PREFIX + known.upper() for known in Settings.model_fields]
        near = difflib.get_close_matches(name, known, n=1)
        raise SettingsError(f"{place}unknown setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
    if not value and field.default not in ("", None) and field is not Settings.model_fields["kafka_events_topic"]:
        raise SettingsError(f"{place}{name} is empty; give it a value or remove it (default: {field.default})")


def _told(fault: dict[str, object]) -> str:
    """One fault as a person would say it."""
    where = fault["loc"]
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not isinstance(where, tuple) or not where:
        return message
    return f"{PREFIX}{str(where[0]).upper()}={fault['input']}: {message[:1].lower()}{message[1:]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(host: str) -> str:
    """The address by which this machine reaches a service that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host
