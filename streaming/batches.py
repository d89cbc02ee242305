"""A batch's way from parsed records to the database: group, score, decide, commit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.storage.retention import ROWS
from streaming.decide import compose, decide
from streaming.metrics import StreamMetrics
from streaming.reordering import Bound
from streaming.scoring import NO_QUESTION, bound_of, group, score
from streaming.waiting import NOBODY, RECORDS, put_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame

    from meterwatch.storage.meters import Batch, MeterStore
    from streaming.decide import Outcome
    from streaming.ledger import Topic
    from streaming.scoring import Grouped, Score, Scored


MAX_METERS = 5_000  # of a commit


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
        self._bound: Bound | None = None  # of the model that judged last
        ledger = store.ledger(topic.name).to_pylist()
        self._waiting = sum(row["held"] for row in ledger if row["topic_id"] == topic.topic_id)
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
        for piece in pieces(_fresh(records, self.offsets)):
            self._take(piece)

    def _take(self, records: pa.Table) -> None:
        began = time.monotonic()
        batch = self._batch(records)
        self._store.commit(batch)
        self.offsets.update({advance.partition: advance.next_offset for advance in batch.advances})
        self._waiting += sum(advance.held for advance in batch.advances)
        self.metrics.committed(batch, time.monotonic() - began, self._waiting)
        self.prune(1 + 2 * batch.readings.num_rows // ROWS)  # no slower than the table grows

    def _batch(self, records: pa.Table) -> Batch:
        rows = np.flatnonzero(~np.asarray(records["reason"].is_valid()))
        if not len(rows):
            return compose(records, None, self._source, self.offsets)
        bound, moves = self._bound or bound_of(self._ask(NO_QUESTION)), NOBODY
        if bound.lateness or self._waiting:
            meters = pc.unique(records["meter_id"].take(pa.array(rows)))
            waiting = self._store.waiting(*self._source, meters)
            records, readings, moves = put_in_order(records, waiting, bound)
        else:
            readings = group(records, rows)
        return compose(records, self._judged(readings), self._source, self.offsets, moves)

    def _judged(self, readings: Grouped) -> tuple[Grouped, Scored, Outcome] | None:
        if not len(readings.at):
            return None
        scored = score(readings, self._store.load_states, self._answer)
        return readings, scored, decide(readings, scored, self._store.held, self._keep_s)

    def _answer(self, request: pa.Table) -> pa.Table:
        """Ask the service, and learn from its answer how long the model has readings wait."""
        answer = self._ask(request)
        self._bound = bound_of(answer)
        return answer

    def settle(self) -> None:
        """Judge what still waits from topics that are read no longer: nothing more can come before it."""
        for source in self._store.sources_waiting():
            if source == self._source:
                continue
            waiting = self._store.waiting(*source)
            records, readings, moves = put_in_order(RECORDS.empty_table(), waiting, Bound(0, 0))
            ledger = self._store.ledger(source[1]).to_pylist()
            offsets = {row["partition"]: row["next_offset"] for row in ledger if row["topic_id"] == source[0]}
            self._store.commit(compose(records, self._judged(readings), source, offsets, moves))

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


def pieces(records: pa.Table) -> Iterator[pa.Table]:
    """Runs of records with at most MAX_METERS meters: the states of more are never held in memory at once."""
    meter = records["meter_id"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    begin = 0
    while begin < len(meter):
        firsts = np.sort(np.unique(meter[begin:], return_index=True)[1])
        end = begin + int(firsts[MAX_METERS]) if len(firsts) > MAX_METERS else len(meter)
        yield records.slice(begin, end - begin)
        begin = end


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
