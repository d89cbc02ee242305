"""The sequence model's runtime copy: a causal dilated convolution that expects the next reading.

Its inputs are the `RECEPTIVE` readings with power before the judged one, and what is known of the judged time:
the usual power there on earlier days and weeks, and the calendar. The judged reading itself is never an input.
Outputs are the median and the distances to the 2.5 % and 97.5 % quantiles, in units of the meter's level under a
signed logarithm. A segment in one call and a reading at a time give the same bits because at least `TILE`
positions are always computed (ONNX Runtime takes another path for a single one).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from meterwatch.detection.errors import BundleError
from meterwatch.detection.library import LIBRARY, pointer
from meterwatch.detection.params import RECEPTIVE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TILE = 16
PROOF = 256  # positions by which a network is tried
PAST_INPUTS = 2  # scaled power, scaled time since the reading before
TIME_INPUTS = 12


def scaled(power_mw: NDArray[np.int64] | Floats, level: Floats) -> Floats:
    """Power as a signed logarithm in units of the meter's level."""
    ratio = power_mw / (0.1 * level)
    return np.sign(ratio) * np.log1p(np.abs(ratio))


class SequenceModel:
    """Runs the exported network.

    Args:
        path: the ONNX file, inputs `past` (N, 2, L + RECEPTIVE - 1) and `time` (N, 12, L), output (N, 3, L).
        band: factors on the lower and upper distance, from calibration (1, 1: as trained).

    Raises:
        BundleError: the network answers a segment otherwise than step by step.
    """

    def __init__(self, path: Path, band: tuple[float, float] = (1.0, 1.0)) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # one reading must not wake a pool; bulk is parallel over requests
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.band = band
        if not self._same_in_pieces():
            raise BundleError(f"{path} answers a segment otherwise than step by step; train it with at most 64 filters")

    def _same_in_pieces(self) -> bool:
        """Try it: ONNX Runtime cuts long sums into blocks whose size depends on the segment's length."""
        rng = np.random.default_rng(0)
        past = rng.normal(size=(1, PAST_INPUTS, PROOF + RECEPTIVE - 1)).astype(np.float32)
        time = rng.normal(size=(1, TIME_INPUTS, PROOF)).astype(np.float32)
        whole = self.expect(past, time)
        pieces = (slice(k, k + 1) for k in (0, PROOF // 2, PROOF - 1))
        return all(
            np.array_equal(self.expect(past[:, :, k.start : k.stop + RECEPTIVE - 1], time[:, :, k]), whole[:, :, k])
            for k in pieces
        )

    def expect(self, past: NDArray[np.float32], time: NDArray[np.float32]) -> Floats:
        """Median, lower and upper bound on the scaled axis, (n, 2, L + R - 1) and (n, 12, L) → (n, 3, L)."""
        length = time.shape[2]
        if pad := -length % TILE:
            past, time = (np.concatenate([part, np.zeros((*part.shape[:2], pad), np.float32)], axis=2)
                          for part in (past, time))  # fmt: skip
        raw = self._session.run(None, {"past": past, "time": time})[0]
        bounds = np.empty((len(raw), 3, length))
        LIBRARY.mw_bounds(
            pointer(raw), ctypes.c_int64(len(raw)), ctypes.c_int64(raw.shape[2]), ctypes.c_int64(length),
            *map(ctypes.c_double, self.band), pointer(bounds),
        )  # fmt: skip
        return bounds
