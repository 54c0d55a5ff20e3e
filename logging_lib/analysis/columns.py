"""Prepare a column of each sample for the tests: its kind, its values, and the values that are left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from logging_lib.logger.values import escape_surrogates
from logging_lib.profile import encoding
from logging_lib.profile.coerce import (
    NA_VALUES,
    category_text,
    is_null,
    is_number,
    parse_scalar,
    to_epoch,
    to_python,
)
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import encode_column, is_number_dtype
from logging_lib.profile.spellings import is_padded
from logging_lib.profile.vector_columns import Vectors, holds_vectors, read_vectors

Array = np.ndarray[Any, Any]

INFERRED_FROM: Final = 200_000
"""The number of a sample's values that is enough to infer a kind."""
LARGEST: Final = 1e60
"""The largest usable number: the fourth power of a larger one exceeds the range of a double."""
WORDS_FROM: Final = 50_000
"""The number of a sample's texts that is enough to know its words."""
_NA: Final = frozenset(NA_VALUES)


@dataclass(frozen=True, slots=True)
class Column:
    """One sample's values of a variable: ``numbers`` sorted, shape (n,), or ``counts`` by category.

    Of the ``rows`` values, ``missing`` are null, ``wrong_type`` are not of the variable's kind, and ``not_finite``
    are infinite or beyond ``LARGEST``: these are compared as shares. ``notes`` have examples of them.
    """

    rows: int
    missing: int
    numbers: Array | None = None
    counts: Mapping[str, int] | None = None
    wrong_type: int = 0
    not_finite: int = 0
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """Return the number of values in the distribution."""
        return self.rows - self.missing - self.wrong_type - self.not_finite


def infer_kind(series: Sequence[pd.Series]) -> str:
    """Infer the kind of a variable: that of most values of the first sample that has any."""
    present = next((values for values in (values.dropna() for values in series) if len(values)), None)
    if present is None or is_number_dtype(present):
        return "numeric"
    if pd.api.types.is_datetime64_any_dtype(present):
        return "date"
    if holds_vectors(present):
        return "vector"
    present = present.iloc[:: -(-len(present) // INFERRED_FROM)]
    return encoding.infer_kind(
        encode_column(present, FeatureConfig(), Config(), np.zeros(len(present), bool))
    )


def numbers(series: pd.Series, kind: str) -> Column:
    """Return the finite numbers, sorted; a date becomes seconds since 1970.

    A text that spells a number is not a number, as in the service's logger; `parse_texts` is for untyped files.
    """
    values = _dates(series) if kind == "date" else _numbers(series)
    usable = np.sort(values.read[~np.isnan(values.read)])
    inside = slice(*np.searchsorted(usable, [-LARGEST, LARGEST]))
    not_finite = usable.size - usable[inside].size
    notes = _note_wrong(values.wrong, "date" if kind == "date" else "number")
    if not_finite:
        notes += (f"{not_finite} values are infinite or beyond {LARGEST:g}",)
    return Column(
        len(series),
        len(series) - len(usable) - len(values.wrong),
        usable[inside],
        None,
        len(values.wrong),
        not_finite,
        notes,
    )


class _Values(NamedTuple):
    """Values that could be ``read``, with NaN for missing ones, and the ``wrong`` ones."""

    read: Array
    wrong: list[Any]


def _numbers(series: pd.Series) -> _Values:
    if is_number_dtype(series):
        return _Values(series.to_numpy(dtype=float, na_value=np.nan), [])
    read, wrong = [], []
    for value in map(to_python, series.astype(object)):
        if is_number(value):
            read.append(_to_double(value))
        elif not _is_missing(value):
            wrong.append(value)
    return _Values(np.array(read, dtype=float), wrong)


def _to_double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of a double
        return math.inf if value > 0 else -math.inf


def _dates(series: pd.Series) -> _Values:
    if pd.api.types.is_datetime64_any_dtype(series):
        moments = pd.to_datetime(series, utc=True).dropna()
        return _Values(moments.dt.as_unit("us").astype("int64").to_numpy() / 1e6, [])
    read, wrong = [], []
    for value in map(to_python, series.astype(object)):
        seconds = to_epoch(value)
        if seconds is not None:
            read.append(seconds)
        elif not _is_missing(value):
            wrong.append(value)
    return _Values(np.array(read, dtype=float), wrong)


def _is_missing(value: Any) -> bool:
    return is_null(value) or (isinstance(value, str) and (value in _NA or not value.strip()))


def _note_wrong(values: Sequence[Any], noun: str) -> tuple[str, ...]:
    if not values:
        return ()
    examples = ", ".join(text for text, _ in Counter(f"{value!r:.40}" for value in values).most_common(3))
    return (f"{len(values)} values are not a {noun}: {examples}",)


def categories(series: pd.Series) -> Column:
    """Count how often each category occurs, by its canonical text."""
    counts: Counter[str] = Counter()
    wrong: list[Any] = []
    try:
        frequencies = series.value_counts(dropna=True)
    except TypeError:  # lists and objects, which have no hash
        frequencies = series.dropna().map(repr).value_counts()
    for value, count in zip(frequencies.index, frequencies.to_numpy(), strict=True):
        text = category_text(to_python(value))
        if text is None:
            wrong += [value] * int(count)
        else:
            counts[text] += int(count)
    notes = _note_wrong(wrong, "category")
    return Column(len(series), int(series.isna().sum()), None, counts, len(wrong), notes=notes)


def booleans(series: pd.Series) -> Column:
    """Count true and false; ``1`` and ``yes`` have the wrong type, as in the service's logger."""
    counts: Counter[str] = Counter()
    wrong: list[Any] = []
    for value in map(to_python, series.astype(object)):
        if isinstance(value, bool):
            counts["true" if value else "false"] += 1
        elif not _is_missing(value):
            wrong.append(value)
    missing = len(series) - counts.total() - len(wrong)
    return Column(len(series), missing, None, counts, len(wrong), notes=_note_wrong(wrong, "boolean"))


def texts(series: pd.Series) -> tuple[Column, list[str]]:
    """Count the words of each text, sorted, and return up to ``WORDS_FROM`` of the texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present = series.dropna()
    values = [value for value in present if isinstance(value, str)]
    wrong = [] if len(values) == len(present) else [value for value in present if not isinstance(value, str)]
    encodable = pa.array([escape_surrogates(value) for value in values], type=pa.large_string())
    lengths = pc.count_substring_regex(encodable, pattern=r"[^\s]+").to_numpy(zero_copy_only=False)
    notes = _note_wrong(wrong, "text")
    missing = len(series) - len(present)
    column = Column(len(series), missing, np.sort(lengths.astype(float)), None, len(wrong), notes=notes)
    return column, values[:: max(1, -(-len(values) // WORDS_FROM))]


def vectors(series: Sequence[pd.Series]) -> tuple[list[Column], list[tuple[Array, Array]]]:
    """Count the vectors of each sample, and measure their norms and their cosines to the first sample's centroid.

    Returns:
        For each sample, a column without values and two sorted arrays of shape (vectors,).
    """
    read = [read_vectors(values) for values in series]
    reference = next((i for i, sample in enumerate(read) if sample.find_centroid()), 0)
    centroid = read[reference].find_centroid()
    results = []
    for i, values in enumerate(series):
        sample = read[i] if i == reference else read_vectors(values, len(centroid))
        results.append(measure_vectors(sample, centroid, is_own=i == reference))
    return [column for column, _ in results], [measures for _, measures in results]


def measure_vectors(
    sample: Vectors, centroid: tuple[float, ...], *, is_own: bool = False
) -> tuple[Column, tuple[Array, Array]]:
    """Count a sample's vectors, and measure their norms and cosines to a centroid, sorted; without one, NaN."""
    norms, cosines = (
        np.sort(numbers[~np.isnan(numbers)]) for numbers in sample.measure(centroid, is_own=is_own)
    )
    wrong = int(sample.wrong.sum())
    notes = (f"{wrong} values are not a vector of {len(centroid)} numbers",) if wrong else ()
    column = Column(
        len(sample.missing),
        int(sample.missing.sum()),
        wrong_type=wrong,
        not_finite=len(sample.rows) - len(norms),
        notes=notes,
    )
    return column, (norms, cosines)


def parse_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of an untyped file with texts that spell numbers as numbers.

    This applies only to columns in which most values spell a number: one odd value makes a whole column text.
    Codes with leading zeros stay texts.
    """
    parsed = {}
    for name in frame.columns:
        if is_number_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name]):
            continue
        if any(isinstance(value, str) and is_padded(value) for value in frame[name].unique()):
            continue
        values = frame[name].astype(object).map(parse_scalar)
        if 2 * sum(map(is_number, values)) > frame[name].notna().sum():
            parsed[name] = values
    return frame.assign(**parsed) if parsed else frame


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
