"""The table of values in ``docs/logger.md``, row by row: each example is what the logger makes of the value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logging_lib
from logging_lib.logger.values import to_jsonable
from tests.strategies import Hostile, cycle, deep

PAGE = Path(__file__).parents[2] / "docs" / "logger.md"
EXAMPLE = re.compile(r"`([^`]+)` → `([^`]+)`")


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Address:
    country: str
    lines: tuple[Any, ...]


NAMES: dict[str, Any] = {
    "math": math, "np": np, "pd": pd, "date": date, "datetime": datetime, "time": time, "timedelta": timedelta,
    "Decimal": Decimal, "UUID": UUID, "ZoneInfo": ZoneInfo, "Color": Color, "Level": Level, "Point": Point,
    "Address": Address, "Hostile": Hostile, "deep": deep, "range": range,
}  # fmt: skip


def table() -> list[list[str]]:
    """The cells of the page's last table."""
    text = PAGE.read_text("utf-8")
    lines = text[text.index("| a value |") :].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


ROWS = table()
EXAMPLES = [
    pytest.param(value, form, id=f"{row[0]}: {value}")
    for row in ROWS
    for value, form in EXAMPLE.findall(row[2])
]


def matches_form(converted: Any, form: str) -> bool:
    """Whether a JSON value is what the page says; its ``…`` stands for items left out."""
    if "…" not in form:
        read_back = json.loads(form)
        return json.dumps(converted) == json.dumps(read_back)  # 1, 1.0 and true are equal, but not the same
    begin, end = (part.strip(" ,") for part in form.split("…"))
    text = json.dumps(converted)
    return text.startswith(begin) and text.endswith(end)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_row_has_an_example(row: list[str]) -> None:
    assert len(row) == 3
    assert EXAMPLE.sub("", row[2]).strip("; ") == ""  # nothing but examples
    assert EXAMPLE.findall(row[2])


@pytest.mark.parametrize(("value", "form"), EXAMPLES)
def test_a_value_has_the_form_that_the_page_says(
    value: str,
    form: str,
    tmp_path: Path,
    captured_predictions: list[dict[str, Any]],
    valid: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    sample = eval(value, NAMES)
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction({"x": sample, "inside": {"y": sample}}, 1.0)
    (event,) = map(valid, captured_predictions)
    inputs = event["ml"]["input"]
    (kind,) = [kind for kind in inputs.values() if isinstance(kind, dict) and "x" in kind]
    if "nested deeper" in form:  # at the depth that is left
        assert json.loads(form) in json.dumps(kind["x"])
        return
    assert matches_form(kind["x"], form), kind["x"]
    assert matches_form(inputs["other"]["inside"]["y"], form)  # the same within another value
    assert matches_form(to_jsonable(sample), form)


def test_keys_of_the_same_text_are_all_kept() -> None:
    assert to_jsonable({1: "a", "1": "b", "c": {"1": 0, 1: 1}}) == {
        "1": "a", "1<2>": "b", "c": {"1": 0, "1<2>": 1},
    }  # fmt: skip
    assert to_jsonable({"1<2>": "a", "1": "b", 1: "c"}) == {"1<2>": "a", "1": "b", "1<3>": "c"}
    long = {"x" * 10 + str(n): n for n in range(10, 14)}
    assert sorted(to_jsonable(long, max_text=10).values()) == [10, 11, 12, 13]


class Text(str):
    __slots__ = ()


class Number(float):
    pass


@given(
    text=st.text(st.characters(exclude_categories=())),
    number=st.floats(),
)
def test_plain_values_become_what_values_of_a_subclass_become(text: str, number: float) -> None:
    """Texts and floats of the plain types are converted directly, and those of a subclass by the full path."""
    plain, full = to_jsonable({text: [text, number]}), to_jsonable({Text(text): [Text(text), Number(number)]})
    assert repr(plain) == repr(full)


def test_a_cycle_ends() -> None:
    assert "nested deeper than 16" in json.dumps(to_jsonable(cycle()))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "boolean"),
        (np.int8(3), "numeric"),
        (Decimal("1.5"), "numeric"),
        (Level.LOW, "numeric"),
        (Color.RED, "category"),
        ("x" * 256, "category"),
        ("x" * 257, "text"),
        (date(2018, 1, 2), "date"),
        (pd.Timestamp("2018-01-02"), "date"),
        (None, "other"),
        (math.inf, "other"),
        (UUID(int=1), "other"),
        ([1], "other"),
    ],
    ids=repr,
)
def test_an_input_is_found_by_its_form(
    value: Any, kind: str, tmp_path: Path, captured_predictions: list[dict[str, Any]]
) -> None:
    logging_lib.configure(model="m", version="1", spool=tmp_path).prediction({"x": value}, 1.0)
    assert list(captured_predictions[0]["ml"]["input"]) == [kind]
