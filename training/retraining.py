"""Training anew on what a meter has reported since, in a work tree of its own: nothing of yours is touched.

Readings and labels become files that DVC versions; those of anomalies that people called real are left out. The
pipeline runs on the last commit's code and parameters, with the champion's threshold, against the project's registry,
and ends at the gate. What it ran on is kept as a commit under a tag `retrain-…`, on no branch.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from meterwatch.detection.errors import DataError
from meterwatch.detection.readings import CHANNELS
from meterwatch.processes import registered
from meterwatch.storage import models
from meterwatch.storage.lending import reading
from meterwatch.storage.tables import CHANNEL_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from meterwatch.settings import Settings

NAME = "retrain"  # of the data, of the work tree, of the tags
RAW = Path("data/raw")
SHARES = {"train": 0.0, "calibrate": 0.6, "evaluate": 0.8, "end": 1.0}  # of the days, as in the shipped year
LEAST_DAYS = 10  # fewer have no four different dates; `prepare` asks for more
_DAY_S = 86_400
_ROWS = f"""
SELECT at, {", ".join(CHANNEL_COLUMNS)} FROM power_data AS p WHERE meter_id = ? AND NOT EXISTS (
    SELECT 1 FROM labels AS l LEFT JOIN events AS e ON e.event_id = l.event_id
    WHERE l.meter_id = p.meter_id AND l.label = 'real'
    AND p.at BETWEEN l.start_at AND coalesce(e.end_at, l.end_at, l.start_at)
) ORDER BY at
"""  # noqa: S608 - the columns are those above
_LABELS = "SELECT event_id, start_at, end_at, label, labelled_by, labelled_at FROM labels WHERE meter_id = ? ORDER BY 2"
_AUTHOR = ("-c", "user.name=meterwatch", "-c", "user.email=meterwatch@localhost", "-c", "commit.gpgsign=false")


class RetrainError(Exception):
    """Nothing new was registered, and the champion goes on; the message names the next step."""


def retrain(settings: Settings, meter: str | None = None) -> tuple[models.ModelVersion, str]:
    """Train anew and ask the gate.

    Args:
        settings: where database and registry are.
        meter: whose readings; may be left out where there is one meter.

    Returns:
        The version that holds what was trained, and the tag of the commit.

    Raises:
        RetrainError: there is no repository or no such meter, or a stage failed.
        DataError: too few readings.
        RunningError: another retraining runs.
    """
    home = Path(_git(Path(), "rev-parse", "--show-toplevel"))
    if not (home / "dvc.yaml").is_file():
        raise RetrainError(f"{home} holds no dvc.yaml; run this in the project's directory")
    with registered(settings, NAME), _work_tree(home, settings.run_dir.absolute() / NAME) as tree:
        with reading(settings) as db:
            meter = meter or _only_meter(db)
            readings, labels = db.execute(_ROWS, (meter,)).fetchall(), db.execute(_LABELS, (meter,)).fetchall()
        dates = _write(tree, meter, readings, labels)
        _tell(tree / "params.yaml", settings, meter, dates)
        dvc = Path(sys.executable).with_name("dvc")
        env = {**os.environ, "PATH": f"{dvc.parent}{os.pathsep}{os.environ['PATH']}",
               "METERWATCH_MODEL_NAME": settings.model_name,
               "METERWATCH_MLFLOW_TRACKING_URI": f"{models.SCHEME}{models.database(settings).absolute()}"}  # fmt: skip
        files = [str(RAW / f"{NAME}.parquet"), str(RAW / f"{NAME}_labels.csv")]
        _run(tree, env, dvc, "config", "--local", "cache.dir", str(home / ".dvc/cache"))
        _run(tree, env, dvc, "add", "--quiet", *files)
        _run(tree, env, dvc, "repro")
        tag = f"{NAME}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
        _git(tree, "add", "--all")
        _git(
            tree,
            *_AUTHOR,
            "commit",
            "--quiet",
            "--no-verify",
            "--message",
            f"Retrain on meter {meter} until {dates[-1]}",
        )
        _git(tree, "tag", tag)
        digest = json.loads((tree / "mlruns/model_version.json").read_text())[models.BUNDLE_SHA256]
    made = models.holding(settings, digest)
    if made is None:
        raise RetrainError("the pipeline ended without a registered version; `dvc repro` says more")
    return made, tag


@contextmanager
def _work_tree(home: Path, place: Path) -> Iterator[Path]:
    """The last commit checked out beside the project, and gone afterwards; what a killed run left goes first."""

    def clear() -> None:
        shutil.rmtree(place, ignore_errors=True)
        _git(home, "worktree", "prune")

    clear()
    place.parent.mkdir(parents=True, exist_ok=True)
    _git(home, "worktree", "add", "--quiet", "--detach", str(place))
    try:
        yield place
    finally:
        clear()


def _only_meter(db: sqlite3.Connection) -> str:
    known = [str(row[0]) for row in db.execute("SELECT DISTINCT meter_id FROM hot_states ORDER BY 1 LIMIT 4")]
    if len(known) == 1:
        return known[0]
    raise RetrainError(f"there are several meters ({', '.join(known[:3])}, …); --meter says which one to train on"
                       if known else "no reading is stored yet; `meterwatch up` starts the stream")  # fmt: skip


def _write(tree: Path, meter: str, readings: list[Any], labels: list[Any]) -> list[dt.date]:
    """Write both files; the dates on which train, calibrate and evaluate begin and evaluate ends."""
    if not readings:
        raise RetrainError(f"no reading of meter {meter!r} is stored; the dashboard's first page lists the meters")
    columns = list(zip(*readings, strict=True))
    first, last = int(columns[0][0]) // _DAY_S, int(columns[0][-1]) // _DAY_S + 1
    if last - first < LEAST_DAYS:
        raise DataError(f"meter {meter!r} has readings of {last - first} days; {LEAST_DAYS} are the least to train on")
    at = pa.array(np.array(columns[0], "datetime64[s]"), pa.timestamp("s", tz="UTC"))
    channels = {name: pa.array(values, pa.float64()) for name, values in zip(CHANNELS, columns[1:], strict=True)}
    pq.write_table(pa.table({"at": at, **channels}), tree / RAW / f"{NAME}.parquet", compression="zstd")
    with (tree / RAW / f"{NAME}_labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["event_id", "start_at", "end_at", "label", "labelled_by", "labelled_at"])
        rows.writerows(labels)
    days = [first + round(share * (last - first)) for share in SHARES.values()]
    return [dt.datetime.fromtimestamp(day * _DAY_S, dt.UTC).date() for day in days]


def _tell(params: Path, settings: Settings, meter: str, dates: list[dt.date]) -> None:
    """Name the data and their dates, and keep the threshold that the analyst chose."""
    told = yaml.safe_load(params.read_text())
    told["prepare"] |= {"file": f"{NAME}.parquet", "meter_id": meter}
    told["splits"][NAME] = dict(zip(SHARES, (str(day) for day in dates), strict=True))
    champion = models.champion(settings)
    if champion is not None and (champion.bundle_dir / "params.json").is_file():
        told["detector"]["threshold"] = json.loads((champion.bundle_dir / "params.json").read_text())["threshold"]
    params.write_text(yaml.safe_dump(told, sort_keys=False))


def _run(tree: Path, env: dict[str, str], *command: str | Path) -> None:
    if subprocess.run(command, cwd=tree, env=env, check=False).returncode:
        raise RetrainError("the pipeline stopped (see above), the champion goes on; mend what it names and start again")


def _git(place: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RetrainError("git is not installed; retraining works in a work tree of the repository") from None
    if done.returncode:
        raise RetrainError(
            f"git {words[0]} failed: {done.stderr.strip()}; retraining needs the project's git repository"
        )
    return done.stdout.strip()
