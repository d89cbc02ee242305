"""A bundle is opened whole or not at all, and says what is wrong with it and what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterwatch.detection.catalogue import STATISTICS
from meterwatch.detection.detector import FILES, KINDS, MANIFEST, OPTIONAL, Detector, bundle_hash, seal
from meterwatch.detection.errors import BundleError
from meterwatch.detection.kinds import FAST, words
from meterwatch.detection.params import DetectorParams
from meterwatch.detection.readings import Readings
from tests.households import household

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be spoiled."""
    return shutil.copytree(bundle, tmp_path / "bundle")


def refused(directory: Path, fact: str) -> None:
    with pytest.raises(BundleError, match=fact):
        Detector.load(directory)


@pytest.mark.parametrize("name", [*FILES, *OPTIONAL])
def test_a_missing_or_altered_file_is_named(copy: Path, name: str) -> None:
    """Each file by itself, whatever it holds."""
    path = copy / name
    path.write_bytes(path.read_bytes() + b"\n")
    refused(copy, rf"{name} was altered.*dvc repro")
    path.unlink()
    refused(copy, rf"lacks {name}.*dvc repro")


def test_the_manifest_has_to_be_there_and_of_this_schema(copy: Path) -> None:
    """Gone, no JSON, no list of files, of another schema."""
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"schema": Detector.schema + 1}))
    refused(copy, f"has schema {Detector.schema + 1}, this program reads {Detector.schema}")
    for text in ("{}", "[]", "not JSON"):
        (copy / MANIFEST).write_text(text)
        refused(copy, "holds no readable manifest.json; run `dvc repro`")
    (copy / MANIFEST).unlink()
    refused(copy, "holds no readable manifest.json; run `dvc repro`")


def test_a_bundle_made_before_kinds_were_taught_judges_alike_but_for_the_words(bundle: Path, copy: Path) -> None:
    """The same verdicts and events; an event is then named by the statistic that stood out."""
    (copy / KINDS).unlink()
    seal(copy)
    at, channels = household(days=16, seed=3)
    channels[:4, -2000:] *= 0.1
    readings = Readings(np.zeros(len(at), np.int64), at, channels)
    new, old = (Detector.load(path).observe(["m"], [None], [None], readings) for path in (bundle, copy))
    assert new.verdicts.score.tobytes() == old.verdicts.score.tobytes()
    assert new.verdicts.reasons == old.verdicts.reasons
    assert [replace(event, kind="") for event in new.events] == [replace(event, kind="") for event in old.events]
    assert {event.kind for event in old.events} <= {words(k, s) for k in range(FAST, len(STATISTICS)) for s in (1, -1)}
    assert old.events


def test_unknown_parameters_are_refused(copy: Path) -> None:
    """A later version's parameter would change verdicts: it is not passed over."""
    (copy / "params.json").write_text(json.dumps(asdict(DetectorParams()) | {"mood": 1}))
    seal(copy)
    refused(copy, r"unknown detector parameters \['mood'\]")


def test_the_hash_names_the_files_it_was_made_of(bundle: Path, copy: Path) -> None:
    """The same files give the same name, others another."""
    first = Detector.load(bundle).bundle_hash
    assert first == Detector.load(copy).bundle_hash == bundle_hash(json.loads((copy / MANIFEST).read_text())["files"])
    (copy / "params.json").write_text(DetectorParams(threshold=1.0).to_json())
    other = seal(copy)
    assert other == Detector.load(copy).bundle_hash
    assert other != first


@given(st.builds(DetectorParams, threshold=st.floats(-6, 9), warm_up_s=st.integers(0, 10**7)))
def test_parameters_survive_their_file(params: DetectorParams) -> None:
    """Written and read again they are the same, and so is the text."""
    back = DetectorParams.from_dict(json.loads(params.to_json()))
    assert back == params
    assert back.to_json() == params.to_json()
