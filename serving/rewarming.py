"""New states for meters whose state is of another schema: their stored readings are judged again, the verdicts dropped.

What was stored stays as it is: readings, verdicts, events and the ledger, so that nothing is read from the topic twice.
The stream must not run meanwhile, and cannot: its lock is held. A piece of meters is one transaction, and a meter that
has its new state is not looked at again, so that whatever was interrupted is finished by the same command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meterwatch.detection.memory import NEVER, Memory
from meterwatch.processes import STREAM, UP, registered
from meterwatch.storage import champions, lending, models, shadow, snapshots, states
from meterwatch.storage.migrate import database_path
from meterwatch.storage.states import Renewed
from serving import champion
from serving.replaying import as_readings, together

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    import numpy as np

    from meterwatch.detection.detector import Detector
    from meterwatch.settings import Settings
    from meterwatch.storage.states import Stale

HOUR, DAY = 3600, 86_400
REACH = 63  # days: eight weeks of profile, and those in which the first of them are warmed up
METERS = 50  # a piece


def promote(settings: Settings, version: str, force: str | None, told: Callable[[int, int], None]) -> int:
    """Make a version champion, and give every meter whose state it cannot read a new one.

    Args:
        settings: of the instance, which does not run.
        version: a registered version.
        force: as in `champions.promote`.
        told: how many meters are done, and of how many.

    Returns:
        How many meters have a new state.

    Raises:
        RunningError: the stream runs, or what would start it.
        RegistryError: the version cannot be promoted.
        BundleError: nor loaded.
    """
    with registered(settings, UP), registered(settings, STREAM):
        champions.promote(settings, version, force=force)
        found = models.numbered(settings, version)
        if found is None or not database_path(settings.database_url).exists():
            return 0
        with lending.reading(settings) as db:
            stale = states.stale(db)
        if not stale:
            return 0
        detector = champion.load(found).detector
        for done in range(0, len(stale), METERS):
            piece = stale[done : done + METERS]
            with lending.reading(settings) as db:
                renewed = judged_again(db, detector, piece)
            with lending.writing(settings) as db:
                shadow.end(db)  # begins anew, with the new states
                states.renew(db, version, renewed)
            told(done + len(piece), len(stale))
        return len(stale)


def judged_again(db: sqlite3.Connection, detector: Detector, meters: Sequence[Stale]) -> list[Renewed]:
    """The states that meters would have if the model had judged their last `REACH` days in order, from nothing.

    Days are counted back from each meter's newest reading, and judged one after the other, so that little is in memory.
    """
    ids = [meter.meter_id for meter in meters]
    now: list[bytes | None] = [None] * len(meters)
    profiles: list[bytes | None] = [None] * len(meters)
    first: list[int | None] = [None] * len(meters)
    newest: list[int | None] = [None] * len(meters)
    opened: list[str | None] = [None] * len(meters)
    for days in range(REACH, 0, -1):
        runs = []
        for k, meter in enumerate(meters):
            until = NEVER if meter.until is None else meter.until - (days - 1) * DAY
            after = max(until - DAY, NEVER if meter.since is None else meter.since)
            run = snapshots.judged(db, meter.meter_id, after, until) if after < until else []
            runs.append(as_readings(run, newest[k], NEVER, detector))
            if run:
                first[k], newest[k] = run[0].at if first[k] is None else first[k], run[-1].at
        observed = detector.observe(ids, now, profiles, together(runs))
        now, profiles = list(observed.states), [a or b for a, b in zip(observed.profiles, profiles, strict=True)]
        for event in observed.events:
            opened[event.meter] = event.event_id if event.end_at is None else None
    kept = states.open_events(db, ids)
    memory = Memory.decode(ids, now, profiles)
    for k, event_id in enumerate(opened):
        if event_id not in kept:  # nobody was told of it: the next anomaly begins one
            memory.hot["ev_start"][k], opened[k] = NEVER, None
    for k, begin in enumerate(first):
        if begin is not None and memory.hot["hole_from"][k] == NEVER:
            _remember_before(db, ids[k], begin, memory.hot[k], detector.params.clock_jump_s)
    return [
        Renewed(meter.meter_id, meter.until, state, profile, event_id)
        for meter, state, profile, event_id in zip(meters, memory.encode_states(), profiles, opened, strict=True)
    ]


def _remember_before(db: sqlite3.Connection, meter_id: str, first: int, hot: np.void, jump: int) -> None:
    """Put a hole in its place that seems to lie before the first reading judged again: the meter is older.

    To the hour, by the hours that had readings, which are kept for ever: else a topic that is read once more would be
    taken for a clock set right.
    """
    until = int(hot["hole_until"])
    oldest, last = snapshots.hours_before(db, meter_id, until)
    if oldest is None or last is None or oldest >= first // HOUR * HOUR:
        return
    if until - last > jump + HOUR:
        hot["hole_from"] = last + HOUR
    else:
        hot["hole_until"] = oldest
