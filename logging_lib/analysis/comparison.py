"""Compare samples variable by variable: choose a fitting test, measure the effect, correct for many tests.

scipy does the mathematics. This module chooses the tests, for these reasons:

=================  ===============================================  ====================================
variable           two samples                                      several samples
=================  ===============================================  ====================================
numbers, dates     Kolmogorov-Smirnov; Welch's t and Mann-Whitney   Kruskal-Wallis; Welch's analysis of
                   beside it                                        variance beside it
few distinct       chi-squared over the values                      the same
numbers
categories         chi-squared or G; sparse cells are pooled, in    the same
                   small samples Fisher's exact test or a
                   permutation test
texts              the number of words, as numbers; the share of    the number of words
                   unknown words: Mann-Whitney, one-sided
missing values,    the same as categories over (there, missing),    the same
other types,       and the like
infinite numbers
=================  ===============================================  ====================================

A variable *differs* if its test is significant after Benjamini and Hochberg's correction over all variables and
its effect is not negligible: in a million rows every difference is significant. A category also differs if at
least one row in a hundred has a value that the first sample does not have, because a model knows nothing about such
values. Categories and identifiers also differ if all their values are new: no test can show that if each value
occurs once.

A variable is *not comparable* if nothing is known about it: a sample has no rows, or no value of the right kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from logging_lib._util.formatting import list_values
from logging_lib.analysis import columns, contingency, numeric_tests, shares
from logging_lib.analysis.columns import Column
from logging_lib.analysis.profile_comparison import compare_with_profile
from logging_lib.analysis.results import WORDS, Bins, Comparison, Test, Variable
from logging_lib.analysis.verdicts import FEW_ROWS, add_verdicts, rank
from logging_lib.profile.coerce import format_epoch, number_text, split_words
from logging_lib.profile.model import Profile
from logging_lib.profile.vectors import derived_names

Array = np.ndarray[Any, Any]

PREDICTION: Final = "ml.prediction"
"""The column that is compared with the profile's prediction."""
FEW_VALUES: Final = 12
"""Numbers with at most this many distinct values are compared value by value."""
PLOTTED: Final = 20

NUMERIC_TESTS: Final = ("ks", "welch", "mann_whitney")
CATEGORY_TESTS: Final = ("chi2", "g")

Sample = pd.DataFrame | Profile


def compare(
    *samples: Sample,
    names: Sequence[str] = (),
    alpha: float = 0.05,
    min_effect: str = "small",
    kinds: Mapping[str, str] | None = None,
    numeric_test: str = "ks",
    category_test: str = "chi2",
    max_rows: int | None = None,
    seed: int = 0,
    exclude: Sequence[str] = (),
    paired: Sequence[Variable] = (),
) -> Comparison:
    """Compare two or more samples, column by column.

    Args:
        samples: DataFrames, shape (rows, columns). The first of two samples may be a profile, whose bins and
            moments then represent the training data.
        names: what to call the samples; default ``a``, ``b``, ...
        alpha: the share of false findings among the findings.
        min_effect: the smallest effect that counts: ``negligible`` (any), ``small``, ``medium`` or ``large``.
        kinds: column → ``numeric``, ``category``, ``text``, ``boolean``, ``date`` or ``vector``, if the values
            do not determine it.
        numeric_test: ``ks`` (any change), ``welch`` (the mean) or ``mann_whitney`` (the rank), for two samples.
        category_test: ``chi2`` or ``g``.
        max_rows: sample at most this many rows of each sample, without replacement.
        seed: the random seed for ``max_rows`` and for permutation tests.
        exclude: columns that are not compared, such as identifiers.
        paired: variables that were compared row by row; each replaces the column of the same name.

    Returns:
        The variables, those that differ most first, corrected for many tests by Benjamini and Hochberg (1995).

    Raises:
        ValueError: there are fewer than two samples, an unknown option or column, or no column in common.
    """
    inputs = _check_options(samples, alpha, min_effect, numeric_test, category_test)
    sample_names = tuple(names) or tuple(_letters(len(inputs)))
    if len(sample_names) != len(inputs):
        raise ValueError(f"{len(inputs)} samples and {len(sample_names)} names")
    notes: list[str] = []
    if max_rows is not None:
        inputs = [
            _draw_rows(sample, name, max_rows, seed, notes)
            for sample, name in zip(inputs, sample_names, strict=True)
        ]
    options = _Options(sample_names, numeric_test, category_test, seed)
    variables = list(paired)
    replaced = {variable.name for variable in paired}
    if isinstance(inputs[0], Profile):
        profile, frame = inputs[0], inputs[1]
        assert isinstance(frame, pd.DataFrame)
        rows: tuple[int, ...] = (profile.rows, len(frame))
        notes.append(
            f"{sample_names[0]} is a profile: numbers are compared by its bins, means by its moments"
        )
        features = dict(profile.features)
        if profile.prediction is not None:
            features[PREDICTION] = replace(profile.prediction, name=PREDICTION)
        derived = {name for name, feature in features.items() if feature.derived_from}
        in_both = [name for name in features if name in frame and name not in (*exclude, *derived)]
        shared = [name for name in in_both if not features[name].hidden]
        if hidden := set(in_both) - set(shared):
            notes.append(f"hidden in {sample_names[0]}, not compared: {list_values(hidden)}")
        for name in shared:
            of_vector = [features[other] for other in derived_names(name) if other in derived]
            compared = compare_with_profile(
                features[name], of_vector, frame[name], sample_names[1], category_test, seed
            )
            variables += [_add_size_note(variable, options) for variable in compared]
        columns_by_sample: list[set[Any]] = [set(features) - derived, set(frame.columns) - derived]
    else:
        frames = [sample for sample in inputs if isinstance(sample, pd.DataFrame)]
        rows = tuple(map(len, frames))
        shared = [
            name for name in frames[0].columns
            if all(name in frame for frame in frames) and name not in exclude and name not in replaced
        ]  # fmt: skip
        kind_of = {
            name: (kinds or {}).get(str(name)) or columns.infer_kind([frame[name] for frame in frames])
            for name in shared
        }
        derived = {
            other for name, kind in kind_of.items() if kind == "vector" for other in derived_names(str(name))
        }
        for name, kind in kind_of.items():
            if name in derived:  # logs have the cosine to training's centroid; here it is the first sample's
                continue
            compared = _compare_column(str(name), kind, [frame[name] for frame in frames], options)
            variables += [_add_size_note(variable, options) for variable in compared]
        columns_by_sample = [set(frame.columns) for frame in frames]
    if unknown := [name for name in exclude if not any(name in names for names in columns_by_sample)]:
        raise ValueError(f"exclude: no sample has the column {unknown[0]!r}")
    if not variables:
        raise ValueError(
            "the samples have no column in common: " + " | ".join(map(list_values, columns_by_sample))
        )
    for name, sample_columns in zip(sample_names, columns_by_sample, strict=True):
        if only := sample_columns - set.intersection(*columns_by_sample):
            notes.append(f"in {name}, not in all samples: {list_values(only)}")
    results = add_verdicts(variables, alpha, WORDS.index(min_effect))
    hypotheses = sum(bool(variable.tests) for variable in results)
    return Comparison(sample_names, rows, tuple(sorted(results, key=rank)), alpha, hypotheses, tuple(notes))


class _Options:
    def __init__(self, names: tuple[str, ...], numeric_test: str, category_test: str, seed: int) -> None:
        self.names, self.seed = names, seed
        self.numeric_test, self.category_test = numeric_test, category_test


def _check_options(
    samples: Sequence[Sample], alpha: float, min_effect: str, numeric_test: str, category_test: str
) -> list[Sample]:
    if len(samples) < 2:
        raise ValueError(f"compare needs two samples or more, found {len(samples)}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a share between 0 and 1, found {alpha!r}")
    for option, value, allowed in (
        ("min_effect", min_effect, WORDS),
        ("numeric_test", numeric_test, NUMERIC_TESTS),
        ("category_test", category_test, CATEGORY_TESTS),
    ):
        if value not in allowed:
            raise ValueError(f"{option}: expected one of {', '.join(allowed)}, found {value!r}")
    if any(isinstance(sample, Profile) for sample in samples[1:]) or (
        isinstance(samples[0], Profile) and len(samples) > 2
    ):
        raise ValueError("a profile is compared with one sample, and is the first of the two")
    return list(samples)


def _letters(count: int) -> list[str]:
    return [chr(ord("a") + i) if i < 26 else f"sample {i + 1}" for i in range(count)]


def _draw_rows(sample: Sample, name: str, max_rows: int, seed: int, notes: list[str]) -> Sample:
    if isinstance(sample, Profile) or len(sample) <= max_rows:
        return sample
    notes.append(f"{name}: {max_rows} of {len(sample)} rows drawn at random (seed {seed})")
    chosen = np.random.default_rng(seed).choice(len(sample), max_rows, replace=False)
    return sample.iloc[np.sort(chosen)]


def _compare_column(name: str, kind: str, series: list[pd.Series], options: _Options) -> list[Variable]:
    """Compare a feature's distribution, and the shares of values that are not part of it."""
    if kind in ("category", "boolean"):
        read = columns.booleans if kind == "boolean" else columns.categories
        parts = [read(values) for values in series]
        variables = [_compare_counts(name, "category", parts, options)]
    elif kind == "text":
        parts_and_texts = [columns.texts(values) for values in series]
        parts = [part for part, _ in parts_and_texts]
        variables = _compare_texts(name, parts, [texts for _, texts in parts_and_texts], options)
    elif kind == "vector":
        parts, measures = columns.vectors(series)
        variables = [
            _compare_numbers(derived, "numeric", [replace(parts[0], numbers=m[i]) for m in measures], options)
            for i, derived in enumerate(derived_names(name))
        ]
    else:
        parts = [columns.numbers(values, kind) for values in series]
        variables = [_compare_numbers(name, kind, parts, options)]
    return shares.add_shares(name, variables, parts, options.names, options.category_test, options.seed)


def _compare_texts(
    name: str, parts: list[Column], texts: list[list[str]], options: _Options
) -> list[Variable]:
    """Compare the number of words and, for two samples, how much of each text the first one does not have."""
    variable = _compare_numbers(name, "words", parts, options)
    if len(texts) > 2 or not all(texts):
        return [variable]
    if shares.are_identifiers(texts[0]):
        values = [[[text] for text in sample] for sample in texts]
        return [
            shares.compare_unknown(
                name, "unknown_values", *shares.measure_unknown(*values),
                "texts without a space: whether another text of the first sample is the same",
            )
        ]  # fmt: skip
    words = [[split_words(text) for text in sample] for sample in texts]
    _, table = columns.table([Counter(chain.from_iterable(sample)) for sample in words])
    if table.any(axis=1).all():
        distances = {**variable.distances, "jensen_shannon": contingency.jensen_shannon(table)}
        note = "the test is of the number of words; Jensen-Shannon of the words"
        variable = replace(variable, distances=distances, notes=(*variable.notes, note))
    return [
        variable,
        shares.compare_unknown(
            name, "unknown_words", *shares.measure_unknown(*words),
            "the share of each text's words that no other text of the first sample has",
        ),
    ]  # fmt: skip


def _compare_counts(name: str, kind: str, parts: list[Column], options: _Options) -> Variable:
    labels, table = columns.table([part.counts or {} for part in parts])
    return _compare_table(name, kind, labels, table, options)


def _compare_table(name: str, kind: str, labels: list[str], table: Array, options: _Options) -> Variable:
    rows = tuple(int(total) for total in table.sum(axis=1))
    if min(rows, default=0) == 0:
        return Variable(name, kind, rows)
    test, effect, tested = contingency.association(table, test=options.category_test, seed=options.seed)
    notes = []
    if len(table) == 2:
        notes += shares.new_values(labels, table, options.names[1])
    distances = {}
    if len(table) == 2 and table.shape[1] > 1:
        distances = {"psi": contingency.psi(tested), "jensen_shannon": contingency.jensen_shannon(table)}
        notes += _note_chance(tested)
    summaries: tuple[Mapping[str, Any], ...] = tuple(
        {
            "distinct": int((row > 0).sum()),
            "top": labels[int(row.argmax())],
            "top_share": float(row.max() / total),
        }
        for row, total in zip(table, rows, strict=True)
    )
    if kind == "category" and len(table) == 2:
        summaries = (summaries[0], {**summaries[1], "new_share": shares.new_share(table)})
    return Variable(
        name, kind, rows, (test,), (effect,), distances, summaries,
        _explain_counts(test, kind), tuple(notes), _choose_plotted(labels, table),
    )  # fmt: skip


def _note_chance(table: Array) -> list[str]:
    usual = contingency.psi_by_chance(table)
    return [f"samples of this size have a PSI of {usual:.3f} by chance"] if usual > 0.02 else []


def _explain_counts(test: Test, kind: str) -> str:
    subject = "numbers of few distinct values" if kind == "discrete" else "categories"
    if test.name == "fisher":
        return f"{subject}, two by two, with sparse cells: Fisher's exact test"
    if test.note == "by permutation":
        return (
            f"{subject} with sparse cells in small samples: the statistic's own distribution, by permutation"
        )
    name = "the G-test" if test.name == "g" else "Pearson's chi-squared test"
    return f"{subject}: {name} of the shares"


def _choose_plotted(labels: Sequence[str], table: Array) -> Bins:
    """Choose the most frequent categories and pool the rest."""
    names = list(labels[:PLOTTED])
    counts = table[:, :PLOTTED].astype(float)
    if len(labels) > PLOTTED:
        names.append(f"{len(labels) - PLOTTED} others")
        counts = np.concatenate([counts, table[:, PLOTTED:].sum(axis=1, keepdims=True)], axis=1)
    shares = counts / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return Bins(tuple(names), tuple(tuple(row) for row in shares.tolist()))


def _compare_numbers(name: str, kind: str, parts: list[Column], options: _Options) -> Variable:
    samples = [part.numbers if part.numbers is not None else np.array([]) for part in parts]
    rows = tuple(map(len, samples))
    if min(rows) == 0:
        return Variable(name, kind, rows)
    summaries = tuple(_summarize(sample) for sample in samples)
    if len(samples) > 2:
        return _compare_groups(name, kind, samples, rows, summaries, options)
    merged = numeric_tests.merge(*samples)
    welch = numeric_tests.welch(*map(numeric_tests.measure_moments, samples))
    means = [] if welch is None else [welch]
    if kind == "numeric" and len(merged.values) <= FEW_VALUES:
        labels = [number_text(value) for value in merged.values]
        table = np.stack(merged.counts())
        variable = _compare_table(name, "discrete", labels, table, options)
        distances = {**variable.distances, "wasserstein": numeric_tests.wasserstein(merged)}
        measures = [numeric_tests.mann_whitney(merged), *means]
    else:
        edges, table = numeric_tests.cut(merged)
        distances = {
            "psi": contingency.psi(table),
            "jensen_shannon": contingency.jensen_shannon(table),
            "wasserstein": numeric_tests.wasserstein(merged),
        }
        shares = table / table.sum(axis=1, keepdims=True)
        bins = Bins(
            _format_ranges(edges, kind), tuple(tuple(row) for row in shares.tolist()), tuple(edges.tolist())
        )
        notes = tuple(_note_chance(table))
        variable = Variable(name, kind, rows, notes=notes, bins=bins)
        measures = [numeric_tests.ks(merged), numeric_tests.mann_whitney(merged), *means]
        measures.sort(key=lambda measure: measure[0].name != options.numeric_test)
        variable = replace(variable, why=_WHY_NUMBERS[measures[0][0].name])
    return replace(
        variable,
        distances=distances,
        summaries=summaries,
        tests=(*variable.tests, *(test for test, _ in measures)),
        effects=(*variable.effects, *(effect for _, effect in measures)),
    )


_WHY_NUMBERS: Final = {
    "ks": "numbers: Kolmogorov-Smirnov, which sees any change of the distribution",
    "welch": "numbers, as asked: Welch's t-test, of the means",
    "mann_whitney": "numbers, as asked: Mann-Whitney, whether one sample's values tend to be larger",
    "kruskal_wallis": "several samples of numbers: Kruskal-Wallis, by ranks",
    "welch_anova": "several samples of numbers, as asked: Welch's analysis of variance, of the means",
}


def _compare_groups(
    name: str, kind: str, samples: list[Array], rows: tuple[int, ...],
    summaries: tuple[Mapping[str, Any], ...], options: _Options,
) -> Variable:  # fmt: skip
    merged = np.sort(np.concatenate(samples))
    distinct = np.unique(merged)
    if kind == "numeric" and len(distinct) <= FEW_VALUES:
        table = np.stack(
            [np.bincount(np.searchsorted(distinct, sample), minlength=len(distinct)) for sample in samples]
        )
        variable = _compare_table(
            name, "discrete", [number_text(value) for value in distinct], table, options
        )
        return replace(variable, summaries=summaries)
    measures = [
        measure
        for measure in (numeric_tests.kruskal(samples), numeric_tests.anova(samples))
        if measure is not None
    ]
    measures.sort(key=lambda measure: (measure[0].name != "welch_anova") == (options.numeric_test == "welch"))
    edges = np.unique(np.quantile(merged, np.linspace(0, 1, 11)))
    bins = None
    if len(edges) > 1:
        table = np.stack([np.histogram(sample, edges)[0] for sample in samples])
        shares = table / np.array(rows)[:, None]
        bins = Bins(
            _format_ranges(edges, kind), tuple(tuple(row) for row in shares.tolist()), tuple(edges.tolist())
        )
    return Variable(
        name,
        kind,
        rows,
        tuple(test for test, _ in measures),
        tuple(effect for _, effect in measures),
        {},
        summaries,
        _WHY_NUMBERS[measures[0][0].name] if measures else "",
        () if measures else ("all values are the same",),
        bins,
    )


def _format_ranges(edges: Array, kind: str) -> tuple[str, ...]:
    """Format each bin as ``20 to 30``; dates are cut to the day if all bins still differ."""
    texts = [f"{edge:.4g}" for edge in edges.tolist()]
    if kind == "date":
        moments = [format_epoch(edge) for edge in edges.tolist()]
        days = [moment[:10] for moment in moments]
        texts = days if len(set(days)) == len(days) else [moment[:16].replace("T", " ") for moment in moments]
    return tuple(f"{low} to {high}" for low, high in pairwise(texts))


def _summarize(values: Array) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])  # the values are already sorted
    moments = numeric_tests.measure_moments(values)
    return {
        "mean": moments.mean, "std": moments.std, "min": float(values[0]), "p05": float(low),
        "median": float(median), "p95": float(high), "max": float(values[-1]),
    }  # fmt: skip


def _add_size_note(variable: Variable, options: _Options) -> Variable:
    """Add a note on what the sample sizes mean."""
    notes = list(variable.notes)
    if variable.rows and 0 < min(variable.rows) < FEW_ROWS:
        smallest = options.names[int(np.argmin(variable.rows))]
        notes.append(
            f"{smallest} has only {min(variable.rows)} values: a test of so few proves little either way"
        )
    elif len(variable.rows) == 2 and min(variable.rows) > 0:
        shift = detectable(*variable.rows)
        if shift > 0.5:
            notes.append(
                f"with these sizes only a shift of {shift:.2f} standard deviations or more "
                "is found in 8 of 10 cases"
            )
    return replace(variable, notes=tuple(notes))


def detectable(n: int, m: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the shift, in standard deviations, that a two-sided t-test of samples of sizes n and m detects with
    this power (normal approximation; Cohen 1988, 2.3)."""
    z = stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power)
    return float(z * math.sqrt(1 / n + 1 / m))
