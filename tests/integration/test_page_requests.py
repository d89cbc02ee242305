"""What the pages' own addresses answer to a request that no browser sends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from meterwatch.settings import Settings
from serving.app import create_app
from serving.dashboard import callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPDATE = "/_dash-update-component"
PAGE = "..page.children...nav.children...steady.data.."
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings(run_dir=tmp_path), find_champion=lambda: None)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def part(name: str, prop: str, value: Any = None) -> dict[str, Any]:
    return {"id": name, "property": prop, "value": value}


def page(path: str, search: str = "") -> dict[str, Any]:
    """What a browser asks when its address changes."""
    return {
        "output": PAGE,
        "outputs": [part("page", "children"), part("nav", "children"), part("steady", "data")],
        "inputs": [part("url", "pathname", path), part("url", "search", search), part("again", "data")],
        "state": [part("steady", "data")],
        "changedPropIds": ["url.pathname"],
    }


def is_problem(answer: Any, code: int) -> bool:
    return answer.status_code == code and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"xx", b"\xff", b"[]", b"{}", b"[" * 5000, b'{"output": []}', b'{"output": "x", "inputs": [1]}',
        b'{"output": "..page.children..", "outputs": [], "inputs": [], "changedPropIds": []}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_malformed_body_is_told(service: TestClient, body: bytes, kind: str) -> None:
    assert is_problem(service.post(UPDATE, content=body, headers={"Content-Type": kind}), 400)


def test_what_the_guard_refuses_while_reading_is_told(service: TestClient) -> None:
    pieces = (bytes(1024) for _ in range(2048))
    assert is_problem(service.post(UPDATE, content=pieces, headers=JSON), 413)


@pytest.mark.parametrize(
    ("path", "search", "said"),
    [("/", "", "meterwatch up"), ("/x", "", "no such page"), ("/meter", "?at=zzz", "is not a time")],
)
def test_any_address_is_answered_with_a_page(service: TestClient, path: str, search: str, said: str) -> None:
    answer = service.post(UPDATE, json=page(path, search))
    assert answer.status_code == 200
    assert said.lower() in answer.text.lower()


def test_an_explanation_at_no_time_leaves_the_card_as_it_is(service: TestClient) -> None:
    asked = {
        "output": "explanation.children",
        "outputs": part("explanation", "children"),
        "inputs": [part("explained", "data", None)],
        "state": [part("url", "search", "?at=zzz")],
        "changedPropIds": ["explained.data"],
    }
    answer = service.post(UPDATE, json=asked)
    assert (answer.status_code, answer.json()["response"]) == (200, {})


def test_a_fault_of_the_program_is_told_and_logged(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(callbacks, "_page", broken)
    with caplog.at_level(logging.ERROR, "meterwatch.service"):
        answer = service.post(UPDATE, json=page("/"))
    assert is_problem(answer, 500)
    assert "secret" not in answer.text
    assert UPDATE in caplog.text
    assert "secret" in caplog.text


def test_a_file_that_is_not_there_is_not_found(service: TestClient) -> None:
    assert is_problem(service.get("/_dash-component-suites/nobody/x.js"), 404)
    assert is_problem(service.get("/_dash-component-suites/dash/x.js"), 404)
    assert is_problem(service.post("/"), 405)
