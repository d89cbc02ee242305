"""Work that a service does beside its answers: again and again, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger("meterwatch.service")
AFTER_A_FAULT_S = 30.0


class Repeating:
    """Runs `work` until it is stopped; `work` answers after how many seconds it wants to be run again."""

    def __init__(self, name: str, work: Callable[[], float]) -> None:
        self._name = name
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once what is being done is done."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        said, pause = "", 0.0
        while not self._stop.wait(pause):
            try:
                pause, fault = self._work(), ""
            except Exception as error:  # noqa: BLE001 - whatever it is, it must harm no answer, and may be over soon
                pause, fault = AFTER_A_FAULT_S, str(error)
            if fault and fault != said:  # not every half minute
                LOG.warning("%s failed, trying again: %s", self._name, fault)
            said = fault
