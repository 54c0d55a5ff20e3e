"""Columns that are read from lines of JSON hold what the store's own columns hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from logging_lib.store.column_builders import ColumnArray
from logging_lib.store.columns import ColumnSet, ListsError, ReadRequest, read_columns, read_parts
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store.events import NOW, STREAM, event

FIELDS = [
    "@timestamp", "event.ingested", "event.outcome", "event.duration", "ml.model.name", "ml.sample.weight",
    "ml.prediction.value", "ml.input.bins", "ml.check.missing", "ml.label.joined",
]  # fmt: skip


def values(column: ColumnArray) -> list[Any]:
    """As JSON has them; None where there is none."""
    if column.codes is None:
        assert column.data is not None
        valid = [True] * len(column.data) if column.valid is None else column.valid.tolist()
        return [value if there else None for value, there in zip(column.data.tolist(), valid, strict=True)]
    texts = [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
    if column.offsets is None:
        return texts
    ends = column.offsets.tolist()
    return [texts[start:end] for start, end in pairwise(ends)]


def line(**fields: Any) -> bytes:
    return orjson.dumps({"event": {"id": fields.pop("id", "a")}, **fields}) + b"\n"


def test_lines_in_the_loggers_form_and_all_others() -> None:
    """Dotted keys, texts for numbers, dates of any form: brought into form as the mapping does."""
    block = b"".join(
        [
            line(id="a", **{"@timestamp": "2018-02-01T09:00:00.123456Z", "ml": {"sample": {"weight": 0.1}}}),
            line(id="b", **{"@timestamp": "2018-02-01T10:00:00+01:00", "ml.sample.weight": "2"}),
            line(id="c", **{"@timestamp": "2018-02-30T09:00:00.000Z", "ml": {"check": {"missing": "x"}}}),
            b"torn {\n",
            b"[1]\n",
            line(id="a", **{"@timestamp": "2018-02-01T11:00:00.000Z"}),
            line(id="d", ml={"check": {"missing": ["y", "x", "y"]}, "sample": None}),
        ]
    )
    columns = read_columns(
        [block], ["@timestamp", "ml.sample.weight", "ml.check.missing"], present=["event.id"]
    )
    assert columns.rows == 4
    moment = 1517475600123
    assert values(columns.columns["@timestamp"]) == [moment, moment - 123, None, None]
    assert values(columns.columns["ml.sample.weight"]) == [0.10000000149011612, 2.0, None, None]
    assert values(columns.columns["ml.check.missing"]) == [[], [], ["x"], ["y", "x"]]
    assert values(columns.columns["event.id"]) == [True] * 4


def test_several_values_in_a_field_of_one_are_said() -> None:
    """No column can be made of it."""
    with pytest.raises(ListsError, match=r"ml\.model\.name"):
        read_columns([line(ml={"model": {"name": ["a", "b"]}})], ["ml.model.name"])


def test_a_store_gives_the_same_lines_from_its_files_as_from_memory(tmp_path: Path) -> None:
    """Whether a search has loaded them or not."""
    documents = [event(number, ml__check={"missing": ["a", "b"][: number % 3]}) for number in range(300)]
    with EmbeddedStore(tmp_path) as store:
        store.index(STREAM, documents, now=NOW)
    with EmbeddedStore(tmp_path, read_only=True) as store:
        assert store.streams("logs-*") == [STREAM]
        first = _read(store)
        store.search(STREAM, {"size": 0})
        assert _read(store) == first
    assert first["ml.check.missing"] == [[], ["a"], ["a", "b"]] * 100
    assert first["ml.sample.weight"] == [1.0] * 300


def _read(store: EmbeddedStore) -> dict[str, list[Any]]:
    columns = read_columns(store.iter_json(STREAM, FIELDS), FIELDS)
    return {name: values(column) for name, column in columns.columns.items()}


def blocks() -> Iterator[bytes]:
    """Seven, in one of which is no event, with lists, doubles and events without an id."""
    for block in range(7):
        yield (
            b"torn {\n"
            if block == 3
            else b"".join(
                line(
                    id=None if number == 4 else f"{block}{number}" if number else "a",
                    ml={
                        "input": {"bins": [f"x={block}", f"x={number}"][: number % 3]},
                        "model": {"name": f"m{block % 3}"},
                    },
                    **{"@timestamp": f"2018-02-0{block + 1}T09:00:00.123Z"},
                )
                for number in range(5)
            )
        )


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
def test_shared_parts_give_what_one_reader_reads(processes: int) -> None:
    """In the same order, the first of the doubles kept; nobody's event is the double of another's."""
    names, present = {"@timestamp", "ml.input.bins", "ml.model.name"}, {"event.id"}
    read_at_once = read_columns(blocks(), names, present=present)
    parts = [partial(iter, part) for part in ([], [*blocks()][:2], [*blocks()][2:])]
    several = read_parts({"all": ReadRequest(parts, names, present)}, processes=processes)["all"]
    assert isinstance(several, ColumnSet)
    assert (several.rows, several.events) == (read_at_once.rows, read_at_once.events)
    assert read_at_once.rows == 6 * 4 + 1
    assert several.lines.tolist() == read_at_once.lines.tolist()
    for name, column in read_at_once.columns.items():
        assert values(several.columns[name]) == values(column)


def test_lists_are_said_of_the_stream_that_has_them() -> None:
    """As by one reader, whoever comes to them; the others are read."""
    parts = [lambda: iter([line(id="a"), line(ml={"model": {"name": ["a", "b"]}})])] * 2
    fine = [lambda: iter([line(id="a"), line(id="b")])]
    results = read_parts(
        {"lists": ReadRequest(parts, {"ml.model.name"}), "fine": ReadRequest(fine, {"ml.model.name"})},
        processes=2,
    )
    assert isinstance(results["lists"], ListsError)
    assert str(results["lists"]) == "ml.model.name: an event has several values in it"
    assert isinstance(results["fine"], ColumnSet)
    assert results["fine"].rows == 2


def test_a_generator_is_closed_where_reading_ends_early() -> None:
    """What it holds open at a server must not wait for the collector of garbage."""
    closed = []

    def blocks() -> Iterator[list[bytes]]:
        try:
            yield [line(ml={"model": {"name": ["a", "b"]}})]
            yield [line()]
        finally:
            closed.append(True)

    closed_blocks = blocks()
    with pytest.raises(ListsError):
        read_columns(closed_blocks, ["ml.model.name"])
    assert closed == [True]


def test_two_documents_in_a_line_are_no_event() -> None:
    """Also where blank lines make up for the number of lines."""
    block = line(id="a").strip() + line(id="b") + b"\n" + line(id="c")
    columns = read_columns([block], ["@timestamp"])
    assert (columns.rows, columns.lines.tolist()) == (1, [2])
