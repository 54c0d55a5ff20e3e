"""Build Arrow columns from JSON lines, with one builder for each kind of field."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from logging_lib._util import datemath
from logging_lib.schema.fields import Field
from logging_lib.store import mapping

_NO_DATE = np.iinfo(np.int64).min
T = TypeVar("T")


@dataclass(slots=True)
class ColumnArray:
    """One field of ``n`` events.

    ``type`` is the field's type. Keywords have ``codes``, which index ``values``, with -1 for a missing value; a
    field of lists also has ``offsets`` (n + 1) into ``codes``. All other types have ``data`` and ``valid``, which
    is None if all values are valid.
    """

    type: str
    values: list[str] = field(default_factory=list)
    codes: NDArray[np.int32] | None = None
    offsets: NDArray[np.int64] | None = None
    data: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None


class CodeTable(dict[str | None, int]):
    """A dictionary that numbers each text in the order of first occurrence."""

    def __missing__(self, text: str | None) -> int:
        code = self[text] = len(self)
        return code


class KeywordBuilder:
    def __init__(self, entry: Field) -> None:
        self._codes = CodeTable()
        self._type = entry.type
        self._parts: list[NDArray[np.int32]] = []

    def add(self, values: list[Any]) -> None:
        self._parts.append(np.fromiter(map(self._codes.__getitem__, values), np.int32, len(values)))

    def finish(self) -> ColumnArray:
        codes = concatenate(self._parts, np.int32)
        self._parts.clear()
        values = list(self._codes)
        if None in self._codes:
            at = self._codes[None]
            codes[codes == at] = -1
            codes[codes > at] -= 1
            values.pop(at)
        return ColumnArray(self._type, values, codes)  # type: ignore[arg-type]


class KeywordListBuilder:
    def __init__(self, entry: Field) -> None:
        self._codes = CodeTable()
        self._type = entry.type
        self._parts: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, values: list[Any]) -> None:
        if not any(values):
            self._parts.append(np.zeros(0, np.int32))
            self._lengths.append(np.zeros(len(values), np.int64))
            return
        if None in values:
            values = [value or () for value in values]
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        codes = np.fromiter(
            map(self._codes.__getitem__, chain.from_iterable(values)), np.int32, int(lengths.sum())
        )
        codes, lengths = _drop_repeats(codes, lengths)
        self._parts.append(codes)
        self._lengths.append(lengths)

    def finish(self) -> ColumnArray:
        codes = concatenate(self._parts, np.int32)
        self._parts.clear()
        lengths = concatenate(self._lengths, np.int64)
        return ColumnArray(self._type, list(self._codes), codes, np.concatenate([[0], np.cumsum(lengths)]))  # type: ignore[arg-type]


class KeywordsBuilder(KeywordListBuilder):
    """Builder of a keyword field that seldom has several values; its column has lists only if some event does."""

    def add(self, values: list[Any]) -> None:
        super().add([[value] if isinstance(value, str) else value for value in values])

    def finish(self) -> ColumnArray:
        column = super().finish()
        assert column.codes is not None
        assert column.offsets is not None
        lengths = np.diff(column.offsets)
        if lengths.max(initial=0) > 1:
            return column
        codes = np.full(len(lengths), -1, np.int32)
        codes[lengths == 1] = column.codes
        return ColumnArray(column.type, column.values, codes)


def _drop_repeats(codes: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[Any, Any]:
    """Drop repeated keywords within each list, because keywords are a set, as in Elasticsearch's doc values."""
    if not len(codes):
        return codes, lengths
    rows = np.repeat(np.arange(len(lengths)), lengths)
    pairs = rows * (int(codes.max()) + 1) + codes
    ordered = np.sort(pairs)
    if not (ordered[1:] == ordered[:-1]).any():
        return codes, lengths
    _, first = np.unique(pairs, return_index=True)
    first.sort()
    return codes[first], np.bincount(rows[first], minlength=len(lengths)).astype(np.int64)


class NumberBuilder:
    def __init__(self, entry: Field) -> None:
        self._type = entry.type
        self._dtype = {"double": "f8", "float": "f4", "boolean": "?"}.get(entry.type, "i8")
        self._parts: list[NDArray[Any]] = []
        self._valid: list[NDArray[np.bool_]] = []

    def add(self, values: list[Any]) -> None:
        valid = np.ones(len(values), bool)
        if None in values:
            valid = np.array([value is not None for value in values])
            values = [0 if value is None else value for value in values]
        self._parts.append(np.array(values, self._dtype))
        self._valid.append(valid)

    def finish(self) -> ColumnArray:
        data, valid = concatenate(self._parts, self._dtype), concatenate(self._valid, bool)
        return ColumnArray(self._type, data=data, valid=None if valid.all() else valid)


class DateBuilder(NumberBuilder):
    """Builder of dates in milliseconds since 1970, rounded down."""

    def add(self, values: list[Any]) -> None:
        millis = _parse_dates(values)
        if millis is None:
            millis = np.array([_parse_date(value) for value in values], np.int64)
        self._parts.append(np.where(millis == _NO_DATE, 0, millis))
        self._valid.append(millis != _NO_DATE)


def _parse_dates(values: list[Any]) -> NDArray[np.int64] | None:
    """Parse dates to milliseconds if all have the logger's form, ``2018-02-01T09:00:00.123456Z`` with three or six
    fractional digits; return None if some do not."""
    length = len(values[0]) if values and isinstance(values[0], str) else 0
    if length not in (24, 27):
        return None
    try:
        text = "".join(values).encode("ascii")
    except (TypeError, UnicodeEncodeError):
        return None
    if len(text) != length * len(values):
        return None
    letters = np.frombuffer(text, np.uint8).reshape(-1, length).T
    digits = letters[[*_DIGITS, *range(23, length - 1)]] - np.uint8(ord("0"))
    if (digits > 9).any() or (letters[[*_MARKS, length - 1]] != _MARK).any():
        return None
    year, month, day, hour, minute, second, milli = _NUMBERS @ digits[: len(_DIGITS)].astype(np.int32)
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first = months.astype("M8[D]").astype(np.int64)
    in_month = (months + np.timedelta64(1, "M")).astype("M8[D]").astype(np.int64) - first
    right = (month >= 1) & (month <= 12) & (day >= 1) & (day <= in_month)
    if not (right & (hour < 24) & (minute < 60) & (second < 60)).all():
        return None
    minutes = ((first + day - 1) * 24 + hour) * 60 + minute
    millis: NDArray[np.int64] = (minutes * 60 + second) * 1000 + milli
    return millis


_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 22)
_MARKS = (4, 7, 10, 13, 16, 19)
_MARK = np.frombuffer(b"--T::.Z", np.uint8).reshape(-1, 1)
_NUMBERS = np.zeros((7, len(_DIGITS)), np.int32)
for _number, _places in enumerate([(0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 17)]):
    _NUMBERS[_number, slice(*_places)] = 10 ** np.arange(_places[1] - _places[0])[::-1]


def _parse_date(value: str | None) -> int:
    if value is None:
        return int(_NO_DATE)
    try:
        return datemath.parse(mapping.coerce(value, "date"))
    except (mapping.MappingError, ValueError, OverflowError):
        return int(_NO_DATE)


def concatenate(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


ColumnBuilder = KeywordBuilder | KeywordListBuilder | NumberBuilder


def make_builder(entry: Field) -> ColumnBuilder:
    if entry.several:
        return KeywordsBuilder(entry)
    if entry.array:
        return KeywordListBuilder(entry)
    if entry.type == "date":
        return DateBuilder(entry)
    if entry.type in mapping.SQL_TYPES and mapping.SQL_TYPES[entry.type] == "VARCHAR":
        return KeywordBuilder(entry)
    return NumberBuilder(entry)


def to_arrow(column: ColumnArray) -> Any:
    """Convert a column to Arrow; an empty list counts as a missing value."""
    import pyarrow as pa

    if column.codes is None:
        assert column.data is not None
        return numbers_to_arrow(column.data, column.valid)
    there = column.codes >= 0
    codes = numbers_to_arrow(column.codes, None if there.all() else there)
    texts = pa.DictionaryArray.from_arrays(codes, strings_to_arrow(column.values))
    if column.offsets is None:
        return texts
    kind, length = pa.large_list(texts.type), len(column.offsets) - 1
    full = np.diff(column.offsets) > 0
    buffers = [
        None if full.all() else _pack_bits(full),
        pa.py_buffer(column.offsets.astype(np.int64, copy=False)),
    ]
    return pa.Array.from_buffers(kind, length, buffers, children=[texts])


def numbers_to_arrow(data: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Any:
    """Convert numbers or booleans to Arrow; ``valid`` says which are present (None means all)."""
    import pyarrow as pa

    values = _pack_bits(data) if data.dtype == bool else pa.py_buffer(np.ascontiguousarray(data))
    buffers = [None if valid is None else _pack_bits(valid), values]
    return pa.Array.from_buffers(pa.from_numpy_dtype(data.dtype), len(data), buffers)


def strings_to_arrow(texts: list[str]) -> Any:
    """Convert texts to Arrow; their total length is not limited."""
    import pyarrow as pa

    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def _pack_bits(flags: NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags, bitorder="little"))
