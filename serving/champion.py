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
from meterwatch.detection.errors import BundleError
from meterwatch.detection.readings import CHANNELS, SCORED, Readings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG = logging.getLogger("meterwatch.service")
LOOK_SECONDS = 0.5  # so that a new champion is noticed within a second
RETRY_SECONDS = 30.0  # after which a refused bundle is looked at again: its files may have been restored
KEPT = 3  # loaded models: the one that judges and those that a rollback would bring back


class Registered(Protocol):
    """What the registry says of a model version."""

    @property
    def version(self) -> str:
        """Its number, as text."""

    @property
    def bundle_dir(self) -> Path:
        """Where its files are."""

    @property
    def bundle_sha256(self) -> str | None:
        """The hash under which it was registered; None where that was not recorded."""


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
        self._refused_at = 0.0
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
            refused = key == self._refused and time.monotonic() < self._refused_at + RETRY_SECONDS
            if refused or (current is not None and key == (current.version, current.bundle_dir)):
                return
            try:
                model = self._loaded.get(key) or load(found)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it must not judge
                if key != self._refused:
                    LOG.error("model version %s is refused, the old one stays: %s", found.version, error)  # noqa: TRY400
                self._refused, self._refused_at = key, time.monotonic()
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


def load(found: Registered) -> Model:
    """Load, prove and warm a model beside the one that judges.

    Raises:
        BundleError: its files are not those that were registered, or it does not judge a plain series.
    """
    begun = time.perf_counter()
    detector = Detector.load(found.bundle_dir)
    if found.bundle_sha256 not in (None, detector.bundle_hash):
        raise BundleError(f"the bundle's hash is {detector.bundle_hash}, {found.bundle_sha256} was registered")
    _warm(detector)
    LOG.info("model version %s loaded in %.2f s", found.version, time.perf_counter() - begun)
    return Model(found.version, found.bundle_dir, detector)


def _warm(detector: Detector) -> None:
    """Judge a made series past the warming up, and one reading more, as callers will.

    So that the first caller does not pay for first uses, and that parts which do not fit together are found out here.
    """
    n = detector.params.warm_up_s // 60 + 60
    channels = np.full((len(CHANNELS), n), np.nan)
    channels[0] = 1 + np.arange(n) % 7 / 10
    at = 1_200_000_000 + 60 * np.arange(n, dtype=np.int64)
    first = detector.observe(["m"], [None], [None], Readings(np.zeros(n - 1, np.int64), at[:-1], channels[:, :-1]))
    last = Readings(np.zeros(1, np.int64), at[-1:], channels[:, -1:])
    verdicts = detector.observe(["m"], first.states, first.profiles, last).verdicts
    if verdicts.status[0] != SCORED or not np.isfinite(verdicts.score[0]):
        raise BundleError("the model does not judge a plain series")


def lineage(bundle_dir: Path) -> dict[str, object]:
    """Where a bundle comes from: MLflow run, git revision, data hash; empty where it does not say."""
    try:
        told = json.loads((bundle_dir / "lineage.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
