"""Measure a model with several labels in each answer: rows that are entirely right, and each label by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from logging_lib._util.formatting import list_values
from logging_lib.analysis.classification import ClassMeasures, UnknownClasses, effective_size
from logging_lib.analysis.contingency import wilson
from logging_lib.profile.coerce import category_text, to_python

NOTE = "probabilities are not evaluated for models with several labels"


def has_label_lists(frame: pd.DataFrame) -> bool:
    """Return whether a prediction or an actual value is a list of labels."""
    return any(isinstance(value, list | tuple) for name in ("prediction", "actual") for value in frame[name])


def find_unknown_labels(frame: pd.DataFrame) -> tuple[str, ...]:
    """Note the actual labels that were never predicted.

    Raises:
        UnknownClasses: there are labels, and none was ever predicted; usually they are spelled differently.
    """
    predicted, actual = (
        Counter(label for value in frame[name] for label in _read_labels(value))
        for name in ("prediction", "actual")
    )
    unknown = sorted(actual.keys() - predicted.keys())
    if not unknown:
        return ()
    what = f"{list_values(map(repr, unknown), 10)}; predicted were {list_values(map(repr, sorted(predicted)), 10)}"
    if len(unknown) == len(actual) and predicted:
        raise UnknownClasses(
            f"none of the {actual.total():,} labels was ever predicted: {what}. Write labels as the model writes "
            "them, and ingest them again"
        )
    number = sum(actual[label] for label in unknown)
    return (f"{number:,} of {actual.total():,} labels are of kinds that were never predicted: {what}",)


def measure_labels(frame: pd.DataFrame) -> ClassMeasures:
    """Measure at least one row with several labels, an empty list included.

    Args:
        frame: columns ``prediction`` and ``actual``, each a list of labels or one label, and ``weight``.
    """
    predicted, actual = ([_read_labels(value) for value in frame[name]] for name in ("prediction", "actual"))
    weight = frame["weight"].to_numpy(dtype=float) if "weight" in frame else np.ones(len(frame))
    right = np.array([left == other for left, other in zip(predicted, actual, strict=True)])
    share, size = float(np.average(right, weights=weight)), effective_size(weight)
    hits = _count((left & other for left, other in zip(predicted, actual, strict=True)), weight)
    answered, labels = _count(predicted, weight), _count(actual, weight)
    classes = {
        name: {
            "precision": hits[name] / answered[name] if answered[name] else float("nan"),
            "recall": hits[name] / labels[name] if labels[name] else float("nan"),
            "f1": 2 * hits[name] / (labels[name] + answered[name]),
            "labels": labels[name],
            "predicted": answered[name],
        }
        for name in sorted(labels.keys() | answered.keys())
    }
    total = sum(labels.values()) + sum(answered.values())
    metrics = {
        "exact_match": share,
        "micro_f1": 2 * sum(hits.values()) / total if total else float("nan"),
        "macro_f1": float(np.mean([row["f1"] for row in classes.values()])) if classes else float("nan"),
    }
    return ClassMeasures(metrics, {"exact_match": wilson(share * size, size)}, classes, (), {})


def _read_labels(value: Any) -> frozenset[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return frozenset(text for item in items if (text := category_text(to_python(item))) is not None)


def _count(rows: Iterable[frozenset[str]], weight: np.ndarray[Any, Any]) -> Counter[str]:
    """Add up the weights of the rows that have each label."""
    counts: Counter[str] = Counter()
    for labels, number in zip(rows, weight, strict=True):
        for label in labels:
            counts[label] += number
    return counts
