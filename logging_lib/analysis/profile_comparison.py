"""Served values against a profile: training's bins and moments stand for the data that are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from logging_lib.analysis import columns, contingency, numeric_tests
from logging_lib.analysis.numeric_tests import SampleMoments
from logging_lib.analysis.results import Bins, Variable
from logging_lib.profile.coerce import split_words
from logging_lib.profile.model import OOV_EDGES, Feature
from logging_lib.schema import tokens

Array = np.ndarray[Any, Any]


def compare_with_profile(
    feature: Feature, served: pd.Series, sample_name: str, test: str, seed: int
) -> list[Variable]:
    """Compare the feature and, where a value is missing in training or was when served, what is missing.

    Args:
        feature: of the profile, not hidden.
        served: its values, shape (rows,); ``sample_name`` is what the notes call them.
        test: ``chi2`` or ``g``.
        seed: of a permutation test.
    """
    edges: tuple[float, ...]
    if feature.kind in ("category", "boolean"):
        part = columns.categories(served)
        labels, table = columns.table([feature.values, part.counts or {}])
        edges, moments = (), None
    elif feature.kind == "text":
        part = columns.Column(len(served), int(served.isna().sum()))
        labels, table = list(feature.oov_labels()), _count_unknown_words(feature, served)
        edges, moments = (), None
    else:
        part = columns.numbers(served, feature.kind)
        values = part.numbers if part.numbers is not None else np.array([])
        labels, table = _count_bins(feature, values)
        edges = feature.edges
        moments = numeric_tests.measure_moments(values) if len(values) else None
    rows = (int(table[0].sum()), int(table[1].sum()))
    notes = [f"{sample_name}: {note}" for note in part.notes]
    if min(rows) == 0:
        variable = Variable(feature.name, feature.kind, rows, notes=(*notes, "a sample has no value"))
    else:
        main_test, effect, tested_table = contingency.association(table, test=test, seed=seed)
        tests, effects = [main_test], [effect]
        if moments is not None and feature.moments is not None:
            trained = SampleMoments(feature.moments.count, feature.moments.mean, feature.moments.std)
            mean = numeric_tests.welch(trained, moments)
            if mean is not None:
                tests.append(mean[0])
                effects.append(mean[1])
        notes += new_values(labels, table, sample_name)
        distances = {
            "psi": contingency.psi(tested_table),
            "jensen_shannon": contingency.jensen_shannon(table),
        }
        shares = table / table.sum(axis=1, keepdims=True)
        plotted = slice(0, 21)
        variable = Variable(
            feature.name,
            "words" if feature.kind == "text" else feature.kind,
            rows,
            tuple(tests),
            tuple(effects),
            distances,
            _summarize(feature, moments, table),
            "a profile keeps bins, not values: the shares of the bins are compared"
            if feature.kind != "text"
            else "a profile keeps the shares of unknown words: those are compared",
            tuple(notes),
            Bins(tuple(labels[plotted]), tuple(tuple(row[plotted]) for row in shares.tolist()), edges),
        )
    variables = [variable]
    trained_missing = sum(feature.special.get(name, 0) for name in (tokens.MISSING, tokens.ABSENT))
    if trained_missing or part.missing:
        trained_rows = sum(feature.counts) if feature.kind == "text" and feature.edges else rows[0]
        counts = np.array([[trained_rows, trained_missing], [part.rows - part.missing, part.missing]])
        if counts.sum(axis=1).min() > 0:
            variables.append(compare_missing(feature.name, counts, test, seed))
    return variables


def compare_missing(name: str, counts: Array, test: str, seed: int) -> Variable:
    """Compare how often values are missing; ``counts``: (there, missing) of each sample, shape (samples, 2)."""
    result, effect, _ = contingency.association(counts, test=test, seed=seed)
    effects = (
        (contingency.cohens_h(counts), contingency.risk_difference(counts)) if len(counts) == 2 else (effect,)
    )
    rows = tuple(int(total) for total in counts.sum(axis=1))
    shares = counts / counts.sum(axis=1, keepdims=True)
    return Variable(
        name,
        "missing",
        rows,
        (result,),
        effects,
        {},
        tuple(
            {"missing": int(count), "share": float(count / total)}
            for count, total in zip(counts[:, 1], rows, strict=True)
        ),
        "whether there is a value: the test of categories",
        (),
        Bins(("there", "missing"), tuple(tuple(row) for row in shares.tolist())),
    )


def _count_bins(feature: Feature, values: Array) -> tuple[list[str], Array]:
    """Labels and counts of the profile's bins and of what lies outside them; ``values`` are sorted."""
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


def _count_unknown_words(feature: Feature, served: pd.Series) -> Array:
    vocabulary = frozenset(feature.vocabulary)
    shares = []
    for text in served.dropna():
        words = split_words(str(text))
        shares.append(sum(word not in vocabulary for word in words) / len(words) if words else 0.0)
    places = np.clip(np.searchsorted(OOV_EDGES, shares, side="right") - 1, 0, len(OOV_EDGES) - 2)
    counts = np.bincount(places.astype(int), minlength=len(OOV_EDGES) - 1)
    return np.stack([np.array(feature.oov_counts), counts])


def _summarize(feature: Feature, served: SampleMoments | None, table: Array) -> tuple[dict[str, Any], ...]:
    if feature.kind == "category":
        return ({}, {"new_share": new_share(table)})
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


def new_share(table: Array) -> float:
    """Compute the second sample's share of values that the first lacks; ``table`` has shape (2, categories)."""
    return float(table[1][table[0] == 0].sum() / table[1].sum())


def new_values(labels: list[str], table: Array, name: str) -> list[str]:
    """Return a note on them, the most frequent first, or none."""
    new = sorted(
        ((int(b), label) for label, a, b in zip(labels, *table.tolist(), strict=True) if b and not a),
        reverse=True,
    )
    if not new:
        return []
    examples = ", ".join(f"{label:.60} ({count})" for count, label in new[:5])
    return [f"only in {name}: {examples}" + (f" and {len(new) - 5} more" if len(new) > 5 else "")]
