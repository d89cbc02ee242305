"""How an instance is doing: the ledger, the topic, the service and the processes, asked one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meterwatch.kafka import client_config
from meterwatch.processes import processes
from meterwatch.storage import models, outbox, queries

if TYPE_CHECKING:
    from meterwatch.kafka import Topic
    from meterwatch.settings import Settings

BROKER_SECONDS = 3.0
EXPLAIN_SECONDS = 120.0  # a replay of a week of seconds takes some


class AskError(Exception):
    """The running service could not be asked, or refused; the message says why."""


def status(settings: Settings) -> dict[str, Any]:
    """Look at everything that can be looked at; what is away is None.

    Returns:
        `lag` (records on the topic that the ledger has not accounted for), the ledger's counts, `events`, `anomalous`,
        `newest_at`, `model_version` (the champion), `partitions` with how far each is read, whether broker and service
        answer, `replicas` with the model that judges at each address, `alerts` (for each receiver how many changes of
        events `waiting` to be told, and the last `fault`), and `processes` with their ids.
    """
    from streaming.accounts import counts, progress

    topic = _topic(settings)
    champion, judging = models.champion(settings), _judging(settings)
    with queries.reading(settings) as db:
        newest_at = queries.newest_at(db)
        alerts = outbox.standing(db)
    return {
        "run_dir": str(settings.run_dir),
        "broker": "answers" if topic is not None else "away",
        "service": "ready" if any(judging.values()) else "away",
        "service_url": settings.service_url,
        "replicas": [{"url": url, "model_version": version} for url, version in judging.items()],
        "model_version": champion.version if champion else None,
        **counts(settings, topic),
        "newest_at": newest_at,
        "retention_days": settings.retention_days,
        "alerts": alerts,
        "partitions": progress(settings, topic),
        "processes": [{"name": part.name, "id": part.pid} for part in processes(settings)],
    }


def model(settings: Settings, version: str | None = None) -> dict[str, Any]:
    """A registered version with the lineage that its bundle carries; the champion where none is named.

    Raises:
        AskError: there is no such version.
    """
    known = models.versions(settings)
    found = next(
        (one for one in known if (models.CHAMPION in one.aliases if version is None else one.version == version)), None
    )
    if found is None:
        raise AskError(f"there is no {f'version {version}' if version else 'champion'}; `meterwatch models list` shows "
                       "what there is, `dvc repro` makes one")  # fmt: skip
    files = {name: found.bundle_dir / f"{name}.json" for name in ("manifest", "lineage")}
    told = {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}
    shown = {"version": found.version, "aliases": sorted(found.aliases), "run_id": found.run_id}
    gate = {"why": found.gate or None, "passed": json.loads(found.tags.get(models.GATE_PASSED, "null")),
            "checks": json.loads(found.tags.get(models.GATE_CHECKS, "[]"))}  # fmt: skip
    decisions = json.loads(found.tags.get(models.DECISIONS, "[]"))
    return {**shown, "gate": gate, "decisions": decisions, "bundle_dir": str(found.bundle_dir), **told}


def explain(settings: Settings, meter_id: str, at: str, *, replay: bool = False) -> dict[str, Any]:
    """Ask the running service why a reading was judged so; with `replay` also to compare with a new computation.

    Raises:
        AskError: the service is away, or knows no such reading.
    """
    import httpx

    from serving.client import bearer

    ready = [url for url, version in _judging(settings).items() if version] if len(settings.service_urls) > 1 else []
    url = f"{(ready or settings.service_urls)[0]}/v1/meters/{_quoted(meter_id)}/explain"
    try:
        answer = httpx.get(
            url, params={"at": at, "replay": replay}, headers=bearer(settings.api_key), timeout=EXPLAIN_SECONDS
        )
        told = answer.json()
    except httpx.RequestError as error:
        raise AskError(f"no service at {settings.service_url} ({error}); start it with `meterwatch serve`") from None
    except ValueError:
        raise AskError(f"{url} is no meterwatch service; check METERWATCH_SERVICE_URL") from None
    if answer.is_error:
        raise AskError(str(told.get("detail") or told.get("title") or answer.reason_phrase))
    found: dict[str, Any] = told
    return found


def _quoted(meter_id: str) -> str:
    from urllib.parse import quote

    return quote(meter_id, safe="").replace(".", "%2E")  # a part `..` would lead to another address


def _topic(settings: Settings) -> Topic | None:
    """The topic as the broker has it; None when nobody answers."""
    from streaming.errors import BrokerAwayError
    from streaming.ledger import describe

    try:
        return describe(client_config(settings), settings.kafka_topic, timeout=BROKER_SECONDS)
    except BrokerAwayError:
        return None


def _judging(settings: Settings) -> dict[str, str | None]:
    """The version that judges at each address; None where nobody is ready."""
    from serving.client import Client

    with Client(settings.service_urls) as client:
        return client.models()
