"""A scoring service that is at fault as often as told, and otherwise passes everything on to a real one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ARROW = "application/vnd.apache.arrow.stream"
FAULTS = ("500", "503", "page", "other table", "half", "closed")


class Faulty(ThreadingHTTPServer):
    """Listens on loopback; each request to score takes the next of `faults`, `hangs` until it is told not to."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = httpx.Client(base_url=behind, timeout=60)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.faults: list[str] = []
        self.asked = 0
        self.over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Faulty

    def do_POST(self) -> None:
        """Score, or not."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "closed":
            self.close_connection = True
        elif fault == "hangs":
            self.server.over.wait()
        elif fault is not None and fault.isdigit():
            self._answer(int(fault), b'{"title": "at fault"}', "application/problem+json")
        elif fault == "page":
            self._answer(200, b"<html>a page of somebody else</html>", "text/html")
        elif fault == "other table":
            self._answer(200, _table(), ARROW)
        else:
            answer = self.server.behind.post(self.path, content=body, headers={"Content-Type": ARROW, "Accept": ARROW})
            content = answer.content[: len(answer.content) // 2] if fault == "half" else answer.content
            self._answer(answer.status_code, content, answer.headers["content-type"])

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Not a word."""


def _table() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@contextmanager
def listening(server: ThreadingHTTPServer, over: threading.Event) -> Iterator[None]:
    """The server answers until the end of the block, where `over` lets go what hangs."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@contextmanager
def faulty(behind: str, faults: Sequence[str] = ()) -> Iterator[Faulty]:
    """One that listens until the end of the block."""
    server = Faulty(behind)
    server.faults += faults
    with server.behind, listening(server, server.over):
        yield server
