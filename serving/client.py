"""Talks to the scoring service: the client that applications and the stream use.

client = Client("http://127.0.0.1:8000")
answer = client.score([{"meter_id": "m", "state": None, "profile": None, "readings": [
    {"at": "2007-11-01T00:00:00Z", "active_power_kw": 1.3}]}])
meter = answer["meters"][0]
print(meter["verdicts"], meter["state"])  # send the state with the meter's next readings

Of several addresses each takes its turn, and where one is away, hangs or is at fault, the next is asked.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import orjson
import pyarrow as pa
import stamina

from serving.replicas import READY, Replicas, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    Asking = Generator[dict[str, Any], httpx.Response, "T"]

__all__ = ["ARROW", "AsyncClient", "Client", "ServiceRefused", "ServiceUnavailable", "bearer"]

T = TypeVar("T")
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
TRY_AGAIN = frozenset({408, 429, 502, 503, 504})
ATTEMPTS = 3
PAUSES: dict[str, Any] = {"timeout": None, "wait_initial": 0.1}  # between tries, growing, with jitter
ANSWERED = frozenset({"meter_id", "state", "profile", "verdicts", "events"})
NO_ANSWER = "what answers is no scoring service, or its answer was cut short"
LONGEST_WAIT = 10.0  # seconds that a service's Retry-After is followed


class Client:
    """One service, at one address or at several; safe to share between threads.

    Scoring is a pure function, so it is asked again, with jitter, when the service is away for a moment.

    Args:
        urls: as `http://127.0.0.1:8000`, or several of them.
        api_key: sent as bearer token.
        timeout: seconds for one attempt; a bulk request of 200,000 readings takes a second or two.
        attempts: tries a request, each of all addresses; 1 for a caller that has its own patience.
    """

    def __init__(
        self, urls: str | Sequence[str], api_key: str | None = None, *, timeout: float = 120.0, attempts: int = ATTEMPTS
    ) -> None:
        self._replicas = Replicas([urls] if isinstance(urls, str) else urls)
        self._http = httpx.Client(headers=bearer(api_key))
        self._timeout, self._attempts = timeout, attempts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        self._http.close()

    def alive(self) -> bool:
        """Whether anything answers, within a second."""
        return any(self._get(f"{url}/healthz", 1.0) is not None for url in self._replicas.urls)

    def ready(self) -> bool:
        """Whether the service has a model and can read its database; of several, one of them."""
        return any(self._model(url) is not None for url in self._replicas.urls)

    def models(self) -> dict[str, str | None]:
        """The version of the model that judges at each address; None where none is ready."""
        return {url: self._model(url) for url in self._replicas.urls}

    def score(self, meters: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Score the readings of some meters, as `POST /v1/score` takes them.

        Returns:
            The answer: `model_version`, and for each meter its new `state`, its `profile` (None: unchanged, keep the
            one you have), `verdicts` and `events`.

        Raises:
            ServiceUnavailable: the service is away, busy or without a model.
            ServiceRefused: a value or a state is not acceptable; the message says where.
        """
        return self._score(orjson.dumps({"meters": list(meters)}), JSON, _object)

    def score_table(self, table: pa.Table) -> pa.Table:
        """Score one row a meter: meter_id, state, profile, readings (a list of structs).

        Returns:
            One row a meter, in the same order: meter_id, state, profile (null: unchanged), verdicts, events. The
            schema's metadata names the `model_version`.

        Raises:
            ServiceUnavailable: as `score`.
            ServiceRefused: as `score`.
        """
        return self._score(_stream(table), ARROW, _table)

    def _score(self, body: bytes, kind: str, read: Callable[[str, httpx.Response], T]) -> T:
        for attempt in stamina.retry_context(on=_patience, attempts=self._attempts, **PAUSES):
            with attempt:
                return self._asked(_asking(self._replicas, body, kind, read, self._timeout))
        raise AssertionError("unreachable: the last attempt raises")

    def _asked(self, asking: Asking[T]) -> T:
        step = partial(next, asking)
        try:
            while True:
                call = step()
                try:
                    step = partial(asking.send, self._http.request(**call))
                except httpx.RequestError as error:
                    step = partial(asking.throw, error)
        except StopIteration as end:
            answer: T = end.value
            return answer

    def _get(self, url: str, seconds: float) -> httpx.Response | None:
        try:
            return self._http.get(url, timeout=seconds)
        except httpx.RequestError:
            return None

    def _model(self, url: str) -> str | None:
        response = self._get(f"{url}/readyz", READY)
        if response is None or response.status_code != httpx.codes.OK:
            return None
        return str(_problem(response).get("model_version"))


class AsyncClient:
    """`Client` for an event loop: the same calls, awaited; for `async with`."""

    def __init__(
        self, urls: str | Sequence[str], api_key: str | None = None, *, timeout: float = 120.0, attempts: int = ATTEMPTS
    ) -> None:
        self._replicas = Replicas([urls] if isinstance(urls, str) else urls)
        self._http = httpx.AsyncClient(headers=bearer(api_key))
        self._timeout, self._attempts = timeout, attempts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        await self._http.aclose()

    async def score(self, meters: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """As `Client.score`."""
        return await self._score(orjson.dumps({"meters": list(meters)}), JSON, _object)

    async def score_table(self, table: pa.Table) -> pa.Table:
        """As `Client.score_table`."""
        return await self._score(_stream(table), ARROW, _table)

    async def _score(self, body: bytes, kind: str, read: Callable[[str, httpx.Response], T]) -> T:
        async for attempt in stamina.retry_context(on=_patience, attempts=self._attempts, **PAUSES):
            with attempt:
                return await self._asked(_asking(self._replicas, body, kind, read, self._timeout))
        raise AssertionError("unreachable: the last attempt raises")

    async def _asked(self, asking: Asking[T]) -> T:
        step = partial(next, asking)
        try:
            while True:
                call = step()
                try:
                    step = partial(asking.send, await self._http.request(**call))
                except httpx.RequestError as error:
                    step = partial(asking.throw, error)
        except StopIteration as end:
            answer: T = end.value
            return answer


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key; none without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def _asking(
    replicas: Replicas, body: bytes, kind: str, read: Callable[[str, httpx.Response], T], timeout: float
) -> Asking[T]:
    headers = {"Content-Type": kind, "Accept": f"{kind}, application/problem+json"}
    return replicas.ask("/v1/score", read, timeout, {"method": "POST", "content": body, "headers": headers})


def _content(url: str, response: httpx.Response) -> bytes:
    if response.status_code == httpx.codes.OK:
        return response.content
    if response.status_code in TRY_AGAIN:
        told = str(_problem(response).get("detail", response.reason_phrase))
        raise ServiceUnavailable(f"{url}: {told}", _seconds(response.headers))
    raise ServiceRefused(response.status_code, _problem(response))


def _object(url: str, response: httpx.Response) -> dict[str, Any]:
    try:
        answer = orjson.loads(_content(url, response))
    except orjson.JSONDecodeError as error:
        raise ServiceUnavailable(f"{url}: {NO_ANSWER}: {error}") from error
    if not isinstance(answer, dict):
        raise ServiceUnavailable(f"{url}: {NO_ANSWER}")
    return answer


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(url: str, response: httpx.Response) -> pa.Table:
    try:
        with pa.ipc.open_stream(_content(url, response)) as reader:
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
    return float(value) if value.isdecimal() else None
