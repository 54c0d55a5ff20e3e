"""Fits a profile from a DataFrame. Tables come from all rows; expected rates from rows that were held out.

A vocabulary scored on its own text would find no unknown word, and a range no outlier. So a second set of
tables is made without the held-out rows, those rows are scored by it, and the counts go into the profile. The
published tables have seen more rows than the scoring ones, so served rates are, if anything, lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.columns import fit_column
from logging_lib.profile.config import Config, FeatureConfig, check_columns
from logging_lib.profile.held_out import Split
from logging_lib.profile.io import ProfileError, seal
from logging_lib.profile.libraries import installed
from logging_lib.profile.model import Feature, HeldOut, Profile, Quality
from logging_lib.profile.numbers import moments
from logging_lib.profile.values import category_text, epoch, iso, plain

BLOCKS = 10
MIN_BLOCK = 20


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
    """Fit a profile to the rows that the model was trained on.

    Args:
        data: one row for each example, one column for each feature; shape (rows, columns).
        model: the model's name, as the logger will use it.
        version: the model's version.
        target: the column with the actual outcomes; not a feature.
        prediction: the column with the model's outputs on these rows; not a feature. Without it the target's
            distribution stands for the outputs'.
        config: overrides; see ``Config``.
        trained_at: when the model was trained; default: the last moment of the time column, or unknown.
        training_seconds: how long the training took.
        libraries: name → version of what the model depends on; default: the usual ones that are installed.
        absent: column → mask of rows that do not have the key at all (JSON lines), shape (rows,).

    Returns:
        The same profile, to the byte, for the same data and arguments.

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
    check_columns(config, names)
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

    split, last_moment = _split(data, config)
    masks = absent or {}
    fitted = {name: fit_column(data[name], name, split, config, absent=masks.get(name)) for name in features}
    outputs = {
        role: _output(data[column], role, split, config)
        for role, column in (("prediction", prediction or target), ("target", target))
        if column is not None
    }
    return seal(
        Profile(
            model=model,
            version=version,
            rows=len(data),
            held_out=split.held_out,
            features=fitted,
            prediction=outputs.get("prediction"),
            target=outputs.get("target"),
            quality=_quality(data, target, prediction, outputs, split),
            trained_at=_moment(trained_at) or last_moment,
            training_seconds=training_seconds,
            libraries=dict(libraries) if libraries is not None else installed(),
            na_values=config.na_values,
        )
    )


def _split(data: pd.DataFrame, config: Config) -> tuple[Split, str | None]:
    """Which rows are held out, in which block, and the last moment of the time column."""
    rows = len(data)
    wanted = max(1, round(rows * config.held_out)) if rows > 1 else 0
    last: str | None = None
    if config.time is not None:
        seconds = _seconds(data[config.time])
        if np.isnan(seconds).any():
            bad = data[config.time][np.isnan(seconds)].iloc[0]
            raise ProfileError(f"the time column {config.time!r} holds {bad!r}, which is no date (ISO 8601)")
        order = np.argsort(seconds, kind="stable")[rows - wanted :]
        method = f"the last {wanted} rows by `{config.time}`"
        last = iso(float(seconds.max()))
    else:
        order = np.sort(np.argsort(_scattered(data), kind="stable")[:wanted])
        method = f"{wanted} rows spread over the data (no time column was given)"
    blocks = max(1, min(BLOCKS, wanted // MIN_BLOCK))
    block = np.full(rows, -1, dtype=np.int64)
    block[order] = np.arange(wanted) * blocks // max(wanted, 1)
    return Split(block=block, held_out=HeldOut(rows=wanted, method=method, blocks=blocks)), last


def _scattered(data: pd.DataFrame) -> np.ndarray[Any, Any]:
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


def _seconds(column: pd.Series) -> np.ndarray[Any, Any]:
    """Dates as seconds since 1970; NaN where a value is no date; shape (rows,)."""
    if pd.api.types.is_datetime64_any_dtype(column):
        moments = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
        since = moments.to_numpy("datetime64[us]")
        return np.where(np.isnat(since), np.nan, since.astype(np.int64) / 1e6)
    return np.array([np.nan if (s := epoch(value)) is None else s for value in column], dtype=float)


def _output(column: pd.Series, role: str, split: Split, config: Config) -> Feature:
    """The prediction's or the target's distribution, as a feature without expectations."""
    made = fit_column(column, role, split, replace(config, features={}))
    if made.kind == "text":  # an output is never a text: many labels are still labels
        labels = {role: FeatureConfig(kind="category")}
        made = fit_column(column, role, split, replace(config, features=labels))
    return replace(made, expected={}, notes=())


def _quality(
    data: pd.DataFrame,
    target: str | None,
    prediction: str | None,
    outputs: Mapping[str, Feature],
    split: Split,
) -> Quality | None:
    """The errors on held-out rows that have both a truth and a prediction; None without such rows."""
    if target is None or prediction is None:
        return None
    held = data.loc[split.block >= 0, [target, prediction]].dropna()
    kinds = {outputs[role].kind for role in ("target", "prediction")}
    if kinds == {"numeric"}:
        errors = np.abs(held[prediction].to_numpy(float) - held[target].to_numpy(float))
        errors = np.sort(errors[np.isfinite(errors)])
        return Quality(errors=moments(errors)) if len(errors) else None
    if not kinds <= {"category", "boolean"}:
        return None
    confusion: dict[str, dict[str, int]] = {}
    for pair in zip(held[target], held[prediction], strict=True):
        truth, guess = (category_text(plain(value)) for value in pair)
        if truth is not None and guess is not None:
            row = confusion.setdefault(truth, {})
            row[guess] = row.get(guess, 0) + 1
    ordered = {truth: dict(sorted(row.items())) for truth, row in sorted(confusion.items())}
    return Quality(confusion=ordered) if ordered else None


def _moment(value: str | datetime | None) -> str | None:
    if value is None:
        return None
    seconds = epoch(value)
    if seconds is None:
        raise ProfileError(
            f"trained_at: {value!r} is no date; give ISO 8601, for example 2018-01-31T18:00:00Z"
        )
    return iso(seconds)
