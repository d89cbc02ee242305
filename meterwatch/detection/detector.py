"""The one verb: `Detector.observe`. Evaluation, service, stream and backtest all judge through it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from meterwatch.detection import memory as memory_module
from meterwatch.detection.calls import Call, Rules
from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.errors import BundleError
from meterwatch.detection.events import follow
from meterwatch.detection.forest import Trees
from meterwatch.detection.kinds import Kinds
from meterwatch.detection.memory import Memory
from meterwatch.detection.ordering import REASONS
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.readings import Observation, Readings, Verdicts
from meterwatch.detection.rounds import Models, run_rounds
from meterwatch.detection.sequence import SequenceModel
from meterwatch.detection.thresholds import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
        self._rules = Rules.of(params, models.offset)

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
        expects = self.models.sequence is not None or (trace is not None and trace.want_inputs)
        with np.errstate(all="ignore"):
            call = Call(self._rules, memory, readings, expects=expects)
            run_rounds(call, self.models, self.params, trace)
        anomalous = call.numbers[0] >= self.params.threshold
        events = follow(call, anomalous, self.params.threshold, self.params.merge_gap_s)
        verdicts = _verdicts(call, anomalous)
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


def _verdicts(call: Call, anomalous: NDArray[np.bool_]) -> Verdicts:
    reason, codes = call.reasons()
    reasons = tuple(_text(code >> 48, (code >> 16 & 0xFFFFFFFF) - 1, (code & 0xFFFF) - 1) for code in codes)
    score, threshold, expected, lower, upper = call.numbers
    status = call.facts[0].astype(np.int8)
    return Verdicts(status, score, threshold, anomalous, expected, lower, upper, reason, reasons)


def _text(family: int, number: int, days: int) -> str:
    short = f"short history ({days} days)" if days >= 0 else ""
    if family > 100:  # noqa: PLR2004 - see the families above
        return REASONS[family - 101]
    if family == 1:
        return f"{number:,} more readings with power are needed"
    if family == 2:  # noqa: PLR2004
        return "no power in this reading" if number == 0 else "too soon after an absence"
    if family == 3:  # noqa: PLR2004
        words = "far from the expected" if number < 0 else STATISTICS[number].words
        return f"{short}: {words}" if short else words
    return short
