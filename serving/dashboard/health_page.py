"""The health page: whether the parts keep up, and what became of every record."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from dash import html

from serving.dashboard import parts, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from serving.dashboard.running import Running

SAMPLE_LENGTH = 80  # characters shown of a rejected record
COUNTS = ("records", "stored", "duplicates", "rejected", "held")
MEBIBYTE, GIBIBYTE = 2**20, 2**30


def page(body: Sequence[Any]) -> list[Any]:
    """The whole page; `body` is the cards or what stands in for them."""
    return [parts.heading("Health"), html.Div(body, id="health-body", className="grid")]


def now_card(
    *, model: str | None, newest: Mapping[str, Any] | None, events: int, running: Running, zone: tzinfo
) -> html.Section:
    """What runs, and how far it has come.

    Args:
        model: the version that judges; None where there is none.
        newest: `meter_id` and `at` of the newest reading of all meters.
        events: how many there are.
        running: what the machine says.
        zone: the zone of times.
    """
    lag, pace = running.lag, running.pace
    judging = (
        parts.tile("Model", f"Version {model}", "judges")
        if model is not None
        else parts.tile("Model", "None", "make one with dvc repro", state="wrong")
    )
    reading = (
        parts.tile(f"Newest reading ({zone})", wording.moment(newest["at"], zone), f"meter {newest['meter_id']}")
        if newest
        else parts.tile("Newest reading", "None yet")
    )
    tiles = [
        judging,
        reading,
        parts.tile("Events", wording.number(events)),
        parts.tile("Waiting on the topic", wording.number(lag), "records" if lag is not None else "the broker is away"),
        parts.tile("Rate", wording.number(pace, 1), "records a second in the last minute"),
        parts.tile(
            f"Last commit ({zone})",
            "None seen" if running.committed_at is None else wording.moment(running.committed_at, zone),
            f"by the clock, looked for since {wording.moment(running.watched_at, zone)}",
        ),
        parts.tile(
            "Database",
            wording.number(running.size / MEBIBYTE, 1, "MiB"),
            f"{wording.number(running.free / GIBIBYTE, 1, 'GiB')} left on the disk",
        ),
        parts.tile("meterwatch", running.version, f"schema {running.schema}, Python {platform.python_version()}"),
    ]
    return parts.card("Now", html.Dl(tiles, className="tiles"), wide=True)


def ledger_card(partitions: Sequence[Mapping[str, Any]]) -> html.Section:
    """What became of the records of each partition, and whether the books balance.

    Args:
        partitions: rows of the table `offsets`.
    """
    total = {name: sum(int(row[name]) for row in partitions) for name in COUNTS}
    balanced = total["records"] == total["stored"] + total["duplicates"] + total["rejected"] + total["held"]
    columns = [
        ("Topic", ""),
        *((name, "number") for name in ("Partition", "Next offset", "Records", "Stored", "Duplicates")),
        *((name, "number") for name in ("Rejected", "Held", "Pruned")),
    ]
    names = ("partition", "next_offset", *COUNTS, "pruned")
    rows = [[str(row["topic"]), *(wording.number(row[name]) for name in names)] for row in partitions]
    return parts.card(
        "Ledger",
        html.Dl([parts.tile(name.capitalize(), wording.number(total[name])) for name in COUNTS], className="tiles"),
        parts.table(columns, rows, caption="Records by topic and partition"),
        note="The books balance: records = stored + duplicates + rejected + held."
        if balanced
        else "The books do NOT balance: records are not stored + duplicates + rejected + held.",
        wide=True,
    )


def verdicts_card(statuses: Mapping[str, int]) -> html.Section:
    """How the stored readings were judged; `statuses` counts them by status, and the `anomalous` ones of the scored."""
    names = {
        "scored": ("Scored", ""),
        "anomalous": ("Anomalous", "of the scored ones"),
        "warming_up": ("Warming up", "still being learned"),
        "gap": ("Gap", "no power, or too soon after a gap"),
        "late": ("Late", "older than the newest: not judged"),
    }
    tiles = [parts.tile(name, wording.number(statuses[key]), note) for key, (name, note) in names.items()]
    return parts.card("Verdicts", html.Dl(tiles, className="tiles"), wide=True)


def rejected_card(reasons: Sequence[Mapping[str, Any]]) -> html.Section:
    """The records that could not be used, by reason, with the newest of each.

    Args:
        reasons: `reason`, `records` and `samples`: the raw bytes of the newest ones.
    """
    if not reasons:
        return parts.card("Rejected records", html.P("None so far.", className="note"), wide=True)
    rows = [
        [
            [wording.REJECT_WORDS.get(str(row["reason"]), str(row["reason"])), html.Code(str(row["reason"]))],
            wording.number(row["records"]),
            [html.Code(text, className="sample") for text in dict.fromkeys(map(_shown, row["samples"]))],
        ]
        for row in reasons
    ]
    columns = [("What is wrong", "wrong"), ("Records", "number"), ("Newest samples", "samples")]
    caption = "Rejected records by reason"
    return parts.card("Rejected records", parts.table(columns, rows, caption=caption, name="rejects"), wide=True)


def _shown(raw: bytes | None) -> str:
    """A record as far as it can be shown: what cannot be printed as escapes, long ones cut."""
    if not raw:
        return "(empty)"
    text = raw[:SAMPLE_LENGTH].decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return f"{text}… ({len(raw):,} bytes)" if len(raw) > SAMPLE_LENGTH else text
