"""The detector's loops in C, built when the package is installed."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _library() -> ctypes.CDLL:
    spec = find_spec("meterwatch.detection._kernel")
    if spec is None or spec.origin is None:
        raise ImportError("meterwatch.detection._kernel is not built; run make setup")
    return ctypes.CDLL(spec.origin)


def pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    """Where an array's values begin; they must lie in one piece."""
    if not array.flags.c_contiguous:
        raise ValueError("an array that is not in one piece was given to the kernel")
    return ctypes.c_void_p(array.ctypes.data)


LIBRARY = _library()
