"""Commands that run something: everything at once, the broker, the service, the stream, a replay."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Literal

import typer

from meterwatch.commands.output import Json, print_json, print_table, told_time


def _rate(text: str) -> str:
    from streaming.replay import parse_rate

    try:
        parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


File = Annotated[Path, typer.Argument(help="UCI text, plain, .xz or .gz.", exists=True, dir_okay=False, readable=True)]
Rate = Annotated[str, typer.Option(metavar="N/s|max", help="Readings a second, as 50/s, or max.", callback=_rate)]
Accept = Annotated[
    bool, typer.Option("--accept-new-topic", help="Go on with a topic that was made anew, from its start.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the dashboard.")]
broker = typer.Typer(help="The Kafka broker of this instance.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, demo, serve, stream, replay):
        app.command()(command)
    app.add_typer(broker, name="broker")


def up(
    replay: Annotated[
        Path | None, typer.Option(help="Send this file's readings.", exists=True, dir_okay=False, readable=True)
    ] = None,
    rate: Rate = "max",
    exit_when_done: Annotated[
        bool, typer.Option("--exit-when-done", help="End once all is stored: exit 0 only if nothing is missing.")
    ] = False,
    open_browser: Open = False,
    accept_new_topic: Accept = False,
) -> None:
    """Run broker, service with dashboard, stream and (if asked) a replay; Ctrl-C ends all of them."""
    from meterwatch.settings import load
    from streaming.replay import parse_rate, records_of
    from streaming.supervisor import up as run

    records = records_of(replay) if replay is not None else None
    code = run(
        load(), records=records, rate=parse_rate(rate), exit_when_done=exit_when_done, open_browser=open_browser,
        accept_new_topic=accept_new_topic,
    )  # fmt: skip
    raise typer.Exit(code)


def demo(open_browser: Open = False) -> None:
    """Show it: make the models, then replay readings that they never saw, with one injected fault."""
    from meterwatch.demo import demo as show
    from meterwatch.settings import load

    raise typer.Exit(show(load(), open_browser=open_browser))


def serve() -> None:
    """Run the scoring service with the dashboard."""
    gc.disable()  # a tenth of the start: what is loaded stays
    from meterwatch.logs import configure
    from meterwatch.processes import SERVICE, registered
    from meterwatch.settings import load
    from serving import app

    gc.freeze()
    gc.enable()
    settings = load()
    configure(settings)
    with registered(settings, SERVICE):
        app.serve(settings)


def stream(
    once: Annotated[bool, typer.Option("--once", help="Process what is there, then end.")] = False,
    accept_new_topic: Accept = False,
) -> None:
    """Run the Spark job: topic, scoring service, database."""
    from meterwatch.logs import configure
    from meterwatch.processes import STREAM, registered
    from meterwatch.settings import load
    from streaming import pipeline

    settings = load()
    configure(settings)
    with registered(settings, STREAM):
        pipeline.run(settings, once=once, accept_new_topic=accept_new_topic)


def replay(
    file: File,
    meter: Annotated[str | None, typer.Option(help="The meter the readings are of; default: `default`.")] = None,
    rate: Rate = "max",
    limit: Annotated[int | None, typer.Option(min=0, help="Send only so many lines.")] = None,
    fmt: Annotated[
        Literal["line", "json"],
        typer.Option(
            "--format", help="line (as it stands in the file), or a json object of it (CSV with a header too)."
        ),
    ] = "line",
    inject: Annotated[
        str | None, typer.Option(metavar="KIND", help="Put a labelled fault, as left_on, into the last quarter.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send each data line of FILE to the topic as it is; nothing is repaired, bad lines reach quarantine."""
    from meterwatch.settings import load
    from streaming.replay import Replay, check, parse_rate, records_of, watched

    records = records_of(file, meter=meter, limit=limit, as_json=fmt == "json", inject=inject)
    result = watched(Replay(load(), parse_rate(rate)), records)
    per_second = result.acknowledged / result.seconds if result.seconds else 0.0
    if as_json:
        print_json({**result._asdict(), "rate": per_second})
    else:
        print(f"sent {result.sent:,}, acknowledged {result.acknowledged:,}, failed {result.failed:,}, "
              f"{per_second:,.0f}/s")  # fmt: skip
    check(result)


@broker.command()
def start() -> None:
    """Start the broker and wait until it answers."""
    from meterwatch.settings import load
    from streaming.broker import Broker

    found = Broker(load()).start()
    print(f"the broker answers at {found.address} (process {found.pid})")


@broker.command()
def stop() -> None:
    """Stop the broker; its data stay."""
    from meterwatch.settings import load
    from streaming.broker import Broker

    print("the broker has ended; its data stay" if Broker(load()).stop() else "no broker runs")


@broker.command()
def status(as_json: Json = False) -> None:
    """Say whether the broker runs; exit 1 if it does not."""
    from meterwatch.settings import load
    from streaming.broker import Broker

    found = Broker(load()).status()
    print_json(found._asdict()) if as_json else print(f"the broker answers at {found.address} (process {found.pid})")


@broker.command()
def topic(as_json: Json = False) -> None:
    """The topic's id and the offsets of each partition."""
    from meterwatch.kafka import client_config
    from meterwatch.settings import load
    from streaming.ledger import describe

    settings = load()
    found = describe(client_config(settings), settings.kafka_topic)
    rows = [
        {"topic": found.name, "topic_id": found.topic_id, "partition": number, "first_offset": first, "end_offset": end}
        for number, (first, end) in found.ends.items()
    ]
    print_json(rows) if as_json else print_table(rows, {name: name for name in rows[0]}, "")


@broker.command()
def records(
    last: Annotated[int, typer.Option(min=1, help="Of each partition so many.")] = 5,
    events: Annotated[bool, typer.Option("--events", help="Of the topic that is told of events.")] = False,
    as_json: Json = False,
) -> None:
    """The newest records of the topic, as they are."""
    from meterwatch.settings import load
    from streaming.records import newest

    settings = load()
    topic = settings.kafka_events_topic if events else settings.kafka_topic
    rows = [{**record._asdict(), "at": told_time(record.at)} for record in newest(settings, topic, last)]
    if as_json:
        print_json(rows)
        return
    columns = ("partition", "offset", "at", "key", "value")
    print_table(rows, dict(zip(columns, columns, strict=True)), "the topic is empty")
