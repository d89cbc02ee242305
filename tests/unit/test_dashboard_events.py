"""The page of events: what is asked for, and what labels say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from meterwatch.detection.events import severity
from meterwatch.detection.intervals import wilson
from meterwatch.settings import Settings
from meterwatch.storage import event_list, labels, queries
from meterwatch.storage.event_list import LABELS, Narrowed
from serving.dashboard import address, event_listing
from serving.dashboard.address import AddressError
from serving.dashboard.event_listing import EventListing
from serving.dashboard.precision import kept
from serving.dashboard.reads import Pages
from tests.alternately import stop_reading
from tests.households import START, household
from tests.stored import event, store

if TYPE_CHECKING:
    from pathlib import Path

PARIS = ZoneInfo("Europe/Paris")
TIMES = st.one_of(st.none(), st.integers(0, address.LAST_TIME - 10))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=60)


@given(
    meter=st.one_of(st.none(), TEXTS.filter(bool)),
    start=TIMES,
    length=st.one_of(st.none(), st.integers(1, 9)),
    severity_from=st.integers(0, 100),
    kind=TEXTS,
    label=st.sampled_from(["", *LABELS]),
    page=st.integers(1, 10**6),
)
def test_what_is_asked_for_survives_its_address(
    meter: str | None, start: int | None, length: int | None, severity_from: int, kind: str, label: str, page: int
) -> None:
    end = None if length is None else (start or 0) + length
    listing = EventListing(Narrowed(meter, start, end, float(severity_from), kind, label), page)
    assert event_listing.parse(listing.query(PARIS), PARIS) == listing


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?label=perhaps", "no label"),
        ("?severity=-1", "no severity"),
        ("?severity=101", "no severity"),
        ("?start=2009-01-02&end=2009-01-01", "not after its start"),
        ("?end=soon", "not a time"),
        ("?page=x", "no page"),
    ],
)
def test_what_cannot_be_asked_for_says_why(search: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        event_listing.parse(search, PARIS)


@given(hits=st.integers(0, 60), misses=st.integers(0, 60))
def test_the_interval_is_wilsons(hits: int, misses: int) -> None:
    low, high = wilson(hits, hits + misses)
    if not hits + misses:
        assert (low, high) == (0, 1)
        return
    known = binomtest(hits, hits + misses).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-9)
    assert low - 1e-12 <= hits / (hits + misses) <= high + 1e-12


@given(
    scores=st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=40),
)
def test_a_higher_threshold_keeps_the_alarms_that_reach_it(scores: list[tuple[float, bool]]) -> None:
    rows = kept([(severity(excess), real) for excess, real in scores])
    for row in rows:
        reach = [real for excess, real in scores if severity(excess) >= severity(row.raised)]
        assert (row.real, row.false) == (sum(reach), len(reach) - sum(reach))
    assert [row.total for row in rows] == sorted((row.total for row in rows), reverse=True)


def stored(run_dir: Path) -> Settings:
    """Two meters with events of three kinds, some of them labelled."""
    settings = Settings(run_dir=run_dir)
    for meter in ("a", "b"):
        at, channels = household(days=1, seed=1, cadence=1800)
        told: list[dict[str, Any]] = [
            event(k, meter, START + k * 3600, START + k * 3600 + 1800 if k else None)
            | {"severity": 20.0 * k, "kind": f"kind {k % 3}", "energy_kwh": k - 2.0}
            for k in range(5)
        ]
        stop_reading()
        store(run_dir / "meterwatch.db", meter, at, channels, events=told)
    stop_reading()
    for event_id, label in (("a-1", "real"), ("a-2", "false_alarm"), ("b-3", "real")):
        assert labels.put(settings, event_id, label=label, note="", by="test")
    return settings


CASES = [
    Narrowed(), Narrowed("a"), Narrowed(start=START + 3 * 3600), Narrowed(end=START + 3600), Narrowed(severity=60.0),
    Narrowed(kind="kind 1"), Narrowed(label="open"), Narrowed(label="real"),
    Narrowed("b", START, START + 9000, 20.0, "kind 1", "open"),
]  # fmt: skip


@pytest.mark.parametrize("asked", CASES)
def test_only_what_was_asked_for_is_listed_and_summed(tmp_path: Path, asked: Narrowed) -> None:
    with queries.reading(stored(tmp_path)) as db:
        every, _ = queries.events(db)
        wanted = [
            row
            for row in every
            if asked.meter_id in (None, row["meter_id"])
            and (row["end_at"] or 10**12) >= (asked.start or 0)
            and row["start_at"] <= (asked.end or 10**12)
            and row["severity"] >= asked.severity
            and asked.kind in ("", row["kind"])
            and asked.label in ("", row["label"] or "open")
        ]
        pages = [event_list.listed(db, asked, offset=offset, limit=4) for offset in (0, 4, 8)]
    assert [row for page in pages for row in page.rows] == wanted
    assert pages[0].total == len(wanted)
    assert pages[0].above_kwh == pytest.approx(sum(max(row["energy_kwh"], 0) for row in wanted))
    assert pages[0].below_kwh == pytest.approx(sum(min(row["energy_kwh"], 0) for row in wanted))


def test_labels_are_told_with_their_uncertainty_for_the_meters_looked_at(tmp_path: Path) -> None:
    pages = Pages(stored(tmp_path), PARIS, lambda: "1", lambda: None)
    told = str(pages.events(""))
    assert "2 of 3 labelled events of all meters were real" in told
    assert "21 % to 94 %" in told
    assert "1 of 2 labelled events of this meter" in str(pages.events("?meter=a"))
    stop_reading()
    for event_id in ("a-1", "a-2", "b-3", "b-3"):
        labels.withdraw(Settings(run_dir=tmp_path), event_id)
    assert "is labelled yet" in str(pages.events(""))
