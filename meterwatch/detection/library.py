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


_Anything = ctypes.c_char * 0


def pointer(array: NDArray[np.generic]) -> ctypes.Array[ctypes.c_char] | ctypes.c_void_p:
    """Where an array's values begin; they must lie in one piece."""
    flags = array.flags
    if not flags.c_contiguous:
        raise ValueError("an array that is not in one piece was given to the kernel")
    if flags.writeable and array.dtype.names is None:  # the quick way, a tenth of the other; not for every array
        return _Anything.from_buffer(array)  # type: ignore[arg-type]
    return ctypes.c_void_p(array.ctypes.data)


def address(array: NDArray[np.generic]) -> int:
    """The same as a number, for a structure; whoever takes it keeps the array alive."""
    where = pointer(array)
    return (where.value or 0) if isinstance(where, ctypes.c_void_p) else ctypes.addressof(where)


LIBRARY = _library()
