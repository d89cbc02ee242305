"""The health page: what became of every record, and whether the parts keep up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import html

from serving.dashboard import parts, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_LENGTH = 160  # characters shown of a rejected record
COUNTS = ("records", "stored", "duplicates", "rejected", "held")


def page(body: Sequence[Any]) -> list[Any]:
    """The whole page; `body` is the cards or what stands in for them."""
    return [html.Div([html.H1("Health")], className="controls"), html.Div(body, id="health-body", className="grid")]


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


def verdicts_card(statuses: Mapping[str, int], anomalous: int) -> html.Section:
    """How the stored readings were judged."""
    names = {"scored": "Scored", "warming_up": "Warming up", "gap": "Gap", "late": "Late"}
    tiles = [parts.tile(name, wording.number(statuses.get(key, 0))) for key, name in names.items()]
    tiles.insert(1, parts.tile("of them anomalous", wording.number(anomalous)))
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
            wording.REJECT_WORDS.get(str(row["reason"]), str(row["reason"])),
            html.Code(str(row["reason"])),
            wording.number(row["records"]),
            html.Div([html.Code(_shown(raw), className="sample") for raw in row["samples"]]),
        ]
        for row in reasons
    ]
    columns = [("What is wrong", ""), ("Reason", ""), ("Records", "number"), ("Newest samples", "")]
    return parts.card("Rejected records", parts.table(columns, rows, caption="Rejected records by reason"), wide=True)


def _shown(raw: bytes | None) -> str:
    """A record as far as it can be shown: bytes that are no UTF-8 as escapes, long ones cut."""
    if not raw:
        return "(empty)"
    text = raw[:SAMPLE_LENGTH].decode("utf-8", "backslashreplace")
    return f"{text}… ({len(raw):,} bytes)" if len(raw) > SAMPLE_LENGTH else text


def parts_card(tiles: Sequence[html.Div]) -> html.Section:
    """The running parts: model, newest reading, last commit, lag."""
    return parts.card("Running parts", html.Dl(list(tiles), className="tiles"), wide=True)
