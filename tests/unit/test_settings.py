"""Settings: names, values, what follows from what, and what is refused."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.settings import PREFIX, Settings, SettingsError, load, zone_of


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine, and no `.env` of the project."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def test_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert settings.run_dir == Path("data/run")
    assert settings.database_url == "sqlite:///data/run/meterwatch.db"
    assert settings.service_url == "http://127.0.0.1:8000"
    assert (settings.kafka_bootstrap_servers, settings.kafka_topic) == ("127.0.0.1:9092", "first")
    assert (settings.spark_master, settings.timezone) == ("local[*]", "UTC")


def test_run_dir_and_port_move_what_hangs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERWATCH_RUN_DIR", "/tmp/other")  # noqa: S108 - nothing is written there
    monkeypatch.setenv("METERWATCH_PORT", "8123")
    settings = load()
    assert settings.database_url == "sqlite:////tmp/other/meterwatch.db"
    assert settings.service_url == "http://127.0.0.1:8123"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("10.0.0.7", "http://10.0.0.7:8000")],  # noqa: S104
)
def test_an_open_host_needs_a_key_file(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("METERWATCH_HOST", host)
    with pytest.raises(SettingsError, match="API_KEYS_FILE"):
        load()
    monkeypatch.setenv("METERWATCH_API_KEYS_FILE", "keys.json")
    assert load().service_url == url


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("METERWATCH_HOST", host)
    assert load().host == host


@pytest.mark.parametrize(("wrong", "right"), [("PROT", "PORT"), ("KAFKA_TOPICS", "KAFKA_TOPIC"), ("RUNDIR", "RUN_DIR")])
def test_an_unknown_name_is_refused_and_the_near_one_suggested(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.setenv(PREFIX + wrong, "1")
    with pytest.raises(SettingsError, match=f"unknown setting {PREFIX}{wrong}; did you mean {PREFIX}{right}\\?"):
        load()


def test_the_env_file_counts_and_is_checked_alike() -> None:
    Path(".env").write_text("METERWATCH_PORT=8111\nOTHER=1\n")
    assert load().port == 8111
    Path(".env").write_text("METERWATCH_PROT=8111\n")
    with pytest.raises(SettingsError, match=r"\.env: unknown setting METERWATCH_PROT; did you mean METERWATCH_PORT\?"):
        load()


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("METERWATCH_PORT=8111\n")
    monkeypatch.setenv("METERWATCH_PORT", "8222")
    assert load().port == 8222


@pytest.mark.parametrize("name", ["RUN_DIR", "PORT", "HOST", "TIMEZONE", "KAFKA_TOPIC"])
def test_an_empty_value_is_refused_where_it_means_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(PREFIX + name, "")
    with pytest.raises(SettingsError, match=f"{PREFIX}{name} is empty"):
        load()


def test_a_webhook_needs_a_secret_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERWATCH_WEBHOOK_URL", "https://example.com/hooks/7?a=b")
    with pytest.raises(SettingsError, match="needs METERWATCH_WEBHOOK_SECRET_FILE"):
        load()
    monkeypatch.setenv("METERWATCH_WEBHOOK_SECRET_FILE", "secret")
    assert load().webhook_secret_file == Path("secret")
    for wrong in (
        "example.com/hooks/7",
        "https://",
        "https://a..b/7",
        "https://a:port/7",
        "https://[::1/7",
        "https://a b",
    ):
        monkeypatch.setenv("METERWATCH_WEBHOOK_URL", wrong)
        with pytest.raises(SettingsError, match="METERWATCH_WEBHOOK_URL is not of the form"):
            load()


def test_events_may_go_to_no_topic_but_not_to_that_of_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERWATCH_KAFKA_EVENTS_TOPIC", "")
    assert load().kafka_events_topic == ""
    monkeypatch.setenv("METERWATCH_KAFKA_EVENTS_TOPIC", "first")
    with pytest.raises(SettingsError, match="METERWATCH_KAFKA_TOPIC are both first"):
        load()


@pytest.mark.parametrize("name", ["DATABASE_URL", "SERVICE_URL", "WEBHOOK_URL", "KAFKA_SECURITY", "API_KEYS_FILE"])
def test_an_empty_value_is_the_default_where_that_is_empty(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = load()
    monkeypatch.setenv(PREFIX + name, "")
    assert load() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "0"), ("PORT", "65536"), ("KAFKA_BOOTSTRAP_SERVERS", "here"), ("LOG_LEVEL", "loud"),
     ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:99999"), ("TRIGGER_SECONDS", "nan"), ("KAFKA_TOPIC", "a b"),
     ("ENERGY_PRICE", "inf"), ("TIMEZONE", "Europe/Pari"), ("TIMEZONE", "../UTC"), ("TIMEZONE", "+25:00"),
     ("MAX_OFFSETS_PER_TRIGGER", "0"), ("SERVICE_URL", "localhost:8000"), ("SERVICE_URL", "http://a:1,"),
     ("SERVICE_URL", "http://a..b"), ("SERVICE_URL", "http://a:99999"), ("SERVICE_URL", "http://a/?b"),
     ("RETENTION_DAYS", "-1"), ("STREAM_METRICS_PORT", "8000")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=PREFIX + name) as caught:
        load()
    assert "\n" not in str(caught.value)


@given(minutes=st.integers(-14 * 60, 14 * 60), colon=st.sampled_from(["", ":"]))
def test_every_fixed_offset_is_a_zone_under_one_spelling(minutes: int, colon: str) -> None:
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    settings = Settings(timezone=f"{sign}{hours:02d}{colon}{rest:02d}")
    assert settings.timezone == f"{sign}{hours:02d}:{rest:02d}"
    assert zone_of(settings.timezone).utcoffset(None) == dt.timedelta(minutes=minutes)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []
