"""The fitting of a training DataFrame's columns and, if one holds vectors, of the numbers derived from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import is_null
from logging_lib.profile.columns import FittedColumn, build_feature, fit_column
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import Array, ColumnFit, HeldOutSplit
from logging_lib.profile.notes import Importance, Note
from logging_lib.profile.number_columns import fit_numeric
from logging_lib.profile.vectors import derived_names, read_vector, round_number

EXAMINED = 200
"""The number of values that are examined to find out whether a column holds vectors."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a column.

    Attributes:
        matrix: the vectors with the column's dimension, shape (vectors, dimension).
        rows: the row of each vector, shape (vectors,).
        missing: the mask of the rows without a value, shape (rows,).
        wrong: the mask of the rows with another value, or a vector of another dimension, shape (rows,).
    """

    matrix: Array
    rows: Array
    missing: Array
    wrong: Array

    def find_centroid(self) -> tuple[float, ...]:
        """Compute the mean of the finite vectors, rounded to seven digits; return () if there are none."""
        finite = self.matrix[np.isfinite(self.matrix).all(axis=1)]
        with np.errstate(over="ignore", invalid="ignore"):
            centroid = finite.mean(axis=0) if len(finite) else np.array([])
        return tuple(map(round_number, centroid.tolist())) if np.isfinite(centroid).all() else ()

    def measure(self, centroid: tuple[float, ...], *, is_own: bool = False) -> tuple[Array, Array]:
        """Measure the norm of each row's vector and its cosine to a centroid; NaN without a vector, shape (rows,).

        Args:
            centroid: a vector of the same dimension.
            is_own: whether it is the centroid of these vectors. If so, each is compared with the centroid of the
                others, as a new vector would be: in 768 dimensions the mean of 600 vectors is close to each of them
                by chance.
        """
        # Where no vector has all its numbers, there is no centroid either.
        middle = np.array(centroid) if centroid else np.full(self.matrix.shape[1], np.nan)
        count = len(self.matrix)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            squares = (self.matrix * self.matrix).sum(axis=1)
            products, square = self.matrix @ middle, middle @ middle
            if is_own:
                # The mean of the others is (count * mean - vector) / (count - 1); a cosine needs no factor.
                square = count * (count * square - 2 * products) + squares
                products = count * products - squares
            scale = np.sqrt(squares) * np.sqrt(np.maximum(square, 0.0))
            cosines = np.clip(np.where(scale > 0, products / scale, 0.0), -1.0, 1.0)
        norms = np.sqrt(squares)
        finite = np.isfinite(norms) & np.isfinite(cosines)
        results = []
        for numbers in (norms, cosines):
            column = np.full(len(self.missing), np.nan)
            column[self.rows[finite]] = [round_number(number) for number in numbers[finite].tolist()]
            results.append(column)
        return results[0], results[1]


def holds_vectors(series: pd.Series) -> bool:
    """Return whether most values of a column are vectors."""
    if series.dtype != object and not str(series.dtype).startswith(("list", "fixed_size_list")):
        return False
    present = series[series.notna()]
    examined = present.iloc[:: max(1, len(present) // EXAMINED)]
    return 2 * sum(read_vector(value) is not None for value in examined) > len(examined)


def read_vectors(series: pd.Series, dimension: int | None = None) -> Vectors:
    """Read the vectors of a column.

    Args:
        series: the values, shape (rows,).
        dimension: the dimension of the vectors; default: that of most.
    """
    values = [None if is_null(value) else value for value in series.astype(object)]
    vectors = [None if value is None else read_vector(value) for value in values]
    lengths = Counter(len(vector) for vector in vectors if vector is not None)
    if dimension is None:
        dimension = max(lengths, key=lambda length: (lengths[length], length)) if lengths else 0
    rows = [i for i, vector in enumerate(vectors) if vector is not None and len(vector) == dimension]
    missing = np.array([value is None for value in values], dtype=bool)
    wrong = ~missing
    wrong[rows] = False
    matrix = np.array([vectors[i] for i in rows], dtype=float).reshape(len(rows), dimension)
    return Vectors(matrix, np.array(rows, dtype=np.int64), missing, wrong)


def fit_features(
    series: pd.Series, name: str, split: HeldOutSplit, config: Config, *, absent: Array | None = None
) -> list[FittedColumn]:
    """Fit a column's feature and, for vectors, the features derived from it; see ``fit_column``."""
    feature_config = config.features.get(name, FeatureConfig())
    kind = feature_config.kind
    if kind == "vector" or (kind is None and holds_vectors(series)):
        absent_rows = absent if absent is not None else np.zeros(len(series), dtype=bool)
        return _fit_vectors(series, name, split, feature_config, absent_rows)
    return [fit_column(series, name, split, config, absent=absent)]


def _fit_vectors(
    series: pd.Series, name: str, split: HeldOutSplit, feature_config: FeatureConfig, absent: Array
) -> list[FittedColumn]:
    vectors = read_vectors(series)
    centroid = vectors.find_centroid()
    measures = vectors.measure(centroid, is_own=True) if centroid else None
    bins = np.full(len(series), -1)
    bins[vectors.rows] = 0
    text = "has no vector in training: whatever arrives is of another type"
    notes = [] if centroid else [Note(Importance.NO_VALUE, text)]
    failed = {"not_finite": np.zeros(len(series), dtype=bool)}
    special = {}
    if measures is not None:
        infinite = (bins == 0) & np.isnan(measures[0])
        bins[infinite] = -1
        failed["not_finite"] = infinite
        special["!nonfinite"] = int(infinite.sum())
    fields: dict[str, Any] = {"name": name, "kind": "vector", "centroid": centroid, "special": special}
    fields["counts"] = (int((bins == 0).sum()),) if centroid else ()
    fit = ColumnFit(fields, failed, vectors.wrong, notes, bins)
    parent = build_feature(fit, feature_config, split, vectors.missing & ~absent, absent)
    if measures is None or feature_config.hidden:
        return [parent]
    nothing = np.zeros(len(series), dtype=bool)
    fitted = [parent]
    for derived, numbers in zip(derived_names(name), measures, strict=True):
        fit = fit_numeric(numbers, nothing, derived, "numeric", split, FeatureConfig())
        feature, states, derived_notes, _ = build_feature(fit, FeatureConfig(), split, nothing, nothing)
        # The feature of the vector itself already checks whether there is a vector.
        expected = {"out_of_range": feature.expected["out_of_range"]}
        known_from = {check: places for check, places in states.known_from.items() if check in expected}
        derived_feature = replace(feature, derived_from=name, expected=expected)
        derived_states = replace(states, known_from=known_from)
        fitted.append(FittedColumn(derived_feature, derived_states, derived_notes, {}))
    return fitted
