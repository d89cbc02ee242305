"""A connection that nobody can keep open by sending a byte a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

HEAD_SECONDS = 10.0


class Connection(H11Protocol):
    """uvicorn's own, with a deadline for the head of each request: its timer is put off by every byte, this is not.

    The rest of a body whose request was answered before it was whole has the same deadline.
    """

    head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.head_deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop waiting once a head is whole; begin again with the first byte of the next one."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE or self._is_left_over():
            self._wait()
        else:
            self._head_is_whole()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that nobody reads."""
        super().on_response_complete()
        if self._is_left_over():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._head_is_whole()
        super().connection_lost(exc)

    def _is_left_over(self) -> bool:
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _wait(self) -> None:
        if self.head_deadline is None:
            self.head_deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_whole(self) -> None:
        if self.head_deadline is not None:
            self.head_deadline.cancel()
            self.head_deadline = None
