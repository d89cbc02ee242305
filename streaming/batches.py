"""A batch's way from parsed records to the database: group, score, decide, commit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from meterwatch.storage.retention import ROWS
from streaming.decide import compose, decide
from streaming.metrics import StreamMetrics
from streaming.scoring import group, score

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from meterwatch.storage.meters import MeterStore
    from streaming.ledger import Topic
    from streaming.scoring import Score


class Batches:
    """Takes Spark's batches one by one into the database.

    Args:
        store: where they go.
        ask: the scoring service.
        topic: which is read.
        offsets: partition to next_offset, as committed.
        keep_s: how long a meter's readings are kept, counted from its newest; 0: for ever.
    """

    def __init__(self, store: MeterStore, ask: Score, topic: Topic, offsets: dict[int, int], keep_s: int = 0) -> None:
        self._store = store
        self._ask = ask
        self._source = (topic.topic_id, topic.name)
        self._keep_s = keep_s
        self.offsets = offsets
        self.metrics = StreamMetrics()
        self.running = threading.Lock()  # held while a batch is on its way
        self.failure: BaseException | None = None
        self.ending = False

    def __call__(self, frame: DataFrame, _number: int) -> None:
        """Spark's `foreachBatch`. After the end was asked for, or a failure, a batch is left alone: the ledger knows.

        A failure is kept for the main thread: Spark would print it at length before anybody could say it in a line.
        """
        with self.running:
            if self.ending:
                return
            try:
                self.take(frame.toArrow())
            except BaseException as error:  # noqa: BLE001 - raised by the main thread
                self.failure, self.ending = error, True

    def take(self, records: pa.Table) -> None:
        """Score and commit the parsed records that the ledger has not accounted for."""
        began = time.monotonic()
        records = _fresh(records, self.offsets)
        if not records.num_rows:
            return
        rows = np.flatnonzero(~np.asarray(records["reason"].is_valid()))
        judged = None
        if len(rows):
            readings = group(records, rows)
            scored = score(readings, self._store.load_states, self._ask)
            judged = readings, scored, decide(readings, scored, self._store.held, self._keep_s)
        batch = compose(records, judged, self._source, self.offsets)
        self._store.commit(batch)
        self.offsets.update({advance.partition: advance.next_offset for advance in batch.advances})
        self.metrics.committed(batch, time.monotonic() - began)
        self.prune(1 + 2 * batch.readings.num_rows // ROWS)  # no slower than the table grows

    def prune(self, pieces: int = 1) -> bool:
        """Delete some of what is too old; answers whether there may be more."""
        return bool(self._keep_s) and all(self._store.prune(self._keep_s, self._source[0]) for _ in range(pieces))

    def tidy(self) -> bool:
        """Prune while no batch is on its way; answers whether there may be more."""
        if not self.running.acquire(blocking=False):
            return True
        try:
            return self.prune()
        finally:
            self.running.release()


def _fresh(records: pa.Table, offsets: dict[int, int]) -> pa.Table:
    """The records at or above the ledger's offsets, by partition and offset."""
    partition, offset = records["partition"].to_numpy(), records["offset"].to_numpy()
    least = np.zeros(partition.max(initial=0) + 1, np.int64)
    for number, following in offsets.items():
        least[number : number + 1] = following
    rows = np.flatnonzero(offset >= least[partition])
    order = np.lexsort((offset[rows], partition[rows]))
    if len(rows) == len(partition) and (np.diff(order) == 1).all():
        return records
    return records.take(pa.array(rows[order]))
