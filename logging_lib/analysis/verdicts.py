"""Decide which variables of a comparison differ: the correction for many tests, the least effect, the order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from scipy import stats

from logging_lib.analysis.results import NOT_COMPARABLE, THRESHOLDS, WORDS, Effect, Variable

NEW_SHARE: Final = 0.01
"""A category differs if it has at least this share of values that the first sample lacks, whatever the effect."""
ALL_NEW: Final = 0.99
"""Above this share of new values it differs whatever the test says."""
FEW_ROWS: Final = 30
"""With fewer values, a test proves little either way."""


def add_verdicts(variables: list[Variable], alpha: float, min_size: int) -> list[Variable]:
    """Add q and a verdict: Benjamini and Hochberg, JRSS B 57 (1995), over the chosen tests."""
    tested = [i for i, variable in enumerate(variables) if variable.tests]
    if not tested:
        return variables
    corrected = stats.false_discovery_control([variables[i].tests[0].p for i in tested])
    results = list(variables)
    for i, q in zip(tested, corrected.tolist(), strict=True):
        first, *other_tests = variables[i].tests
        size = variables[i].effects[0].size
        expected, new = _find_new_shares(variables[i])
        if (q < alpha and new - expected >= NEW_SHARE) or (
            new > ALL_NEW and min(variables[i].rows) >= FEW_ROWS
        ):
            verdict = f"differs, {new:.1%} new values"
        elif q >= alpha:
            verdict = "no difference shown"
        elif WORDS.index(size) < min_size:
            verdict = f"significant, {size}"
        else:
            verdict = f"differs, {size}"
        tests = (replace(first, q=q), *other_tests)
        results[i] = replace(variables[i], tests=tests, verdict=verdict)
    return results


def _find_new_shares(variable: Variable) -> tuple[float, float]:
    """Return the expected and the second sample's share of values that the first lacks; 0 for other kinds."""
    if len(variable.summaries) != 2:
        return 0.0, 0.0
    expected, new = (float(summary.get("new_share", 0.0)) for summary in variable.summaries)
    return expected, new


def rank(variable: Variable) -> tuple[Any, ...]:
    """Return the sort key: variables that differ, then not comparable ones, then by significance and size."""
    size = abs(variable.effects[0].value) / _large(variable.effects[0]) if variable.effects else 0.0
    significant = bool(variable.tests) and not variable.verdict.startswith("no")
    is_unknown = variable.verdict == NOT_COMPARABLE
    return (not variable.differs, not is_unknown, not significant, -size, variable.name, variable.kind)


def _large(effect: Effect) -> float:
    return THRESHOLDS[effect.name][2]
