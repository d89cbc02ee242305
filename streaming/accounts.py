"""Does it add up? The counts of an instance, and the identities that hold at every commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meterwatch.storage import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterwatch.kafka import Topic
    from meterwatch.settings import Settings

COUNTS = ("records", "stored", "duplicates", "rejected", "held", "pruned")


def lag(topic_id: str, ends: Mapping[int, tuple[int, int]], ledger: list[dict[str, Any]]) -> int:
    """Records between the ledger's next offsets and the ends of the topic.

    Args:
        topic_id: of the topic as the broker has it.
        ends: of each of its partitions the first offset kept and the one after the newest record.
        ledger: rows of `offsets`.
    """
    following = {row["partition"]: row["next_offset"] for row in ledger if row["topic_id"] == topic_id}
    return sum(end - max(begin, following.get(number, begin)) for number, (begin, end) in ends.items())


def progress(settings: Settings, topic: Topic | None) -> list[dict[str, Any]]:
    """How far each partition of the topic has been read.

    Returns:
        `partition`, `next_offset` (the ledger's), `end_offset` and `lag`; without a topic to compare with, what the
        ledger alone knows.
    """
    with queries.reading(settings) as db:
        rows = queries.ledger(db, settings.kafka_topic)
    if topic is None:
        return [
            {"partition": row["partition"], "next_offset": row["next_offset"], "end_offset": None, "lag": None}
            for row in rows
        ]
    following = {row["partition"]: row["next_offset"] for row in rows if row["topic_id"] == topic.topic_id}
    return [
        {"partition": number, "next_offset": following.get(number, begin), "end_offset": end,
         "lag": lag(topic.topic_id, {number: (begin, end)}, rows)}
        for number, (begin, end) in topic.ends.items()
    ]  # fmt: skip


def counts(settings: Settings, topic: Topic | None) -> dict[str, Any]:
    """The ledger's counts, `late` readings (stored, not scored), `anomalous` ones, `events` and `lag`.

    The lag is None without a topic to compare with.
    """
    with queries.reading(settings) as db:
        rows = queries.ledger(db, settings.kafka_topic)
        _, events = queries.events(db, limit=1)
        statuses = queries.statuses(db)
    return {
        **{name: sum(row[name] for row in rows) for name in COUNTS},
        "late": statuses["late"],
        "anomalous": statuses["anomalous"],
        "events": events,
        "lag": None if topic is None else lag(topic.topic_id, topic.ends, rows),
    }


def broken_identities(settings: Settings) -> list[str]:
    """What does not add up in the database, in words; nothing where all is well."""
    with queries.reading(settings) as db:

        def one(sql: str) -> int:
            return int(db.execute(sql).fetchone()[0])

        total = {name: one(f"SELECT coalesce(sum({name}), 0) FROM offsets") for name in COUNTS}  # noqa: S608
        rows = {
            table: one(f"SELECT count(*) FROM {table}")  # noqa: S608
            for table in ("power_data", "verdicts", "rejected", "held_readings")
        }
        judged = one("SELECT count(*) FROM power_data JOIN verdicts USING (meter_id, at)")
    parts = total["stored"] + total["duplicates"] + total["rejected"] + total["held"]
    sides = {
        "records = stored + duplicates + rejected + held": (total["records"], parts),
        "rows of power_data = stored - pruned": (rows["power_data"], total["stored"] - total["pruned"]),
        "rows of rejected = rejected": (rows["rejected"], total["rejected"]),
        "rows of held_readings = held": (rows["held_readings"], total["held"]),
        "verdicts = rows of power_data": (rows["verdicts"], rows["power_data"]),
        "one verdict for each row of power_data": (judged, rows["power_data"]),
    }
    return [f"{name}: {left:,} is not {right:,}" for name, (left, right) in sides.items() if left != right]
