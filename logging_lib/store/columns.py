"""Chosen fields of many events as numpy columns, read in one pass over their JSON lines.

What a field's column holds is what ``mapping.conform`` makes of the events: lines in the form that the logger
writes are decoded straight into typed objects, all others go through ``conform`` first.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from logging_lib.schema.fields import Field, load
from logging_lib.store import datemath, mapping

_ID = "event.id"
_NO_DATE = np.iinfo(np.int64).min


class ListsError(Exception):
    """No column can be made of a field: ``fields.yml`` gives it one value and some event has a list of them, or its
    name has a quote, a backslash or a control character in it."""


@dataclass(slots=True)
class Column:
    """One field of ``n`` events.

    ``type`` is the field's. Keywords: ``codes`` index ``values``, -1 stands for none; a field of lists has
    ``offsets`` (n + 1) into ``codes``. All others: ``data`` with ``valid``, which is None where all are.
    """

    type: str
    values: list[str] = field(default_factory=list)
    codes: NDArray[np.int32] | None = None
    offsets: NDArray[np.int64] | None = None
    data: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class Columns:
    """``rows`` events in the order in which they were read, without those whose id came before.

    ``lines`` says which of the lines each is, ``hashes`` are of their ids, and ``events`` counts the doubles, too.
    """

    rows: int
    columns: dict[str, Column]
    lines: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    hashes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    events: int = 0


def read(
    blocks: Iterable[list[bytes] | bytes],
    names: Iterable[str],
    *,
    present: Iterable[str] = (),
    before: int = 0,
) -> Columns:
    """Read events.

    Args:
        blocks: whole lines, as one text or as a list; what is no JSON object is passed over.
        names: of fields that ``fields.yml`` maps.
        present: further fields, of which only whether there is a value is wanted: boolean columns.
        before: so many events were read before these, by another call.

    Raises:
        ListsError: see there.
    """
    reader = _Reader(frozenset(names), frozenset(present), before)
    collecting = gc.isenabled()
    gc.disable()  # millions of small objects come and go here, none of them in a cycle
    try:
        for block in blocks:
            reader.add(block)
    finally:
        if collecting:
            gc.enable()
    return reader.finish()


class _Reader:
    def __init__(self, names: Collection[str], present: Collection[str], before: int) -> None:
        located = {
            name: found
            for name in (_ID, *names, *present)
            if (found := mapping.location(load(), name)) is not None
        }
        self._decoder, self._getters = _decoder(located)
        self._builders: dict[str, _Builder] = {
            name: _Presence() if name not in names else _builder(located[name][0])
            for name in (*names, *present)
            if name in located
        }
        self._hashes: list[NDArray[np.int64]] = []
        self._lines: list[NDArray[np.int64]] = []
        self._rows = 0
        self._seen = 0  # lines
        self._before = before

    def add(self, block: list[bytes] | bytes) -> None:
        number = len(block) if isinstance(block, list) else block.count(b"\n")
        events = self._events(block, number)
        self._seen += number
        if not events:
            return
        self._take(events, self._getters)
        self._rows += len(events)

    def _take(self, objects: list[Any], getters: list[_Getter]) -> None:
        for getter in getters:
            values = list(map(getter.get, objects))
            if getter.below:
                self._take(values, getter.below)
                continue
            if getter.field == _ID:
                self._identify(values)
            if getter.field in self._builders:
                self._builders[getter.field].add(values)

    def _identify(self, values: list[Any]) -> None:
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        if None in values:  # without an id it is nobody's double
            lacking = np.array([value is None for value in values])
            first = self._before + self._rows
            hashes[lacking] = -(1 << 62) - np.arange(first, first + len(values))[lacking]
        self._hashes.append(hashes)

    def _events(self, block: list[bytes] | bytes, number: int) -> list[Any]:
        """The events of a block of so many lines; notes which lines they are."""
        try:
            if isinstance(block, bytes):
                events = list(self._decoder.decode_lines(block))
            else:
                events = [self._decoder.decode(line) for line in block]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            events = []
        if len(events) == number:
            self._lines.append(np.arange(self._seen, self._seen + number))
            return events
        lines = block.split(b"\n") if isinstance(block, bytes) else block
        found = [
            (at, event)
            for at, line in enumerate(lines, self._seen)
            if (event := self._event(line)) is not None
        ]
        self._lines.append(np.array([at for at, _ in found], np.int64))
        return [event for _, event in found]

    def _event(self, line: bytes) -> Any:
        try:
            return self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(document, dict):
            return None
        found = mapping.conform(document)
        if found.many:
            raise ListsError(f"{', '.join(sorted(found.many))}: an event has several values in it")
        made = _without_nulls(document) if found.document is None else found.document
        return self._decoder.decode(mapping.dumps(made))

    def finish(self) -> Columns:
        hashes, lines = _concatenated(self._hashes, np.int64), _concatenated(self._lines, np.int64)
        _, first = np.unique(hashes, return_index=True)
        columns = {name: builder.finish() for name, builder in self._builders.items()}
        if len(first) < len(hashes):
            first.sort()
            columns = {name: taken(column, first) for name, column in columns.items()}
            hashes, lines = hashes[first], lines[first]
        return Columns(len(first), columns, lines, hashes, self._rows)


def taken(column: Column, rows: NDArray[Any]) -> Column:
    """The column of these rows, in their order."""
    if column.offsets is not None and column.codes is not None:
        starts, lengths = column.offsets[rows], np.diff(column.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Column(column.type, column.values, column.codes[places], offsets)
    if column.codes is not None:
        return Column(column.type, column.values, column.codes[rows])
    assert column.data is not None
    valid = None if column.valid is None else column.valid[rows]
    return Column(column.type, data=column.data[rows], valid=valid)


def joined(columns: list[Column]) -> Column:
    """The columns of several streams' events, one after the other; all of one type."""
    if len(columns) == 1:
        return columns[0]
    kind = columns[0].type
    if columns[0].codes is not None:
        places = _Codes()
        codes = []
        for column in columns:
            assert column.codes is not None
            table = np.fromiter(map(places.__getitem__, column.values), np.int32, len(column.values))
            codes.append(np.where(column.codes < 0, -1, np.append(table, -1)[column.codes]))
        made = Column(kind, [*map(str, places)], np.concatenate(codes).astype(np.int32))
        if columns[0].offsets is not None:
            made.offsets = np.concatenate(
                [
                    [0],
                    np.cumsum(
                        np.concatenate([np.diff(one.offsets) for one in columns if one.offsets is not None])
                    ),
                ]
            )
        return made
    data = np.concatenate([column.data for column in columns if column.data is not None])
    if all(column.valid is None for column in columns):
        return Column(kind, data=data)
    valid = [
        np.ones(len(column.data), bool) if column.valid is None else column.valid
        for column in columns
        if column.data is not None
    ]
    return Column(kind, data=data, valid=np.concatenate(valid))


# -- decoding ----------------------------------------------------------------------------------------------


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value


@dataclass(slots=True)
class _Getter:
    """Gets a field out of decoded objects, or an object that has further ones below it."""

    get: Callable[[Any], Any]
    field: str
    below: list[_Getter]


def _decoder(located: dict[str, tuple[Field, mapping.Path]]) -> tuple[Any, list[_Getter]]:
    """A decoder of one line into nested structs, and what gets the fields out of them."""
    tree: dict[str, Any] = {}
    for name, (entry, path) in located.items():
        reduce(lambda node, part: node.setdefault(part, {}), path[:-1], tree)[path[-1]] = name, entry
    # Keys such as "ml.model.name" mean the same as nested objects: no value is allowed here, so that the line
    # goes the longer way.
    dotted = {".".join(path[:end]) for _, path in located.values() for end in range(2, len(path) + 1)}
    kind, getters = _struct(tree, dotted)
    return msgspec.json.Decoder(kind), getters


_NAME = re.compile(r'[^\\"\x00-\x1f]*')  # what msgspec takes
_NEVER = Literal["\0"]


def _struct(tree: dict[str, Any], never: Collection[str]) -> tuple[Any, list[_Getter]]:
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    getters = []
    for place, (key, below) in enumerate(tree.items()):
        if not _NAME.fullmatch(key):
            raise ListsError(f"{key!r}: is not read this way")
        name = f"f{place}"
        names[name] = key
        if isinstance(below, dict):
            kind, inner = _struct(below, ())
            fields.append((name, kind, kind()))
            getters.append(_Getter(attrgetter(name), "", inner))
        else:
            fields.append((name, _type(below[1]), None))
            getters.append(_Getter(attrgetter(name), below[0], []))
    for place, key in enumerate(never):
        names[f"x{place}"] = key
        fields.append((f"x{place}", _NEVER, msgspec.UNSET))
    return msgspec.defstruct("Event", fields, rename=names, frozen=True, gc=False), getters


def _type(entry: Field) -> Any:
    if entry.array:
        return list[str] | None
    if entry.type in mapping.WHOLE_TYPES:
        bits = {"long": 63, "integer": 31, "short": 15}[entry.type]
        return Annotated[int, msgspec.Meta(ge=-(1 << bits), le=(1 << bits) - 1)] | None
    if entry.type == "float":
        return Annotated[float, msgspec.Meta(gt=-1e38, lt=1e38)] | None
    if entry.type == "double":
        return float | None
    return bool | None if entry.type == "boolean" else str | None


# -- columns -----------------------------------------------------------------------------------------------


class _Codes(dict[str | None, int]):
    """A number for each text, in the order of their coming; None has -1."""

    def __missing__(self, text: str | None) -> int:
        code = self[text] = len(self)
        return code


class _Keywords:
    def __init__(self, entry: Field) -> None:
        self._codes = _Codes()
        self._type = entry.type
        self._parts: list[NDArray[np.int32]] = []

    def add(self, values: list[Any]) -> None:
        self._parts.append(np.fromiter(map(self._codes.__getitem__, values), np.int32, len(values)))

    def finish(self) -> Column:
        codes = _concatenated(self._parts, np.int32)
        self._parts.clear()
        values = list(self._codes)
        if None in self._codes:
            at = self._codes[None]
            codes[codes == at] = -1
            codes[codes > at] -= 1
            values.pop(at)
        return Column(self._type, values, codes)  # type: ignore[arg-type]


class _KeywordLists:
    def __init__(self, entry: Field) -> None:
        self._codes = _Codes()
        self._type = entry.type
        self._parts: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, values: list[Any]) -> None:
        if not any(values):
            self._lengths.append(np.zeros(len(values), np.int64))
            return
        if None in values:
            values = [value or () for value in values]
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        codes = np.fromiter(
            map(self._codes.__getitem__, chain.from_iterable(values)), np.int32, int(lengths.sum())
        )
        codes, lengths = _as_sets(codes, lengths)
        self._parts.append(codes)
        self._lengths.append(lengths)

    def finish(self) -> Column:
        codes = _concatenated(self._parts, np.int32)
        self._parts.clear()
        lengths = _concatenated(self._lengths, np.int64)
        return Column(self._type, list(self._codes), codes, np.concatenate([[0], np.cumsum(lengths)]))  # type: ignore[arg-type]


def _as_sets(codes: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[Any, Any]:
    """Keywords are a set, as in Elasticsearch's doc values: without the doubles of each list."""
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


class _Numbers:
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

    def finish(self) -> Column:
        data, valid = _concatenated(self._parts, self._dtype), _concatenated(self._valid, bool)
        return Column(self._type, data=data, valid=None if valid.all() else valid)


class _Presence(_Numbers):
    """True where there is a value, and none where there is not."""

    def __init__(self) -> None:
        super().__init__(Field("", "boolean", "", ()))

    def add(self, values: list[Any]) -> None:
        if isinstance(next((one for one in values if one is not None), None), list):
            values = [one or None for one in values]
        super().add([None if one is None else True for one in values])


class _Dates(_Numbers):
    """Milliseconds since 1970, floored."""

    def add(self, values: list[Any]) -> None:
        millis = _millis(values)
        if millis is None:
            millis = np.array([_one_date(value) for value in values], np.int64)
        self._parts.append(np.where(millis == _NO_DATE, 0, millis))
        self._valid.append(millis != _NO_DATE)


def _millis(values: list[Any]) -> NDArray[np.int64] | None:
    """The dates' milliseconds, where all have the logger's form, ``2018-02-01T09:00:00.123456Z`` with three or six
    digits of the second; None where some have not."""
    length = len(values[0]) if isinstance(values[0], str) else 0
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
    in_month = (months + 1).astype("M8[D]").astype(np.int64) - first
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


def _one_date(value: str | None) -> int:
    if value is None:
        return int(_NO_DATE)
    try:
        return datemath.parse(mapping.convert(value, "date"))
    except (mapping.MisfitError, ValueError, OverflowError):
        return int(_NO_DATE)


def _concatenated(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


_Builder = _Keywords | _KeywordLists | _Numbers


def _builder(entry: Field) -> _Builder:
    if entry.array:
        return _KeywordLists(entry)
    if entry.type == "date":
        return _Dates(entry)
    if entry.type in mapping.SQL_TYPES and mapping.SQL_TYPES[entry.type] == "VARCHAR":
        return _Keywords(entry)
    return _Numbers(entry)
