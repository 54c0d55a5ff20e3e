"""The fitting of a profile to a training DataFrame. This is the only part of the profile that needs pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from logging_lib._util.formatting import join_names
from logging_lib._util.suggestions import suggest
from logging_lib.profile.calibration import ClassifierColumns, calibrate, read_answers, with_predicted_class
from logging_lib.profile.classifier import Classifier
from logging_lib.profile.coerce import NA_VALUES, format_epoch, to_epoch
from logging_lib.profile.columns import FittedColumn, fit_column
from logging_lib.profile.config import Config, FeatureConfig, parse_timezone, validate_columns
from logging_lib.profile.encoding import HeldOutSplit, is_number_dtype
from logging_lib.profile.environment import installed_versions
from logging_lib.profile.io import ProfileError, with_content_hash
from logging_lib.profile.model import PREDICTION, Feature, HeldOut, Profile, Quality
from logging_lib.profile.multilabel import fit_labels, is_multilabel
from logging_lib.profile.notes import Note
from logging_lib.profile.number_columns import compute_moments
from logging_lib.profile.recognition import parse_scores, recognize_classifier
from logging_lib.profile.review import note_placeholders
from logging_lib.profile.variation import RowStates, measure_variation, state_default
from logging_lib.profile.vector_columns import fit_features, holds_vectors
from logging_lib.profile.vectors import derived_names

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
    scores: Sequence[str] = (),
    threshold: float | None = None,
    positive: str | None = None,
    evaluation: pd.DataFrame | None = None,
) -> Profile:
    """Fit a profile to the rows that the model was trained on.

    Args:
        data: one row for each example, one column for each feature; shape (rows, columns).
        model: the model's name, as the logger will use it.
        version: the model's version.
        target: the column with the true outcome; not a feature.
        prediction: the column with the model's outputs on these rows; not a feature. Without it, the target's
            distribution is used as that of the outputs.
        config: overrides of inference; see ``Config``.
        trained_at: when the model was trained; default: the last time in the time column, or unknown.
        training_seconds: how long the training took.
        libraries: name → version of the libraries that the model depends on; default: those of the usual ones
            that are installed.
        absent: column → mask of rows without the key (JSON lines), shape (rows,).
        scores: for a classifier: the column with the probability of the predicted class, or ``CLASS=COLUMN`` for
            each class; not features.
        threshold: with two classes: the lowest probability at which the positive class is predicted.
        positive: with two classes: the class whose probability is given.
        evaluation: rows that the model was not trained on, with the same columns for target, prediction and
            scores. The model's quality and the calibration of its probabilities are measured on them.

    Returns:
        The profile; for the same data and arguments it is the same to the byte.

    Raises:
        ProfileError: the data has no rows, no features, or not all of the named columns.
    """
    return fit_with_notes(
        data,
        model=model,
        version=version,
        target=target,
        prediction=prediction,
        config=config or Config(),
        trained_at=trained_at,
        training_seconds=training_seconds,
        libraries=libraries,
        absent=absent,
        scores=scores,
        threshold=threshold,
        positive=positive,
        evaluation=evaluation,
    )[0]


def fit_with_notes(
    data: pd.DataFrame,
    *,
    model: str,
    version: str,
    target: str | None,
    prediction: str | None,
    config: Config,
    trained_at: str | datetime | None,
    training_seconds: float | None,
    libraries: Mapping[str, str] | None = None,
    absent: Mapping[str, np.ndarray] | None,
    scores: Sequence[str] = (),
    threshold: float | None = None,
    positive: str | None = None,
    evaluation: pd.DataFrame | None = None,
) -> tuple[Profile, dict[str, list[Note]]]:
    """Fit a profile as ``fit`` does, and also return the notes of each feature with their importance."""
    for argument, value in (("model", model), ("version", version)):
        if not isinstance(value, str) or not value:
            raise ProfileError(f"{argument}: expected a text that is not empty, found {value!r}")
    names = [str(name) for name in data.columns]
    if len(set(names)) != len(names):
        duplicates = sorted({name for name in names if names.count(name) > 1})
        raise ProfileError(f"the data have the column {duplicates[0]!r} more than once")
    validate_columns(config, names)
    parse_timezone(config.timezone, "timezone")
    for role, name in (("target", target), ("prediction", prediction)):
        if name is not None and name not in names:
            raise ProfileError(
                f"the {role} column {name!r} is not in the data"
                f"{suggest(name, names) or '; columns: ' + join_names(names, 20)}"
            )
    if len(data) == 0:
        raise ProfileError("the data have no rows: a profile needs the rows that the model was trained on")
    data = data.set_axis(names, axis=1)
    columns = ClassifierColumns(target, prediction, parse_scores(scores, names))
    excluded = {*config.exclude, config.time, target, prediction, *columns.scores.values()}
    # The columns of a log that were derived from its vectors are computed again.
    excluded |= {derived for name in names if holds_vectors(data[name]) for derived in derived_names(name)}
    features = [name for name in names if name not in excluded]
    if not features:
        raise ProfileError(
            "no feature is left: every column is excluded, the target, the prediction or the time"
        )

    seconds = _read_times(data, config.time) if config.time is not None else None
    split = _hold_out(data, seconds, config)
    fitted, na_values = _fit_features(data[features], split, config, absent or {})
    outputs = _fit_outputs(data, columns, split, config)
    kinds = {
        role: outputs[role][0].kind
        for role, column in (("target", target), ("prediction", prediction))
        if column is not None
    }
    classifier = recognize_classifier(data, columns, kinds, threshold=threshold, positive=positive)
    if classifier is not None and classifier.source != "value":
        outputs = _fit_outputs(
            with_predicted_class(data, classifier, columns), columns, split, config, classifier
        )
    measured = _choose_measured_rows(data, evaluation, columns, split)
    if classifier is not None and target is not None and (prediction is not None or columns.scores):
        answers = read_answers(measured, classifier, columns)
        classifier, quality = calibrate(classifier, answers, evaluated=evaluation is not None)
    else:
        quality = _measure_errors(measured, target, prediction, outputs)
    states = [replace(column.states, numbers=None) for column in fitted.values()]
    if "prediction" in outputs:
        states.append(replace(outputs["prediction"][1], name=PREDICTION, known_from={}))
    variation = measure_variation(seconds, states, config.timezone) if seconds is not None else None
    last = format_epoch(float(seconds.max())) if seconds is not None else None
    profile = with_content_hash(
        Profile(
            model=model,
            version=version,
            rows=len(data),
            held_out=split.held_out,
            features={name: column.feature for name, column in fitted.items()},
            prediction=outputs["prediction"][0] if "prediction" in outputs else None,
            target=outputs["target"][0] if "target" in outputs else None,
            quality=quality,
            trained_at=_parse_trained_at(trained_at) or last,
            training_seconds=training_seconds,
            libraries=dict(libraries) if libraries is not None else installed_versions(),
            na_values=na_values,
            variation=variation or state_default(seconds, states if seconds is None else ()),
            classifier=classifier,
        )
    )
    return profile, {name: column.notes for name, column in fitted.items()}


def _fit_features(
    data: pd.DataFrame, split: HeldOutSplit, config: Config, absent: Mapping[str, np.ndarray]
) -> tuple[dict[str, FittedColumn], tuple[str, ...]]:
    """Fit each column; also return the spellings of a missing value.

    Usual spellings that are found among numbers, dates or booleans, such as ``?``, are added to the default. They
    apply to all columns, as in the logger; only a category keeps those that are among its values.
    """
    fitted: dict[str, FittedColumn] = {}
    for name in data:
        columns = fit_features(data[name], str(name), split, config, absent=absent.get(str(name)))
        fitted |= {column.feature.name: column for column in columns}
    placeholders = sorted({text for column in fitted.values() for text in column.placeholders})
    if not placeholders or config.na_values != NA_VALUES:
        return fitted, config.na_values
    extended = replace(config, na_values=(*config.na_values, *placeholders))
    for name in data:
        before = fitted[str(name)]
        keeps_values = before.feature.kind == "category" and not before.feature.hidden
        if keeps_values or before.feature.kind == "vector" or is_number_dtype(data[name]):
            continue
        after = fit_column(data[name], str(name), split, extended, absent=absent.get(str(name)))
        if before.placeholders and not before.feature.hidden:
            notes = [note_placeholders(before.placeholders, len(data)), *after.notes]
            texts = tuple(note.text for note in notes)
            after = after._replace(notes=notes, feature=replace(after.feature, notes=texts))
        fitted[str(name)] = after
    return fitted, extended.na_values


def _read_times(data: pd.DataFrame, column: str) -> np.ndarray[Any, Any]:
    """Read the time column in seconds since 1970; shape (rows,)."""
    seconds = _to_seconds(data[column])
    if np.isnan(seconds).any():
        invalid = data[column][np.isnan(seconds)].iloc[0]
        raise ProfileError(f"the time column {column!r} holds {invalid!r}, which is not a date (ISO 8601)")
    return seconds


def _hold_out(data: pd.DataFrame, seconds: np.ndarray[Any, Any] | None, config: Config) -> HeldOutSplit:
    """Choose the rows to measure the expected rates on: the last ones or, without times, each row in turn."""
    rows = len(data)
    if seconds is None:
        hashes = _spread_rows(data)
        blocks = max(1, min(MAX_BLOCKS, rows // MIN_BLOCK_ROWS))
        method = f"{rows} rows, each compared with all others (no time column was given)"
        block = np.empty(rows, dtype=np.int64)
        block[np.argsort(hashes, kind="stable")] = np.arange(rows) * blocks // rows
        group = np.unique(hashes, return_inverse=True)[1]
        return HeldOutSplit(block, HeldOut(rows=rows, method=method, blocks=blocks), group=group)
    held_out_rows = max(1, round(rows * config.held_out)) if rows > 1 else 0
    in_order = np.argsort(seconds, kind="stable")
    order = in_order[rows - held_out_rows :]
    method = f"the last {held_out_rows} rows by `{config.time}`"
    blocks = max(1, min(MAX_BLOCKS, held_out_rows // MIN_BLOCK_ROWS))
    block = np.full(rows, -1, dtype=np.int64)
    block[order] = np.arange(held_out_rows) * blocks // max(held_out_rows, 1)
    rank = np.empty(rows, dtype=np.int64)
    rank[in_order] = np.arange(rows)
    return HeldOutSplit(block, HeldOut(rows=held_out_rows, method=method, blocks=blocks), rank=rank)


def _spread_rows(data: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Compute a number per row that spreads the choice evenly, without a random generator; shape (rows,).

    It is a hash of the row's content, so that copies of a row (oversampling) are held out together. If many rows
    are equal because they have few values, it is a multiplicative hash of the row's number.
    """
    try:
        hashes = pd.util.hash_pandas_object(data, index=False).to_numpy(np.uint64)
    except (TypeError, ValueError, UnicodeError):  # cells that cannot be hashed
        hashes = pd.util.hash_pandas_object(data.map(ascii), index=False).to_numpy(np.uint64)
    most_copies = np.unique(hashes, return_counts=True)[1].max()
    if most_copies <= max(1, len(data) // 100):
        return np.asarray(hashes)
    return np.asarray((np.arange(len(data), dtype=np.uint64) * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF))


def _to_seconds(column: pd.Series) -> np.ndarray[Any, Any]:
    """Convert dates to seconds since 1970, with NaN for a value that is not a date; shape (rows,)."""
    if pd.api.types.is_datetime64_any_dtype(column):
        moments = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
        since = moments.to_numpy("datetime64[us]")
        return np.where(np.isnat(since), np.nan, since.astype(np.int64) / 1e6)
    return np.array([np.nan if (s := to_epoch(value)) is None else s for value in column], dtype=float)


def _fit_outputs(
    data: pd.DataFrame,
    columns: ClassifierColumns,
    split: HeldOutSplit,
    config: Config,
    classifier: Classifier | None = None,
) -> dict[str, tuple[Feature, RowStates]]:
    """Fit the prediction (or the target in its place) and the target; numbers of a classifier are classes."""
    predicted = columns.prediction or (PREDICTION if PREDICTION in data else columns.target)
    return {
        role: _fit_output(data[column], role, split, config, is_class=classifier is not None)
        for role, column in (("prediction", predicted), ("target", columns.target))
        if column is not None
    }


def _fit_output(
    column: pd.Series, role: str, split: HeldOutSplit, config: Config, *, is_class: bool
) -> tuple[Feature, RowStates]:
    """Fit the distribution of the prediction or the target, as a feature without expectations."""
    if is_multilabel(column):
        return fit_labels(column, role, config)
    fitted = fit_column(column, role, split, replace(config, features={}))
    # An output is never a text: even a large number of labels are labels.
    if fitted.feature.kind == "text" or (is_class and fitted.feature.kind not in ("category", "boolean")):
        labels = {role: FeatureConfig(kind="category")}
        fitted = fit_column(column, role, split, replace(config, features=labels))
    return replace(fitted.feature, expected={}, notes=()), fitted.states


def _choose_measured_rows(
    data: pd.DataFrame, evaluation: pd.DataFrame | None, columns: ClassifierColumns, split: HeldOutSplit
) -> pd.DataFrame:
    """Return the rows to measure quality on: those of the evaluation or, without one, the held-out ones."""
    if evaluation is None:
        return data.loc[split.block >= 0]
    names = [
        name for name in (columns.target, columns.prediction, *columns.scores.values()) if name is not None
    ]
    missing = [name for name in names if name not in evaluation]
    if missing:
        raise ProfileError(f"the evaluation rows lack the column {missing[0]!r}, which training has")
    if columns.target is None or len(names) < 2:
        raise ProfileError(
            "quality is measured on the evaluation rows: give --target with --prediction or --score"
        )
    return evaluation


def _measure_errors(
    rows: pd.DataFrame,
    target: str | None,
    prediction: str | None,
    outputs: Mapping[str, tuple[Feature, RowStates]],
) -> Quality | None:
    """Measure the absolute errors of numbers; return None if no row has both a target and a prediction."""
    if target is None or prediction is None or {outputs[role][0].kind for role in outputs} != {"numeric"}:
        return None
    known = rows[[target, prediction]].dropna()
    errors = np.abs(known[prediction].to_numpy(float) - known[target].to_numpy(float))
    errors = np.sort(errors[np.isfinite(errors)])
    return Quality(errors=compute_moments(errors)) if len(errors) else None


def _parse_trained_at(value: str | datetime | None) -> str | None:
    if value is None:
        return None
    seconds = to_epoch(value)
    if seconds is None:
        raise ProfileError(
            f"trained_at: {value!r} is not a date; give ISO 8601, for example 2018-01-31T18:00:00Z"
        )
    return format_epoch(seconds)
