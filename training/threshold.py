"""A champion with another threshold: a version of its own, so that the lineage of every verdict stays whole."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meterwatch.detection.detector import Detector, seal
from meterwatch.detection.errors import DataError
from meterwatch.storage import champions, models
from training import lineage, tracking
from training.registration import register

if TYPE_CHECKING:
    from meterwatch.settings import Settings

INHERITED = ("data_sha256", "recall", "evaluated_on", "false_alarms_a_month")  # does not depend on the threshold


def apply(settings: Settings, threshold: float) -> str:
    """Register the champion with another threshold, as challenger: promoted and rolled back like any other.

    Args:
        settings: where the registry is.
        threshold: log10 of months between false alarms.

    Returns:
        The number of the version that holds it: a new one, or one that did already.

    Raises:
        DataError: the threshold is no number, or the champion's already.
        RegistryError: there is no champion.
        BundleError: the champion's files are gone or altered.
    """
    parent = models.champion(settings)
    if parent is None:
        raise models.RegistryError("there is no champion whose threshold could change; `dvc repro` makes one")
    detector = Detector.load(parent.bundle_dir)
    before = detector.params.threshold
    if not math.isfinite(threshold) or threshold == before:
        raise DataError(f"the threshold of champion {parent.version} is {before:g}; give another number")
    with tempfile.TemporaryDirectory() as folder:
        bundle = shutil.copytree(parent.bundle_dir, Path(folder) / "bundle")
        (bundle / "params.json").write_text(replace(detector.params, threshold=threshold).to_json())
        digest = seal(bundle)
        held = models.holding(settings, digest)
        if held is not None:
            champions.challenge(settings, held.version)
            return held.version
        inherited = {name: parent.tags[name] for name in INHERITED if name in parent.tags}
        tags = {**inherited, **lineage.revision(), models.BUNDLE_SHA256: digest, "parent_version": parent.version}
        with tracking.stage("threshold", {"detector": {"threshold": threshold}}, tags) as run:
            number, _ = register(run, settings, bundle, tags)
            said = (f"threshold {threshold:g} in the place of {before:g} on version {parent.version}, chosen by hand: "
                    "nothing else differs, so nothing was compared")  # fmt: skip
            run.client.set_model_version_tag(settings.model_name, number, models.GATE, said)
            run.client.update_model_version(settings.model_name, number, f"{said[0].upper()}{said[1:]}.")
            champions.challenge(settings, number)
    return number
