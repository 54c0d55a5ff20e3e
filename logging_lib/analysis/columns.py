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


def kind_of(series: Sequence[pd.Series]) -> str:
    """What the values of a variable are, judged by all samples: one of ``KINDS``."""
    if all(pd.api.types.is_bool_dtype(one) for one in series):
        return "boolean"
    if all(pd.api.types.is_numeric_dtype(one) for one in series):
        return "numeric"
    if all(pd.api.types.is_datetime64_any_dtype(one) for one in series):
        return "date"
    present = [one.dropna() for one in series]
    first = next((one.iloc[:1000] for one in present if len(one)), None)
    if first is None:
        return "numeric"
    if all(isinstance(to_python(value), int | float) and not isinstance(value, bool) for value in first):
        return "numeric"
    for one in present:
        sample = one.iloc[:: max(1, len(one) // 20_000)]
        distinct = sample.map(repr).nunique()  # lists have no hash
        if distinct > 50 and distinct > 0.2 * len(sample):
            return "text"
    return "category"


def numbers(series: pd.Series, kind: str) -> Column:
    """The finite numbers, sorted; a date is its seconds since 1970."""
    rows = len(series)
    missing = int(series.isna().sum())
    notes: list[str] = []
    if kind == "date":
        moments = pd.to_datetime(series, utc=True, errors="coerce", format="ISO8601").dropna()
        found = moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6
    else:
        if not pd.api.types.is_numeric_dtype(series):
            series = pd.to_numeric(series, errors="coerce")
        found = series.to_numpy(dtype=float, na_value=np.nan)
        found = found[~np.isnan(found)] if missing or len(found) != rows or np.isnan(found).any() else found
    if odd := rows - missing - len(found):
        notes.append(f"{odd} values are no {'dates' if kind == 'date' else 'numbers'} and were left out")
    found = np.sort(found)
    inside = slice(*np.searchsorted(found, [-LARGEST, LARGEST]))
    if (kept := found[inside]).size < found.size:
        notes.append(f"{found.size - kept.size} values that are infinite or beyond {LARGEST:g} were left out")
    return Column(rows, missing, kept, None, tuple(notes))


def categories(series: pd.Series) -> Column:
    """How often each category is there, by its canonical text."""
    counts: Counter[str] = Counter()
    odd = 0
    try:
        found = series.value_counts(dropna=True)
    except TypeError:  # lists and objects, which have no hash
        found = series.dropna().map(repr).value_counts()
    for value, count in zip(found.index, found.to_numpy(), strict=True):
        text = category_text(to_python(value))
        if text is None:
            odd += int(count)
        else:
            counts[text] += int(count)
    notes = (f"{odd} values are no categories and were left out",) if odd else ()
    return Column(len(series), int(series.isna().sum()), None, counts, notes)


def word_counts(series: pd.Series) -> tuple[Column, Counter[str]]:
    """How many words each text has, sorted, and the words of up to ``WORDS_FROM`` texts."""
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
    """The categories of all samples, the most frequent first, and their counts, shape (samples, categories)."""
    given = list(counts)
    total: Counter[str] = Counter()
    for one in given:
        total.update(one)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    return names, np.array([[one.get(name, 0) for name in names] for one in given], dtype=np.int64).reshape(
        len(given), len(names)
    )
