"""Puts rejected records on the topic once more, as they came, so that a mended parser loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meterwatch.storage import rejects
from streaming.errors import StreamError
from streaming.lines import Record
from streaming.replay import Replay

if TYPE_CHECKING:
    from meterwatch.settings import Settings


class Resent(NamedTuple):
    """What was done, in records."""

    sent: int
    acknowledged: int
    left_out: int  # sent again before


def resend(settings: Settings, reason: str | None = None, *, again: bool = False, limit: int | None = None) -> Resent:
    """Send rejected records with their keys, and remember each piece of them once the broker has it.

    The row of a rejected record stays. Where it is refused once more, it is not sent a second time, unless `again`. Who
    is killed between the broker's answer and the remembering sends the last piece twice: doubles are counted.

    Args:
        settings: broker, topic and database.
        reason: of this reason only.
        again: also what was sent again before.
        limit: at most so many.

    Raises:
        StreamError: no broker answers, or it did not take all.
    """
    sent = left_out = 0
    replay: Replay | None = None
    for piece in rejects.to_send(settings, settings.kafka_topic, reason, again=again):
        left_out += piece.left_out
        records = piece.records if limit is None else piece.records[: limit - sent]
        if records:
            replay = replay or Replay(settings)
            result = replay.run(Record(record.key, record.raw) for record in records)
            if result.failed:
                raise StreamError(
                    f"{result.failed:,} of {result.sent:,} records were not acknowledged by the broker "
                    f"({result.first_failure or 'stopped before it answered'}); run it again, it goes on from there"
                )
            rejects.mark(settings, records)
            sent += len(records)
        if sent == limit:
            break
    return Resent(sent, sent, left_out)
