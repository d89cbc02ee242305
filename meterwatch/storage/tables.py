"""The tables that a stream writes: their schemas, and what a batch brings them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.storage import summaries
from meterwatch.storage.rollups import COUNTED

CHANNEL_COLUMNS = tuple(summaries.CHANNEL_COLUMNS.values())
CHANNEL_FIELDS = tuple((name, pa.float64()) for name in CHANNEL_COLUMNS)
KEY = (("meter_id", pa.string()), ("at", pa.int64()))
READINGS = pa.schema([*KEY, *CHANNEL_FIELDS, ("partition", pa.int32()), ("record_offset", pa.int64())])
VERDICTS = pa.schema(
    [
        *KEY,
        ("status", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("anomalous", pa.bool_()),
        ("expected_kw", pa.float64()),
        ("lower_kw", pa.float64()),
        ("upper_kw", pa.float64()),
        ("reason", pa.string()),
        ("model_version", pa.string()),
    ]
)
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("meter_id", pa.string()),
        ("start_at", pa.int64()),
        ("end_at", pa.int64()),
        ("peak_at", pa.int64()),
        ("severity", pa.float64()),
        ("kind", pa.string()),
        ("energy_kwh", pa.float64()),
        ("model_version", pa.string()),
    ]
)
STATES = pa.schema(
    [
        ("meter_id", pa.string()),
        ("state", pa.binary()),
        ("at", pa.int64()),
        ("furthest_at", pa.int64()),
        ("model_version", pa.string()),
    ]
)
PROFILES = pa.schema([("meter_id", pa.string()), ("profile", pa.binary())])
SNAPSHOTS = pa.schema([*KEY, ("state", pa.binary()), ("profile", pa.binary())])
REJECTED = pa.schema(
    [
        ("partition", pa.int32()),
        ("record_offset", pa.int64()),
        ("record_key", pa.binary()),
        ("raw", pa.binary()),
        ("reason", pa.string()),
    ]
)
HELD = pa.schema(
    [
        ("partition", pa.int32()),
        ("record_offset", pa.int64()),
        ("record_key", pa.binary()),
        ("raw", pa.binary()),
        *KEY,
        ("channels", pa.binary()),  # seven float64, NaN where missing
        ("suspect", pa.bool_()),
    ]
)
RELEASED = pa.schema([("meter_id", pa.string()), ("partition", pa.int32()), ("record_offset", pa.int64())])
COUNTS = ("records", "stored", "duplicates", "rejected", "held")
OF_THESE = ("late", "gaps", "conflicts")  # the first two of what is stored, the last of what is rejected
LEDGER = pa.schema(
    [
        ("topic_id", pa.string()),
        ("topic", pa.string()),
        *((name, pa.int64()) for name in ("partition", "next_offset", *COUNTS, *OF_THESE, "pruned")),
    ]
)


class Advance(NamedTuple):
    """What a batch does to one partition: its records from `old_offset` to before `next_offset` are accounted for."""

    partition: int
    old_offset: int | None  # next_offset as the ledger has it; None: the ledger has no row yet
    next_offset: int
    records: int
    stored: int
    duplicates: int
    rejected: int
    held: int  # negative where more goes on than waits anew
    late: int = 0
    gaps: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """All that a batch of records leads to; tables in the schemas of this module."""

    topic_id: str
    topic: str
    readings: pa.Table  # READINGS
    verdicts: pa.Table  # VERDICTS, one for each row of readings, in the same order
    events: pa.Table  # EVENTS, the newest standing of each, an event_id at most once
    states: pa.Table  # STATES
    profiles: pa.Table  # PROFILES, the changed ones only
    snapshots: pa.Table  # SNAPSHOTS, of meters that this batch takes into another week
    rejected: pa.Table  # REJECTED
    advances: list[Advance]
    # HELD, what waits from now on or otherwise than before, and RELEASED, what waits no longer.
    held: pa.Table = field(default_factory=HELD.empty_table)
    released: pa.Table = field(default_factory=RELEASED.empty_table)

    def check(self) -> None:
        """Prove the counting identities, and that each verdict's status is one that is counted.

        Raises:
            ValueError: either is off, which is a fault of the program.
        """
        status = pc.unique(self.verdicts["status"]).to_pylist()
        if not set(status) <= set(COUNTED):
            raise ValueError(f"a batch has verdicts of a status that is none of {', '.join(COUNTED)}: {status}")
        records, stored, duplicates, rejected, held = (
            sum(getattr(advance, name) for advance in self.advances) for name in COUNTS
        )
        told = (stored, stored, rejected, records)
        found = (
            self.readings.num_rows,
            self.verdicts.num_rows,
            self.rejected.num_rows,
            stored + duplicates + rejected + held,
        )
        if told != found:
            raise ValueError(f"a batch does not add up: (stored, stored, rejected, records) {told}, but rows {found}")
