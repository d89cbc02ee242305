"""A replay on a thread of its own, for who has other things to do meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streaming.replay import Replay, Result, told_failures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meterwatch.settings import Settings
    from streaming.lines import Record

SECONDS = 5.0  # to end


class Sending:
    """Records on their way to the topic; `result` once they are sent, `fault` where that failed."""

    def __init__(self, settings: Settings, records: Iterable[Record], rate: float | None, at_once: int) -> None:
        """Begin to send.

        Raises:
            BrokerAwayError: the broker does not answer.
        """
        self._replay = Replay(settings, rate, at_once, gives_up=False)
        self.result: Result | None = None
        self.fault: Exception | None = None
        self._has_told = False
        self._thread = threading.Thread(target=self._send, args=(records,), name="replay", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> tuple[int, int]:
        """Records sent so far, and those of them that were not acknowledged."""
        return self._replay.sent, self._replay.failed

    @property
    def has_ended(self) -> bool:
        """Whether everything is sent, or it failed."""
        return not self._thread.is_alive()

    def failures(self) -> str | None:
        """What was not acknowledged, in words; told once, when all is sent."""
        if self.result is None or not self.result.failed or self._has_told:
            return None
        self._has_told = True
        return told_failures(self.result)

    def end(self) -> None:
        """Send no more; in vain where it waits for a file that never ends, as a pipe."""
        self._replay.stop.set()
        self._thread.join(SECONDS)

    def _send(self, records: Iterable[Record]) -> None:
        try:
            self.result = self._replay.run(records)
        except Exception as error:  # noqa: BLE001 - raised by the main thread, as what ended `up`
            self.fault = error
