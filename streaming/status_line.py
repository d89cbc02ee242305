"""What `up` prints: a line that moves on a terminal, one now and then elsewhere; a table at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streaming.replay import Result

EVERY = 10.0  # seconds between two lines where nobody watches
SPAN = 5.0  # seconds over which the rate is taken
CLEAR = "\r\x1b[K"
ROWS = ("records", "stored", "duplicates", "rejected", "held", "anomalous", "events", "lag")


class StatusLine:
    """The line; sentences said meanwhile stand above it."""

    def __init__(self) -> None:
        self._moves = sys.stdout.isatty()
        self._told = -EVERY
        self._past: deque[tuple[float, int]] = deque()

    def show(self, counts: Mapping[str, int | None], sent: int | None = None, failed: int = 0) -> None:
        """Show the counts of now.

        Args:
            counts: see `accounts.counts`.
            sent: records that the replay has sent, if there is one.
            failed: those of them that the broker did not take.
        """
        text = self._text(counts, sent, failed)
        if self._moves:
            width = shutil.get_terminal_size().columns
            sys.stdout.write(f"{CLEAR}{text[: width - 1]}")
        elif time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        sys.stdout.write(f"{CLEAR if self._moves else ''}{sentence}\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._moves:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _text(self, counts: Mapping[str, int | None], sent: int | None, failed: int) -> str:
        now, done = time.monotonic(), counts["records"] or 0
        self._past.append((now, done))
        while now - self._past[0][0] > SPAN:
            self._past.popleft()
        begun, before = self._past[0]
        rate = (done - before) / (now - begun) if now > begun else 0.0
        lag = "broker away" if counts["lag"] is None else f"{counts['lag']:,}"
        parts = [
            *([f"sent {sent:,}"] if sent is not None else []),
            *([f"FAILED {failed:,}"] if failed else []),
            f"stored {counts['stored']:,}",
            f"anomalies {counts['anomalous']:,}",
            f"events {counts['events']:,}",
            f"rejected {counts['rejected']:,}",
            f"lag {lag}",
            f"{rate:,.0f}/s",
        ]
        return " · ".join(parts)


def summary(counts: Mapping[str, int | None], sent: Result | None, broken: Sequence[str]) -> str:
    """The table at the end, and what does not add up."""
    rows: list[tuple[str, int | None]] = (
        [] if sent is None else [("sent", sent.sent), ("acknowledged", sent.acknowledged)]
    )
    rows += [(name, counts.get(name)) for name in ROWS]
    lines = [f"  {name:13}{'-' if count is None else f'{count:,}':>12}" for name, count in rows]
    verdict = ["", "Everything adds up."] if not broken else ["", *(f"DOES NOT ADD UP  {fact}" for fact in broken)]
    return "\n".join(["", *lines, *verdict])
