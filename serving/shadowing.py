"""A challenger judges what the champion has judged: behind the stream, in its own states, touching no verdict.

It takes a fixed share of one core at most; how far behind that leaves it is told. What it has judged and how far it is
are written in one transaction, so that nothing counts twice, whoever is killed when. Of several services on one
database, that one does it which holds the lock beside the database.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meterwatch.detection.memory import NEVER
from meterwatch.detection.readings import SCORED
from meterwatch.storage import lending, model_evaluations, queries, shadow
from meterwatch.storage.migrate import database_path
from meterwatch.storage.shadow import Counts, Known
from serving.champion import RETRY_SECONDS, Model, load
from serving.repeating import Repeating
from serving.replaying import as_readings, pending_jump, together

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from meterwatch.settings import Settings
    from meterwatch.storage.models import ModelVersion
    from meterwatch.storage.shadow import Comparison, Place, Said
    from serving.champion import Champion
    from serving.metrics import Metrics

LOG = logging.getLogger("meterwatch.service")
LOOK_SECONDS = 2.0
SHARE = 0.25  # of one core, while there is much to judge
METERS = 1000  # that are followed, the first in order of their ids
READINGS = 2000  # of a step: some hundredths of a second
TAKEN_UP = 200  # meters a step
RECORD_SECONDS = 3600.0  # between two figures in MLflow


class Step(NamedTuple):
    """What a step read: meters with what is remembered of them, and their readings since then."""

    taken_up: list[Known]
    begun_again: int
    meters: list[Known]
    said: list[list[Said]]
    behind_s: int


class Shadow:
    """Compares the challenger, while there is one, with the champion.

    Args:
        settings: where the database is.
        find: asks the registry for the challenger; None while there is none.
        champion: which version judges.
        metrics: told how the comparison stands.
    """

    def __init__(
        self, settings: Settings, find: Callable[[], ModelVersion | None], champion: Champion, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._find = find
        self._champion = champion
        self._metrics = metrics
        self._lock: int | None = None
        self._model: Model | None = None
        self._refused: tuple[str, Path] | None = None
        self._refused_at = 0.0
        self._ledger: list[dict[str, Any]] | None = None
        self._recorded_at = -RECORD_SECONDS
        self._finished = False
        self._repeating = Repeating("the shadow", self.look)

    def start(self) -> None:
        """Begin to look for a challenger."""
        self._repeating.start()

    def stop(self) -> None:
        """Stop, once a step on its way is done, and let another service go on."""
        self._repeating.stop()
        self._release()

    def look(self) -> float:
        """Judge a piece of what is new; answers after how many seconds to look again."""
        begun = time.perf_counter()
        found, current = self._find(), self._champion.current
        if current is None or not database_path(self._settings.database_url).exists():
            return LOOK_SECONDS
        if found is None or found.version == current.version:
            self._finish()
            return LOOK_SECONDS
        self._finished = False
        model = self._loaded(found)
        if model is None or not self._acquire():
            return LOOK_SECONDS
        with queries.reading(self._settings) as db:
            standing = shadow.comparison(db)
        if standing is None or (standing.challenger, standing.champion) != (model.version, current.version):
            with lending.writing(self._settings) as db:
                shadow.begin(db, model.version, current.version, int(time.time()))
            LOG.info("model version %s judges in the shadow of version %s", model.version, current.version)
            self._ledger, self._recorded_at = None, -RECORD_SECONDS
            return 0.0
        more = self._step(standing, model)
        self._tell(found)
        return (time.perf_counter() - begun) * (1 / SHARE - 1) if more else LOOK_SECONDS

    def _step(self, standing: Comparison, model: Model) -> bool:
        """Judge and write a piece; whether there may be more."""
        with queries.reading(self._settings) as db:
            ledger = queries.ledger(db)
            if ledger == self._ledger:
                return False
            step = _read(db, shadow.places(db, METERS))
        if not (step.taken_up or step.meters):
            self._ledger = ledger
            return False
        states, counts, events = _judge(step, model, standing.champion)
        counts = counts._replace(begun_again=step.begun_again)
        try:
            with lending.writing(self._settings) as db:
                shadow.add(
                    db, standing, counts, [*step.taken_up, *states], events,
                    now=int(time.time()), behind_s=step.behind_s,
                )  # fmt: skip
        except shadow.MovedError:
            LOG.info("another service compares these models; what was judged here is dropped")
            return False
        return True

    def _tell(self, found: ModelVersion) -> None:
        """Say how the comparison stands: to Prometheus, and hourly to MLflow, as metrics of the challenger's run."""
        with queries.reading(self._settings) as db:
            standing, events = shadow.comparison(db), shadow.events(db)
        self._metrics.shadowed(standing, events)
        if standing is None or standing.agreement is None or found.run_id is None:
            return
        if time.monotonic() < self._recorded_at + RECORD_SECONDS:
            return
        self._recorded_at = time.monotonic()
        figures = {
            "shadow/agreement": standing.agreement,
            "shadow/readings": standing.counts.readings,
            "shadow/events_champion_only": events.champion_only,
            "shadow/events_challenger_only": events.challenger_only,
        }
        model_evaluations.record(self._settings, found.run_id, figures)

    def _loaded(self, found: ModelVersion) -> Model | None:
        """The challenger, proved as a champion is; None where it is refused."""
        key = (found.version, found.bundle_dir)
        if self._model is not None and key == (self._model.version, self._model.bundle_dir):
            return self._model
        if key == self._refused and time.monotonic() < self._refused_at + RETRY_SECONDS:
            return None
        try:
            self._model = load(found)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it does not judge
            if key != self._refused:
                LOG.error("the challenger, model version %s, is refused: %s", found.version, error)  # noqa: TRY400
            self._refused, self._refused_at, self._model = key, time.monotonic(), None
        return self._model

    def _finish(self) -> None:
        """There is no challenger, or no longer: nothing is compared."""
        if self._finished:
            return
        self._model = None
        self._metrics.shadowed(None, None)
        with queries.reading(self._settings) as db:
            running = shadow.comparison(db)
        if running is not None and self._acquire():
            with lending.writing(self._settings) as db:
                shadow.end(db)
            LOG.info("no model version judges in the shadow of another one any more")
        self._release()
        self._finished = True

    def _acquire(self) -> bool:
        """Whether this service does it; the kernel lets go of the lock of one that is gone."""
        if self._lock is None:
            path = database_path(self._settings.database_url)
            holder = os.open(path.with_name(f"{path.name}-shadow"), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(holder)
                return False
            self._lock = holder
        return True

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _read(db: sqlite3.Connection, places: Sequence[Place]) -> Step:
    """A bounded piece: meters that are not followed yet, and readings of those that are behind, the farthest first.

    A meter is taken up anew where it cannot be followed: the stream's state is older, because a clock was wrong, or the
    challenger is so far behind that readings it has not seen were pruned.
    """
    new = [place.meter_id for place in places if place.at is None or place.at > place.stream_at]
    again = [place.meter_id for place in places if place.at is not None and place.at > place.stream_at]
    waiting = [place for place in places if place.at is not None and place.at < place.stream_at]
    waiting.sort(key=lambda place: (place.at or 0) - place.stream_at)
    meters, said, left = [], [], READINGS
    for place in waiting:
        if left <= 0:
            break
        known = shadow.known(db, place.meter_id)
        if not shadow.is_kept(db, place.meter_id, known.at):
            new.append(place.meter_id)
            again.append(place.meter_id)
            continue
        mine = shadow.said(db, place.meter_id, known.at, place.stream_at, left)
        left -= len(mine)
        if mine:
            meters.append(known)
            said.append(mine)
    taken_up = [shadow.streams(db, meter_id) for meter_id in new[:TAKEN_UP]]
    reached = {known.meter_id: known.at for known in taken_up}
    reached |= {known.meter_id: mine[-1].reading.at for known, mine in zip(meters, said, strict=True)}
    behind = max((place.stream_at - reached.get(place.meter_id, place.at or 0) for place in waiting), default=0)
    return Step(taken_up, len(again), meters, said, behind)


def _judge(step: Step, model: Model, champion: str) -> tuple[list[Known], Counts, list[dict[str, Any]]]:
    """The challenger's states, what its verdicts add to the comparison, and its events."""
    if not step.meters:
        return [], Counts(), []
    runs = [
        as_readings([one.reading for one in mine], known.at, _jump(known, mine, model), model.detector)
        for known, mine in zip(step.meters, step.said, strict=True)
    ]
    ids = [known.meter_id for known in step.meters]
    observed = model.detector.observe(
        ids,
        [known.state for known in step.meters],
        [known.profile for known in step.meters],
        together(runs),
    )
    # What stands for a rejected clock jump is no stored reading, and is not compared.
    real = np.concatenate([
        np.isin(run.at, [one.reading.at for one in mine]) for run, mine in zip(runs, step.said, strict=True)
    ])  # fmt: skip
    every = [one for mine in step.said for one in mine]
    scored = np.array([one.scored and one.reading.model_version == champion for one in every])
    scored &= observed.verdicts.status[real] == SCORED
    theirs, ours = np.array([one.anomalous for one in every])[scored], observed.verdicts.anomalous[real][scored]
    counts = Counts(
        int(scored.sum()), int((theirs & ours).sum()), int((theirs & ~ours).sum()), int((ours & ~theirs).sum()),
        int((~scored).sum()),
    )  # fmt: skip
    states = [
        Known(known.meter_id, known.since, mine[-1].reading.at, state, profile or known.profile)
        for known, mine, state, profile in zip(step.meters, step.said, observed.states, observed.profiles, strict=True)
    ]
    events = [
        {
            "event_id": event.event_id, "meter_id": ids[event.meter], "start_at": event.start_at,
            "end_at": event.end_at, "peak_at": event.peak_at, "severity": event.severity, "kind": event.kind,
            "energy_kwh": event.energy_kwh,
        }
        for event in observed.events
    ]  # fmt: skip
    return states, counts, events


def _jump(known: Known, mine: Sequence[Said], model: Model) -> int:
    far = mine[0].reading.at - known.at > model.detector.params.clock_jump_s
    return pending_jump(known.meter_id, known.state) if far else NEVER
