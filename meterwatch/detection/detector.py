"""The one verb: `Detector.observe`. Evaluation, service, stream and backtest all judge through it."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection import memory as memory_module
from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.errors import BundleError
from meterwatch.detection.events import closed, track
from meterwatch.detection.forest import Trees
from meterwatch.detection.kinds import Kinds, statistic_of
from meterwatch.detection.memory import Memory
from meterwatch.detection.ordering import ACCEPTED, REASONS, judge_order
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.readings import GAP, SCORED, WARMING_UP, Observation, Readings, Verdicts
from meterwatch.detection.rounds import Judged, Models, run_rounds
from meterwatch.detection.sequence import SequenceModel
from meterwatch.detection.thresholds import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from meterwatch.detection.readings import Event
    from meterwatch.detection.rounds import Trace

MANIFEST = "manifest.json"
FILES = ("params.json", "calibration.json", "forest.treelite", "weigher.treelite", "sequence.onnx", "scaler.json")
KINDS = "kinds.treelite"  # an older bundle has none, and names its events by the statistic
REFERENCE = "reference.json"  # an older bundle has none: how far live readings have moved from it is not known
OPTIONAL = (KINDS, REFERENCE)


class Detector:
    """A fitted detector; immutable, safe to share between threads.

    Args:
        params: what was set.
        models: what was learned.
        bundle_hash: names the files it was made of.
    """

    schema = memory_module.SCHEMA

    def __init__(self, params: DetectorParams, models: Models, bundle_hash: str = "") -> None:
        self.params = params
        self.models = models
        self.bundle_hash = bundle_hash

    @classmethod
    def load(cls, directory: Path) -> Detector:
        """Open a bundle directory and prove its files by their hashes.

        Raises:
            BundleError: a file is missing, altered, or of another schema.
        """
        try:
            manifest = json.loads((directory / MANIFEST).read_text())
            files = manifest["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{directory} holds no readable {MANIFEST}; run `dvc repro` to make a bundle") from error
        if manifest.get("schema") != cls.schema:
            raise BundleError(f"{directory} has schema {manifest.get('schema')}, this program reads {cls.schema}")
        for name in (*FILES, *(name for name in OPTIONAL if name in files)):
            path = directory / name
            if name not in files or not path.is_file():
                raise BundleError(f"{directory} lacks {name}; run `dvc repro` to make it again")
            if hashlib.sha256(path.read_bytes()).hexdigest() != files[name]:
                raise BundleError(f"{path} was altered: its hash is not the manifest's; run `dvc repro`")
        params = DetectorParams.from_dict(json.loads((directory / "params.json").read_text()))
        calibration = json.loads((directory / "calibration.json").read_text())
        models = Models(
            sequence=SequenceModel(directory / "sequence.onnx", tuple(calibration["band"])),
            forest=Trees(directory / "forest.treelite", -1.0),
            weigher=Trees(directory / "weigher.treelite"),
            kinds=Kinds(Trees(directory / KINDS), calibration["kinds"]) if KINDS in files else None,
            slow=Tail.from_dict(calibration["slow"]),
            fast=Tail.from_dict(calibration["fast"]),
            offset=float(calibration["offset"]),
        )
        return cls(params, models, bundle_hash(files))

    def observe(
        self,
        meter_ids: Sequence[str],
        states: Sequence[bytes | None],
        profiles: Sequence[bytes | None],
        readings: Readings,
        trace: Trace | None = None,
    ) -> Observation:
        """Judge readings and move the meters' states on.

        The answer is the same, to the last bit, however a meter's readings are cut into calls.

        Args:
            meter_ids: the call's meters, distinct.
            states: each meter's state, None for a new meter.
            profiles: each meter's profile, None while there is none.
            readings: grouped by meter, in arrival order.
            trace: collects what training learns from.

        Raises:
            StateError: a state or profile is damaged, foreign or of another schema.
        """
        memory = Memory.decode(meter_ids, states, profiles)
        n = len(readings.at)
        with np.errstate(all="ignore"):
            order = judge_order(memory.hot, readings, self.params)
            accepted = np.flatnonzero(order.status == ACCEPTED)
            judged = run_rounds(memory, self.models, self.params, readings, order.hashes, accepted, order.anew, trace)
        threshold, merge_gap_s = self.params.threshold, self.params.merge_gap_s
        anomalous = judged.score >= threshold
        events: list[Event] = []
        bounds = np.searchsorted(readings.meter[accepted], np.arange(len(meter_ids) + 1))
        concerned = memory.hot["ev_start"] > memory_module.NEVER
        concerned[readings.meter[accepted[anomalous]]] = True
        new = np.flatnonzero(order.anew[accepted])
        for m in np.flatnonzero(concerned).tolist():
            edges = [bounds[m], *new[(new >= bounds[m]) & (new < bounds[m + 1])].tolist(), bounds[m + 1]]
            touched: dict[str, Event] = {}
            for begin, end in itertools.pairwise(edges):
                part, prefix = slice(begin, end), f"{memory.digests[m].hex()}-"
                if begin in new:  # its clock was wrong: what was open has ended
                    touched |= {one.event_id: one for one in closed(memory.hot, m, prefix, threshold, merge_gap_s)}
                mine = track(
                    memory.hot, m, prefix, readings.at[accepted[part]], anomalous[part], judged.score[part],
                    judged.why[part], judged.energy[part], threshold, merge_gap_s,
                )  # fmt: skip
                touched |= {one.event_id: one for one in mine}
            events += touched.values()
        verdicts = _verdicts(n, order.status, order.reason, accepted, judged, anomalous, threshold)
        return Observation(memory.encode_states(), memory.encode_profiles(), verdicts, events)


def bundle_hash(files: dict[str, str]) -> str:
    """One hash for a bundle's files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seal(directory: Path, extra: dict[str, Any] | None = None) -> str:
    """Write the manifest of a bundle directory and answer its hash."""
    names = (*FILES, *(name for name in OPTIONAL if (directory / name).is_file()))
    files = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    manifest = {"schema": Detector.schema, "files": files, **(extra or {})}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return bundle_hash(files)


def _verdicts(
    n: int,
    order_status: NDArray[np.int8],
    order_reason: NDArray[np.int8],
    accepted: NDArray[np.int64],
    judged: Judged,
    anomalous: NDArray[np.bool_],
    threshold: float,
) -> Verdicts:
    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(n, np.nan)
        out[accepted] = values
        return out

    status = order_status.copy()
    status[accepted] = judged.status
    flags = np.zeros(n, np.bool_)
    flags[accepted] = anomalous
    # A reason is a few numbers until here; each distinct one becomes a text once.
    key = np.zeros((n, 3), np.int64)  # family, number, number
    key[:, 0] = np.where(order_reason > 0, 100 + order_reason, 0)
    key[:, 2] = -1
    warming, gap, scored = judged.status == WARMING_UP, judged.status == GAP, judged.status == SCORED
    told = np.where(anomalous, 3, np.where(judged.days >= 0, 4, 0))
    key[accepted, 0] = np.where(warming, 1, np.where(gap, 2, told))
    told = np.where(anomalous, statistic_of(judged.why), 0)
    key[accepted, 1] = np.where(warming, judged.left, np.where(gap, judged.absent, told))
    key[accepted, 2] = np.where(scored, judged.days, -1)
    code = (key[:, 0] << 48) + ((key[:, 1] + 1) << 16) + (key[:, 2] + 1)
    distinct, first, reason = np.unique(code, return_index=True, return_inverse=True)
    del distinct
    reasons = tuple(_text(*key[i].tolist()) for i in first)
    return Verdicts(
        status, spread(judged.score), spread(np.where(scored, threshold, np.nan)), flags,
        spread(judged.expected), spread(judged.lower), spread(judged.upper), reason.astype(np.int32), reasons,
    )  # fmt: skip


def _text(family: int, number: int, days: int) -> str:
    short = f"short history ({days} days)" if days >= 0 else ""
    if family > 100:  # noqa: PLR2004 - see the keys above
        return REASONS[family - 101]
    if family == 1:
        return f"{number:,} more readings with power are needed"
    if family == 2:  # noqa: PLR2004
        return "no power in this reading" if number == 0 else "too soon after an absence"
    if family == 3:  # noqa: PLR2004
        words = "far from the expected" if number < 0 else STATISTICS[number].words
        return f"{short}: {words}" if short else words
    return short
