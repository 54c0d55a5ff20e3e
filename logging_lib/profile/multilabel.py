"""The fitting of an output that is a list of labels in each row: how many rows have each label."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.profile.coerce import category_text, is_null, to_python
from logging_lib.profile.config import Config
from logging_lib.profile.model import MAX_BINS, Feature
from logging_lib.profile.variation import RowStates
from logging_lib.schema import tokens

_LISTS = (list, tuple, set, frozenset, np.ndarray)


def is_multilabel(column: pd.Series) -> bool:
    """Return whether most values of a column are lists of mostly texts; a list of numbers is a vector."""
    if column.dtype != object:
        return False
    lists = [value for value in column if isinstance(value, _LISTS)]
    present = len(lists) + sum(not is_null(value) for value in column if not isinstance(value, _LISTS))
    items = [item for labels in lists for item in labels]
    texts = sum(isinstance(item, str) for item in items)
    return len(lists) > 0.5 * present and texts > 0.5 * len(items)


def fit_labels(column: pd.Series, name: str, config: Config) -> tuple[Feature, RowStates]:
    """Fit the prediction or the target of a model with several labels.

    A row's state, for the natural variation, is its most frequent label.

    Args:
        column: a list of labels in each row, or one label; shape (rows,).
        name: the feature's name.
        config: ``max_values`` limits the labels; the rarer ones count as unseen.
    """
    rows = [_read_labels(value) for value in column]
    counts = Counter(label for labels in rows if isinstance(labels, frozenset) for label in labels)
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    values = {label: counts[label] for label in ordered[: config.max_values]}
    places = {label: place for place, label in enumerate(values)}
    special: Counter[str] = Counter()
    states = np.full(len(rows), -1)
    for row, labels in enumerate(rows):
        if isinstance(labels, str):
            special[labels] += 1
            continue
        known = [places[label] for label in labels if label in places]
        special[tokens.UNSEEN] += len(known) < len(labels)
        special[tokens.OTHER] += any(place >= MAX_BINS for place in known)
        if known:
            states[row] = min([*known, MAX_BINS])
    feature = Feature(
        name=name,
        kind="category",
        multiple=True,
        values=values,
        binned=min(MAX_BINS, len(values)),
        special={name: count for name, count in sorted(special.items()) if count},
    )
    bins = min(len(values), MAX_BINS + 1)
    return feature, RowStates(name, states, bins, False, {})


def _read_labels(value: Any) -> frozenset[str] | str:
    """Return a row's labels, or the special bin of a value that is not a list of labels."""
    if not isinstance(value, _LISTS):
        if is_null(value):
            return tokens.MISSING
        value = [value]
    labels = [category_text(to_python(item)) for item in value]
    texts = [label for label in labels if label is not None]
    if len(texts) < len(labels):
        return tokens.TYPE
    return frozenset(texts) if texts else tokens.NONE
