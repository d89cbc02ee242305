"""Records as a bad day brings them, endless and the same for a seed, and what must become of them."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from streaming.lines import CLOCK, Record, data_lines
from tests.households import YEAR, household

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

HALF_HOURS = (b"north", b"south", b"east")
DAYS = 3000  # of half hours
DAY = 86_400
GARBAGE, DOUBLE, LATE = 0.12, 0.03, 0.03  # a reading, how often; garbage is then a tenth of all records
REMEMBERED = 3000  # readings of a meter that may come again
LATER = 200  # records after which a late one comes, at most
LINE = b"1/1/2008;00:00:00;%s;0;240;4;0;0;0"
HEADER = b"Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_1;Sub_2;Sub_3"
AHEAD_S = 40 * DAY  # more than the clock may jump


def _other(record: Record, **change: Any) -> bytes:
    """A JSON reading, or a UCI line, with something else in it."""
    if record.value.startswith(b"{"):
        return json.dumps({**json.loads(record.value), **change}).encode()
    date, time, _, rest = record.value.split(b";", 3)
    if "at" in change:
        year, month, day = change["at"][:10].split("-")
        date = f"{day}/{month}/{year}".encode()
    return b";".join([date, time, str(change.get("energy_kwh", 1)).encode(), rest])


def _ahead(record: Record) -> bytes:
    """The same much later."""
    if record.value.startswith(b"{"):
        at = np.datetime64(json.loads(record.value)["at"].removesuffix("Z"), "s")
    else:
        day, month, year, time = CLOCK.fullmatch(b";".join(record.value.split(b";")[:2]).decode()).groups()  # type: ignore[union-attr]
        at = np.datetime64(f"{year}-{month:0>2}-{day:0>2}T{time}", "s")
    return _other(record, at=f"{at + np.timedelta64(AHEAD_S, 's')}Z")


# By the reason with which it is refused; made of a reading that has just been sent.
MAKERS: dict[str, Callable[[random.Random, Record], Record]] = {
    "not_utf8": lambda rng, last: Record(last.key, rng.randbytes(20) + b"\xff"),
    "bad_fields": lambda _, last: Record(last.key, b"1/1/2008;00:00:00;1;0"),
    "bad_number": lambda _, last: Record(last.key, LINE % b"1.x"),
    "bad_time": lambda _, last: Record(last.key, LINE.replace(b"1/1/", b"31/02/") % b"1"),
    "out_of_range": lambda _, last: Record(last.key, LINE % b"9e99"),
    "clock_jump": lambda _, last: Record(last.key, _ahead(last)),
    "too_large": lambda _, last: Record(last.key, b"x" * 70_000),
    "no_key": lambda _, last: Record(b"", last.value),
    "header": lambda _, last: Record(last.key, HEADER),
    "empty": lambda _, last: Record(last.key, b"  "),
}


class Mixture:
    """One minutely meter by its lines and three half-hourly ones as JSON, mixed, with all that goes wrong.

    Args:
        seed: of all choices.
        over: ends the records once it is set, with a plain one of each meter.

    `expected` counts, of the records taken so far, the readings `stored`, the `duplicates`, and the refused ones by
    their reason. The topic must have several partitions, or `no_key` is none.
    """

    def __init__(self, seed: int, over: threading.Event) -> None:
        self._rng = random.Random(seed)
        self._over = over
        self.expected: Counter[str] = Counter()
        self.taken: list[Record] = []

    def __iter__(self) -> Iterator[Record]:
        for outcome, record in self._mixed():
            self.expected[outcome] += 1
            self.taken.append(record)
            yield record

    def _mixed(self) -> Iterator[tuple[str, Record]]:
        rng = self._rng
        meters = [_lines(), *(_half_hours(key, number) for number, key in enumerate(HALF_HOURS))]
        sent: dict[bytes, list[Record]] = {}
        held: list[tuple[int, Record]] = []  # late ones, and when they come
        for number in itertools.count():
            if self._over.is_set():
                yield from (("stored", next(meter)) for meter in meters)  # after what nothing is left open
                return
            while held and held[0][0] <= number:
                yield "stored", held.pop(0)[1]
            reading = next(rng.choice(meters))
            mine = sent.setdefault(reading.key, [])
            if mine and rng.random() < LATE:
                held.append((number + rng.randint(1, LATER), reading))
                held.sort(key=lambda one: one[0])
                continue
            yield "stored", reading
            mine.append(reading)
            del mine[:-REMEMBERED]
            if rng.random() < DOUBLE:
                yield "duplicates", rng.choice(mine)
            if rng.random() < GARBAGE:
                reason = rng.choice(["conflict", *MAKERS])
                if reason == "conflict":
                    before = rng.choice(mine)
                    yield reason, Record(before.key, _other(before, energy_kwh=77.7))
                else:
                    yield reason, MAKERS[reason](rng, reading)


def _lines() -> Iterator[Record]:
    return (Record(b"default", line) for line in data_lines(YEAR))


def _half_hours(key: bytes, seed: int) -> Iterator[Record]:
    """Energies of half hours; every ten days, six hours are far too high."""
    at, channels = household(DAYS, seed, 1800)
    energy = channels[0] * np.where(at % (10 * DAY) < DAY // 4, 6.0, 1.0) / 2
    for moment, kwh in zip(np.datetime_as_string(at.astype("datetime64[s]")), energy.tolist(), strict=True):
        row = {"at": f"{moment}Z", "energy_kwh": round(kwh, 4), "interval_s": 1800}
        yield Record(key, json.dumps(row).encode())
