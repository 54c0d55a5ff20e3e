"""Columns that are read from lines of JSON hold what the store's own columns hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest

from logging_lib.store.column_builders import ColumnArray
from logging_lib.store.columns import ListsError, read_columns

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
    columns = read_columns([block], ["@timestamp", "ml.sample.weight", "ml.check.missing", "event.id"])
    assert columns.rows == 4
    moment = 1517475600123
    assert values(columns.columns["@timestamp"]) == [moment, moment - 123, None, None]
    assert values(columns.columns["ml.sample.weight"]) == [0.10000000149011612, 2.0, None, None]
    assert values(columns.columns["ml.check.missing"]) == [[], [], ["x"], ["y", "x"]]
    assert values(columns.columns["event.id"]) == ["a", "b", "c", "d"]


def test_several_values_in_a_field_of_one_value_are_reported() -> None:
    """No column can be made of it."""
    with pytest.raises(ListsError, match=r"ml\.model\.name"):
        read_columns([line(ml={"model": {"name": ["a", "b"]}})], ["ml.model.name"])


def test_a_generator_is_closed_if_reading_ends_early() -> None:
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


def test_two_documents_in_a_line_are_not_an_event() -> None:
    """Also where blank lines make up for the number of lines."""
    block = line(id="a").strip() + line(id="b") + b"\n" + line(id="c")
    columns = read_columns([block], ["@timestamp"])
    assert (columns.rows, columns.lines.tolist()) == (1, [2])
