"""Commands on what was refused: look at it, and send it once more."""

from __future__ import annotations

from typing import Annotated

import typer

from meterwatch.commands.output import Json, preview, print_json, print_table, told_time

Reason = Annotated[str | None, typer.Option(help="Of this reason only, as bad_fields.")]
rejected = typer.Typer(help="Records that were refused.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(rejected, name="rejected")


@rejected.command("list")
def list_(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Refused records, the newest first, and why."""
    from meterwatch.settings import load
    from meterwatch.storage import queries, rejects

    with queries.reading(load()) as db:
        found = rejects.newest(db, reason, limit=limit)
        counts = {row["reason"]: row["records"] for row in queries.rejected(db, 0) if reason in (None, row["reason"])}
    rows = [
        {"topic": record.topic, "partition": record.partition, "offset": record.offset, "reason": record.reason,
         "key": preview(record.key), "bytes": len(record.raw or b""), "preview": preview(record.raw),
         "sent_again_at": told_time(sent_at)}
        for record, sent_at in found
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    print_table(rows, {name: name.replace("_", " ") for name in (rows[0] if rows else ())}, "nothing was rejected")
    if rows:
        print(f"{sum(counts.values()):,} in all: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))


@rejected.command()
def replay(
    reason: Reason = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    as_json: Json = False,
) -> None:
    """Send refused records to the topic again, as they came; none twice unless told to."""
    from meterwatch.settings import load
    from streaming.resending import resend

    done = resend(load(), reason, again=again, limit=limit)
    if as_json:
        print_json(done._asdict())
        return
    print(f"sent {done.sent:,}, acknowledged {done.acknowledged:,}")
    if done.left_out:
        print(f"left out {done.left_out:,} that were sent again before: --again sends them too")
