"""A batch's way from parsed records to the database: group, score, decide, commit.

Three batches are on their way at once: while one is read and parsed, the one before it is judged, and the one before
that is written. Each stage takes them in their order, and a batch is decided only when all before it are in the
database, so that the answer is the same as one after the other.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from meterwatch.storage.ahead import ahead
from meterwatch.storage.retention import ROWS
from streaming.composing import compose
from streaming.decide import decide
from streaming.errors import Stopped
from streaming.metrics import StreamMetrics
from streaming.parse import RECORDS
from streaming.pieces import pieces
from streaming.reordering import Bound
from streaming.scoring import AT_ONCE, NO_QUESTION, bound_of, group, score
from streaming.waiting import NOBODY, put_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from meterwatch.kafka import Topic
    from meterwatch.storage.meters import MeterStore
    from meterwatch.storage.tables import Batch
    from streaming.decide import Outcome
    from streaming.scoring import Grouped, Score, Scored

    Read = Callable[[pa.Table], pa.Table]

METERS = 1_000  # settled at a time


class Batches:
    """Takes Spark's batches one by one into the database.

    Args:
        store: where they go.
        ask: the scoring service.
        topic: which is read.
        offsets: partition to next_offset, as committed.
        keep_s: how long a meter's readings are kept, counted from its newest; 0: for ever.
        read: makes RECORDS of what Spark hands over.
        at_once: requests that the service is sent at once.
        told: of each commit that changes events.
    """

    def __init__(
        self, store: MeterStore, ask: Score, topic: Topic, offsets: dict[int, int], keep_s: int = 0,
        read: Read = lambda records: records, at_once: int = AT_ONCE, told: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._store = store
        self._ask = ask
        self._source = (topic.topic_id, topic.name)
        self._keep_s = keep_s
        self._bound: Bound | None = None  # of the model that judged last
        ledger = store.known.ledger(topic.name).to_pylist()
        self._waiting = sum(row["held"] for row in ledger if row["topic_id"] == topic.topic_id)  # once all is written
        self._read = read
        self._at_once = at_once
        self._told = told
        self._judges, self._writes = (ThreadPoolExecutor(1, name) for name in ("judge", "write"))
        self._judging: Future[None] | None = None  # the newest batch
        self._writing: Future[None] | None = None  # the newest one that is judged
        self._coming: Batch | None = None  # what is being written, or was last
        self._table = threading.Lock()  # held by whoever uses the store, but for the states
        self._ahead = dict(offsets)  # once all is written
        self.offsets = offsets
        self.metrics = StreamMetrics(self._waiting)
        self.running = threading.Lock()  # held while Spark has a batch on its way
        self.failure: BaseException | None = None
        self.ending = False

    def __call__(self, frame: DataFrame, _number: int) -> None:
        """Spark's `foreachBatch`; Spark goes on once a batch is parsed, since the ledger alone tells what is done.

        After the end was asked for, or a failure, a batch is left alone: the ledger knows. A failure is kept for the
        main thread: Spark would print it at length before anybody could say it in a line.
        """
        with self.running:
            if self.ending:
                return
            try:
                with self.metrics.stage("read"):
                    carried = frame.toArrow()
                for piece in pieces(carried):
                    if self.ending:
                        return
                    with self.metrics.stage("parse"):
                        records = self._read(piece)
                    self.take(records)
            except BaseException as error:  # noqa: BLE001 - raised by the main thread
                self._failed(error)

    def take(self, records: pa.Table) -> None:
        """Have the parsed records that the ledger has not accounted for scored and committed, after those before them.

        Waits until those before them are judged, and fails where these did.
        """
        _settle(self._judging)
        self._judging = self._judges.submit(self._noting, self._judge, records)

    def finish(self) -> None:
        """Wait until all that was taken is in the database, and fail where something is not."""
        _settle(self._judging)
        _settle(self._writing)

    def is_busy(self) -> bool:
        """Whether something that was taken is neither in the database nor given up."""
        if self._judging is not None and not self._judging.done():
            return True
        return self._writing is not None and not self._writing.done()

    def close(self) -> None:
        """Leave alone what is not yet being judged and wait for the rest."""
        self.ending = True
        self._judges.shutdown()
        self._writes.shutdown()

    def _failed(self, error: BaseException) -> None:
        """Keep the first failure; that the end was asked for is none."""
        if self.failure is None or isinstance(self.failure, Stopped):
            self.failure = error
        self.ending = True

    def _noting(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except BaseException as error:
            self._failed(error)
            raise

    def _judge(self, records: pa.Table) -> None:
        began = time.monotonic()
        records = _fresh(records, self._ahead)
        if self.ending or not records.num_rows:
            return
        batch = self._batch(records)
        self._ahead.update({advance.partition: advance.next_offset for advance in batch.advances})
        self._waiting += sum(advance.held for advance in batch.advances)
        self._coming = batch
        self._writing = self._writes.submit(self._noting, self._write, batch, began, self._waiting)

    def _write(self, batch: Batch, began: float, waiting: int) -> None:
        with self._table:
            with self.metrics.stage("commit"):
                self._store.commit(batch)
            self.offsets.update({advance.partition: advance.next_offset for advance in batch.advances})
            self.metrics.committed(batch, time.monotonic() - began, waiting)
            if batch.events.num_rows:
                self._told()
            self.prune(1 + 2 * batch.readings.num_rows // ROWS)  # no slower than the table grows

    def _batch(self, records: pa.Table) -> Batch:
        """All that records lead to; the batch before is written meanwhile, and is in the table at the end."""
        rows = np.flatnonzero(~np.asarray(records["reason"].is_valid()))
        if not len(rows):
            _settle(self._writing)
            return compose(records, None, self._source, self.offsets)
        bound, moves = self._bound or bound_of(self._ask(NO_QUESTION)), NOBODY
        if bound.lateness or self._waiting:
            meters = pc.unique(records["meter_id"].take(pa.array(rows)))
            _settle(self._writing)  # who waits is known only then
            with self._table:
                waiting = self._store.known.waiting(*self._source, meters)
            records, readings, moves = put_in_order(records, waiting, bound)
        else:
            readings = group(records, rows)
        return compose(records, self._judged(readings), self._source, self.offsets, moves)

    def _judged(self, readings: Grouped) -> tuple[Grouped, Scored, Outcome] | None:
        if not len(readings.at):
            return None
        with self.metrics.stage("score"):
            scored = score(readings, self._states, self._ask, self._at_once)
        self._bound = scored.bound
        _settle(self._writing)
        with self.metrics.stage("decide"), self._table:
            return readings, scored, decide(readings, scored, self._store.known.held, self._keep_s)

    def _states(self, meter_ids: pa.Array) -> pa.Table:
        known = self._store.known.load_states(meter_ids)
        return ahead(known, self._coming) if self._coming is not None else known

    def settle(self) -> Iterator[None]:
        """Judge what still waits from topics that are read no longer: nothing more can come before it.

        Some meters at a time; between two of them the caller shows that it is alive.
        """
        for source in self._store.known.sources_waiting():
            if source == self._source:
                continue
            ledger = self._store.known.ledger(source[1]).to_pylist()
            offsets = {row["partition"]: row["next_offset"] for row in ledger if row["topic_id"] == source[0]}
            while len(meters := self._store.known.meters_waiting(*source, METERS)):
                began = time.monotonic()
                waiting = self._store.known.waiting(*source, meters)
                records, readings, moves = put_in_order(RECORDS.empty_table(), waiting, Bound(0, 0))
                batch = compose(records, self._judged(readings), source, offsets, moves)
                self._store.commit(batch)
                self.metrics.committed(batch, time.monotonic() - began, self._waiting)
                yield

    def prune(self, pieces: int = 1) -> bool:
        """Delete some of what is too old; answers whether there may be more."""
        return bool(self._keep_s) and all(self._store.prune(self._keep_s, self._source[0]) for _ in range(pieces))

    def tidy(self) -> bool:
        """Prune while nothing is written; answers whether there may be more."""
        if not self._table.acquire(blocking=False):
            return True
        try:
            return self.prune()
        finally:
            self._table.release()


def _settle(work: Future[None] | None) -> None:
    """Wait for it, and fail where it did."""
    if work is not None:
        work.result()


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
