"""Chosen fields of many events as numpy columns, read in one pass over their JSON lines.

What a field's column holds is what ``mapping.conform`` makes of the events: lines in the form that the logger
writes are decoded straight into typed objects, all others go through ``conform`` first.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Iterable, Iterator
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
from logging_lib.store.builders import (
    Builder,
    Codes,
    Column,
    Presence,
    builder,
    concatenated,
    woven,
)
from logging_lib.store.sharing import shared

_ID = "event.id"


class ListsError(Exception):
    """No column can be made of a field: ``fields.yml`` gives it one value and some event has a list of them, or its
    name has a quote, a backslash or a control character in it."""


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
    with _without_collecting():
        for block in blocks:
            reader.add(block)
    return reader.part.finish()


def read_shared(
    blocks: Callable[[], Iterable[list[bytes] | bytes]],
    names: Iterable[str],
    *,
    present: Iterable[str] = (),
    processes: int,
) -> Columns:
    """``read``, with the blocks dealt out to copies of this process.

    Args:
        blocks: begins anew with each call; must not need this process's threads and connections.

    Raises:
        ListsError: see there.
    """
    names, present = frozenset(names), frozenset(present)

    def dealt(place: int) -> _Part:
        reader = _Reader(names, present, before=place << 40)  # numbers that nobody else gives
        with _without_collecting():
            for number, block in enumerate(blocks()):
                if number % processes == place:
                    reader.add(block)
                else:
                    reader.skip(block)
        return reader.part

    try:
        first, *others = shared(dealt, range(processes), here=lambda place: False, processes=processes)
    except ListsError:  # which one is raised must not depend on who was the first
        return read(blocks(), names, present=present)
    if any(one.sizes != first.sizes for one in others):  # somebody wrote meanwhile
        return read(blocks(), names, present=present)
    first.weave(others)
    return first.finish()


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Millions of small objects come and go, none of them in a cycle."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(slots=True)
class _Part:
    """What was made of some of the blocks; ``sizes`` counts the lines of all that came by."""

    builders: dict[str, Builder]
    hashes: list[NDArray[np.int64]] = field(default_factory=list)
    lines: list[NDArray[np.int64]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def weave(self, others: list[_Part]) -> None:
        """Put the blocks of others between its own: one of each in turn."""
        self.hashes = woven([self.hashes, *(one.hashes for one in others)])
        self.lines = woven([self.lines, *(one.lines for one in others)])
        for name, own in self.builders.items():
            own.weave([one.builders[name] for one in others])  # type: ignore[misc]

    def finish(self) -> Columns:
        hashes, lines = concatenated(self.hashes, np.int64), concatenated(self.lines, np.int64)
        events = len(hashes)
        _, first = np.unique(hashes, return_index=True)
        columns = {name: builder.finish() for name, builder in self.builders.items()}
        if len(first) < events:
            first.sort()
            columns = {name: taken(column, first) for name, column in columns.items()}
            hashes, lines = hashes[first], lines[first]
        return Columns(len(first), columns, lines, hashes, events)


class _Reader:
    def __init__(self, names: Collection[str], present: Collection[str], before: int) -> None:
        located = {
            name: found
            for name in (_ID, *names, *present)
            if (found := mapping.location(load(), name)) is not None
        }
        self._decoder, self._getters = _decoder(located)
        builders: dict[str, Builder] = {
            name: Presence() if name not in names else builder(located[name][0])
            for name in (*names, *present)
            if name in located
        }
        self.part = _Part(builders)
        self._rows = before
        self._lines = 0

    def add(self, block: list[bytes] | bytes) -> None:
        events = self._events(block)
        self._take(events, self._getters)
        self._rows += len(events)

    def skip(self, block: list[bytes] | bytes) -> int:
        """Count the lines of a block; which of all lines is its first."""
        number = len(block) if isinstance(block, list) else block.count(b"\n")
        self.part.sizes.append(number)
        self._lines += number
        return self._lines - number

    def _take(self, objects: list[Any], getters: list[_Getter]) -> None:
        for getter in getters:
            values = list(map(getter.get, objects))
            if getter.below:
                self._take(values, getter.below)
                continue
            if getter.field == _ID:
                self._identify(values)
            if getter.field in self.part.builders:
                self.part.builders[getter.field].add(values)

    def _identify(self, values: list[Any]) -> None:
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        if None in values:  # without an id it is nobody's double
            lacking = np.array([value is None for value in values])
            hashes[lacking] = -(1 << 62) - np.arange(self._rows, self._rows + len(values))[lacking]
        self.part.hashes.append(hashes)

    def _events(self, block: list[bytes] | bytes) -> list[Any]:
        """The events of a block; notes which lines they are."""
        first = self.skip(block)
        try:
            if isinstance(block, bytes):
                events = list(self._decoder.decode_lines(block))
            else:
                events = [self._decoder.decode(line) for line in block]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            events = []
        if len(events) == self._lines - first:
            self.part.lines.append(np.arange(first, self._lines))
            return events
        lines = block.split(b"\n") if isinstance(block, bytes) else block
        found = [
            (at, event) for at, line in enumerate(lines, first) if (event := self._event(line)) is not None
        ]
        self.part.lines.append(np.array([at for at, _ in found], np.int64))
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
        places = Codes()
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
