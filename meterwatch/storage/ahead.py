"""What the tables will say of meters once a batch is committed, for whoever cannot wait until it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.detection.memory import NEVER

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
    at = pc.coalesce(batch.states["at"].take(place), known["at"])  # a batch of late readings has no newer one
    furthest = pc.max_element_wise(batch.states["furthest_at"].take(place), known["furthest_at"])
    columns = [
        known["meter_id"],
        pc.coalesce(batch.states["state"].take(place), known["state"]),
        pc.coalesce(batch.profiles["profile"].take(changed), known["profile"]),
        *(pc.if_else(place.is_valid(), times.fill_null(NEVER), times) for times in (at, furthest)),
    ]
    return pa.table(columns, schema=known.schema)
