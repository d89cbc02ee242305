"""From numpy and Python values to Arrow arrays and back, by their buffers.

`pyarrow.array` and `to_numpy` import pandas on first use where it is installed: half a second and sixty megabytes that
a service has no use for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def numbers(values: NDArray[Any], kind: pa.DataType, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """An array of numbers, times or truths (n,); null where `missing`."""
    valid = None if missing is None or not missing.any() else _bits(~missing)
    data = _bits(values) if pa.types.is_boolean(kind) else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [valid, data])


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def binaries(values: Sequence[bytes | None], kind: pa.DataType | None = None) -> pa.Array:
    """An array of bytes; null where None."""
    missing = np.array([value is None for value in values], np.bool_)
    lengths = [len(value) if value else 0 for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = pa.py_buffer(b"".join(value for value in values if value))
    valid = _bits(~missing) if missing.any() else None
    return pa.Array.from_buffers(kind or pa.binary(), len(values), [valid, pa.py_buffer(offsets), data])


def strings(values: Sequence[str | None]) -> pa.Array:
    """An array of texts; null where None."""
    return binaries([None if value is None else value.encode() for value in values], pa.string())


def coded(codes: NDArray[Any], values: Sequence[str], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Texts by their number (n,), dictionary-encoded; null where `missing`."""
    return pa.DictionaryArray.from_arrays(numbers(codes.astype(np.int32), pa.int32(), missing), strings(values))


def read(array: pa.Array, dtype: type[np.generic]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The values of a fixed-width array as they lie in memory (n,), and which are there (n,)."""
    n, (valid, data) = len(array), array.buffers()
    if data is None:
        return np.zeros(n, dtype), np.zeros(n, np.bool_)
    values = np.frombuffer(data, dtype, n, array.offset * np.dtype(dtype).itemsize)
    if valid is None:
        return values, np.ones(n, np.bool_)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    return values, bits[array.offset : array.offset + n].astype(np.bool_)
