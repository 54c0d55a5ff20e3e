"""Find training/serving skew: compare logged features with the same features recomputed in batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from logging_lib._util.suggestions import suggest
from logging_lib.analysis import skew_causes
from logging_lib.analysis.contingency import wilson
from logging_lib.analysis.results import finite
from logging_lib.analysis.skew_causes import Cause
from logging_lib.profile.coerce import category_text, format_epoch, is_null, to_epoch, to_python
from logging_lib.profile.vectors import read_vector

Array = np.ndarray[Any, Any]
EXAMPLES: Final = 5
TOLERANCE: Final = 1e-6
MAX_RATE: Final = 0.01
LOOKED_AT: Final = 20_000
"""The number of differing rows that is enough to find the cause."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The comparison of one feature.

    Attributes:
        name: the feature.
        rows: the number of joined rows; ``mismatched`` of them differ.
        rate: the share that differs; ``low`` to ``high`` is its 95 % interval (Wilson).
        allowed: whether the rate is within the limit.
        cause: the likely cause; None if no row differs.
        examples: (key, logged, recomputed).
    """

    name: str
    rows: int
    mismatched: int
    rate: float
    low: float
    high: float
    allowed: bool
    cause: Cause | None = None
    examples: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Skew:
    """The comparison of all features, the worst first. ``only_logged`` rows and features were not recomputed,
    ``only_recomputed`` ones were not logged."""

    key: str
    joined: int
    only_logged: int
    only_recomputed: int
    features: tuple[Mismatch, ...]
    features_only_logged: tuple[str, ...]
    features_only_recomputed: tuple[str, ...]
    max_rate: float
    repeated_keys: int = 0

    @property
    def skewed(self) -> tuple[Mismatch, ...]:
        """Return the features whose rate is above the limit."""
        return tuple(feature for feature in self.features if not feature.allowed)

    @property
    def ok(self) -> bool:
        """Return whether no feature is skewed and at most ``max_rate`` of the events lack a recomputed row."""
        total = self.joined + self.only_logged
        return not self.skewed and self.only_logged <= self.max_rate * total

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "ok": self.ok,
            "key": self.key,
            "joined": self.joined,
            "only_logged": self.only_logged,
            "only_recomputed": self.only_recomputed,
            "repeated_keys": self.repeated_keys,
            "features_only_logged": list(self.features_only_logged),
            "features_only_recomputed": list(self.features_only_recomputed),
            "max_rate": self.max_rate,
            "features": [
                {
                    "name": feature.name,
                    "rows": feature.rows,
                    "mismatched": feature.mismatched,
                    "rate": feature.rate,
                    "low": feature.low,
                    "high": feature.high,
                    "allowed": feature.allowed,
                    "cause": None
                    if feature.cause is None
                    else {
                        "name": feature.cause.name,
                        "detail": feature.cause.detail,
                        "share": feature.cause.share,
                        "features": list(feature.cause.features),
                    },
                    "examples": [
                        {"key": key, "logged": _to_json(logged), "recomputed": _to_json(recomputed)}
                        for key, logged, recomputed in feature.examples
                    ],
                }
                for feature in self.features
            ],
        }


def find_skew(
    logged: pd.DataFrame,
    recomputed: pd.DataFrame,
    *,
    key: str,
    recomputed_key: str | None = None,
    kinds: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    tolerances: Mapping[str, float] | None = None,
    absolute: float = 0.0,
    max_rate: float = MAX_RATE,
    ignore: tuple[str, ...] = (),
) -> Skew:
    """Compare each feature that both tables have, row by row.

    Args:
        logged: one row per event in the order of time, shape (events, columns); columns that are not features, such
            as ``@timestamp``, begin with ``@`` or are in ``ignore``.
        recomputed: one row per event, shape (rows, columns).
        key: the column of ``logged`` to join by; ``recomputed_key``: the same in ``recomputed``.
        kinds: feature → kind in the profile; a category is compared by its text.
        tolerance: the relative difference up to which two numbers are the same; ``tolerances`` by feature.
        absolute: the absolute difference that is allowed in addition.
        max_rate: the share of differing rows that is allowed.
        ignore: columns that are not features.

    Raises:
        ValueError: a key column is missing, no row has a partner, or there is no feature in common.
    """
    partner_key = recomputed_key or key
    for frame, name, description in (
        (logged, key, "the logged events"),
        (recomputed, partner_key, "the recomputed features"),
    ):
        if name not in frame:
            raise ValueError(
                f"{description} have no column {name!r} to join on{suggest(name, map(str, frame))}; "
                f"there are {', '.join(map(str, frame.columns))}"
            )
    left, right = _index_by_key(logged, key), _index_by_key(recomputed, partner_key)
    repeated = int(right.index.duplicated().sum())
    right = right[~right.index.duplicated()]
    has_partner = left.index.isin(right.index)
    if not has_partner.any():
        examples = f"{left.index[0]!r} and {right.index[0]!r}" if len(left) and len(right) else "nothing"
        raise ValueError(f"no logged event has a recomputed row: {key} and {partner_key} are {examples}")
    partnered = left[has_partner]
    partners = right.loc[partnered.index]
    features = [str(name) for name in left.columns if name not in ignore and not str(name).startswith("@")]
    shared = [name for name in features if name in right.columns]
    if not shared:
        raise ValueError(
            f"no feature is in both: logged: {', '.join(features)}; "
            f"recomputed: {', '.join(map(str, right.columns))}"
        )
    columns = {name: _align(partnered[name], partners[name], (kinds or {}).get(name)) for name in shared}
    differs = {
        name: _find_differences(a, b, (tolerances or {}).get(name, tolerance), absolute)
        for name, (a, b) in columns.items()
    }
    mismatches = [
        _measure_mismatch(name, columns, rows, partnered.index, max_rate) for name, rows in differs.items()
    ]
    causes = {mismatch.name: mismatch.cause for mismatch in mismatches if mismatch.cause is not None}
    joins = skew_causes.find_lost_joins(causes, differs)
    mismatches = [
        replace(mismatch, cause=joins.get(mismatch.name, mismatch.cause)) for mismatch in mismatches
    ]
    return Skew(
        key,
        len(partnered),
        int((~has_partner).sum()),
        int((~right.index.isin(left.index)).sum()),
        tuple(sorted(mismatches, key=lambda mismatch: (-mismatch.rate, mismatch.name))),
        tuple(name for name in features if name not in right.columns),
        tuple(str(name) for name in right.columns if name not in features),
        max_rate,
        repeated,
    )


def _index_by_key(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    indexed = frame.set_index(frame[key].map(lambda value: category_text(to_python(value)) or str(value)))
    return indexed.drop(columns=[key])


def _align(logged: pd.Series, recomputed: pd.Series, kind: str | None) -> tuple[Array, Array]:
    """Return both columns in one form: floats if both are numbers, otherwise objects; a time is ISO 8601 text, and
    a vector is a list."""
    if all(
        pd.api.types.is_numeric_dtype(side) and not pd.api.types.is_bool_dtype(side)
        for side in (logged, recomputed)
    ):
        return logged.to_numpy(dtype=float, na_value=math.nan), recomputed.to_numpy(
            dtype=float, na_value=math.nan
        )
    aligned = []
    for series in (logged, recomputed):
        values = [None if is_null(value) else to_python(value) for value in series.astype(object)]
        if kind in ("category", "boolean"):
            values = [value if value is None else category_text(value) or value for value in values]
        else:
            values = [_normalize(value) for value in values]
        column = np.empty(len(values), dtype=object)
        column[:] = values
        aligned.append(column)
    return aligned[0], aligned[1]


def _normalize(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    vector = read_vector(value)
    if vector is not None:
        return vector
    seconds = to_epoch(value)
    return value if seconds is None else format_epoch(seconds)


def _find_differences(a: Array, b: Array, tolerance: float, absolute: float) -> Array:
    if a.dtype == float and b.dtype == float:
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= absolute + tolerance * np.maximum(np.abs(a), np.abs(b))
        same: Array = near | (a == b) | (np.isnan(a) & np.isnan(b))
        return ~same
    return np.array([not _is_same(x, y, tolerance, absolute) for x, y in zip(a, b, strict=True)], dtype=bool)


def _is_same(x: Any, y: Any, tolerance: float, absolute: float) -> bool:
    if is_null(x) or is_null(y):
        return is_null(x) and is_null(y)
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (x, y)]
    if all(numbers):
        return bool(x == y or abs(x - y) <= absolute + tolerance * max(abs(x), abs(y)))
    if isinstance(x, list) and isinstance(y, list):
        pairs = zip(x, y, strict=False)
        return len(x) == len(y) and all(_is_same(a, b, tolerance, absolute) for a, b in pairs)
    if isinstance(x, str) and isinstance(y, str) and x != y:
        first, second = to_epoch(x), to_epoch(y)
        return first is not None and second is not None and abs(first - second) < 1e-3
    return type(x) is type(y) and bool(x == y)


def _measure_mismatch(
    name: str, columns: Mapping[str, tuple[Array, Array]], differs: Array, keys: pd.Index, max_rate: float
) -> Mismatch:
    rows, hits = len(differs), int(differs.sum())
    low, high = wilson(hits, rows)
    if not hits:
        return Mismatch(name, rows, 0, 0.0, low, high, True)
    at = np.flatnonzero(differs)
    examined = differs
    if hits > LOOKED_AT:
        examined = np.zeros_like(differs)
        examined[at[:LOOKED_AT]] = True
    logged, recomputed = (_to_objects(values) for values in columns[name])
    other_columns = {
        other_name: logged_other for other_name, (logged_other, _) in columns.items() if other_name != name
    }
    cause = skew_causes.likeliest(
        skew_causes.SkewedFeature(name, logged, recomputed, examined, other_columns)
    )
    examples = tuple((str(keys[i]), logged[i], recomputed[i]) for i in at[:EXAMPLES])
    return Mismatch(name, rows, hits, hits / rows, low, high, hits / rows <= max_rate, cause, examples)


def _to_objects(values: Array) -> Array:
    if values.dtype == object:
        return values
    objects = values.astype(object)
    objects[np.isnan(values)] = None
    return objects


def _to_json(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    return value if isinstance(value, str | int | bool) or value is None else str(value)
