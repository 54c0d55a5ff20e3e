"""Fit the features of a profile, one column each: numbers, categories, texts, booleans and dates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import MAX_CHECKED_TEXT, category_text, split_words, to_epoch
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import (
    NEVER,
    Array,
    ColumnFit,
    EncodedColumn,
    HeldOutSplit,
    WordRows,
    encode_column,
    infer_kind,
    is_number_dtype,
)
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import (
    CHECKS,
    MAX_BINS,
    MAX_WORDS,
    OOV_EDGES,
    Expectation,
    Feature,
    Kind,
    Moments,
)
from logging_lib.profile.notes import Importance, Note
from logging_lib.profile.review import (
    count_values,
    find_placeholders,
    note_identifier,
    review_numbers,
    review_values,
)
from logging_lib.profile.spellings import read_as
from logging_lib.profile.variation import RowStates, find_earliest_place

NUMERIC_BINS = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def fit_numeric(
    numbers: Array,
    wrong_type: Array,
    name: str,
    kind: Kind,
    split: HeldOutSplit,
    feature_config: FeatureConfig,
) -> ColumnFit:
    finite = np.isfinite(numbers)
    infinite = np.isinf(numbers)
    ordered = np.sort(numbers[finite])
    notes: list[Note] = []
    feature: dict[str, Any] = {"name": name, "kind": kind}
    failed = {"not_finite": infinite, "out_of_range": np.zeros(len(numbers), bool)}
    if len(ordered) == 0 and feature_config.range is None:
        feature["special"] = {"!nonfinite": int(infinite.sum())}
        return ColumnFit(feature, failed, wrong_type, notes)
    bounds = _parse_range(feature_config, kind, name)
    low, high = bounds or (float(ordered[0]), float(ordered[-1]))
    if low == high:
        notes.append(Note(Importance.CONSTANT, "is constant in training: any other value is out of range"))
    edges = _choose_edges(ordered, low, high, feature_config, kind)
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
    known_from = {}
    if bounds is None:  # the range of the rows that are not held out
        scored = numbers[split.scoring & finite]
        low, high = (float(scored.min()), float(scored.max())) if len(scored) else (np.inf, -np.inf)
        if split.rank is not None:
            known_from["out_of_range"] = _find_range_known(numbers, finite, split.rank)
    with np.errstate(invalid="ignore"):
        failed["out_of_range"] = finite & ((numbers < low) | (numbers > high))
    if bounds is None and len(ordered):
        ends = np.where(numbers == ordered[0], 0, np.where(numbers == ordered[-1], 1, -1))
        failed["out_of_range"] |= (ends >= 0) & np.append(split.is_alone(ends, 2), False)[ends]
    bins = np.where(
        finite & ~failed["out_of_range"] if bounds else finite,
        np.searchsorted(edges[1:-1], numbers, "right"),
        -1,
    )
    return ColumnFit(feature, failed, wrong_type, notes, bins, known_from, np.where(finite, numbers, np.nan))


def _find_range_known(numbers: Array, finite: Array, rank: Array) -> Array:
    """Find from which place in order of time on each number is within the range of those before; shape (rows,)."""
    by_rank = np.full(len(numbers), np.nan)
    by_rank[rank] = np.where(finite, numbers, np.nan)
    highest = np.fmax.accumulate(np.where(np.isnan(by_rank), -np.inf, by_rank))
    lowest = np.fmin.accumulate(np.where(np.isnan(by_rank), np.inf, by_rank))
    known = np.full(len(numbers), -1, dtype=np.int64)
    known[finite] = np.maximum(
        np.searchsorted(highest, numbers[finite]), np.searchsorted(-lowest, -numbers[finite])
    )
    return known


def _parse_range(feature_config: FeatureConfig, kind: Kind, name: str) -> tuple[float, float] | None:
    if feature_config.range is None:
        return None
    low, high = (to_epoch(str(bound)) if kind == "date" else bound for bound in feature_config.range)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise ProfileError(f"features.{name}.range: {list(feature_config.range)!r} are no {kind} values")
    return float(low), float(high)


def _choose_edges(
    ordered: Array, low: float, high: float, feature_config: FeatureConfig, kind: Kind
) -> tuple[float, ...]:
    if isinstance(feature_config.bins, tuple):
        inner = [edge for edge in feature_config.bins if low < edge < high]
    elif len(ordered):
        bin_count = feature_config.bins if isinstance(feature_config.bins, int) else NUMERIC_BINS
        quantiles = _interpolate_quantiles(ordered, np.linspace(0, 1, bin_count + 1)[1:-1])
        if kind == "numeric" and _are_small_integers(ordered):
            inner = _choose_integer_edges(ordered, quantiles, bin_count)
        else:
            inner = [float(edge) for edge in quantiles] if kind == "date" else _round_edges(quantiles)
    else:
        inner = []
    return (low, *sorted({edge for edge in inner if low < edge < high}), *([high] if high > low else []))


def _are_small_integers(ordered: Array) -> bool:
    """Whether all values are integers, and so small that a half between two of them is exact."""
    return bool(max(abs(ordered[0]), abs(ordered[-1])) < 2**52 and (ordered == np.floor(ordered)).all())


def _choose_integer_edges(ordered: Array, quantiles: Array, bin_count: int) -> list[float]:
    """Choose edges between integers: between any two neighbors where there are few, else near the quantiles.

    An edge at an integer would put the two highest ones into the same bin, and all of a dummy's.
    """
    distinct = np.unique(ordered)
    if len(distinct) <= bin_count:
        return [float(edge) for edge in (distinct[:-1] + distinct[1:]) / 2]
    if len(distinct) <= 100:
        return [float(edge) - 0.5 for edge in np.unique(np.ceil(quantiles))]
    return _round_edges(quantiles)


def _interpolate_quantiles(ordered: Array, shares: Any) -> Array:
    """Compute quantiles of sorted numbers by linear interpolation (Hyndman and Fan's type 7, numpy's default)."""
    position = np.asarray(shares) * (len(ordered) - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    weight = position - lower
    return np.asarray(ordered[lower] * (1 - weight) + ordered[upper] * weight)


def _round_edges(edges: Array) -> list[float]:
    """Round edges to the fewest significant digits that keep them distinct, at least three, for readers."""
    distinct = np.unique(edges)
    for digits in range(3, 17):
        rounded = [float(f"{edge:.{digits}g}") for edge in distinct]
        if len(set(rounded)) == len(distinct):
            return rounded
    return [float(edge) for edge in distinct]


def compute_moments(ordered: Array) -> Moments:
    """Compute the moments of sorted finite numbers, at least one; shape (rows,)."""
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
    """Round to twelve digits: the last ones of a sum depend on the processor's vector width."""
    number = float(f"{float(value):.12g}")
    return number if np.isfinite(number) else float(np.finfo(float).max)


def numeric_fitter(kind: Kind, convert: Callable[[Any], float | None]) -> Any:
    def fit(
        column: EncodedColumn, name: str, split: HeldOutSplit, feature_config: FeatureConfig, _config: Config
    ) -> ColumnFit:
        converted = [convert(value) for value in column.uniques]
        table = np.array(
            [np.nan if number is None else number for number in converted] + [np.nan], dtype=float
        )
        is_wrong = np.array([number is None for number in converted] + [False])
        return fit_numeric(table[column.codes], is_wrong[column.codes], name, kind, split, feature_config)

    return fit


def to_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


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


OOV_QUANTILE = 0.95


def fit_text(
    column: EncodedColumn, name: str, split: HeldOutSplit, _own: FeatureConfig, config: Config
) -> ColumnFit:
    docs = [
        split_words(value[:MAX_CHECKED_TEXT]) if isinstance(value, str) else [] for value in column.uniques
    ]
    wrong = np.array([not isinstance(value, str) for value in column.uniques] + [False])[column.codes]
    present = (column.codes >= 0) & ~wrong
    sizes = np.bincount(column.codes[present], minlength=len(docs))
    vocabulary = scoring_vocabulary = _build_vocabulary(docs, sizes, config)
    if not split.scoring.all():
        scoring_sizes = np.bincount(column.codes[present & split.scoring], minlength=len(docs))
        scoring_vocabulary = _build_vocabulary(docs, scoring_sizes, config)

    scored = present & (split.block >= 0)
    scored_docs = np.flatnonzero(np.bincount(column.codes[scored], minlength=len(docs)))
    equal_rows = _count_equal_rows(column.codes, present, split, len(docs))
    floor = _find_floor(vocabulary, config)
    share = np.zeros(len(docs) + 1)
    for i in scored_docs:
        share[i] = _share_unknown(docs[i], scoring_vocabulary, int(equal_rows[i]), floor)
    shares = share[column.codes]
    observed = np.sort(shares[scored])
    threshold = _choose_threshold(observed)
    lengths = np.array([len(doc) for doc in docs] + [0], dtype=float)[column.codes]
    ordered = np.sort(lengths[present])
    edges = _choose_length_edges(ordered)
    bins = np.where(present, np.searchsorted(edges[1:-1], lengths, "right"), -1)
    notes = []
    if len(observed) and float(observed.mean()) > 0.5:
        notes.append(note_identifier("has words that mostly occur once"))
    counts = np.histogram(observed, bins=np.array(OOV_EDGES))[0] if len(observed) else np.zeros(4, int)
    feature: dict[str, Any] = {
        "name": name,
        "kind": "text",
        "vocabulary": tuple(sorted(vocabulary)),
        "oov_threshold": threshold,
        "oov_counts": tuple(int(c) for c in counts),
        "edges": edges,
        "counts": tuple(np.bincount(bins[present], minlength=len(edges) - 1).tolist()),
    }
    if len(ordered):
        feature["moments"] = compute_moments(ordered)
    known_from = {}
    words = None
    codes = np.where(present, column.codes, -1)
    if split.rank is not None:
        places = _find_words_known(docs, codes, split.rank, config.min_word_count)
        known = _find_texts_known(docs, places, threshold)
        known_from["oov"] = np.append(known, -1)[codes]
        words = _list_late_words(docs, codes, split.rank, places)
        feature["new_words"] = _expect_new_words(
            docs, codes, split, lambda word, _: word not in scoring_vocabulary
        )
    else:
        feature["new_words"] = _expect_new_words(
            docs,
            codes,
            split,
            lambda word, number: _is_lost(word, vocabulary.get(word, 0) - number, floor),
        )
    failed = {"oov": scored & (shares > threshold)}
    return ColumnFit(feature, failed, wrong, notes, bins, known_from, words=words)


def _choose_length_edges(ordered: Array) -> tuple[float, ...]:
    """Choose edges of the number of words: quantiles, and the first and the last bin for what training had not.

    Args:
        ordered: the number of words of each text, sorted; shape (texts,).
    """
    inner: list[float] = []
    if len(ordered):
        quantiles = _interpolate_quantiles(ordered, np.linspace(0, 1, NUMERIC_BINS + 1)[1:-1])
        inner = [ordered[0], *np.ceil(quantiles), ordered[-1] + 1]
    return (0.0, *sorted({float(edge) for edge in inner if 0 < edge < MAX_WORDS}), MAX_WORDS)


def _count_equal_rows(codes: Array, present: Array, split: HeldOutSplit, number: int) -> Array:
    """Count, for each text, the rows that are left out together with one of its own; shape (texts,)."""
    if split.group is None:
        return np.zeros(number, dtype=np.int64)
    groups, place = np.unique(split.group, return_inverse=True)
    sizes = np.bincount(place[present], minlength=len(groups))[place]
    largest = np.zeros(number, dtype=np.int64)
    np.maximum.at(largest, codes[present], sizes[present])
    return largest


def _find_floor(vocabulary: Mapping[str, int], config: Config) -> tuple[int, str]:
    """Find how often training has a known word at least, and the last word in order that is known with that."""
    if len(vocabulary) < config.max_vocabulary:
        return config.min_word_count, "\U0010ffff"
    least = min(vocabulary.values())
    return least, max(word for word, count in vocabulary.items() if count == least)


def _share_unknown(
    words: list[str], vocabulary: Mapping[str, int], equal_rows: int, floor: tuple[int, str]
) -> float:
    """Compute the share of a text's words that are unknown without the rows that are left out with it."""
    if not words:
        return 0.0
    if not equal_rows:
        return sum(word not in vocabulary for word in words) / len(words)
    unknown = sum(
        number
        for word, number in Counter(words).items()
        if _is_lost(word, vocabulary.get(word, 0) - equal_rows * number, floor)
    )
    return unknown / len(words)


def _is_lost(word: str, count: int, floor: tuple[int, str]) -> bool:
    """Whether a word that is left so often would not be known."""
    least, last = floor
    return count < least or (count == least and word > last)


def _expect_new_words(
    docs: list[list[str]], codes: Array, split: HeldOutSplit, is_new: Callable[[str, int], bool]
) -> Expectation:
    """Count the held-out rows with the most frequent new word; without times, in the block where they are most.

    Args:
        codes: the text of each row, -1 for none; shape (rows,).
        is_new: whether a word is new that the held-out rows, or the block, have so often.
    """
    block = split.block if split.group is not None else np.where(split.block >= 0, 0, -1)
    most = Expectation(0, 0)
    for number in range(int(block.max(initial=-1)) + 1):
        rows = codes[block == number]
        occurrences: Counter[str] = Counter()
        texts: Counter[str] = Counter()
        for code in rows[rows >= 0].tolist():
            occurrences.update(docs[code])
            texts.update(set(docs[code]))
        largest = 0
        for word, count in texts.items():
            if count > largest and is_new(word, occurrences[word]):
                largest = count
        if largest * most.rows >= most.count * len(rows):
            most = Expectation(largest, len(rows))
    return most


def _find_words_known(docs: list[list[str]], codes: Array, rank: Array, min_count: int) -> dict[str, int]:
    """Find from which place in order of time each word is known, of those that ever are."""
    counts: Counter[str] = Counter()
    word_known: dict[str, int] = {}
    for place, code in enumerate(_order_codes(codes, rank)):
        for word in docs[code] if code >= 0 else ():
            if word not in word_known:
                counts[word] += 1
                if counts[word] >= min_count:
                    word_known[word] = place
    return word_known


def _order_codes(codes: Array, rank: Array) -> list[int]:
    in_order = np.full(len(rank), -1, dtype=np.int64)
    in_order[rank] = codes
    ordered: list[int] = in_order.tolist()
    return ordered


def _list_late_words(
    docs: list[list[str]], codes: Array, rank: Array, word_known: Mapping[str, int]
) -> WordRows:
    """List which rows have the words that some reference of earlier rows does not know."""
    earliest = find_earliest_place(len(rank))
    late = {word: place for word, place in word_known.items() if place >= earliest}
    number_of: dict[str, int] = {}
    places: list[int] = []
    numbers: list[int] = []
    for place, code in enumerate(_order_codes(codes, rank)):
        if place < earliest or code < 0:
            continue
        for word in {word for word in docs[code] if word in late}:
            places.append(place)
            numbers.append(number_of.setdefault(word, len(number_of)))
    return WordRows(
        np.array(places, dtype=np.int64),
        np.array(numbers, dtype=np.int64),
        np.array([late[word] for word in number_of], dtype=np.int64),
    )


def _find_texts_known(docs: list[list[str]], word_known: Mapping[str, int], threshold: float) -> Array:
    """Find from which place in order of time each text has no more unknown words than allowed; shape (texts,)."""
    known = np.full(len(docs), -1, dtype=np.int64)
    for i, words in enumerate(docs):
        allowed = int(threshold * len(words) + 1e-9)
        if len(words) > allowed:
            places = sorted(word_known.get(word, NEVER) for word in words)
            known[i] = places[len(words) - allowed - 1]
    return known


def _build_vocabulary(docs: list[list[str]], sizes: Array, config: Config) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for doc, size in zip(docs, sizes.tolist(), strict=True):
        if size:
            for word in doc:
                counts[word] += size
    frequent = [(word, n) for word, n in counts.items() if n >= config.min_word_count]
    if len(frequent) > config.max_vocabulary:
        frequent = sorted(frequent, key=lambda pair: (-pair[1], pair[0]))[: config.max_vocabulary]
    return dict(frequent)


def _choose_threshold(observed: Array) -> float:
    """Choose the 0.95 quantile of the shares of unknown words, always below 1: a fully unknown text must fail."""
    if len(observed) == 0:
        return 0.0
    quantile = float(observed[min(len(observed) - 1, int(np.ceil(OOV_QUANTILE * len(observed))) - 1)])
    if quantile < 1.0:
        return float(f"{quantile:.6g}")
    below = observed[observed < 1.0]
    return float(f"{below[-1]:.6g}") if len(below) else 0.0


_FITTERS: dict[Kind, Any] = {
    "numeric": numeric_fitter("numeric", to_number),
    "date": numeric_fitter("date", to_epoch),
    "category": fit_category,
    "boolean": fit_boolean,
    "text": fit_text,
}


class FittedColumn(NamedTuple):
    """A feature, and what else was found in its column.

    Attributes:
        feature: the feature.
        states: what each row is, for the natural variation.
        notes: what a person should know about it; none of a hidden feature.
        placeholders: texts that stand for a missing value among values of another type, with their rows.
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
        absent: mask of rows without the key, shape (rows,).

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
    """Build the feature from the fit of its column, and what each row is.

    Args:
        fit: the fit of the column's values.
        feature_config: the overrides for this feature.
        split: which rows are held out.
        missing, absent: masks of the rows without a value, and without the key; shape (rows,).
        notes: what a person should know about the column, beside the notes of the fit.
        placeholders: texts that stand for a missing value, with their rows.
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
    """Return, for checks that a row fails or passes whatever was before it, ``RowStates.known_from``."""
    return {check: np.where(failed[check], NEVER, -1) for check in checks}
