"""A column as codes and distinct values, the inference of its kind, and the rows that are held out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import is_null, split_words, to_epoch, to_python
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Expectation, HeldOut, Kind
from logging_lib.profile.notes import Note

Array = np.ndarray[Any, Any]


NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """The held-out rows: with times, the last ones; without times, each row against all others.

    Attributes:
        block: the number of the block that each row is in, or -1; shape (rows,).
        held_out: the number of held-out rows, and how they were chosen.
        rank: with times, each row's position in order of time; shape (rows,).
        group: without times, a number that equal rows share, which are left out together; shape (rows,).
    """

    block: Array
    held_out: HeldOut
    rank: Array | None = None
    group: Array | None = None

    def expectation(self, failed: Array) -> Expectation:
        """Count the held-out rows in which a check failed; ``failed`` is a mask of all rows, shape (rows,)."""
        is_held_out = self.block >= 0
        blocks = self.held_out.blocks
        sizes = np.bincount(self.block[is_held_out], minlength=blocks)
        counts = np.bincount(self.block[is_held_out & failed], minlength=blocks)
        return Expectation(int(counts.sum()), int(sizes.sum()), estimate_dispersion(counts, sizes))

    @property
    def scoring(self) -> Array:
        """Mask the rows that the scoring tables are built from: all but the last ones, shape (rows,)."""
        rows: Array = self.block < 0
        return rows if rows.any() and self.group is None else np.ones_like(rows)

    def is_alone(self, codes: Array, number: int) -> Array:
        """Mask the codes that only one row, or only equal rows, have; shape (number,). It is all False with times.

        Args:
            codes: the code of each row, -1 for none; shape (rows,).
            number: the number of codes.
        """
        if self.group is None:
            return np.zeros(number, dtype=bool)
        present = codes >= 0
        first, last = np.full(number, NEVER), np.full(number, -1)
        np.minimum.at(first, codes[present], self.group[present])
        np.maximum.at(last, codes[present], self.group[present])
        alone: Array = first == last
        return alone

    def first_seen(self, codes: Array, number: int) -> Array:
        """Find the position in order of time at which each code is first seen; shape (number,)."""
        assert self.rank is not None
        present = codes >= 0
        first = np.full(number, NEVER)
        np.minimum.at(first, codes[present], self.rank[present])
        return first


def estimate_dispersion(counts: Array, sizes: Array) -> float:
    """Estimate the intraclass correlation of failures within blocks by ANOVA, clipped to [0, 0.99].

    Its standard error for blocks that do not differ, sqrt(2 / (k - 1)) / m0, is subtracted. Otherwise half of all
    features with ten blocks would seem to differ by chance alone, and only a much greater increase would be found.

    Source: Ridout, Demétrio and Firth, "Estimating intraclass correlation for binary data", Biometrics 55
    (1999), eq. 3.
    """
    is_used = sizes > 0
    x, m = counts[is_used].astype(float), sizes[is_used].astype(float)
    k, n = len(m), m.sum()
    if k < 2 or n <= k or x.sum() in (0, n):
        return 0.0
    p = x.sum() / n
    within = (x * (m - x) / m).sum() / (n - k)
    between = (m * (x / m - p) ** 2).sum() / (k - 1)
    m0 = (n - (m**2).sum() / n) / (k - 1)
    rho = (between - within) / (between + (m0 - 1) * within) - (2.0 / (k - 1)) ** 0.5 / m0
    return float(f"{min(max(rho, 0.0), 0.99):.6g}")


MAX_CATEGORIES_INFERRED = 100


@dataclass(slots=True)
class EncodedColumn:
    """A column as codes that index ``uniques`` (-1: null), with masks of shape (rows,)."""

    codes: Array
    uniques: list[Any]
    missing: Array
    absent: Array


class WordRows(NamedTuple):
    """The pairs of a row and one of its words, each word of a row once.

    Attributes:
        place: the row's position in order of time, for each pair; shape (pairs,).
        word: the word's number, for each pair; shape (pairs,).
        known_from: the position in order of time from which each word is known; shape (words,).
    """

    place: Array
    word: Array
    known_from: Array


@dataclass(slots=True)
class ColumnFit:
    """The fit of a column.

    Attributes:
        feature: the feature's fields.
        failed: masks of its failed checks on all rows, shape (rows,).
        wrong_type: the mask of values of another type, shape (rows,).
        notes: remarks about the column for people.
        bins: the number of the ordinary bin that each row is in, or -1; shape (rows,).
        known_from: with times, check → the position in order of time from which each row's value is known, so that
            it no longer fails; shape (rows,).
        numbers: the values of a number or date; shape (rows,).
        words: for a text, with times: the rows of the words that were not known from the beginning.
    """

    feature: dict[str, Any]
    failed: dict[str, Array]
    wrong_type: Array
    notes: list[Note]
    bins: Array | None = None
    known_from: dict[str, Array] = field(default_factory=dict)
    numbers: Array | None = None
    words: WordRows | None = None


def is_number_dtype(series: pd.Series) -> bool:
    types = pd.api.types
    other = types.is_bool_dtype(series) or types.is_complex_dtype(series)
    return types.is_numeric_dtype(series) and not other


def encode_column(
    series: pd.Series, feature_config: FeatureConfig, config: Config, absent: Array
) -> EncodedColumn:
    codes, uniques = _factorize(series)
    na_values = frozenset(config.na_values) - frozenset(feature_config.values or ())
    missing_values = [
        is_null(value) or (isinstance(value, str) and (value in na_values or not value.strip()))
        for value in uniques
    ]
    if any(missing_values):
        renumber = np.cumsum([not is_missing for is_missing in missing_values]) - 1
        lookup = np.where(missing_values, -1, renumber)
        codes = np.where(codes < 0, -1, lookup[codes])
        uniques = [value for value, is_missing in zip(uniques, missing_values, strict=True) if not is_missing]
    return EncodedColumn(codes=codes, uniques=uniques, missing=(codes < 0) & ~absent, absent=absent)


def _factorize(series: pd.Series) -> tuple[Array, list[Any]]:
    if series.dtype != object:
        try:
            codes, index = pd.factorize(series)
            return codes, [to_python(value) for value in index.tolist()]
        except (TypeError, NotImplementedError, ValueError):  # the column has lists or structs of pyarrow
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
    code_of: dict[tuple[type, Any], int] = {}
    uniques: list[Any] = []
    for row, value in enumerate(values):
        if is_null(value):
            codes[row] = -1
            continue
        key = (type(value), _hashable(value))
        if key not in code_of:
            code_of[key] = len(uniques)
            uniques.append(to_python(value))
        codes[row] = code_of[key]
    return codes, uniques


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:  # a list, or a tuple that holds one
        return repr(value)
    return value


def infer_kind(column: EncodedColumn) -> Kind:
    """Infer the kind of most rows; see ``docs/profile.md``."""
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
    mean_words = sum(len(split_words(text)) for text in texts[:1000]) / min(distinct, 1000)
    return "text" if distinct > total / 10 or mean_words >= 2 else "category"


_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "numeric"
    if isinstance(value, date) or (
        isinstance(value, str) and _ISO_DATE.match(value) and to_epoch(value) is not None
    ):
        return "date"
    return "category"


def count_equal_rows(codes: Array, present: Array, split: HeldOutSplit, number: int) -> Array:
    """Count, for each text, the rows that are left out together with one of its own; shape (texts,)."""
    if split.group is None:
        return np.zeros(number, dtype=np.int64)
    groups, place = np.unique(split.group, return_inverse=True)
    sizes = np.bincount(place[present], minlength=len(groups))[place]
    largest = np.zeros(number, dtype=np.int64)
    np.maximum.at(largest, codes[present], sizes[present])
    return largest


def order_codes(codes: Array, rank: Array) -> list[int]:
    in_order = np.full(len(rank), -1, dtype=np.int64)
    in_order[rank] = codes
    ordered: list[int] = in_order.tolist()
    return ordered
