"""Which replica is asked, and when: a property over any mixture of those that answer, refuse, hang and are away."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving import replicas
from serving.client import AsyncClient, Client, _object
from serving.replicas import FIRST_REST, HANGS, LONGEST_REST, Replicas, ServiceRefused, ServiceUnavailable
from tests.faulty import faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWERS = {"sound": 200, "fails": 500, "busy": 503, "older": 422}
KINDS = st.sampled_from([*ANSWERS, "away", "hangs", "not ready"])


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Now."""
        return self.now


class Town:
    """Replicas of these kinds, and a caller."""

    def __init__(self, kinds: Sequence[str], clock: Clock) -> None:
        self.kinds = dict(zip(map(str, range(len(kinds))), kinds, strict=True))
        self.clock = clock
        self.replicas = Replicas(self.kinds)

    def ask(self) -> tuple[Any, Counter[str], Counter[str]]:
        """The answer or what was raised; who was asked to score, who whether it is ready."""
        scored: Counter[str] = Counter()
        looked: Counter[str] = Counter()
        asking = self.replicas.ask("/score", _object, 120.0, {"method": "POST"})
        step: Any = None
        try:
            call = next(asking)
            while True:
                name, _, path = call["url"].partition("/")
                (scored if path == "score" else looked)[name] += 1
                step = self._answer(self.kinds[name], path, call["timeout"])
                call = asking.throw(step) if isinstance(step, Exception) else asking.send(step)
        except StopIteration as end:
            return end.value, scored, looked
        except (ServiceRefused, ServiceUnavailable) as error:
            return error, scored, looked

    def _answer(self, kind: str, path: str, timeout: Any) -> httpx.Response | Exception:
        if kind == "hangs":
            self.clock.now += timeout if isinstance(timeout, float) else timeout.read
            return httpx.ReadTimeout("timed out")
        if kind == "away" or (kind == "not ready" and path == "score"):
            return httpx.ConnectError("refused")
        if path == "readyz":
            return httpx.Response(503 if kind == "not ready" else 200)
        return httpx.Response(ANSWERS[kind], content=orjson.dumps({"kind": kind}))


@settings(deadline=None)
@given(st.lists(KINDS, min_size=1, max_size=5), st.lists(st.floats(0, 40), max_size=8))
@example(["sound", "hangs"], [])
def test_whoever_is_sound_answers_whatever_the_others_do(kinds: list[str], pauses: list[float]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "time", clock)
        town = Town(kinds, clock)
        for pause in [0.0, *pauses]:
            clock.now += pause
            begun = clock.now
            answer, scored, looked = town.ask()
            if "sound" in kinds:
                assert answer == {"kind": "sound"}
                assert clock.now - begun <= len(kinds) * HANGS
            elif "older" in kinds:
                assert isinstance(answer, ServiceRefused)
                assert answer.status == 422
            else:
                assert isinstance(answer, ServiceUnavailable | ServiceRefused)
            assert max([*scored.values(), *looked.values()]) == 1


STRANGE = ["[]", "null", '{"errors": null}', '{"errors": ["x"]}', '{"errors": {"a": 1}, "detail": 5}', "no gzip"]


@pytest.mark.parametrize("status", [200, 422, 503])
@pytest.mark.parametrize("body", STRANGE)
def test_whatever_a_stranger_answers_is_unavailable_or_refused(status: int, body: str) -> None:
    """Damaged in a way that httpx notices while it reads, too."""
    head = [(b"Retry-After", b"\xb2"), (b"Content-Encoding", b"gzip" if body == "no gzip" else b"identity")]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=head, stream=httpx.ByteStream(body.encode()))

    client = Client("http://x", attempts=1)
    client._http = httpx.Client(transport=httpx.MockTransport(answer))
    with suppress(ServiceUnavailable, ServiceRefused):
        assert isinstance(client.score([]), dict)


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(1, 4))
def test_those_that_are_well_take_turns(count: int, rounds: int) -> None:
    town = Town(["sound"] * count, Clock())
    asked: Counter[str] = Counter()
    for _ in range(rounds * count):
        _, scored, looked = town.ask()
        asked += scored
        assert not looked
    assert set(asked.values()) == {rounds}


@pytest.mark.parametrize("kind", ["away", "hangs", "fails", "busy", "older"])
def test_a_sick_one_is_left_alone_looked_at_seldom_and_taken_back(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    clock = Clock()
    monkeypatch.setattr(replicas, "time", clock)
    town = Town(["sound", kind], clock)
    while town.ask()[1]["1"] == 0:
        pass
    assert town.ask()[1:] == (Counter("0"), Counter())  # remembered
    town.kinds["1"] = "hangs"
    looks = 0
    for _ in range(600):
        clock.now += 0.5
        answer, scored, looked = town.ask()
        assert (answer, scored["1"]) == ({"kind": "sound"}, 0)
        looks += looked["1"]
    assert 300 / (LONGEST_REST + 2) - 2 <= looks <= 300 / LONGEST_REST + LONGEST_REST / FIRST_REST
    town.kinds["1"] = "sound"
    clock.now += LONGEST_REST + 1
    town.ask()
    assert sum((town.ask()[1] for _ in range(10)), Counter()) == Counter({"0": 5, "1": 5})


def test_requests_that_fail_together_are_one_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were on their way when it died, it is looked at again after the first rest."""
    clock = Clock()
    monkeypatch.setattr(replicas, "time", clock)
    two = Replicas(["a", "b"])
    asking = [two.ask("/score", _object, 120.0, {"method": "POST"}) for _ in range(16)]
    calls = [next(one) for one in asking]
    for one, call in zip(asking, calls, strict=True):
        clock.now += 0.01
        if call["url"] == "a/score":
            assert one.throw(httpx.ConnectError("refused"))["url"] == "b/score"
    clock.now += FIRST_REST
    looks = [next(two.ask("/score", _object, 120.0, {"method": "POST"}))["url"] for _ in range(3)]
    assert looks == ["a/readyz", "b/score", "b/score"]


def test_both_clients_go_elsewhere_over_real_sockets() -> None:
    """One closes the connection, one answers a page, one is of another mind; the fourth is asked."""

    class Sound:
        content, status_code, headers = (
            b'{"model_version": "7"}',
            200,
            httpx.Headers({"content-type": "application/json"}),
        )

        def post(self, *_: object, **__: object) -> Sound:
            return self

        def close(self) -> None:
            """Nothing to do."""

    async def awaited(urls: list[str]) -> dict[str, Any]:
        async with AsyncClient(urls, attempts=1) as client:
            return await client.score([])

    with faulty("http://x") as one, faulty("http://x") as two, faulty("http://x") as three, faulty("http://x") as four:
        urls = [server.url for server in (one, two, three, four)]
        for server in (one, two, three, four):
            server.behind = Sound()  # type: ignore[assignment]
        for ask in (lambda: Client(urls, attempts=1).score([]), lambda: asyncio.run(awaited(urls))):
            for server, fault in ((one, "closed"), (two, "page"), (three, "422")):
                server.faults[:] = [fault]
            for _ in range(4):
                assert ask() == {"model_version": "7"}
