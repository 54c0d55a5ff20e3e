"""Texts of training: their words, and how many are unknown on held-out rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.held_out import Array, Split
from logging_lib.profile.model import OOV_EDGES
from logging_lib.profile.numbers import moments
from logging_lib.profile.taking import Column, Fitted
from logging_lib.profile.values import words

OOV_QUANTILE = 0.95


def fit_text(column: Column, name: str, split: Split, _own: FeatureConfig, config: Config) -> Fitted:
    docs = [words(value) if isinstance(value, str) else [] for value in column.uniques]
    wrong = np.array([not isinstance(value, str) for value in column.uniques] + [False])[column.codes]
    present = (column.codes >= 0) & ~wrong
    all_sizes = np.bincount(column.codes[present], minlength=len(docs))
    scoring_sizes = np.bincount(column.codes[present & split.scoring], minlength=len(docs))
    vocabulary = _vocabulary(docs, all_sizes, config)
    known = _vocabulary(docs, scoring_sizes, config)

    held = np.flatnonzero(np.bincount(column.codes[present & (split.block >= 0)], minlength=len(docs)))
    share = np.zeros(len(docs) + 1)
    for i in held:
        share[i] = sum(word not in known for word in docs[i]) / len(docs[i]) if docs[i] else 0.0
    scored = present & (split.block >= 0)
    shares = share[column.codes]
    observed = np.sort(shares[scored])
    threshold = _threshold(observed)
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
        feature["moments"] = moments(np.sort(lengths))
    return Fitted(feature, {"oov": scored & (shares > threshold)}, wrong, notes)


def _vocabulary(docs: list[list[str]], sizes: Array, config: Config) -> set[str]:
    counts: Counter[str] = Counter()
    for doc, size in zip(docs, sizes.tolist(), strict=True):
        if size:
            for word in doc:
                counts[word] += size
    often = [(word, n) for word, n in counts.items() if n >= config.min_word_count]
    if len(often) > config.max_vocabulary:
        often = sorted(often, key=lambda pair: (-pair[1], pair[0]))[: config.max_vocabulary]
    return {word for word, _ in often}


def _threshold(observed: Array) -> float:
    """The 0.95 quantile of the shares of unknown words, but always below 1: a wholly unknown text must count."""
    if len(observed) == 0:
        return 0.0
    high = float(observed[min(len(observed) - 1, int(np.ceil(OOV_QUANTILE * len(observed))) - 1)])
    if high < 1.0:
        return float(f"{high:.6g}")
    below = observed[observed < 1.0]
    return float(f"{below[-1]:.6g}") if len(below) else 0.0
