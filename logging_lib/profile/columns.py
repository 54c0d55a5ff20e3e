"""Fit the features of a profile, one column each: numbers, categories, texts, booleans and dates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import category_text, split_words, to_epoch
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import (
    Array,
    ColumnFit,
    EncodedColumn,
    HeldOutSplit,
    encode_column,
    infer_kind,
    is_number_dtype,
)
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import CHECKS, MAX_BINS, OOV_EDGES, Expectation, Feature, Kind, Moments

NUMERIC_BINS = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def fit_numeric(
    numbers: Array, wrong_type: Array, name: str, kind: Kind, split: HeldOutSplit, own: FeatureConfig
) -> ColumnFit:
    finite = np.isfinite(numbers)
    infinite = np.isinf(numbers)
    ordered = np.sort(numbers[finite])
    notes: list[str] = []
    feature: dict[str, Any] = {"name": name, "kind": kind}
    failed = {"not_finite": infinite, "out_of_range": np.zeros(len(numbers), bool)}
    if len(ordered) == 0 and own.range is None:
        return ColumnFit(feature, failed, wrong_type, notes)
    bounds = _parse_range(own, kind, name)
    low, high = bounds or (float(ordered[0]), float(ordered[-1]))
    if low == high:
        notes.append("is constant in training: any other value is out of range")
    edges = _choose_edges(ordered, low, high, own, kind)
    feature["edges"] = edges
    inside = ordered[(ordered >= low) & (ordered <= high)]
    cuts = np.searchsorted(inside, edges[1:-1], side="left")
    feature["counts"] = tuple(int(c) for c in np.diff(np.concatenate(([0], cuts, [len(inside)]))))
    feature["special"] = {
        "!below": int((ordered < low).sum()),
        "!above": int((ordered > high).sum()),
        "!nonfinite": int(infinite.sum()),
    }
    if len(ordered):
        feature["moments"] = compute_moments(ordered)
    if bounds is None:  # the range without the held-out rows
        known = numbers[split.scoring & finite]
        low, high = (float(known.min()), float(known.max())) if len(known) else (np.inf, -np.inf)
    with np.errstate(invalid="ignore"):
        failed["out_of_range"] = finite & ((numbers < low) | (numbers > high))
    return ColumnFit(feature, failed, wrong_type, notes)


def _parse_range(own: FeatureConfig, kind: Kind, name: str) -> tuple[float, float] | None:
    if own.range is None:
        return None
    low, high = (to_epoch(str(b)) if kind == "date" else b for b in own.range)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise ProfileError(f"features.{name}.range: {list(own.range)!r} are no {kind} values")
    return float(low), float(high)


def _choose_edges(
    ordered: Array, low: float, high: float, own: FeatureConfig, kind: Kind
) -> tuple[float, ...]:
    if isinstance(own.bins, tuple):
        inner = [edge for edge in own.bins if low < edge < high]
    elif len(ordered):
        wanted = own.bins if isinstance(own.bins, int) else NUMERIC_BINS
        raw = _interpolate_quantiles(ordered, np.linspace(0, 1, wanted + 1)[1:-1])
        inner = [float(edge) for edge in raw] if kind == "date" else _round_edges(raw)
    else:
        inner = []
    return (low, *sorted({edge for edge in inner if low < edge < high}), *([high] if high > low else []))


def _interpolate_quantiles(ordered: Array, at: Any) -> Array:
    """Quantiles of sorted numbers by linear interpolation (Hyndman and Fan's type 7, as numpy's default)."""
    position = np.asarray(at) * (len(ordered) - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    share = position - lower
    return np.asarray(ordered[lower] * (1 - share) + ordered[upper] * share)


def _round_edges(edges: Array) -> list[float]:
    """Edges with as few significant digits as keep them apart, three at least: people read them."""
    distinct = np.unique(edges)
    for digits in range(3, 17):
        rounded = [float(f"{edge:.{digits}g}") for edge in distinct]
        if len(set(rounded)) == len(distinct):
            return rounded
    return [float(edge) for edge in distinct]


def compute_moments(ordered: Array) -> Moments:
    """Of finite numbers that are sorted, at least one; shape (rows,)."""
    quantiles = _interpolate_quantiles(ordered, QUANTILES)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = ordered.mean(), ordered.std(ddof=1) if len(ordered) > 1 else 0.0
    return Moments(
        count=len(ordered),
        mean=_round_digits(mean),
        std=_round_digits(std),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        quantiles={f"{q:g}": _round_digits(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    )


def _round_digits(value: Any) -> float:
    """Twelve digits: sums differ in the last ones with the processor's vector width."""
    number = float(f"{float(value):.12g}")
    return number if np.isfinite(number) else float(np.finfo(float).max)


def numeric_fitter(kind: Kind, convert: Callable[[Any], float | None]) -> Any:
    def fit(
        column: EncodedColumn, name: str, split: HeldOutSplit, own: FeatureConfig, _config: Config
    ) -> ColumnFit:
        converted = [convert(value) for value in column.uniques]
        table = np.array([np.nan if c is None else c for c in converted] + [np.nan], dtype=float)
        wrong = np.array([c is None for c in converted] + [False])
        return fit_numeric(table[column.codes], wrong[column.codes], name, kind, split, own)

    return fit


def to_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def fit_category(
    column: EncodedColumn, name: str, split: HeldOutSplit, own: FeatureConfig, config: Config
) -> ColumnFit:
    texts = [category_text(value) for value in column.uniques]
    labels = sorted({text for text in texts if text is not None})
    number = {label: i for i, label in enumerate(labels)}
    table = np.array([-1 if text is None else number[text] for text in texts] + [-1])
    wrong = np.array([text is None for text in texts] + [False])
    codes = table[column.codes]
    return _fit_codes(codes, labels, wrong[column.codes], name, "category", split, own, config)


def fit_boolean(
    column: EncodedColumn, name: str, split: HeldOutSplit, own: FeatureConfig, config: Config
) -> ColumnFit:
    table = np.array([int(v) if isinstance(v, bool) else -1 for v in column.uniques] + [-1])
    wrong = np.array([not isinstance(v, bool) for v in column.uniques] + [False])
    codes = table[column.codes]
    return _fit_codes(codes, ["false", "true"], wrong[column.codes], name, "boolean", split, own, config)


def _fit_codes(
    codes: Array,
    labels: list[str],
    wrong_type: Array,
    name: str,
    kind: Kind,
    split: HeldOutSplit,
    own: FeatureConfig,
    config: Config,
) -> ColumnFit:
    present = codes >= 0
    sizes = np.bincount(codes[present], minlength=len(labels))
    scoring = np.bincount(codes[present & split.scoring], minlength=len(labels))
    notes: list[str] = []

    def kept(counts: Array) -> list[int]:
        used = [i for i in range(len(labels)) if counts[i]]
        return sorted(used, key=lambda i: (-counts[i], labels[i]))[: config.max_values]

    if own.values is not None:
        by_label = dict(zip(labels, sizes.tolist(), strict=True))
        values = dict(sorted(((v, by_label.get(v, 0)) for v in own.values), key=lambda p: (-p[1], p[0])))
        known = np.array([label in values for label in labels], dtype=bool)
    else:
        values = {labels[i]: int(sizes[i]) for i in kept(sizes)}
        known = np.zeros(len(labels), dtype=bool)
        known[kept(scoring)] = True
        if int((sizes > 0).sum()) > len(values):
            notes.append(f"has more than {config.max_values} values: the rarer ones count as unseen")
    if len(values) == 1:
        notes.append("is constant in training: any other value is unseen")
    unseen = present & ~np.append(known, True)[codes]
    limit = own.bins if isinstance(own.bins, int) else MAX_BINS
    beyond = int(sizes.sum()) - sum(values.values())
    feature = {
        "name": name,
        "kind": kind,
        "values": values,
        "binned": min(limit, len(values)),
        "special": {"!unseen": beyond},
    }
    return ColumnFit(feature, {"unseen": unseen}, wrong_type, notes)


OOV_QUANTILE = 0.95


def fit_text(
    column: EncodedColumn, name: str, split: HeldOutSplit, _own: FeatureConfig, config: Config
) -> ColumnFit:
    docs = [split_words(value) if isinstance(value, str) else [] for value in column.uniques]
    wrong = np.array([not isinstance(value, str) for value in column.uniques] + [False])[column.codes]
    present = (column.codes >= 0) & ~wrong
    all_sizes = np.bincount(column.codes[present], minlength=len(docs))
    scoring_sizes = np.bincount(column.codes[present & split.scoring], minlength=len(docs))
    vocabulary = _build_vocabulary(docs, all_sizes, config)
    known = _build_vocabulary(docs, scoring_sizes, config)

    held = np.flatnonzero(np.bincount(column.codes[present & (split.block >= 0)], minlength=len(docs)))
    share = np.zeros(len(docs) + 1)
    for i in held:
        share[i] = sum(word not in known for word in docs[i]) / len(docs[i]) if docs[i] else 0.0
    scored = present & (split.block >= 0)
    shares = share[column.codes]
    observed = np.sort(shares[scored])
    threshold = _choose_threshold(observed)
    lengths = np.array([len(doc) for doc in docs] + [0], dtype=float)[column.codes][present]
    notes = []
    if len(observed) and float(observed.mean()) > 0.5:
        notes.append("most of its words occur once: is it an identifier? Then exclude it")
    counts = np.histogram(observed, bins=np.array(OOV_EDGES))[0] if len(observed) else np.zeros(4, int)
    feature: dict[str, Any] = {
        "name": name,
        "kind": "text",
        "vocabulary": tuple(sorted(vocabulary)),
        "oov_threshold": threshold,
        "oov_counts": tuple(int(c) for c in counts),
    }
    if len(lengths):
        feature["moments"] = compute_moments(np.sort(lengths))
    return ColumnFit(feature, {"oov": scored & (shares > threshold)}, wrong, notes)


def _build_vocabulary(docs: list[list[str]], sizes: Array, config: Config) -> set[str]:
    counts: Counter[str] = Counter()
    for doc, size in zip(docs, sizes.tolist(), strict=True):
        if size:
            for word in doc:
                counts[word] += size
    often = [(word, n) for word, n in counts.items() if n >= config.min_word_count]
    if len(often) > config.max_vocabulary:
        often = sorted(often, key=lambda pair: (-pair[1], pair[0]))[: config.max_vocabulary]
    return {word for word, _ in often}


def _choose_threshold(observed: Array) -> float:
    """The 0.95 quantile of the shares of unknown words, but always below 1: a wholly unknown text must count."""
    if len(observed) == 0:
        return 0.0
    high = float(observed[min(len(observed) - 1, int(np.ceil(OOV_QUANTILE * len(observed))) - 1)])
    if high < 1.0:
        return float(f"{high:.6g}")
    below = observed[observed < 1.0]
    return float(f"{below[-1]:.6g}") if len(below) else 0.0


_FITTERS: dict[Kind, Any] = {
    "numeric": numeric_fitter("numeric", to_number),
    "date": numeric_fitter("date", to_epoch),
    "category": fit_category,
    "boolean": fit_boolean,
    "text": fit_text,
}


def fit_column(
    series: pd.Series, name: str, split: HeldOutSplit, config: Config, *, absent: Array | None = None
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
        made = fit_numeric(numbers, np.zeros(len(series), bool), name, "numeric", split, own)
        return _build_feature(made, own, split, missing, gone, len(series))
    column = encode_column(series, own, config, gone)
    kind = kind or infer_kind(column)
    fitted = _FITTERS[kind](column, name, split, own, config)
    return _build_feature(fitted, own, split, column.missing, gone, len(series))


def _build_feature(
    fitted: ColumnFit, own: FeatureConfig, split: HeldOutSplit, missing: Array, absent: Array, rows: int
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
