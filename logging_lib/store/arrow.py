"""Columns as Arrow arrays, which DuckDB reads as they are. Made of buffers: ``pyarrow.array`` would load pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logging_lib.store.builders import Column


def array(column: Column) -> Any:
    """A column; an empty list counts as none."""
    import pyarrow as pa

    if column.codes is None:
        assert column.data is not None
        return numbers(column.data, column.valid)
    there = column.codes >= 0
    codes = numbers(column.codes, None if there.all() else there)
    texts = pa.DictionaryArray.from_arrays(codes, strings(column.values))
    if column.offsets is None:
        return texts
    kind, length = pa.large_list(texts.type), len(column.offsets) - 1
    full = np.diff(column.offsets) > 0
    buffers = [None if full.all() else _bits(full), pa.py_buffer(column.offsets.astype(np.int64, copy=False))]
    return pa.Array.from_buffers(kind, length, buffers, children=[texts])


def numbers(data: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Any:
    """Numbers or truth values, and which of them are there (None: all)."""
    import pyarrow as pa

    values = _bits(data) if data.dtype == bool else pa.py_buffer(np.ascontiguousarray(data))
    buffers = [None if valid is None else _bits(valid), values]
    return pa.Array.from_buffers(pa.from_numpy_dtype(data.dtype), len(data), buffers)


def strings(texts: list[str]) -> Any:
    """Texts, of any length together."""
    import pyarrow as pa

    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(one) for one in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def values(column: Any) -> NDArray[Any]:
    """The numbers of a table's column, all of which are there."""
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0, column.type.to_pandas_dtype())


def _bits(flags: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags, bitorder="little"))
