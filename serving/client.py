"""Talks to the scoring service: the client that applications and the stream use.

client = Client("http://127.0.0.1:8000")
answer = client.score([{"meter_id": "m", "state": None, "profile": None, "readings": [
    {"at": "2007-11-01T00:00:00Z", "active_power_kw": 1.3}]}])
meter = answer["meters"][0]
print(meter["verdicts"], meter["state"])  # send the state with the meter's next readings
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx
import orjson
import pyarrow as pa
import stamina

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
ATTEMPTS = 3
PAUSES: dict[str, Any] = {"timeout": None, "wait_initial": 0.1}  # between tries, growing, with jitter
ANSWERED = frozenset({"meter_id", "state", "profile", "verdicts", "events"})
NO_ANSWER = "what answers is no scoring service, or its answer was cut short"
LONGEST_WAIT = 10.0  # seconds that a service's Retry-After is followed


class ServiceUnavailable(Exception):  # noqa: N818 - names what is the case, as HTTP does
    """The service is away, busy or without a model: the same request may succeed later."""

    def __init__(self, fact: str, retry_after: float | None = None) -> None:
        super().__init__(fact)
        self.retry_after = retry_after


class ServiceRefused(Exception):  # noqa: N818
    """The service will not answer this request, now or later; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        told = problem.get("detail") or problem.get("title") or "no reason given"
        faults = [error for error in problem.get("errors", []) if str(error.get("detail")) not in told]
        where = "; ".join(f"{error.get('path')}: {error.get('detail')}" for error in faults)
        super().__init__(f"{status} {told}" + (f" ({where})" if where else ""))
        self.status = status
        self.problem = problem


class Client:
    """One service; safe to share between threads.

    Scoring is a pure function, so it is asked again, with jitter, when the service is away for a moment.

    Args:
        base_url: as `http://127.0.0.1:8000`.
        api_key: sent as bearer token.
        timeout: seconds for one attempt; a bulk request of 200,000 readings takes a second or two.
        attempts: tries a request; 1 for a caller that has its own patience.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, *, timeout: float = 120.0, attempts: int = ATTEMPTS
    ) -> None:
        self._http = httpx.Client(base_url=base_url, headers=bearer(api_key), timeout=_timeout(timeout))
        self._attempts = attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        self._http.close()

    def alive(self) -> bool:
        """Whether anything answers, within a second."""
        try:
            self._http.get("/healthz", timeout=1.0)
        except httpx.TransportError:
            return False
        return True

    def ready(self) -> bool:
        """Whether the service has a model and can read its database."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def score(self, meters: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Score the readings of some meters, as `POST /v1/score` takes them.

        Returns:
            The answer: `model_version`, and for each meter its new `state`, its `profile` (None: unchanged, keep the
            one you have), `verdicts` and `events`.

        Raises:
            ServiceUnavailable: the service is away, busy or without a model.
            ServiceRefused: a value or a state is not acceptable; the message says where.
        """
        return _object(self._score(orjson.dumps({"meters": list(meters)}), JSON), self._http.base_url)

    def score_table(self, table: pa.Table) -> pa.Table:
        """Score one row a meter: meter_id, state, profile, readings (a list of structs).

        Returns:
            One row a meter, in the same order: meter_id, state, profile (null: unchanged), verdicts, events. The
            schema's metadata names the `model_version`.

        Raises:
            ServiceUnavailable: as `score`.
            ServiceRefused: as `score`.
        """
        return _table(self._score(_stream(table), ARROW), self._http.base_url)

    def _score(self, body: bytes, kind: str) -> bytes:
        for attempt in stamina.retry_context(on=_patience, attempts=self._attempts, **PAUSES):
            with attempt, _reaching(self._http.base_url):
                return _content(self._http.post("/v1/score", content=body, headers=_accepting(kind)))
        raise AssertionError("unreachable: the last attempt raises")


class AsyncClient:
    """`Client` for an event loop: the same calls, awaited; for `async with`."""

    def __init__(
        self, base_url: str, api_key: str | None = None, *, timeout: float = 120.0, attempts: int = ATTEMPTS
    ) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, headers=bearer(api_key), timeout=_timeout(timeout))
        self._attempts = attempts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        await self._http.aclose()

    async def score(self, meters: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """As `Client.score`."""
        return _object(await self._score(orjson.dumps({"meters": list(meters)}), JSON), self._http.base_url)

    async def score_table(self, table: pa.Table) -> pa.Table:
        """As `Client.score_table`."""
        return _table(await self._score(_stream(table), ARROW), self._http.base_url)

    async def _score(self, body: bytes, kind: str) -> bytes:
        async for attempt in stamina.retry_context(on=_patience, attempts=self._attempts, **PAUSES):
            with attempt, _reaching(self._http.base_url):
                return _content(await self._http.post("/v1/score", content=body, headers=_accepting(kind)))
        raise AssertionError("unreachable: the last attempt raises")


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key; none without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=5.0)


def _accepting(kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "Accept": f"{kind}, application/problem+json"}


@contextmanager
def _reaching(url: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise ServiceUnavailable(f"{url}: {error or type(error).__name__}") from error


def _content(response: httpx.Response) -> bytes:
    if response.status_code == httpx.codes.OK:
        return response.content
    if response.status_code in TRY_AGAIN:
        told = str(_problem(response).get("detail", response.reason_phrase))
        raise ServiceUnavailable(told, _seconds(response.headers))
    raise ServiceRefused(response.status_code, _problem(response))


def _object(content: bytes, url: httpx.URL) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ServiceUnavailable(f"{url}: {NO_ANSWER}: {error}") from error
    return answer


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(content: bytes, url: httpx.URL) -> pa.Table:
    try:
        with pa.ipc.open_stream(content) as reader:
            told = reader.read_all()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ServiceUnavailable(f"{url}: {NO_ANSWER}: {error}") from error
    if not set(told.column_names) >= ANSWERED or b"model_version" not in (told.schema.metadata or {}):
        raise ServiceUnavailable(f"{url}: {NO_ANSWER}")
    return told


def _patience(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, ServiceUnavailable):
        return False
    return True if error.retry_after is None else min(error.retry_after, LONGEST_WAIT)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    return body if isinstance(body, dict) else {"detail": f"{response.reason_phrase} (not an answer of this service)"}


def _seconds(headers: httpx.Headers) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
