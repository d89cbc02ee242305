"""What the tables will say of meters once a batch is committed, for whoever cannot wait until it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from meterwatch.storage.tables import Batch


def ahead(known: pa.Table, batch: Batch) -> pa.Table:
    """What is remembered of meters, with what a batch brings; the same where the batch is in `known` already.

    Args:
        known: meter_id, state, profile, at, furthest_at, as `Known.load_states` answers them.
        batch: is being committed, or has been.
    """
    place = pc.index_in(known["meter_id"], value_set=batch.states["meter_id"].combine_chunks())
    changed = pc.index_in(known["meter_id"], value_set=batch.profiles["meter_id"].combine_chunks())
    furthest = batch.states["furthest_at"].take(place)
    columns = [
        known["meter_id"],
        _newer(known["state"], batch.states["state"], place),
        _newer(known["profile"], batch.profiles["profile"], changed),
        _newer(known["at"], batch.states["at"], place),  # a batch of late readings has no newer one
        pc.max_element_wise(furthest, known["furthest_at"]),
    ]
    return pa.table(columns, schema=known.schema)


def _newer(known: pa.ChunkedArray, news: pa.ChunkedArray, place: pa.Array) -> pa.ChunkedArray:
    """The news where there is some; nothing is copied where there is none at all."""
    return known if place.null_count == len(place) else pc.coalesce(news.take(place), known)
