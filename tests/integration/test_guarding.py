"""What a stranger may not do: keep connections open, send for ever, wait in an endless line, write into the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response
from starlette.testclient import TestClient

from meterwatch import status
from meterwatch.logs import configure
from meterwatch.settings import Settings
from serving import connection, guard, keys
from serving.app import create_app
from serving.client import AsyncClient, ServiceRefused, ServiceUnavailable
from serving.metrics import Metrics
from serving.problems import Problem, respond
from serving.routes import meters
from tests.instances import PATIENCE, wait_for
from tests.served import Found, listening
from tests.stored import store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

HOSTILE = ["'; DROP TABLE power_data; --", "<script>alert(1)</script>", "a\nERROR forged", '"}\nup 1', "\u202e\x00"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the service at `address`."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def address(run_dir: Path, bundle: Path) -> Iterator[tuple[str, int]]:
    """A service in a thread, on its own kind of connection."""
    app = create_app(Settings(run_dir=run_dir), find_champion=lambda: Found("3", bundle))
    with listening(app) as port:
        yield "127.0.0.1", port


def a_byte_at_a_time(address: tuple[str, int], head: bytes) -> bytes:
    """Send a byte every 20 ms until the service has had enough; what it said."""
    begun = time.monotonic()
    with socket.create_connection(address, PATIENCE) as caller:
        caller.sendall(head)
        caller.settimeout(0.02)
        while time.monotonic() - begun < PATIENCE:
            try:
                caller.sendall(b"a")
                said = caller.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return b""
            return said
    raise AssertionError("the service waited for ever")


def test_a_head_that_trickles_in_ends(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    assert a_byte_at_a_time(address, b"") == b""
    assert a_byte_at_a_time(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""


def test_a_body_that_trickles_in_ends(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    said = a_byte_at_a_time(address, head)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said.lower()


def test_others_are_answered_meanwhile_on_kept_connections(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that rests between two requests is not a slow one."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(a_byte_at_a_time, address, b"GET / HTTP/1.1\r\n")
        while not slow.done():
            assert client.get("/healthz").status_code == 200
        threading.Event().wait(0.5)
        assert client.get("/healthz").status_code == 200


def question(meter_id: str = "m", power: Any = 1.0) -> list[dict[str, Any]]:
    return [{"meter_id": meter_id, "readings": [{"at": "2009-01-01T00:00:00Z", "active_power_kw": power}]}]


def test_the_client_for_an_event_loop(address: tuple[str, int]) -> None:
    async def ask() -> list[str]:
        async with AsyncClient("http://{}:{}".format(*address)) as client:
            with pytest.raises(ServiceRefused, match="active_power_kw"):
                await client.score(question(power="much"))
            told = await asyncio.gather(*(client.score(question(f"m{k}")) for k in range(20)))
        async with AsyncClient("http://127.0.0.1:1", attempts=2) as client:
            with pytest.raises(ServiceUnavailable):
                await client.score(question())
        return [one["meters"][0]["meter_id"] for one in told]

    assert asyncio.run(ask()) == [f"m{k}" for k in range(20)]


@pytest.fixture
def service(tmp_path: Path, bundle: Path) -> Iterator[TestClient]:
    with TestClient(
        create_app(Settings(run_dir=tmp_path), find_champion=lambda: Found("3", bundle)), raise_server_exceptions=False
    ) as client:
        yield client


@pytest.mark.parametrize(("limit", "most"), [("AT_ONCE", 0), ("BYTES_AT_ONCE", 10)])
def test_beyond_what_it_can_hold_callers_are_asked_to_come_back(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(guard, limit, most)
        answer = service.post("/v1/score", json={"meters": question()})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert service.get("/healthz").status_code == 200
    assert service.post("/v1/score", json={"meters": question()}).status_code == 200


def test_keys_that_cannot_be_read_let_nobody_in(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "keys.json"
    key = keys.add(path, "ada", "admin")
    app = create_app(Settings(run_dir=tmp_path, api_keys_file=path), find_champion=lambda: Found("1", bundle))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/meters").status_code == 200
        path.unlink()
        answer = client.get("/v1/meters")
        assert answer.status_code == 503
        assert str(tmp_path) not in answer.text
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("name", HOSTILE)
def test_a_meters_name_is_a_name_and_nothing_else(service: TestClient, name: str) -> None:
    told = service.post("/v1/score", json={"meters": question(name)}).json()
    assert told["meters"][0]["meter_id"] == name
    for part in ("", "/readings", "/explain?at=2009-01-01T00:00:00Z"):
        answer = service.get(f"/v1/meters/{quote(name, safe='')}{part}")
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"


def test_every_meter_can_be_reached_by_its_name(address: tuple[str, int], run_dir: Path) -> None:
    draw = random.Random(1)
    names = {"".join(draw.choices("/%.?#&+; 2FfEé☃\\\n", k=draw.randint(1, 6))) for _ in range(30)}
    names |= {"a/b", "a/readings", "a%2Fb", "..", "/", "events"}
    for name in names:  # all before the first is read
        store(run_dir / "meterwatch.db", name, np.array([1_200_000_000]), np.ones((7, 1)))
    url = "http://{}:{}".format(*address)
    with httpx.Client(base_url=url) as client:
        for name in names:
            told = status.explain(Settings(run_dir=run_dir, service_url=f"{url}/"), name, "2008-01-10T21:20:00Z")
            path = f"/v1/meters/{quote(name, safe='').replace('.', '%2E')}"
            assert (told["meter_id"], client.get(path).json()["meter_id"]) == (name, name)
            for part in ("readings", "verdicts"):
                assert [row["at"] for row in client.get(f"{path}/{part}").json()[part]] == [told["at"]]
            assert client.get(f"{path}/events").json()["events"] == []


def test_prometheus_reads_the_metrics_and_no_caller_makes_them_grow(service: TestClient) -> None:
    def labels() -> set[tuple[str, str]]:
        return {
            (sample.name, str(sorted(sample.labels.items())))
            for family in text_string_to_metric_families(service.get("/metrics").text)
            for sample in family.samples
        }

    def ask(tag: str) -> None:
        service.post("/v1/score", json={"meters": question(tag)})
        for path in (f"/v1/meters/{tag}", f"/{tag}", f"/v1/meters/{tag}/explain?at=x"):
            service.get(path)
        service.request(f"X{tag}".upper(), "/v1/score")

    labels()
    ask("first")
    before = labels()
    for k in range(30):
        ask(f"other{k}")
    assert labels() == before
    assert {"meterwatch_readings_total", "meterwatch_model_info"} <= {name for name, _ in before}


def test_a_log_record_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        configure(Settings())
        for name in HOSTILE:
            logging.getLogger("meterwatch.service").error("%s failed", name)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == len(HOSTILE)
    assert "\\nERROR forged" in said


def test_no_answer_tells_how_the_program_looks_inside(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"{tmp_path}/secret")

    monkeypatch.setattr("serving.jsontext.decode", broken)
    answer = service.post("/v1/score", json={"meters": question()})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


@pytest.fixture
def guarded(tmp_path: Path, bundle: Path) -> Iterator[TestClient]:
    """A service with a key file, `keys.json` of `tmp_path`, that holds one key."""
    path = tmp_path / "keys.json"
    keys.add(path, "first", "read")
    app = create_app(Settings(run_dir=tmp_path, api_keys_file=path), find_champion=lambda: Found("1", bundle))
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


def test_a_login_goes_by_the_file_as_it_is_now(guarded: TestClient, tmp_path: Path) -> None:
    """Also where nothing else has asked for a key meanwhile."""
    path = tmp_path / "keys.json"
    key = keys.add(path, "ada", "read")
    assert guarded.post("/login", data={"key": key}).status_code == 303
    assert keys.revoke(path, key.split("_")[1])
    assert guarded.post("/login", data={"key": key}).status_code == 401
    path.unlink()
    assert guarded.post("/login", data={"key": key}).status_code == 503


def test_who_reads_the_key_file_can_make_no_login(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = keys.add(path, "ada", "admin")
    mine, another = keys.Keys(path), keys.Keys(path)
    cookie = another.session(key)
    assert another.of_session(cookie) is not None
    assert mine.of_session(cookie) is None  # all that the file holds is not enough
    (held,) = keys.load(path)
    number, until, _ = cookie.split(".")
    forged = hmac.new(bytes.fromhex(held["hash"]), f"{number}.{until}".encode(), hashlib.sha256).hexdigest()
    assert mine.of_session(f"{number}.{until}.{forged}") is None
    keys.revoke(path, number)
    assert another.of_session(cookie) is None


def test_a_login_is_found_among_the_cookies_of_other_programs(guarded: TestClient, tmp_path: Path) -> None:
    key = keys.add(tmp_path / "keys.json", "ada", "read")
    cookie = guarded.post("/login", data={"key": key}).headers["set-cookie"].partition(";")[0]
    guarded.cookies.clear()
    for others in ('prefs={"a":1}; ', "odd; a b=c; =; ", ""):
        assert guarded.get("/v1/meters", headers={"Cookie": others + cookie}).status_code == 200


def test_a_body_whose_request_was_answered_ends(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered by its head alone need not be listened to for ever."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with socket.create_connection(address, PATIENCE) as caller:
        caller.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 1000\r\n\r\n"
        )
        assert caller.recv(4096).startswith(b"HTTP/1.1 403 ")
        caller.sendall(b"a")
        while caller.recv(4096):
            pass


def test_a_large_body_that_is_refused_hears_why(address: tuple[str, int]) -> None:
    """Also a caller who sends all of it before listening, and the connection serves on."""
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        large = client.post("/v1/score", content=b"a" * 8_000_000, headers={"Sec-Fetch-Site": "cross-site"})
        assert large.status_code == 403
        assert client.get("/healthz").status_code == 200


def test_a_login_leads_back_to_the_whole_address(guarded: TestClient, tmp_path: Path) -> None:
    wanted = "/meter?meter=a%26b&range=1d"
    asked = guarded.get(wanted, headers={"Accept": "text/html"})
    assert asked.status_code == 303
    key = keys.add(tmp_path / "keys.json", "ada", "read")
    assert guarded.post(asked.headers["location"], data={"key": key}).headers["location"] == wanted


@pytest.mark.parametrize(("piece", "code"), [(120_000, 200), (1_000, 408)])
def test_a_slow_line_is_no_trickle(piece: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """85 pieces of a body, one a second of the loop's clock."""
    loop, ahead, codes = asyncio.new_event_loop(), 0, []
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)

    async def receive() -> Message:
        nonlocal ahead
        ahead += 1
        for _ in range(3):
            await asyncio.sleep(0)  # time is up only for who waits
        return {"type": "http.request", "body": bytes(piece), "more_body": ahead < 85}

    async def send(message: Message) -> None:
        codes.append(message.get("status"))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["more_body"]:
                pass
            answer = Response()
        except Problem as problem:
            answer = respond(problem)
        await answer(scope, receive, send)

    scope = {"type": "http", "method": "POST", "path": "/v1/readings", "query_string": b"", "headers": []}
    loop.run_until_complete(guard.Guard(app, metrics=Metrics(), keys=None)(scope, receive, send))
    loop.close()
    assert codes[0] == code


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("192.0.2.1", False),
        ("[", False),
    ],
)
def test_without_keys_no_other_name_is_answered(
    service: TestClient, guarded: TestClient, host: str, *, is_here: bool
) -> None:
    """A page whose own name was made to lead here would else be read as one of the same site."""
    answer = service.get("/v1/meters", headers={"Host": host})
    assert answer.status_code == (200 if is_here else 421)
    assert is_here or answer.headers["content-type"] == "application/problem+json"
    assert guarded.get("/healthz", headers={"Host": host}).status_code == 200


def test_explanations_take_turns_and_hold_nothing_else_up(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may read a week into memory: they wait before they read, a few of them, and in no thread of the others."""
    begun, released, inside = threading.Semaphore(0), threading.Event(), []

    def slowly(*_: object, **__: object) -> dict[str, Any]:
        inside.append(1)
        begun.release()
        assert released.wait(PATIENCE)
        return {}

    monkeypatch.setattr(meters, "explain", slowly)
    count = 60
    with ThreadPoolExecutor(count) as pool:
        try:
            asked = [
                pool.submit(service.get, "/v1/meters/m/explain", params={"at": "2009-01-01T00:00:00Z"})
                for _ in range(count)
            ]
            refused = count - meters.EXPLAINED_AT_ONCE - meters.EXPLAINED_WAITING
            wait_for("the rest to be refused", lambda: sum(one.done() for one in asked) == refused)
            assert begun.acquire(timeout=PATIENCE)
            assert len(inside) == meters.EXPLAINED_AT_ONCE
            assert service.get("/v1/meters").status_code == 200
        finally:
            released.set()
        answers = [one.result() for one in asked]
    assert sorted(one.status_code for one in answers) == [200] * (count - refused) + [503] * refused
    assert all(one.headers["retry-after"] == "1" for one in answers if one.status_code == 503)
