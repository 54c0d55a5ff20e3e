"""The fitting of a column of texts: its vocabulary, the rates of unknown and of new words, the lengths. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from logging_lib.profile.coerce import MAX_CHECKED_TEXT, split_words
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import (
    NEVER,
    Array,
    ColumnFit,
    EncodedColumn,
    HeldOutSplit,
    WordRows,
    count_equal_rows,
    order_codes,
)
from logging_lib.profile.model import (
    MAX_WORDS,
    OOV_EDGES,
    Expectation,
)
from logging_lib.profile.number_columns import NUMERIC_BINS, compute_moments, interpolate_quantiles
from logging_lib.profile.review import (
    note_identifier,
)
from logging_lib.profile.variation import find_earliest_place

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
    equal_rows = count_equal_rows(column.codes, present, split, len(docs))
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
    """Choose edges of the number of words: quantiles, and a first and a last bin for numbers not in training.

    Args:
        ordered: the number of words of each text, sorted; shape (texts,).
    """
    inner: list[float] = []
    if len(ordered):
        quantiles = interpolate_quantiles(ordered, np.linspace(0, 1, NUMERIC_BINS + 1)[1:-1])
        inner = [ordered[0], *np.ceil(quantiles), ordered[-1] + 1]
    return (0.0, *sorted({float(edge) for edge in inner if 0 < edge < MAX_WORDS}), MAX_WORDS)


def _find_floor(vocabulary: Mapping[str, int], config: Config) -> tuple[int, str]:
    """Find the lowest count of a known word in training, and the last word in order that has it and is known."""
    if len(vocabulary) < config.max_vocabulary:
        return config.min_word_count, "\U0010ffff"
    least = min(vocabulary.values())
    return least, max(word for word, count in vocabulary.items() if count == least)


def _share_unknown(
    words: list[str], vocabulary: Mapping[str, int], equal_rows: int, floor: tuple[int, str]
) -> float:
    """Compute the share of a text's words that are unknown if the rows that are held out with it are omitted."""
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
    """Return whether a word with this remaining count would not be known."""
    least, last = floor
    return count < least or (count == least and word > last)


def _expect_new_words(
    docs: list[list[str]], codes: Array, split: HeldOutSplit, is_new: Callable[[str, int], bool]
) -> Expectation:
    """Count the held-out rows with the most frequent new word; without times, in the block with the highest count.

    Args:
        codes: the text of each row, -1 for none; shape (rows,).
        is_new: returns whether a word with this count in the held-out rows, or in the block, is new.
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
    """Find the position in order of time from which each word is known, for the words that ever are."""
    counts: Counter[str] = Counter()
    word_known: dict[str, int] = {}
    for place, code in enumerate(order_codes(codes, rank)):
        for word in docs[code] if code >= 0 else ():
            if word not in word_known:
                counts[word] += 1
                if counts[word] >= min_count:
                    word_known[word] = place
    return word_known


def _list_late_words(
    docs: list[list[str]], codes: Array, rank: Array, word_known: Mapping[str, int]
) -> WordRows:
    """List the rows that have words which a reference of earlier rows may not know."""
    earliest = find_earliest_place(len(rank))
    late = {word: place for word, place in word_known.items() if place >= earliest}
    number_of: dict[str, int] = {}
    places: list[int] = []
    numbers: list[int] = []
    for place, code in enumerate(order_codes(codes, rank)):
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
    """Find the position in order of time from which each text has few enough unknown words; shape (texts,)."""
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
    """Return the 0.95 quantile of the shares of unknown words, but less than 1: a fully unknown text must fail."""
    if len(observed) == 0:
        return 0.0
    quantile = float(observed[min(len(observed) - 1, int(np.ceil(OOV_QUANTILE * len(observed))) - 1)])
    if quantile < 1.0:
        return float(f"{quantile:.6g}")
    below = observed[observed < 1.0]
    return float(f"{below[-1]:.6g}") if len(below) else 0.0
