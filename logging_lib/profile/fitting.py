"""Fit a profile to a training DataFrame. The only part of the profile that needs pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import category_text, format_epoch, to_epoch, to_python
from logging_lib.profile.columns import compute_moments, fit_column
from logging_lib.profile.config import Config, FeatureConfig, validate_columns
from logging_lib.profile.encoding import HeldOutSplit
from logging_lib.profile.environment import installed_versions
from logging_lib.profile.io import ProfileError, with_content_hash
from logging_lib.profile.model import Feature, HeldOut, Profile, Quality

MAX_BLOCKS = 10
MIN_BLOCK_ROWS = 20


def fit(
    data: pd.DataFrame,
    *,
    model: str,
    version: str,
    target: str | None = None,
    prediction: str | None = None,
    config: Config | None = None,
    trained_at: str | datetime | None = None,
    training_seconds: float | None = None,
    libraries: Mapping[str, str] | None = None,
    absent: Mapping[str, np.ndarray] | None = None,
) -> Profile:
    """What training looked like, from the rows that the model was trained on.

    Args:
        data: one row an example, one column a feature; shape (rows, columns).
        model: the model's name, as the logger will give it.
        version: the model's version.
        target: the column with the truth; not a feature.
        prediction: the column with the model's outputs on these rows; not a feature. Without it the target's
            distribution stands for the outputs'.
        config: overrides; see ``Config``.
        trained_at: when the model was trained; default: the last moment of the time column, or unknown.
        training_seconds: how long the training took.
        libraries: name → version of what the model depends on; default: the usual ones that are installed.
        absent: column → mask of rows whose key was not there at all (JSON lines), shape (rows,).

    Raises:
        ProfileError: the data have no row or no feature, or lack a named column.
    """
    config = config or Config()
    for argument, given in (("model", model), ("version", version)):
        if not isinstance(given, str) or not given:
            raise ProfileError(f"{argument}: expected a text that is not empty, found {given!r}")
    names = [str(name) for name in data.columns]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ProfileError(f"the data have the column {twice[0]!r} more than once")
    validate_columns(config, names)
    for role, name in (("target", target), ("prediction", prediction)):
        if name is not None and name not in names:
            raise ProfileError(
                f"the {role} column {name!r} is not in the data; columns: {', '.join(names[:20])}"
            )
    if len(data) == 0:
        raise ProfileError("the data have no rows: a profile needs the rows that the model was trained on")
    data = data.set_axis(names, axis=1)
    left_out = {*config.exclude, config.time, target, prediction}
    features = [name for name in names if name not in left_out]
    if not features:
        raise ProfileError(
            "no feature is left: every column is excluded, the target, the prediction or the time"
        )

    split, last_moment = _hold_out(data, config)
    masks = absent or {}
    fitted = {name: fit_column(data[name], name, split, config, absent=masks.get(name)) for name in features}
    outputs = {
        role: _fit_output(data[column], role, split, config)
        for role, column in (("prediction", prediction or target), ("target", target))
        if column is not None
    }
    return with_content_hash(
        Profile(
            model=model,
            version=version,
            rows=len(data),
            held_out=split.held_out,
            features=fitted,
            prediction=outputs.get("prediction"),
            target=outputs.get("target"),
            quality=_measure_quality(data, target, prediction, outputs, split),
            trained_at=_parse_trained_at(trained_at) or last_moment,
            training_seconds=training_seconds,
            libraries=dict(libraries) if libraries is not None else installed_versions(),
            na_values=config.na_values,
        )
    )


def _hold_out(data: pd.DataFrame, config: Config) -> tuple[HeldOutSplit, str | None]:
    """Which rows are held out, in which block, and the last moment of the time column."""
    rows = len(data)
    wanted = max(1, round(rows * config.held_out)) if rows > 1 else 0
    last: str | None = None
    if config.time is not None:
        seconds = _to_seconds(data[config.time])
        if np.isnan(seconds).any():
            bad = data[config.time][np.isnan(seconds)].iloc[0]
            raise ProfileError(f"the time column {config.time!r} holds {bad!r}, which is no date (ISO 8601)")
        order = np.argsort(seconds, kind="stable")[rows - wanted :]
        method = f"the last {wanted} rows by `{config.time}`"
        last = format_epoch(float(seconds.max()))
    else:
        order = np.sort(np.argsort(_spread_rows(data), kind="stable")[:wanted])
        method = f"{wanted} rows spread over the data (no time column was given)"
    blocks = max(1, min(MAX_BLOCKS, wanted // MIN_BLOCK_ROWS))
    block = np.full(rows, -1, dtype=np.int64)
    block[order] = np.arange(wanted) * blocks // max(wanted, 1)
    return HeldOutSplit(block=block, held_out=HeldOut(rows=wanted, method=method, blocks=blocks)), last


def _spread_rows(data: pd.DataFrame) -> np.ndarray[Any, Any]:
    """A number a row that spreads the choice evenly, without a random generator; shape (rows,).

    A hash of the row's content, so that copies of a row (oversampling) are held out together; where rows repeat
    because there is little to tell them apart, a multiplicative hash of the row's number.
    """
    try:
        hashes = pd.util.hash_pandas_object(data, index=False).to_numpy(np.uint64)
    except (TypeError, ValueError, UnicodeError):  # cells that cannot be hashed
        hashes = pd.util.hash_pandas_object(data.map(ascii), index=False).to_numpy(np.uint64)
    most = np.unique(hashes, return_counts=True)[1].max()
    if most <= max(1, len(data) // 100):
        return np.asarray(hashes)
    return np.asarray((np.arange(len(data), dtype=np.uint64) * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF))


def _to_seconds(column: pd.Series) -> np.ndarray[Any, Any]:
    """Dates as seconds since 1970; NaN where a value is no date; shape (rows,)."""
    if pd.api.types.is_datetime64_any_dtype(column):
        moments = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
        since = moments.to_numpy("datetime64[us]")
        return np.where(np.isnat(since), np.nan, since.astype(np.int64) / 1e6)
    return np.array([np.nan if (s := to_epoch(value)) is None else s for value in column], dtype=float)


def _fit_output(column: pd.Series, role: str, split: HeldOutSplit, config: Config) -> Feature:
    """The prediction's or the target's distribution, as a feature without expectations."""
    made = fit_column(column, role, split, replace(config, features={}))
    if made.kind == "text":  # an output is never a text: many labels are still labels
        labels = {role: FeatureConfig(kind="category")}
        made = fit_column(column, role, split, replace(config, features=labels))
    return replace(made, expected={}, notes=())


def _measure_quality(
    data: pd.DataFrame,
    target: str | None,
    prediction: str | None,
    outputs: Mapping[str, Feature],
    split: HeldOutSplit,
) -> Quality | None:
    """The errors on held-out rows that have both a truth and a prediction; None without such rows."""
    if target is None or prediction is None:
        return None
    held = data.loc[split.block >= 0, [target, prediction]].dropna()
    kinds = {outputs[role].kind for role in ("target", "prediction")}
    if kinds == {"numeric"}:
        errors = np.abs(held[prediction].to_numpy(float) - held[target].to_numpy(float))
        errors = np.sort(errors[np.isfinite(errors)])
        return Quality(errors=compute_moments(errors)) if len(errors) else None
    if not kinds <= {"category", "boolean"}:
        return None
    confusion: dict[str, dict[str, int]] = {}
    for pair in zip(held[target], held[prediction], strict=True):
        truth, guess = (category_text(to_python(value)) for value in pair)
        if truth is not None and guess is not None:
            row = confusion.setdefault(truth, {})
            row[guess] = row.get(guess, 0) + 1
    ordered = {truth: dict(sorted(row.items())) for truth, row in sorted(confusion.items())}
    return Quality(confusion=ordered) if ordered else None


def _parse_trained_at(value: str | datetime | None) -> str | None:
    if value is None:
        return None
    seconds = to_epoch(value)
    if seconds is None:
        raise ProfileError(
            f"trained_at: {value!r} is no date; give ISO 8601, for example 2018-01-31T18:00:00Z"
        )
    return format_epoch(seconds)
