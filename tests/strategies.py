"""Hypothesis strategies shared by the suites: hostile values, inputs, training frames."""

from __future__ import annotations

import math
import string
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st


def examples(number: int) -> int:
    """Return how many random examples a test tries: all of them in `make test-all`, a quarter in `make test`."""
    return number * settings.default.max_examples // 100


class Color(Enum):
    RED = "red"


class Hostile:
    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("Hostile()")  # for Hypothesis, which has to show it

    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def cycle() -> dict[str, Any]:
    made: dict[str, Any] = {"a": [1]}
    made["a"].append(made)
    return made


class Deep(list[Any]):
    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("deep()")


def deep(levels: int) -> Any:
    made: Any = 1
    for _ in range(levels):
        made = [made]
    return Deep([made])


any_text = st.text(st.characters(exclude_categories=[]), max_size=30)  # lone surrogates included
names = st.one_of(
    any_text,
    st.sampled_from(["a", "a.b", "=", "%", "!", "!missing", "a=b", "%3D", "", " ", "__proto__", "x" * 200]),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    any_text,
    st.binary(max_size=20),
    st.decimals(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.uuids(),
    st.complex_numbers(),
    st.builds(Hostile),
    st.builds(lambda: "x" * 100_000),
    st.builds(cycle),
    st.builds(deep, st.just(3000)),
    st.sampled_from(
        [
            np.float64(1.5), np.float32("nan"), np.int8(3), np.bool_(True), np.datetime64("2018-01-01"),
            np.array([1, 2]), np.array(3), np.str_("x"), pd.NA, pd.NaT, pd.Timestamp("2018-01-01", tz="UTC"),
            pd.Timedelta("1h"), Decimal("NaN"), Decimal("sNaN"), math.inf, -math.inf, Color.RED,
            uuid.UUID(int=1), {1, 2}, frozenset({"a"}), object, len, date(1, 1, 1), datetime.max, timedelta.max,
            "N/A", "", " ", "\ud800", "<script>alert(1)</script>", "a\r\nb", "{{x}}",
            range(3), {None: 1, True: 2, (1,): 3}, b"\xff",
        ]
    ),
)  # fmt: skip

values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)
keys = st.one_of(names, st.integers(), st.none(), st.tuples(st.integers()), st.floats())
inputs = st.dictionaries(keys, values, max_size=8)

plain_words = st.text(string.ascii_lowercase, min_size=1, max_size=6)


def may_share_a_text(given: Mapping[Any, Any]) -> bool:
    """Return whether two keys may have one text, which takes a key that is not a text."""
    return len(given) > 1 and any(type(key) is not str for key in given)
