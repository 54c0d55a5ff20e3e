"""Read selected fields of many events as numpy columns, in one pass over their JSON lines.

A column holds the values that ``mapping.conform`` returns. Lines in the logger's own form are decoded directly into
typed objects; all others go through ``conform`` first.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from logging_lib.schema.fields import Field, load
from logging_lib.store import mapping
from logging_lib.store.column_builders import (
    ColumnArray,
    ColumnBuilder,
    concatenate,
    make_builder,
)

_ID = "event.id"


class ListsError(Exception):
    """Raised if a field cannot be a column: some event has a list of values although ``fields.yml`` declares a
    single value, or the field's name contains a quote, a backslash or a control character."""


@dataclass(slots=True)
class ColumnSet:
    """The columns of ``rows`` events in the order in which they were read, without repeated ids.

    ``lines`` are the line numbers of the events, ``hashes`` are the hashes of their ids, and ``events`` is their
    number including duplicates.
    """

    rows: int
    columns: dict[str, ColumnArray]
    lines: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    hashes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    events: int = 0


def read_columns(
    blocks: Iterable[list[bytes] | bytes],
    names: Iterable[str],
    *,
    before: int = 0,
) -> ColumnSet:
    """Read events as columns.

    Args:
        blocks: whole lines, as one text or as a list; lines that are not JSON objects are skipped. A generator is
            closed at the end, because it may hold a resource of a server.
        names: names of fields that ``fields.yml`` maps.
        before: the number of events that an earlier call read.

    Raises:
        ListsError: a field cannot be a column.
    """
    reader = _ColumnReader(frozenset(names), before)
    try:
        with _garbage_collection_paused():
            for block in blocks:
                reader.add(block)
    finally:
        if isinstance(blocks, Generator):
            blocks.close()
    return reader.parts.finish()


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection, because millions of small objects are created and none of them is in a cycle."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(slots=True)
class _ColumnParts:
    """The columns of some blocks, which together have ``count`` lines."""

    builders: dict[str, ColumnBuilder]
    hashes: list[NDArray[np.int64]] = field(default_factory=list)
    lines: list[NDArray[np.int64]] = field(default_factory=list)
    count: int = 0

    def finish(self) -> ColumnSet:
        hashes, lines = concatenate(self.hashes, np.int64), concatenate(self.lines, np.int64)
        events = len(hashes)
        _, first = np.unique(hashes, return_index=True)
        columns = {name: builder.finish() for name, builder in self.builders.items()}
        if len(first) < events:
            first.sort()
            columns = {name: take_rows(column, first) for name, column in columns.items()}
            hashes, lines = hashes[first], lines[first]
        return ColumnSet(len(first), columns, lines, hashes, events)


class _ColumnReader:
    def __init__(self, names: Collection[str], before: int) -> None:
        located = {
            name: field_and_path
            for name in (_ID, *names)
            if (field_and_path := mapping.locate_field(load(), name)) is not None
        }
        self._decoder, self._getters = _decoder(located)
        builders: dict[str, ColumnBuilder] = {
            name: make_builder(located[name][0]) for name in names if name in located
        }
        self.parts = _ColumnParts(builders)
        self._rows = before

    def add(self, block: list[bytes] | bytes) -> None:
        events = self._events(block)
        self._take(events, self._getters)
        self._rows += len(events)

    def _take(self, objects: list[Any], getters: list[_FieldGetter]) -> None:
        for getter in getters:
            values = list(map(getter.get, objects))
            if getter.below:
                self._take(values, getter.below)
                continue
            if getter.field == _ID:
                self._identify(values)
            if getter.field in self.parts.builders:
                self.parts.builders[getter.field].add(values)

    def _identify(self, values: list[Any]) -> None:
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        if None in values:  # an event without an id is never a duplicate
            lacking = np.array([value is None for value in values])
            hashes[lacking] = -(1 << 62) - np.arange(self._rows, self._rows + len(values))[lacking]
        self.parts.hashes.append(hashes)

    def _events(self, block: list[bytes] | bytes) -> list[Any]:
        """Return the events of a block and record their line numbers."""
        first = self.parts.count
        number, has_blank = (len(block), False) if isinstance(block, list) else _count_lines(block)
        self.parts.count += number
        try:
            if isinstance(block, bytes):
                events = list(self._decoder.decode_lines(block))
            else:
                events = [self._decoder.decode(line) for line in block]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            events = []
        if len(events) == number and not has_blank:  # otherwise a line may hold two events
            self.parts.lines.append(np.arange(first, first + number))
            return events
        lines = block.split(b"\n") if isinstance(block, bytes) else block
        numbered_events = [
            (place, event)
            for place, line in enumerate(lines, first)
            if (event := self._event(line)) is not None
        ]
        self.parts.lines.append(np.array([place for place, _ in numbered_events], np.int64))
        return [event for _, event in numbered_events]

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
        conformed = mapping.conform(document)
        lists = sorted(name for name in conformed.list_fields if not _may_have_several(name))
        if lists:
            raise ListsError(f"{', '.join(lists)}: an event has several values in it")
        canonical = _without_nulls(document) if conformed.document is None else conformed.document
        return self._decoder.decode(mapping.dumps(canonical))


def _may_have_several(name: str) -> bool:
    entry = load().field(name)
    return entry is not None and entry.several


def _count_lines(block: bytes) -> tuple[int, bool]:
    """Return the number of lines in a block, and whether one of them may be blank."""
    letters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    firsts = np.concatenate([letters[:1], letters[ends[:-1] + 1]])
    return len(ends), bool((firsts <= ord(" ")).any())


def take_rows(column: ColumnArray, rows: NDArray[Any]) -> ColumnArray:
    """Return a column with only these rows, in this order."""
    if column.offsets is not None and column.codes is not None:
        starts, lengths = column.offsets[rows], np.diff(column.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return ColumnArray(column.type, column.values, column.codes[places], offsets)
    if column.codes is not None:
        return ColumnArray(column.type, column.values, column.codes[rows])
    assert column.data is not None
    valid = None if column.valid is None else column.valid[rows]
    return ColumnArray(column.type, data=column.data[rows], valid=valid)


# -- decoding ----------------------------------------------------------------------------------------------


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


@dataclass(slots=True)
class _FieldGetter:
    """Getter of one field of decoded objects, or of an object with further fields below it."""

    get: Callable[[Any], Any]
    field: str
    below: list[_FieldGetter]


def _decoder(located: dict[str, tuple[Field, mapping.FieldPath]]) -> tuple[Any, list[_FieldGetter]]:
    """Return a decoder of a line into nested structs, and the getters of the structs' fields."""
    tree: dict[str, Any] = {}
    for name, (entry, path) in located.items():
        reduce(lambda node, part: node.setdefault(part, {}), path[:-1], tree)[path[-1]] = name, entry
    # Keys such as "ml.model.name" mean the same as nested objects. The decoder allows no value for them, so that
    # such a line fails and goes through ``conform``.
    dotted = {".".join(path[:end]) for _, path in located.values() for end in range(2, len(path) + 1)}
    kind, getters = _struct(tree, dotted)
    return msgspec.json.Decoder(kind), getters


_NAME = re.compile(r'[^\\"\x00-\x1f]*')  # the names that msgspec accepts
_NEVER = Literal["\0"]


def _struct(tree: dict[str, Any], never: Collection[str]) -> tuple[Any, list[_FieldGetter]]:
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
            getters.append(_FieldGetter(attrgetter(name), "", inner))
        else:
            fields.append((name, _type(below[1]), None))
            getters.append(_FieldGetter(attrgetter(name), below[0], []))
    for place, key in enumerate(never):
        names[f"x{place}"] = key
        fields.append((f"x{place}", _NEVER, msgspec.UNSET))
    return msgspec.defstruct("Event", fields, rename=names, frozen=True, gc=False), getters


def _type(entry: Field) -> Any:
    if entry.several:
        return str | list[str] | None
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
