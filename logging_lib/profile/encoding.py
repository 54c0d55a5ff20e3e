"""A column taken apart into codes and distinct values, and the kind that most of them have."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import epoch, is_null, plain, words
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Kind
from logging_lib.profile.split import Array

MAX_CATEGORIES_INFERRED = 100


@dataclass(slots=True)
class Column:
    """A column taken apart: ``codes`` index ``uniques`` (-1: null), masks of shape (rows,)."""

    codes: Array
    uniques: list[Any]
    missing: Array
    absent: Array


@dataclass(slots=True)
class Fitted:
    """A feature with the masks of its failed checks on all rows (only held-out ones are counted)."""

    feature: dict[str, Any]
    failed: dict[str, Array]
    wrong_type: Array
    notes: list[str]


def is_number_dtype(series: pd.Series) -> bool:
    types = pd.api.types
    other = types.is_bool_dtype(series) or types.is_complex_dtype(series)
    return types.is_numeric_dtype(series) and not other


def take_apart(series: pd.Series, own: FeatureConfig, config: Config, absent: Array) -> Column:
    codes, uniques = _factorize(series)
    na = frozenset(config.na_values) - frozenset(own.values or ())
    null = [
        is_null(value) or (isinstance(value, str) and (value in na or not value.strip())) for value in uniques
    ]
    if any(null):
        renumber = np.cumsum([not each for each in null]) - 1
        lookup = np.where(null, -1, renumber)
        codes = np.where(codes < 0, -1, lookup[codes])
        uniques = [value for value, gone in zip(uniques, null, strict=True) if not gone]
    return Column(codes=codes, uniques=uniques, missing=(codes < 0) & ~absent, absent=absent)


def _factorize(series: pd.Series) -> tuple[Array, list[Any]]:
    if series.dtype != object:
        try:
            codes, index = pd.factorize(series)
            return codes, [plain(value) for value in index.tolist()]
        except (TypeError, NotImplementedError, ValueError):  # lists and structs of pyarrow
            series = series.astype(object)
    values = series.to_numpy()
    try:
        kinds = {type(value) for value in values}
        if kinds <= {str, type(None), float}:
            codes, index = pd.factorize(series)
            return codes, list(index)
    except TypeError:
        pass
    # Mixed types: True and 1 are equal to a hash table but not to a model, so the type is part of the key.
    codes = np.empty(len(values), dtype=np.int64)
    seen: dict[tuple[type, Any], int] = {}
    uniques: list[Any] = []
    for row, value in enumerate(values):
        if is_null(value):
            codes[row] = -1
            continue
        key = (type(value), _hashable(value))
        if key not in seen:
            seen[key] = len(uniques)
            uniques.append(plain(value))
        codes[row] = seen[key]
    return codes, uniques


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:  # a list, or a tuple that holds one
        return repr(value)
    return value


def infer(column: Column) -> Kind:
    """The kind that most rows have; see ``docs/profile.md``."""
    rows: Counter[Kind] = Counter()
    sizes = np.bincount(column.codes[column.codes >= 0], minlength=len(column.uniques))
    for value, size in zip(column.uniques, sizes.tolist(), strict=True):
        rows[_kind_of(value)] += size
    kind = max(rows, key=lambda k: rows[k]) if rows else "numeric"
    if kind != "category":
        return kind
    texts = [value for value in column.uniques if isinstance(value, str)]
    distinct, total = len(texts), rows["category"]
    if distinct <= MAX_CATEGORIES_INFERRED:
        return "category"
    mean_words = sum(len(words(text)) for text in texts[:1000]) / min(distinct, 1000)
    return "text" if distinct > total / 10 or mean_words >= 2 else "category"


_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "numeric"
    if isinstance(value, date) or (
        isinstance(value, str) and _ISO_DATE.match(value) and epoch(value) is not None
    ):
        return "date"
    return "category"
