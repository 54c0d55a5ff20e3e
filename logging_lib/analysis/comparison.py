"""Samples against each other, variable by variable: the test that fits, its effect, the correction for many.

scipy does the mathematics; what is chosen and why is here:

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
missing values     the same over (there, missing)                   the same
=================  ===============================================  ====================================

A variable *differs* where its test is significant after Benjamini and Hochberg's correction over all variables, and
its effect is not negligible: of a million rows every difference is significant. So does a category with values
that the first sample does not have, in a hundredth of the rows or more: a model knows nothing of those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from logging_lib._util.formatting import list_values
from logging_lib.analysis import columns, contingency, numeric_tests
from logging_lib.analysis.columns import Column
from logging_lib.analysis.profile_comparison import (
    compare_missing,
    compare_with_profile,
    new_share,
    new_values,
)
from logging_lib.analysis.results import THRESHOLDS, WORDS, Bins, Comparison, Effect, Test, Variable
from logging_lib.profile.coerce import number_text
from logging_lib.profile.model import Profile

Array = np.ndarray[Any, Any]

PREDICTION: Final = "ml.prediction"
"""The column that is compared with the profile's prediction."""
FEW_VALUES: Final = 12
"""Numbers with no more distinct values are compared value by value."""
FEW_ROWS: Final = 30
MANY_ROWS: Final = 100_000
PLOTTED: Final = 20
NEW_SHARE: Final = 0.01
"""So many values that the first sample does not have make a category differ, whatever the effect is otherwise."""

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
) -> Comparison:
    """Compare two or more samples, column by column.

    Args:
        samples: DataFrames, shape (rows, columns). The first of two samples may be a profile, whose bins and
            moments then stand for the training data.
        names: what to call the samples; default ``a``, ``b``, ...
        alpha: the share of false findings among the findings.
        min_effect: the least effect that counts: ``negligible`` (any), ``small``, ``medium`` or ``large``.
        kinds: column → ``numeric``, ``category``, ``text``, ``boolean`` or ``date``, where the values don't say.
        numeric_test: ``ks`` (any change), ``welch`` (the mean) or ``mann_whitney`` (the rank), for two samples.
        category_test: ``chi2`` or ``g``.
        max_rows: sample at most this many rows of each sample, without replacement.
        seed: the random seed for ``max_rows`` and for permutation tests.

    Returns:
        The variables, those that differ most first. Many tests are corrected for by Benjamini and Hochberg (1995).

    Raises:
        ValueError: fewer than two samples, an unknown option, or no column in common.
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
    variables: list[Variable] = []
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
        shared = [name for name in features if name in frame and not features[name].hidden]
        for name in shared:
            compared = compare_with_profile(features[name], frame[name], sample_names[1], category_test, seed)
            variables += [_add_size_note(variable, options) for variable in compared]
        columns_by_sample: list[set[Any]] = [set(features), set(frame.columns)]
    else:
        frames = [sample for sample in inputs if isinstance(sample, pd.DataFrame)]
        rows = tuple(map(len, frames))
        shared = [name for name in frames[0].columns if all(name in frame for frame in frames)]
        for name in shared:
            series = [frame[name] for frame in frames]
            kind = (kinds or {}).get(str(name)) or columns.infer_kind(series)
            variables += _compare_column(str(name), kind, series, options)
        columns_by_sample = [set(frame.columns) for frame in frames]
    if not shared:
        raise ValueError(
            "the samples have no column in common: " + " | ".join(map(list_values, columns_by_sample))
        )
    for name, sample_columns in zip(sample_names, columns_by_sample, strict=True):
        if only := sample_columns - set.intersection(*columns_by_sample):
            notes.append(f"in {name}, not in all samples: {list_values(only)}")
    results = _add_verdicts(variables, alpha, WORDS.index(min_effect))
    hypotheses = sum(bool(variable.tests) for variable in results)
    return Comparison(sample_names, rows, tuple(sorted(results, key=_rank)), alpha, hypotheses, tuple(notes))


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
    """The variable, and beside it whether its values are missing, where any is."""
    notes: list[str] = []
    if kind in ("category", "boolean"):
        parts = [columns.categories(values) for values in series]
        variable = _compare_counts(name, "category", parts, options)
    elif kind == "text":
        words_by_sample = [columns.word_counts(values) for values in series]
        parts = [part for part, _ in words_by_sample]
        variable = _compare_numbers(name, "words", parts, options)
        if len(series) == 2 and all(vocabulary for _, vocabulary in words_by_sample):
            _, table = columns.table([vocabulary for _, vocabulary in words_by_sample])
            new = table[1][table[0] == 0].sum() / table[1].sum()
            variable = replace(
                variable,
                distances={**variable.distances, "jensen_shannon": contingency.jensen_shannon(table)},
            )
            notes.append(
                f"the test is of the number of words; Jensen-Shannon of the words; {new:.1%} of the words of "
                f"{options.names[1]} are not in {options.names[0]}"
            )
    else:
        parts = [columns.numbers(values, kind) for values in series]
        variable = _compare_numbers(name, kind, parts, options)
    for part, sample in zip(parts, options.names, strict=True):
        notes += [f"{sample}: {note}" for note in part.notes]
    variables = [_add_size_note(replace(variable, notes=(*variable.notes, *notes)), options)]
    if any(part.missing for part in parts) and all(part.rows for part in parts):
        counts = np.array([[part.rows - part.missing, part.missing] for part in parts])
        variables.append(
            _add_size_note(compare_missing(name, counts, options.category_test, options.seed), options)
        )
    return variables


def _compare_counts(name: str, kind: str, parts: list[Column], options: _Options) -> Variable:
    labels, table = columns.table([part.counts or {} for part in parts])
    return _compare_table(name, kind, labels, table, options)


def _compare_table(name: str, kind: str, labels: list[str], table: Array, options: _Options) -> Variable:
    rows = tuple(int(total) for total in table.sum(axis=1))
    if min(rows, default=0) == 0:
        return Variable(name, kind, rows, notes=("a sample has no value",))
    test, effect, tested = contingency.association(table, test=options.category_test, seed=options.seed)
    notes = []
    if len(table) == 2:
        notes += new_values(labels, table, options.names[1])
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
        summaries = (summaries[0], {**summaries[1], "new_share": new_share(table)})
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
    """The most frequent categories, the rest together."""
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
        return Variable(name, kind, rows, notes=("a sample has no value",))
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
            _format_ranges(edges), tuple(tuple(row) for row in shares.tolist()), tuple(edges.tolist())
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
            _format_ranges(edges), tuple(tuple(row) for row in shares.tolist()), tuple(edges.tolist())
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


def _format_ranges(edges: Array) -> tuple[str, ...]:
    return tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges.tolist()))


def _summarize(values: Array) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])  # sorted already
    moments = numeric_tests.measure_moments(values)
    return {
        "mean": moments.mean, "std": moments.std, "min": float(values[0]), "p05": float(low),
        "median": float(median), "p95": float(high), "max": float(values[-1]),
    }  # fmt: skip


def _add_size_note(variable: Variable, options: _Options) -> Variable:
    """With what its sample sizes mean."""
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
    """Return the shift, in standard deviations, that a two-sided t-test of samples of n and m finds with that power
    (normal approximation; Cohen 1988, 2.3)."""
    z = stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power)
    return float(z * math.sqrt(1 / n + 1 / m))


def _add_verdicts(variables: list[Variable], alpha: float, min_size: int) -> list[Variable]:
    """With q and a verdict: Benjamini and Hochberg, JRSS B 57 (1995), over the chosen tests."""
    tested = [i for i, variable in enumerate(variables) if variable.tests]
    if not tested:
        return variables
    corrected = stats.false_discovery_control([variables[i].tests[0].p for i in tested])
    results = list(variables)
    for i, q in zip(tested, corrected.tolist(), strict=True):
        first, *other_tests = variables[i].tests
        size = variables[i].effects[0].size
        if q >= alpha:
            verdict = "no difference shown"
        elif (new := variables[i].summaries[-1:]) and new[0].get("new_share", 0.0) >= NEW_SHARE:
            verdict = f"differs, {new[0]['new_share']:.1%} new values"
        elif WORDS.index(size) < min_size:
            verdict = f"significant, {size}"
        else:
            verdict = f"differs, {size}"
        tests = (replace(first, q=q), *other_tests)
        results[i] = replace(variables[i], tests=tests, verdict=verdict)
    return results


def _rank(variable: Variable) -> tuple[Any, ...]:
    size = abs(variable.effects[0].value) / _large(variable.effects[0]) if variable.effects else 0.0
    significant = bool(variable.tests) and not variable.verdict.startswith("no")
    return (not variable.differs, not significant, -size, variable.name, variable.kind)


def _large(effect: Effect) -> float:
    return THRESHOLDS[effect.name][2]
