"""Figures as people read them: the one place that names tests and effects and writes numbers."""

from __future__ import annotations

import math

from logging_lib.analysis.results import Comparison, Effect, Test, Variable

TESTS = {
    "ks": "Kolmogorov-Smirnov D",
    "welch": "Welch's t",
    "mann_whitney": "Mann-Whitney U",
    "chi2": "chi-squared",
    "g": "G",
    "fisher": "Fisher's exact, odds ratio",
    "kruskal_wallis": "Kruskal-Wallis H",
    "welch_anova": "Welch's ANOVA F",
}
EFFECTS = {
    "hedges_g": "Hedges' g",
    "cramers_v": "Cramér's V",
    "ks_d": "D",
    "cliffs_delta": "Cliff's delta",
    "omega_squared": "ω²",
    "epsilon_squared": "ε²",
    "cohens_h": "Cohen's h",
    "risk_difference": "difference of shares",
}
DISTANCES = {"psi": "PSI", "jensen_shannon": "Jensen-Shannon distance", "wasserstein": "Wasserstein distance"}


def number(value: float | None) -> str:
    """Three significant digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def chance(p: float | None) -> str:
    """A probability; below a ten-thousandth nobody needs the digits."""
    if p is None or not math.isfinite(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def test(found: Test) -> str:
    more = f" ({found.note})" if found.note else ""
    return f"{TESTS[found.name]} = {number(found.statistic)}, p {chance(found.p)}{more}"


def effect(found: Effect) -> str:
    return f"{EFFECTS[found.name]} {number(found.value)} [{number(found.low)}, {number(found.high)}]"


def title(variable: Variable) -> str:
    return f"{variable.name} ({variable.kind})" if variable.kind in ("missing", "words") else variable.name


def change(variable: Variable) -> str:
    """What a person would say first: the means, the share of missing values, the most frequent category."""
    parts = []
    for summary in variable.summaries:
        if variable.kind == "missing":
            parts.append(f"{summary['share']:.2%}")
        elif "top" in summary:
            parts.append(f"{summary['top']:.30} {summary['top_share']:.1%}")
        elif "mean" in summary:
            parts.append(f"{number(summary['mean'])} ± {number(summary['std'])}")
    return " → ".join(parts)


def conclusion(comparison: Comparison) -> str:
    """One sentence."""
    total, found = len(comparison.variables), len(comparison.differing)
    sizes = " | ".join(
        f"{name}: {rows:,} rows" for name, rows in zip(comparison.names, comparison.rows, strict=True)
    )
    about = f"{found} of {total} variables differ" if found else f"none of {total} variables differs"
    return (
        f"{about} ({sizes}; at most {comparison.alpha:.0%} of the findings are false, "
        f"Benjamini-Hochberg over {comparison.hypotheses} tests)"
    )
