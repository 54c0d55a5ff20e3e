"""The fitting of a profile's features, each from one column of numbers, categories, texts, booleans or dates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import category_text, to_epoch
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import (
    NEVER,
    Array,
    ColumnFit,
    EncodedColumn,
    HeldOutSplit,
    encode_column,
    infer_kind,
    is_number_dtype,
)
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import (
    CHECKS,
    MAX_BINS,
    Expectation,
    Feature,
    Kind,
)
from logging_lib.profile.notes import Importance, Note
from logging_lib.profile.number_columns import fit_numeric, numeric_fitter, to_number
from logging_lib.profile.review import (
    count_values,
    find_placeholders,
    review_numbers,
    review_values,
)
from logging_lib.profile.spellings import read_as
from logging_lib.profile.text_columns import fit_text
from logging_lib.profile.variation import RowStates


def fit_category(
    column: EncodedColumn, name: str, split: HeldOutSplit, feature_config: FeatureConfig, config: Config
) -> ColumnFit:
    texts = [category_text(value) for value in column.uniques]
    labels = sorted({text for text in texts if text is not None})
    code_of = {label: i for i, label in enumerate(labels)}
    table = np.array([-1 if text is None else code_of[text] for text in texts] + [-1])
    is_wrong = np.array([text is None for text in texts] + [False])
    codes = table[column.codes]
    return _fit_codes(codes, labels, is_wrong[column.codes], name, "category", split, feature_config, config)


def fit_boolean(
    column: EncodedColumn, name: str, split: HeldOutSplit, feature_config: FeatureConfig, config: Config
) -> ColumnFit:
    table = np.array([int(value) if isinstance(value, bool) else -1 for value in column.uniques] + [-1])
    is_wrong = np.array([not isinstance(value, bool) for value in column.uniques] + [False])
    codes = table[column.codes]
    return _fit_codes(
        codes, ["false", "true"], is_wrong[column.codes], name, "boolean", split, feature_config, config
    )


def _fit_codes(
    codes: Array,
    labels: list[str],
    wrong_type: Array,
    name: str,
    kind: Kind,
    split: HeldOutSplit,
    feature_config: FeatureConfig,
    config: Config,
) -> ColumnFit:
    present = codes >= 0
    sizes = np.bincount(codes[present], minlength=len(labels))
    scoring = np.bincount(codes[present & split.scoring], minlength=len(labels))
    notes: list[Note] = []

    def choose_labels(counts: Array) -> list[int]:
        used_codes = [i for i in range(len(labels)) if counts[i]]
        return sorted(used_codes, key=lambda i: (-counts[i], labels[i]))[: config.max_values]

    if feature_config.values is not None:
        by_label = dict(zip(labels, sizes.tolist(), strict=True))
        values = dict(
            sorted(((v, by_label.get(v, 0)) for v in feature_config.values), key=lambda p: (-p[1], p[0]))
        )
        is_known = np.array([label in values for label in labels], dtype=bool)
    else:
        values = {labels[i]: int(sizes[i]) for i in choose_labels(sizes)}
        is_known = np.zeros(len(labels), dtype=bool)
        is_known[choose_labels(scoring)] = True
        is_known &= ~split.is_alone(codes, len(labels))
        if int((sizes > 0).sum()) > len(values):
            text = f"has more than {config.max_values} values: the rarer ones count as unseen"
            notes.append(Note(Importance.MANY_VALUES, text))
    if len(values) == 1:
        notes.append(Note(Importance.CONSTANT, "is constant in training: any other value is unseen"))
    unseen = present & ~np.append(is_known, True)[codes]
    known_from = {}
    if split.rank is not None and feature_config.values is None:
        kept = np.array([label in values for label in labels], dtype=bool)
        since = np.where(kept, split.first_seen(codes, len(labels)), NEVER)
        known_from["unseen"] = np.append(since, -1)[codes]
    limit = feature_config.bins if isinstance(feature_config.bins, int) else MAX_BINS
    beyond = int(sizes.sum()) - sum(values.values())
    feature = {
        "name": name,
        "kind": kind,
        "values": values,
        "binned": min(limit, len(values)),
        "special": {"!unseen": beyond},
    }
    position = {label: min(place, limit) for place, label in enumerate(values)}
    bins = np.array([position.get(label, -1) for label in labels] + [-1], dtype=np.int64)[codes]
    return ColumnFit(feature, {"unseen": unseen}, wrong_type, notes, bins, known_from)


_FITTERS: dict[Kind, Any] = {
    "numeric": numeric_fitter("numeric", to_number),
    "date": numeric_fitter("date", to_epoch),
    "category": fit_category,
    "boolean": fit_boolean,
    "text": fit_text,
}


class FittedColumn(NamedTuple):
    """A feature, and other findings about its column.

    Attributes:
        feature: the feature.
        states: the bin and the failed checks of each row, for the natural variation.
        notes: remarks about the column for people; a hidden feature has none.
        placeholders: texts that stand for a missing value among values of another type → number of rows.
    """

    feature: Feature
    states: RowStates
    notes: list[Note]
    placeholders: Mapping[str, int]


def fit_column(
    series: pd.Series, name: str, split: HeldOutSplit, config: Config, *, absent: Array | None = None
) -> FittedColumn:
    """Fit one feature.

    Args:
        series: the column, shape (rows,), of any dtype.
        name: the feature's name.
        split: which rows are held out.
        config: overrides for this feature are looked up by ``name``.
        absent: the mask of rows without the key, shape (rows,).

    Raises:
        ProfileError: the column cannot be read as the kind that the configuration names.
    """
    feature_config = config.features.get(name, FeatureConfig())
    absent_rows = absent if absent is not None else np.zeros(len(series), dtype=bool)
    kind = feature_config.kind
    if kind in (None, "numeric") and is_number_dtype(series):
        kind = "numeric"
        numbers = series.to_numpy(dtype=float, na_value=np.nan)
        missing = np.isnan(numbers) & ~absent_rows
        fit = fit_numeric(numbers, np.zeros(len(series), bool), name, "numeric", split, feature_config)
        notes = review_numbers(numbers, kind, name, split.rank)
        return build_feature(fit, feature_config, split, missing, absent_rows, notes, {})
    column = encode_column(series, feature_config, config, absent_rows)
    if kind is not None:
        try:
            column.uniques = read_as(kind, column.uniques)
        except ValueError as error:
            raise ProfileError(f"features.{name}.kind: {kind}: {error}") from None
    kind = kind or infer_kind(column)
    fit = _FITTERS[kind](column, name, split, feature_config, config)
    placeholders = find_placeholders(count_values(column, fit.wrong_type))
    notes = review_values(column, kind, fit.wrong_type, is_inferred=feature_config.kind is None)
    if fit.numbers is not None:
        notes += review_numbers(fit.numbers, kind, name, split.rank)
    return build_feature(fit, feature_config, split, column.missing, absent_rows, notes, placeholders)


def build_feature(
    fit: ColumnFit,
    feature_config: FeatureConfig,
    split: HeldOutSplit,
    missing: Array,
    absent: Array,
    notes: Sequence[Note] = (),
    placeholders: Mapping[str, int] | None = None,
) -> FittedColumn:
    """Build the feature and the states of its rows from the fit of its column.

    Args:
        fit: the fit of the column's values.
        feature_config: the overrides for this feature.
        split: which rows are held out.
        missing, absent: masks of the rows without a value, and without the key; shape (rows,).
        notes: remarks about the column for people, in addition to the notes of the fit.
        placeholders: texts that stand for a missing value → number of rows.
    """
    rows = len(missing)
    failed = {"missing": missing, "absent": absent, "wrong_type": fit.wrong_type, **fit.failed}
    special = {
        "!missing": int(missing.sum()),
        "!absent": int(absent.sum()),
        "!type": int(fit.wrong_type.sum()),
        **fit.feature.pop("special", {}),
    }
    expected = {check: split.expectation(failed[check]) for check in CHECKS if check in failed}
    if not feature_config.nullable:
        for check in ("missing", "absent"):
            expected[check] = Expectation(0, split.held_out.rows)
    if int(missing.sum() + absent.sum()) == rows:
        text = "has no value in training: any number, category or word will be flagged"
        fit.notes.append(Note(Importance.NO_VALUE, text))
    if feature_config.hidden:
        keep = ("missing", "absent")
        feature = Feature(
            name=fit.feature["name"],
            kind=fit.feature["kind"],
            nullable=feature_config.nullable,
            hidden=True,
            special={
                "!missing": special["!missing"],
                "!absent": special["!absent"],
                "!hidden": rows - special["!missing"] - special["!absent"],
            },
            expected={check: expected[check] for check in keep},
        )
        states = RowStates(feature.name, np.full(rows, -1), 0, False, _known_from(failed, keep))
        return FittedColumn(feature, states, [], placeholders or {})
    if any(note.importance in (Importance.SPELLING, Importance.IDENTIFIER) for note in notes):
        fit.notes = [
            note for note in fit.notes if note.importance != Importance.IDENTIFIER
        ]  # it says the same
    all_notes = sorted({*fit.notes, *notes})
    feature = Feature(
        **fit.feature,
        nullable=feature_config.nullable,
        special={key: count for key, count in special.items() if count},
        expected=expected,
        notes=tuple(note.text for note in all_notes),
    )
    static = [check for check in expected if check not in ("oov", "unseen", "out_of_range")]
    bins = fit.bins if fit.bins is not None else np.full(rows, -1)
    states = RowStates(
        feature.name,
        np.where(missing | absent | fit.wrong_type, -1, bins),
        max(int(bins.max(initial=-1)) + 1, len(feature.counts)),
        feature.kind in ("numeric", "text"),
        {**_known_from(failed, static), **fit.known_from},
        fit.numbers,
        fit.words,
    )
    return FittedColumn(feature, states, all_notes, placeholders or {})


def _known_from(failed: Mapping[str, Array], checks: Iterable[str]) -> dict[str, Array]:
    """Return ``RowStates.known_from`` for checks whose result for a row does not depend on earlier rows."""
    return {check: np.where(failed[check], NEVER, -1) for check in checks}
