"""Stage `prepare`: a raw file becomes checked readings, or the pipeline stops and says which rows are wrong."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from training import figures, params, tracking
from training.checks import Check, cadence_s, check_all, gaps, when
from training.meter_files import instants, read_frame
from training.prepared import Prepared, write
from training.series import Series
from training.stages import command

if TYPE_CHECKING:
    from training.params import Params, Split

RAW = Path("data/raw")
REPORT = Path("data/reports/data.md")
ZONE = "UTC"  # the set's hours stay as written in it; the stream's default is the same
_LONGEST = 20  # gaps listed in the report


def prepare(path: Path, told: Params) -> tuple[Prepared, list[Check]]:
    """Read and check a raw file.

    Args:
        path: the UCI text, or what else `training.meter_files.read_frame` reads, of one meter.
        told: its sections `prepare` and `splits`.

    Raises:
        DataError: the file is absent or cannot be read.
    """
    if not path.exists():
        raise DataError(
            f"there is no {path}; `dvc pull` brings the shipped year, data/README.md says where the complete set is"
        )
    frame = read_frame(path)
    if "meter_id" in frame.columns and frame["meter_id"].nunique() > 1:
        raise DataError(f"{path} holds several meters; the pipeline trains on one, `meterwatch backtest` on many")
    at, exists = instants(frame["at"], ZONE)
    if not exists.all():
        raise DataError(f"{path}: row {int(np.argmin(exists)) + 1} has no time that exists")
    channels = np.stack([
        frame[name].to_numpy(np.float64) if name in frame.columns else np.full(len(at), np.nan) for name in CHANNELS
    ])  # fmt: skip
    rules = told.prepare
    starts = moments(told.split)
    found = check_all(
        at, channels, ranges=rules.ranges, starts=starts, max_missing_share=rules.max_missing_share,
        max_gap_days=rules.max_gap_days, least_days=rules.least_days,
    )  # fmt: skip
    series = Series(rules.meter_id, at, channels)
    return Prepared(series, starts, hashlib.sha256(path.read_bytes()).hexdigest()), found


def moments(split: Split) -> dict[str, int]:
    """The parts' first moments in unix seconds."""
    return {
        name: int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())
        for name, day in (
            ("train", split.train),
            ("calibrate", split.calibrate),
            ("evaluate", split.evaluate),
            ("end", split.end),
        )
    }


def report(name: str, prepared: Prepared, checks: list[Check]) -> str:
    """The checks and the data in Markdown; the same text for the same data."""
    series = prepared.series
    lines = [f"# Data: {name}", "", f"sha256 `{prepared.source_sha256}`, {len(series.at):,} readings", ""]
    lines += ["| check | | fact | rows |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {'ok' if c.passed else '**failed**'} | {c.fact} | {'; '.join(c.rows)} |" for c in checks]
    lines += ["", "| channel | readings | least | median | mean | largest |", "|---|---|---|---|---|---|"]
    for channel, row in zip(CHANNELS, series.channels, strict=True):
        known = row[np.isfinite(row)]
        if len(known):
            figures_ = (known.min(), np.median(known), known.mean(), known.max())
            lines.append(f"| {channel} | {len(known):,} | " + " | ".join(f"{value:.5g}" for value in figures_) + " |")
    lines += ["", "| part | from | readings |", "|---|---|---|"]
    for part in ("train", "calibrate", "evaluate"):
        lines.append(f"| {part} | {when(prepared.starts[part])} | {len(prepared.part(part).at):,} |")
    lines.append(
        f"| never seen | {when(prepared.starts['end'])} | {int((series.at >= prepared.starts['end']).sum()):,} |"
    )
    found = gaps(series.at, series.channels[0], cadence_s(series.at))[:_LONGEST]
    lines += ["", "| gap from | to |", "|---|---|", *(f"| {when(first)} | {when(last)} |" for first, last in found)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the stage."""
    told = params.load()
    path = RAW / told.prepare.file
    asked = {"prepare": told.prepare.model_dump(mode="json"), "splits": told.split.model_dump(mode="json")}
    with tracking.stage("prepare", asked) as run:
        prepared, checks = prepare(path, told)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(report(told.prepare.file, prepared, checks))
        run.tags(prepared.tags)
        run.file(REPORT)
        failed = [check for check in checks if not check.passed]
        if failed:
            facts = "\n".join(f"  {c.name}: {c.fact}" + "".join(f"\n    {row}" for row in c.rows) for c in failed)
            raise DataError(f"{path} did not pass {len(failed)} of {len(checks)} checks (see {REPORT}):\n{facts}")
        write(prepared)
        series = prepared.series
        missing = int(np.isnan(series.channels[0]).sum())
        run.metrics({"readings": len(series.at), "readings_missing": missing, "checks_passed": len(checks),
                     "gaps": len(gaps(series.at, series.channels[0], cadence_s(series.at)))})  # fmt: skip
        run.uses(prepared, "train", "evaluate")
        run.figure(figures.power_over_time(series), "power_over_time")
        run.figure(figures.monthly_mean(series), "monthly_mean")
        run.figure(figures.voltage_histogram(series), "voltage_histogram")
        run.figure(figures.correlation(series), "correlation")
        print(f"prepare: {len(series.at):,} readings, {missing:,} without power, {len(checks)} checks passed")


if __name__ == "__main__":
    command(main)
