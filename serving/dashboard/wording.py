"""Numbers, times and verdicts in the words a person reads."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

MISSING = "–"  # noqa: RUF001 - the dash that stands for "no value" in tables
DAYS_A_MONTH = 30.44

STATUS_WORDS = {
    "scored": "Normal",
    "anomalous": "Anomalous",
    "warming_up": "Warming up",
    "gap": "Not judged: gap",
    "late": "Not judged: late",
}
STATUS_SENTENCES = {
    "warming_up": "The meter is still being learned: it has too few readings for a verdict.",
    "gap": "The reading has no power, or comes too soon after missing ones to be judged.",
    "late": "The reading arrived after newer ones: it is stored, but not judged.",
}
REJECT_WORDS = {
    "bad_fields": "Wrong number of fields",
    "bad_number": "Not a number",
    "bad_time": "Not a time",
    "out_of_range": "Outside the physical limits",
    "conflict": "Another value for a time already held",
    "clock_jump": "Far ahead of the meter's time",
    "too_old": "Older than the retention limit",
    "too_large": "Record too large",
    "not_utf8": "Not UTF-8 text",
    "no_key": "No meter id",
    "header": "Header line",
    "empty": "Empty record",
}


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """A number with thousands separated, or a dash where there is none."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")  # noqa: RUF001 - as wide as a digit; no minus zero
    return f"{text} {unit}" if unit else text


def signed(value: float | None, digits: int = 0, unit: str = "") -> str:
    """As `number`, with a plus where there is more than expected."""
    text = number(value, digits, unit)
    return f"+{text}" if value is not None and round(value, digits) > 0 else text


def moment(at: int | None, zone: tzinfo) -> str:
    """Unix seconds as date and minute on the zone's wall clock; seconds only where there are any."""
    if at is None:
        return MISSING
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return local.strftime("%Y-%m-%d %H:%M:%S" if local.second else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    left = max(round(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def rarity(score: float) -> str:
    """How often something so strange happens in normal running: score is log10 of the return period in months."""
    days = 10.0 ** min(score, 6) * DAYS_A_MONTH
    for unit, size in (("year", 365.25), ("month", DAYS_A_MONTH), ("day", 1.0), ("hour", 1 / 24)):
        if days >= size:
            count = days / size
            amount = f"{count:,.0f}" if count >= 10 else f"{count:.1f}"  # noqa: PLR2004 - two digits are enough
            return (
                f"about once {'an' if unit == 'hour' else 'a'} {unit}"
                if amount == "1.0"
                else f"about once in {amount} {unit}s"
            )
    return "several times an hour"


def verdict_state(status: str, *, anomalous: bool) -> str:
    """The key of a verdict's look and wording: its status, or `anomalous`."""
    return "anomalous" if status == "scored" and anomalous else status
