"""Native copies of what was learned, for people to open: skops and `.keras`, no pickle.

Both are zip archives that carry the time they were written; it is taken out, so that the same model is the same bytes.
"""

from __future__ import annotations

import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from training.prepared import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

MODELS = DIRECTORY.parent / "models"
BUNDLE = MODELS / "bundle"
NATIVE = MODELS / "native"
_ADDRESS = re.compile(r'("(?:__id__|shared_object_id)": |"file": ")(\d+)')
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time a zip can hold


def save_forest(model: Any, path: Path) -> None:  # noqa: ANN401 - scikit-learn has no types
    """Write a scikit-learn model with skops."""
    import skops.io

    path.parent.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, path)
    _timeless(path)


def save_network(model: Any, path: Path) -> None:  # noqa: ANN401 - keras has no types
    """Write a Keras model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    _timeless(path)


def _timeless(path: Path) -> None:
    """Write an archive again without what differs from run to run: times, and addresses in memory used as names."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if "metadata.json" in parts:  # of Keras
        about = json.loads(parts["metadata.json"])
        about.pop("date_saved", None)
        parts["metadata.json"] = json.dumps(about, sort_keys=True).encode()
    names: dict[str, str] = {}
    for text in ("schema.json", "config.json"):  # of skops, of Keras
        if text in parts:
            parts[text] = _ADDRESS.sub(lambda found: _renamed(found, names), parts[text].decode()).encode()
    parts = {f"{names.get(stem, stem)}{dot}{rest}": data for name, data in parts.items()
             for stem, dot, rest in (name.partition("."),)}  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), parts[name], zipfile.ZIP_DEFLATED)


def _renamed(found: re.Match[str], names: dict[str, str]) -> str:
    return found[1] + names.setdefault(found[2], str(len(names) + 1))
