"""One column of training data → one ``Feature``: its kind, its tables and its held-out rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.categories import fit_boolean, fit_category
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.held_out import Array, Split
from logging_lib.profile.model import CHECKS, Expectation, Feature, Kind
from logging_lib.profile.numbers import fit_numbers, numeric, to_number
from logging_lib.profile.taking import Fitted, infer, is_number_dtype, take_apart
from logging_lib.profile.texts import fit_text
from logging_lib.profile.values import epoch

_FIT: dict[Kind, Any] = {
    "numeric": fit_numbers("numeric", to_number),
    "date": fit_numbers("date", epoch),
    "category": fit_category,
    "boolean": fit_boolean,
    "text": fit_text,
}


def fit_column(
    series: pd.Series, name: str, split: Split, config: Config, *, absent: Array | None = None
) -> Feature:
    """Fit one feature.

    Args:
        series: the column, shape (rows,), of any dtype.
        name: the feature's name.
        split: which rows are held out.
        config: overrides for this feature are looked up by ``name``.
        absent: mask of rows whose key was not there, shape (rows,).
    """
    own = config.features.get(name, FeatureConfig())
    gone = absent if absent is not None else np.zeros(len(series), dtype=bool)
    kind = own.kind
    if kind in (None, "numeric") and is_number_dtype(series):
        kind = "numeric"
        numbers = series.to_numpy(dtype=float, na_value=np.nan)
        missing = np.isnan(numbers) & ~gone
        made = numeric(numbers, np.zeros(len(series), bool), name, "numeric", split, own)
        return _finish(made, own, split, missing, gone, len(series))
    column = take_apart(series, own, config, gone)
    kind = kind or infer(column)
    fitted = _FIT[kind](column, name, split, own, config)
    return _finish(fitted, own, split, column.missing, gone, len(series))


def _finish(
    fitted: Fitted, own: FeatureConfig, split: Split, missing: Array, absent: Array, rows: int
) -> Feature:
    failed = {"missing": missing, "absent": absent, "wrong_type": fitted.wrong_type, **fitted.failed}
    # A text's bins count held-out rows only, so its special bins must too.
    counted = split.block >= 0 if fitted.feature["kind"] == "text" else slice(None)
    special = {
        "!missing": int(missing[counted].sum()),
        "!absent": int(absent[counted].sum()),
        "!type": int(fitted.wrong_type[counted].sum()),
        **fitted.feature.pop("special", {}),
    }
    expected = {check: split.expectation(failed[check]) for check in CHECKS if check in failed}
    if not own.nullable:
        for check in ("missing", "absent"):
            expected[check] = Expectation(0, split.held_out.rows)
    if int(missing.sum() + absent.sum()) == rows:
        fitted.notes.append("has no value in training: any number, category or word will be flagged")
    if own.hidden:
        keep = ("missing", "absent")
        return Feature(
            name=fitted.feature["name"],
            kind=fitted.feature["kind"],
            nullable=own.nullable,
            hidden=True,
            special={
                "!missing": special["!missing"],
                "!absent": special["!absent"],
                "!hidden": rows - special["!missing"] - special["!absent"],
            },
            expected={check: expected[check] for check in keep},
        )
    return Feature(
        **fitted.feature,
        nullable=own.nullable,
        special={key: count for key, count in special.items() if count},
        expected=expected,
        notes=tuple(fitted.notes),
    )
