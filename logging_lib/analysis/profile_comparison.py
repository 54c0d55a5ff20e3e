"""Compare served values with a profile: training's bins and moments represent the data that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from logging_lib.analysis import columns, contingency, numeric_tests, shares
from logging_lib.analysis.columns import Column
from logging_lib.analysis.numeric_tests import SampleMoments
from logging_lib.analysis.results import Bins, Variable
from logging_lib.profile.coerce import MAX_CHECKED_TEXT, split_words
from logging_lib.profile.model import OOV_EDGES, Feature
from logging_lib.profile.vector_columns import read_vectors
from logging_lib.schema import tokens

Array = np.ndarray[Any, Any]
_OOV_SHARES: Final = np.array([0.0, 0.375, 0.625, 1.0])
"""Values that represent the bins of ``OOV_EDGES``: most texts in the outer bins have no, or only, unknown words."""


def compare_with_profile(
    feature: Feature, derived: Sequence[Feature], served: pd.Series, sample_name: str, test: str, seed: int
) -> list[Variable]:
    """Compare a feature and, for values that are not part of a distribution, their shares.

    Args:
        feature: a feature of the profile that is not hidden.
        derived: for a vector, the norm and the cosine.
        served: its values, shape (rows,); ``sample_name`` is their name in the notes.
        served: its values, shape (rows,); ``sample_name`` is what the notes call them.
        test: ``chi2`` or ``g``.
        seed: the seed of a permutation test.
    """
    variables = []
    if feature.kind == "text":
        part, texts = columns.texts(served)
        words = [split_words(text[:MAX_CHECKED_TEXT]) for text in texts]
        if feature.edges:  # profiles of earlier versions have none
            lengths = np.sort(np.array([len(text) for text in words], dtype=float))
            variables.append(_compare_bins(feature, lengths, sample_name, test, seed))
        variables.append(_compare_words(feature, words))
    elif feature.kind in ("category", "boolean"):
        part = (columns.booleans if feature.kind == "boolean" else columns.categories)(served)
        labels, table = columns.table([feature.values, part.counts or {}])
        variables.append(_compare_table(feature, labels, table, None, sample_name, test, seed))
    elif feature.kind == "vector":
        vectors = read_vectors(served, len(feature.centroid))
        part, measures = columns.measure_vectors(vectors, feature.centroid)
        variables += [
            _compare_bins(number, values, sample_name, test, seed)
            for number, values in zip(derived, measures, strict=False)
        ] or [Variable(feature.name, "vector", (0, 0))]  # training had no vector
    else:
        part = columns.numbers(served, feature.kind)
        values = part.numbers if part.numbers is not None else np.array([])
        variables.append(_compare_bins(feature, values, sample_name, test, seed))
    parts = [_count_trained(feature), part]
    return shares.add_shares(feature.name, variables, parts, ("the profile", sample_name), test, seed)


def _count_trained(feature: Feature) -> Column:
    """Count training's values as if they were a sample."""
    bins = feature.expected_bins()
    missing, wrong, infinite = (
        sum(bins.get(name, 0) for name in names)
        for names in ((tokens.MISSING, tokens.ABSENT), (tokens.TYPE,), (tokens.NONFINITE,))
    )
    return Column(sum(bins.values()), missing, wrong_type=wrong, not_finite=infinite)


def _compare_bins(feature: Feature, values: Array, sample_name: str, test: str, seed: int) -> Variable:
    labels, table = _count_bins(feature, values)
    moments = numeric_tests.measure_moments(values) if len(values) else None
    return _compare_table(feature, labels, table, moments, sample_name, test, seed)


def _compare_table(
    feature: Feature,
    labels: list[str],
    table: Array,
    moments: SampleMoments | None,
    sample_name: str,
    test: str,
    seed: int,
) -> Variable:
    kind = "words" if feature.kind == "text" else feature.kind
    rows = (int(table[0].sum()), int(table[1].sum()))
    if min(rows) == 0:
        return Variable(feature.name, kind, rows)
    main_test, effect, tested_table = contingency.association(table, test=test, seed=seed)
    tests, effects = [main_test], [effect]
    if moments is not None and feature.moments is not None:
        trained = SampleMoments(feature.moments.count, feature.moments.mean, feature.moments.std)
        mean = numeric_tests.welch(trained, moments)
        if mean is not None:
            tests.append(mean[0])
            effects.append(mean[1])
    distances = {
        "psi": contingency.psi(tested_table),
        "jensen_shannon": contingency.jensen_shannon(table),
    }
    bin_shares = table / table.sum(axis=1, keepdims=True)
    plotted = slice(0, 21)
    return Variable(
        feature.name,
        kind,
        rows,
        tuple(tests),
        tuple(effects),
        distances,
        _summarize(feature, moments, table),
        "a profile keeps bins, not values: the shares of the bins are compared",
        tuple(shares.new_values(labels, table, sample_name)) if kind != "words" else (),
        Bins(
            tuple(labels[plotted]), tuple(tuple(row[plotted]) for row in bin_shares.tolist()), feature.edges
        ),
    )


def _compare_words(feature: Feature, words: list[list[str]]) -> Variable:
    """Compare the shares of unknown words with those of held-out rows."""
    trained = sum(feature.oov_counts)
    if not feature.vocabulary or not trained or not words:
        notes = () if feature.vocabulary else ("the profile knows no word: is it an identifier?",)
        return Variable(
            feature.name, "unknown_words", (trained * bool(feature.vocabulary), len(words)), notes=notes
        )
    vocabulary = frozenset(feature.vocabulary)
    served = [sum(word not in vocabulary for word in text) / len(text) if text else 0.0 for text in words]
    places = np.clip(np.searchsorted(OOV_EDGES, served, side="right") - 1, 0, len(_OOV_SHARES) - 1)
    return shares.compare_unknown(
        feature.name,
        "unknown_words",
        np.repeat(_OOV_SHARES, feature.oov_counts),
        _OOV_SHARES[places],
        "a profile keeps how many held-out rows have which share of unknown words: those are compared",
    )


def _count_bins(feature: Feature, values: Array) -> tuple[list[str], Array]:
    """Return labels and counts of the profile's bins and of the values outside them; ``values`` are sorted."""
    edges = np.array(feature.edges)
    labels = [tokens.BELOW, *feature.bin_labels(), tokens.ABOVE]
    if len(edges) == 1:
        inside = np.array(
            [np.searchsorted(values, edges[0], "left"), np.searchsorted(values, edges[0], "right")]
        )
    else:
        inside = np.append(
            np.searchsorted(values, edges[:-1], "left"), np.searchsorted(values, edges[-1], "right")
        )
    served = np.diff(np.concatenate([[0], inside, [len(values)]]))
    trained = np.array([0, *feature.counts, 0])
    return labels, np.stack([trained, served])


def _summarize(feature: Feature, served: SampleMoments | None, table: Array) -> tuple[dict[str, Any], ...]:
    if feature.kind == "category":
        return ({}, {"new_share": shares.new_share(table)})
    if served is None or feature.moments is None:
        return ()
    return (
        {
            "mean": feature.moments.mean,
            "std": feature.moments.std,
            "median": feature.moments.quantiles.get("0.5"),
        },
        {"mean": served.mean, "std": served.std},
    )
