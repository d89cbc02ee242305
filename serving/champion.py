"""Which model judges: loads the champion, notices a new one, and swaps between two requests."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DetectionError
from meterwatch.detection.readings import CHANNELS, Readings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG = logging.getLogger("meterwatch.service")
LOOK_SECONDS = 1.0
KEPT = 3  # loaded models: the one that judges and those that a rollback would bring back


class Registered(Protocol):
    """What the registry says of a model version."""

    @property
    def version(self) -> str:
        """Its number, as text."""

    @property
    def bundle_dir(self) -> Path:
        """Where its files are."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model with the name that its verdicts carry."""

    version: str
    bundle_dir: Path
    detector: Detector


class Champion:
    """Holds the model that judges. `current` is replaced whole, so a request sees one model from start to end.

    Args:
        find: asks the registry for the champion; None while there is none.
        changed: told of each model that begins to judge.
    """

    def __init__(self, find: Callable[[], Registered | None], changed: Callable[[Model], None] | None = None) -> None:
        self._find = find
        self._changed = changed
        self._loaded: dict[tuple[str, Path], Model] = {}
        self._refused: tuple[str, Path] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.current: Model | None = None

    def start(self) -> None:
        """Load the champion, then look for a new one each second."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="champion", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        """Take the registry's champion if it is another one; whatever is wrong with it, the old one stays."""
        with self._lock:
            try:
                found = self._find()
            except Exception as error:  # noqa: BLE001 - a registry that cannot be read now must not end the looking
                LOG.warning("the registry cannot be read, the model stays: %s", error)
                return
            if found is None:
                return
            key = (found.version, found.bundle_dir)
            current = self.current
            if key == self._refused or (current is not None and key == (current.version, current.bundle_dir)):
                return
            try:
                model = self._loaded.get(key) or _load(found)
            except (DetectionError, OSError, ValueError, RuntimeError) as error:
                self._refused = key
                LOG.error("model version %s is refused, the old one stays: %s", found.version, error)  # noqa: TRY400
                return
            self._refused = None
            self._loaded.pop(key, None)
            self._loaded[key] = model
            while len(self._loaded) > KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self.current = model
            LOG.info("model version %s judges", model.version)
            if self._changed is not None:
                self._changed(model)


def _load(found: Registered) -> Model:
    """Load and warm a model beside the one that judges."""
    begun = time.perf_counter()
    detector = Detector.load(found.bundle_dir)
    _warm(detector)
    LOG.info("model version %s loaded in %.2f s", found.version, time.perf_counter() - begun)
    return Model(found.version, found.bundle_dir, detector)


def _warm(detector: Detector) -> None:
    """Judge a made day and one reading more, so that the first caller does not pay for first uses."""
    n = 1440
    channels = np.full((len(CHANNELS), n), np.nan)
    channels[0] = 1 + np.arange(n) % 7 / 10
    at = 1_200_000_000 + 60 * np.arange(n, dtype=np.int64)
    first = detector.observe(["m"], [None], [None], Readings(np.zeros(n - 1, np.int64), at[:-1], channels[:, :-1]))
    detector.observe(["m"], first.states, first.profiles, Readings(np.zeros(1, np.int64), at[-1:], channels[:, -1:]))


def lineage(bundle_dir: Path) -> dict[str, object]:
    """Where a bundle comes from: MLflow run, git revision, data hash; empty where it does not say."""
    try:
        told = json.loads((bundle_dir / "lineage.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
