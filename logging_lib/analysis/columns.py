"""A column of each sample, made ready for the tests: its kind, its values, what had to be left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import category_text, split_words, to_python

Array = np.ndarray[Any, Any]

KINDS: Final = ("numeric", "category", "text", "boolean", "date")
MAX_CATEGORIES: Final = 1000
LARGEST: Final = 1e60
"""Squares of squares of larger numbers leave the range of a double."""
WORDS_FROM: Final = 50_000
"""So many texts of a sample are enough to know its words."""


@dataclass(frozen=True, slots=True)
class Column:
    """One sample's values of a variable: ``numbers`` sorted, shape (n,), or ``counts`` by category."""

    rows: int
    missing: int
    numbers: Array | None = None
    counts: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()


def infer_kind(series: Sequence[pd.Series]) -> str:
    """Infer from all samples what the values of a variable are: one of ``KINDS``."""
    if all(pd.api.types.is_bool_dtype(values) for values in series):
        return "boolean"
    if all(pd.api.types.is_numeric_dtype(values) for values in series):
        return "numeric"
    if all(pd.api.types.is_datetime64_any_dtype(values) for values in series):
        return "date"
    present = [values.dropna() for values in series]
    first = next((values.iloc[:1000] for values in present if len(values)), None)
    if first is None:
        return "numeric"
    if all(isinstance(to_python(value), int | float) and not isinstance(value, bool) for value in first):
        return "numeric"
    for values in present:
        sample = values.iloc[:: max(1, len(values) // 20_000)]
        distinct = sample.map(repr).nunique()  # lists have no hash
        if distinct > 50 and distinct > 0.2 * len(sample):
            return "text"
    return "category"


def numbers(series: pd.Series, kind: str) -> Column:
    """Return the finite numbers, sorted; a date is its seconds since 1970."""
    rows = len(series)
    missing = int(series.isna().sum())
    notes: list[str] = []
    if kind == "date":
        moments = pd.to_datetime(series, utc=True, errors="coerce", format="ISO8601").dropna()
        values = moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    else:
        if not pd.api.types.is_numeric_dtype(series):
            series = pd.to_numeric(series, errors="coerce")
        values = series.to_numpy(dtype=float, na_value=np.nan)
        values = (
            values[~np.isnan(values)] if missing or len(values) != rows or np.isnan(values).any() else values
        )
    if unreadable := rows - missing - len(values):
        notes.append(
            f"{unreadable} values are no {'dates' if kind == 'date' else 'numbers'} and were left out"
        )
    values = np.sort(values)
    inside = slice(*np.searchsorted(values, [-LARGEST, LARGEST]))
    if (usable := values[inside]).size < values.size:
        notes.append(
            f"{values.size - usable.size} values that are infinite or beyond {LARGEST:g} were left out"
        )
    return Column(rows, missing, usable, None, tuple(notes))


def categories(series: pd.Series) -> Column:
    """Count how often each category occurs, by its canonical text."""
    counts: Counter[str] = Counter()
    unreadable = 0
    try:
        frequencies = series.value_counts(dropna=True)
    except TypeError:  # lists and objects, which have no hash
        frequencies = series.dropna().map(repr).value_counts()
    for value, count in zip(frequencies.index, frequencies.to_numpy(), strict=True):
        text = category_text(to_python(value))
        if text is None:
            unreadable += int(count)
        else:
            counts[text] += int(count)
    notes = (f"{unreadable} values are no categories and were left out",) if unreadable else ()
    return Column(len(series), int(series.isna().sum()), None, counts, notes)


def word_counts(series: pd.Series) -> tuple[Column, Counter[str]]:
    """Count the words of each text, sorted, and the words of up to ``WORDS_FROM`` texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present = series.dropna()
    texts = pa.array(present.astype(str), type=pa.large_string(), from_pandas=True)
    lengths = pc.count_substring_regex(texts, pattern=r"[^\s]+").to_numpy(zero_copy_only=False)
    vocabulary: Counter[str] = Counter()
    for text in present.iloc[:: max(1, -(-len(present) // WORDS_FROM))]:
        vocabulary.update(split_words(str(text)))
    return Column(len(series), len(series) - len(present), np.sort(lengths.astype(float))), vocabulary


def table(counts: Iterable[Mapping[str, int]]) -> tuple[list[str], Array]:
    """Count the categories of all samples, the most frequent first; counts have shape (samples, categories)."""
    samples = list(counts)
    total: Counter[str] = Counter()
    for sample in samples:
        total.update(sample)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    return names, np.array(
        [[sample.get(name, 0) for name in names] for sample in samples], dtype=np.int64
    ).reshape(len(samples), len(names))
