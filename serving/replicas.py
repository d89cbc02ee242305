"""Several addresses of one service: whose turn it is, who is left alone for a while, and where a request goes on.

Nothing here does I/O: a generator says what to send and is told the response or the fault, so that the client that
waits and the one that awaits share every decision.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")

FIRST_REST, LONGEST_REST = 1.0, 30.0  # seconds that a sick replica is left alone, doubled each time
HANGS = 20.0  # seconds after which a request goes to another replica that is well; many times what any takes
READY, CONNECT = 5.0, 5.0  # seconds that are waited for a readiness, and for a connection
READY_SOON = 1.0  # where others are well


class ServiceUnavailable(Exception):  # noqa: N818 - names what is the case, as HTTP does
    """The service is away, busy or without a model: the same request may succeed later."""

    def __init__(self, fact: str, retry_after: float | None = None) -> None:
        super().__init__(fact)
        self.retry_after = retry_after


class ServiceRefused(Exception):  # noqa: N818
    """The service will not answer this request, now or later; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        told = str(problem.get("detail") or problem.get("title") or "no reason given")
        errors = problem.get("errors")  # what answers may be anybody
        errors = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
        faults = [error for error in errors if str(error.get("detail")) not in told]
        where = "; ".join(f"{error.get('path')}: {error.get('detail')}" for error in faults)
        super().__init__(f"{status} {told}" + (f" ({where})" if where else ""))
        self.status = status
        self.problem = problem


class Replica:
    """One address, and how long it is left alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.well()

    def well(self) -> None:
        """It has answered."""
        self.is_sick, self._rest, self.due, self._fell = False, FIRST_REST, 0.0, 0.0

    def sick(self, begun: float, seconds: float = 0.0) -> None:
        """It is away, hangs, answers nonsense or asked for a pause of so many seconds, says who asks since `begun`."""
        if self.is_sick and self._fell > begun:
            return  # requests that were on their way together tell of one fault
        self.is_sick, self._fell = True, time.monotonic()
        self.due = self._fell + max(self._rest, min(seconds, LONGEST_REST))
        self._rest = min(2 * self._rest, LONGEST_REST)


class Replicas:
    """All addresses; safe to share between threads.

    Those that are well take turns. A sick one that is due is first asked whether it is ready, and the others go last.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._all = [Replica(url.rstrip("/")) for url in urls]
        self._turn = 0
        self._lock = threading.Lock()

    @property
    def urls(self) -> list[str]:
        """In the order given."""
        return [replica.url for replica in self._all]

    def ask(
        self, path: str, read: Callable[[str, httpx.Response], T], timeout: float, call: dict[str, Any]
    ) -> Generator[dict[str, Any], httpx.Response, T]:
        """Ask each replica at most once, until one answers.

        Args:
            path: of the route.
            read: makes an answer of an address and its response, or raises ServiceUnavailable or ServiceRefused.
            timeout: seconds for one replica.
            call: what else `httpx.Client.request` is told.

        Yields:
            Arguments of `httpx.Client.request`; the response is sent back, a `httpx.RequestError` thrown.

        Raises:
            ServiceRefused: one refuses, and none answers. One that is older than the others may refuse what they take.
            ServiceUnavailable: none answers.
        """
        faults: list[ServiceUnavailable | ServiceRefused] = []
        refusing: list[Replica] = []
        begun, order = time.monotonic(), self._order()
        for place, replica in enumerate(order, 1):
            another_is_well = any(not other.is_sick for other in order[place:])
            try:
                if replica.is_sick and len(order) > 1:
                    yield from _ready(replica.url, READY_SOON if another_is_well else READY)
                seconds = min(timeout, HANGS) if another_is_well else timeout
                limits = httpx.Timeout(seconds, connect=CONNECT)
                answer = read(replica.url, (yield {**call, "url": replica.url + path, "timeout": limits}))
            except httpx.RequestError as error:
                faults.append(ServiceUnavailable(f"{replica.url}: {error or type(error).__name__}"))
                replica.sick(begun)
            except ServiceUnavailable as error:
                faults.append(error)
                replica.sick(begun, error.retry_after or 0.0)
            except ServiceRefused as error:
                if error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    refusing.append(replica)
                    faults.insert(0, error)  # it says more than that somebody is away
                else:
                    replica.sick(begun)
                    faults.append(error)
            else:
                replica.well()
                for other in refusing:  # out of step with this one
                    other.sick(begun)
                return answer
        raise faults[0]

    def _order(self) -> list[Replica]:
        with self._lock:
            self._turn += 1
            turn, now = self._turn % len(self._all), time.monotonic()
            everyone = self._all[turn:] + self._all[:turn]
            due = [one for one in everyone if one.is_sick and one.due <= now]
            for one in due:  # nobody else needs to look at it now
                one.due = now + HANGS
            well = [one for one in everyone if not one.is_sick]
            return [*due, *well, *(one for one in everyone if one.is_sick and one not in due)]


def _ready(url: str, seconds: float) -> Generator[dict[str, Any], httpx.Response, None]:
    response = yield {"method": "GET", "url": f"{url}/readyz", "timeout": seconds}
    if response.status_code != httpx.codes.OK:
        raise ServiceUnavailable(f"{url}: is not ready")
