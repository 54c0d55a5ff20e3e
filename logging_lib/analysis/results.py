"""The value objects that a statistical comparison returns, with their descriptions for readers."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from logging_lib._util.formatting import format_number, format_probability
from logging_lib.profile.coerce import format_epoch

WORDS: Final = ("negligible", "small", "medium", "large")

THRESHOLDS: Final[Mapping[str, tuple[float, float, float]]] = {
    # Cohen, Statistical Power Analysis, 2nd ed. (1988): d, and w, which is V for two samples.
    "hedges_g": (0.2, 0.5, 0.8),
    "cramers_v": (0.1, 0.3, 0.5),
    # The D of a normal distribution shifted by Cohen's d: 2 Φ(d / 2) - 1.
    "ks_d": (0.08, 0.197, 0.311),
    # Romano et al., Appropriate statistics for ordinal level data (2006).
    "cliffs_delta": (0.147, 0.33, 0.474),
    # Cohen's f 0.1, 0.25, 0.4 as shares of variance explained, f² / (1 + f²).
    "omega_squared": (0.0099, 0.0588, 0.1379),
    "epsilon_squared": (0.0099, 0.0588, 0.1379),
    # Cohen's h between two shares, because a difference of shares means something else at 1 % than at 50 %.
    "cohens_h": (0.2, 0.5, 0.8),
    # h at shares about 1/2, as a difference: sin(h / 2).
    "risk_difference": (0.0998, 0.2474, 0.3894),
    # For answers to the same requests, because none of those differs by chance.
    "differing_share": (0.01, 0.1, 0.5),
}
"""The thresholds of small, medium and large effects."""


_BESIDE_VALUES: Final = (
    "missing", "not_finite", "unknown_values", "unknown_words", "words", "wrong_type",
)  # fmt: skip

TEST_NAMES: Final = {
    "ks": "Kolmogorov-Smirnov D",
    "welch": "Welch's t",
    "mann_whitney": "Mann-Whitney U",
    "chi2": "chi-squared",
    "g": "G",
    "fisher": "Fisher's exact, odds ratio",
    "kruskal_wallis": "Kruskal-Wallis H",
    "welch_anova": "Welch's ANOVA F",
    "differing_share": "differing answers",
    "wilcoxon": "Wilcoxon signed rank",
    "mcnemar": "McNemar's exact test",
    "bowker": "Bowker's chi-squared",
}
EFFECT_NAMES: Final = {
    "hedges_g": "Hedges' g",
    "cramers_v": "Cramér's V",
    "ks_d": "D",
    "cliffs_delta": "Cliff's delta",
    "omega_squared": "ω²",
    "epsilon_squared": "ε²",
    "cohens_h": "Cohen's h",
    "risk_difference": "difference of shares",
    "differing_share": "share that differs",
}
DISTANCE_NAMES: Final = {
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon distance",
    "wasserstein": "Wasserstein distance",
}

NOT_COMPARED: Final = "not compared"
"""The verdict if there is nothing to compare, or if the share of lost values already says it."""
NOT_COMPARABLE: Final = "not comparable"
"""The verdict if values could not be compared, so that nothing is known about the variable."""
DIGITS: Final = 3
"""The significant digits of a number in a description."""


@dataclass(frozen=True, slots=True)
class Test:
    """A statistical test.

    Attributes:
        name: such as ``ks`` or ``chi2``.
        statistic: the test's statistic.
        p: the probability of this statistic or a larger one if the samples come from one population.
        q: ``p`` corrected for the number of tests (Benjamini and Hochberg, 1995); set only for the chosen test.
        note: limits of the result.
    """

    __test__ = False  # pytest collects classes called Test

    name: str
    statistic: float
    p: float
    q: float | None = None
    note: str = ""

    def describe(self) -> str:
        """Return a text such as ``Welch's t = 1.86, p 0.08``."""
        note = f" ({self.note})" if self.note else ""
        statistic = format_number(self.statistic, DIGITS)
        return f"{TEST_NAMES[self.name]} = {statistic}, p {format_probability(self.p)}{note}"


@dataclass(frozen=True, slots=True)
class Effect:
    """The size of a difference, with its 95 % confidence interval.

    Attributes:
        name: a key of ``THRESHOLDS``, such as ``hedges_g``.
        value: the effect.
        low: the interval's lower end.
        high: the interval's upper end.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def size(self) -> str:
        """Return ``negligible``, ``small``, ``medium`` or ``large``, by ``THRESHOLDS``."""
        return WORDS[sum(abs(self.value) >= limit for limit in THRESHOLDS[self.name])]

    def describe(self) -> str:
        """Return a text such as ``Hedges' g 0.31 [0.2, 0.42]``."""
        value, low, high = (format_number(number, DIGITS) for number in (self.value, self.low, self.high))
        return f"{EFFECT_NAMES[self.name]} {value} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Bins:
    """The share of each sample's values by bin, for a plot.

    Attributes:
        labels: the bins' names, shape (bins,).
        shares: 0 to 1, shape (samples, bins).
        edges: for numbers, the bins' edges, shape (bins + 1,).
    """

    labels: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """The comparison of one variable between all samples.

    Attributes:
        name: the feature.
        kind: ``numeric``, ``discrete`` (numbers with few distinct values), ``category``, ``boolean``, ``date``,
            ``words`` (the number of words in a text), ``unknown_words`` or ``unknown_values`` (how much of each
            text the first sample does not have), ``missing`` (whether there is a value at all), ``wrong_type``,
            ``not_finite`` or ``paired`` (two models' answers to the same requests).
        rows: the number of values of each sample that the tests use, shape (samples,).
        tests: the chosen test first.
        effects: the effect of the chosen test first.
        distances: ``psi``, ``jensen_shannon``, ``wasserstein`` (in the variable's unit).
        summaries: for each sample: mean, std, median and the like.
        why: why this test was chosen.
        notes: limits of the result.
        bins: the distributions, for a plot.
        verdict: one line; it begins with ``differs`` if the difference is significant and large enough.
    """

    name: str
    kind: str
    rows: tuple[int, ...]
    tests: tuple[Test, ...] = ()
    effects: tuple[Effect, ...] = ()
    distances: Mapping[str, float] = field(default_factory=dict)
    summaries: tuple[Mapping[str, Any], ...] = ()
    why: str = ""
    notes: tuple[str, ...] = ()
    bins: Bins | None = None
    verdict: str = NOT_COMPARED

    @property
    def differs(self) -> bool:
        """Return whether the difference is significant and at least ``min_effect``."""
        return self.verdict.startswith("differs")

    @property
    def title(self) -> str:
        """Return the name, with the kind if the variable is not the feature's value itself."""
        return f"{self.name} ({self.kind.replace('_', ' ')})" if self.kind in _BESIDE_VALUES else self.name

    def describe_distances(self) -> list[str]:
        """Describe each distance, such as ``PSI 0.12``."""
        return [
            f"{DISTANCE_NAMES[name]} {format_number(value, DIGITS)}" for name, value in self.distances.items()
        ]

    def describe_change(self) -> str:
        """Describe the main change: the means, the missing shares, or the most frequent categories."""
        parts = []
        for summary in self.summaries:
            if "share" in summary:
                parts.append(f"{summary['share']:.2%}")
            elif "top" in summary:
                parts.append(f"{summary['top']:.30} {summary['top_share']:.1%}")
            elif "mean" in summary and self.kind == "date":
                days = format_number(summary["std"] / 86_400, DIGITS)
                parts.append(f"{format_epoch(summary['mean'])[:10]} ± {days} days")
            elif "mean" in summary:
                mean, std = (format_number(summary[name], DIGITS) for name in ("mean", "std"))
                parts.append(f"{mean} ± {std}")
        return " → ".join(parts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of all variables.

    Attributes:
        names: the samples' names, shape (samples,).
        rows: the number of rows of each sample that were compared, shape (samples,).
        variables: the variables, those that differ most first.
        alpha: the share of false findings among the findings.
        hypotheses: the number of tests corrected for.
        notes: limits of the result.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    variables: tuple[Variable, ...]
    alpha: float
    hypotheses: int
    notes: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[Variable, ...]:
        """Return the variables that differ."""
        return tuple(variable for variable in self.variables if variable.differs)

    @property
    def is_empty(self) -> bool:
        """Return whether no value was compared, except that both samples have none."""
        return not any(
            variable.differs or (variable.tests and variable.kind != "missing") for variable in self.variables
        )

    @property
    def not_comparable(self) -> tuple[Variable, ...]:
        """Return the variables that could not be compared; all of them if there is no value to compare."""
        if self.is_empty:
            return self.variables
        return tuple(variable for variable in self.variables if variable.verdict == NOT_COMPARABLE)

    def conclude(self) -> str:
        """Say in one sentence how many variables differ, and how many could not be compared."""
        differing, not_comparable = len(self.differing), len(self.not_comparable)
        total = len(self.variables) - not_comparable
        sizes = " | ".join(f"{name}: {rows:,} rows" for name, rows in zip(self.names, self.rows, strict=True))
        if self.is_empty:
            return f"not comparable: there is nothing to compare ({sizes})"
        count = (
            f"{differing} of {total} variables differ" if differing else f"none of {total} variables differs"
        )
        if not_comparable:
            count += f", {not_comparable} could not be compared"
        return (
            f"{count} ({sizes}; at most {self.alpha:.0%} of the findings are false, "
            f"Benjamini-Hochberg over {self.hypotheses} tests)"
        )

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the comparison as a page with a picture of each variable; needs the extra ``[report]``.

        Args:
            path: a file that the page is also written to.
        """
        from logging_lib.analysis.page import render_page

        page = render_page(self, title=" against ".join(self.names), now=datetime.now(UTC))
        if path is not None:
            Path(path).write_text(page, "utf-8")
        return page

    def _repr_html_(self) -> str:
        """Return the page for a notebook, in its own frame."""
        page = html.escape(self.to_html())
        return f'<iframe title="Comparison" srcdoc="{page}" width="100%" height="600"></iframe>'

    def document(self) -> dict[str, Any]:
        """Return the comparison as a JSON object; a number that does not exist is null."""
        return {
            "samples": [
                {"name": name, "rows": rows} for name, rows in zip(self.names, self.rows, strict=True)
            ],
            "alpha": self.alpha,
            "hypotheses": self.hypotheses,
            "correction": "benjamini-hochberg",
            "differing": [variable.name for variable in self.differing],
            "not_comparable": [variable.name for variable in self.not_comparable],
            "conclusion": self.conclude(),
            "notes": list(self.notes),
            "variables": [_document(variable) for variable in self.variables],
        }


def _document(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "kind": variable.kind,
        "verdict": variable.verdict,
        "rows": list(variable.rows),
        "tests": [
            {
                "name": test.name,
                "statistic": finite(test.statistic),
                "p": finite(test.p),
                "q": finite(test.q),
                **({"note": test.note} if test.note else {}),
            }
            for test in variable.tests
        ],
        "effects": [
            {
                "name": effect.name,
                "value": finite(effect.value),
                "low": finite(effect.low),
                "high": finite(effect.high),
                "size": effect.size,
            }
            for effect in variable.effects
        ],
        "distances": {name: finite(value) for name, value in variable.distances.items()},
        "summaries": [
            {key: finite(value) if isinstance(value, float) else value for key, value in summary.items()}
            for summary in variable.summaries
        ],
        "why": variable.why,
        "notes": list(variable.notes),
    }


def finite(value: float | None) -> float | None:
    """Replace NaN and infinity by None, since JSON has neither."""
    return None if value is None or not math.isfinite(value) else float(value)
