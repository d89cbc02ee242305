"""Where the stream begins: the database's offsets against the broker's. They agree, or nothing is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.kafka import Topic, client_config
from meterwatch.settings import Settings
from streaming.errors import BrokerAwayError, StreamError
from streaming.ledger import describe, starting_offsets
from tests.instances import free_port

SPANS = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (pair[0], sum(pair)))
ENDS = st.dictionaries(st.integers(0, 3), SPANS, min_size=1)


def row(topic_id: str, partition: int, next_offset: int) -> dict[str, Any]:
    return {"topic_id": topic_id, "partition": partition, "next_offset": next_offset}


@settings(deadline=None)
@given(ends=ENDS, rows=st.dictionaries(st.integers(0, 4), st.integers(0, 110)), accept=st.booleans())
def test_an_offset_is_taken_only_if_the_broker_has_everything_from_there(
    ends: dict[int, tuple[int, int]], rows: dict[int, int], *, accept: bool
) -> None:
    """Accepting a new topic changes nothing about this one: what is gone from it is gone."""
    ledger = [row("now", number, offset) for number, offset in rows.items()]
    topic = Topic("first", "now", ends)
    fits = all(ends.get(number, (0, 0))[0] <= offset <= ends.get(number, (0, 0))[1] for number, offset in rows.items())
    if fits:
        assert starting_offsets(topic, ledger, accept_new_topic=accept) == rows
    else:
        with pytest.raises(StreamError, match=r"Either .* or "):
            starting_offsets(topic, ledger, accept_new_topic=accept)


def test_a_first_start_begins_at_the_beginning() -> None:
    assert starting_offsets(Topic("first", "now", {0: (0, 9)}), [], accept_new_topic=False) == {}


def test_a_topic_made_anew_is_a_question() -> None:
    """Both ways on are named; the one who accepts starts from its beginning."""
    topic, ledger = Topic("first", "now", {0: (0, 9)}), [row("before", 0, 5), row("once", 0, 7)]
    with pytest.raises(StreamError, match=r"id now, the database knows before, once\. Either .*--accept-new-topic"):
        starting_offsets(topic, ledger, accept_new_topic=False)
    assert starting_offsets(topic, ledger, accept_new_topic=True) == {}


def test_an_accepted_topic_is_not_asked_about_again() -> None:
    ledger = [row("before", 0, 500), row("now", 0, 3)]
    assert starting_offsets(Topic("first", "now", {0: (0, 9)}), ledger, accept_new_topic=False) == {0: 3}


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        (10, "partition 0 of topic 'first': the database has read up to offset 10, the broker ends at 9"),
        (2, "the broker has deleted the records 2 to 3, which were never read"),
    ],
)
def test_what_is_gone_is_named(offset: int, says: str) -> None:
    with pytest.raises(StreamError, match=says):
        starting_offsets(Topic("first", "now", {0: (4, 9)}), [row("now", 0, offset)], accept_new_topic=False)


def test_a_broker_that_is_away_is_said_in_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = Settings(kafka_bootstrap_servers=address)
    with pytest.raises(BrokerAwayError, match=rf"topic 'first' at {address}: .*meterwatch broker start"):
        describe(client_config(settings), "first", timeout=0.5)
