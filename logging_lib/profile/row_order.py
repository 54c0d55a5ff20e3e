"""Find what changes along the rows of a training set without times. No I/O.

The rows of most tables are in the order in which they arose. A feature that follows the hour, the weekday or the
weather then differs from one stretch of rows to the next, and so it will from one window of served events to the
next. Pearson's X² of the table of stretches and bins is 1 for each degree of freedom on average if the order says
nothing, for example after shuffling. What is above that, divided by the rows of a stretch, is the variance of
stretches: the mean square of their distance beyond chance, as in ``logging_lib.profile.variation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy import stats

from logging_lib.profile.encoding import NEVER, Array

MIN_ROWS, MIN_STRETCHES, STEP = 20, 20, 4
"""The smallest number of rows of a stretch, and of stretches; each next length is so many times the one before."""
MIN_EXPECTED = 2.0
"""The rows of a bin that a stretch must have on average; smaller bins count as one."""
CHANCE = 1e-6


def measure_stretches(bins: Array, number: int) -> float:
    """Return the largest variance of stretches of any length that is not due to chance; 0 if none is.

    Args:
        bins: the number of each row's bin, in the rows' order, or -1; shape (rows,).
        number: the number of bins.
    """
    known = bins[bins >= 0]
    largest, rows = 0.0, MIN_ROWS
    while len(known) >= MIN_STRETCHES * rows:
        stretches = len(known) // rows
        used = known[: stretches * rows]
        table = np.bincount(np.arange(len(used)) // rows * number + used, minlength=stretches * number)
        expected = np.bincount(used, minlength=number) / stretches
        is_small = expected < MIN_EXPECTED
        counts = table.reshape(stretches, number).astype(float)
        counts = np.column_stack([counts[:, ~is_small], counts[:, is_small].sum(axis=1)])
        expected = np.append(expected[~is_small], expected[is_small].sum())
        counts, expected = counts[:, expected >= MIN_EXPECTED], expected[expected >= MIN_EXPECTED]
        freedom = (stretches - 1) * (len(expected) - 1)
        if freedom > 0:
            statistic = float(((counts - expected) ** 2 / expected).sum())
            if stats.chi2.sf(statistic, freedom) < CHANCE:
                largest = max(largest, (statistic / freedom - 1) / rows)
        rows *= STEP
    return largest


def measure_checks(known_from: Mapping[str, Array]) -> Iterable[tuple[str, float]]:
    """Yield each check whose result does not depend on earlier rows, with the variance of its stretches."""
    for check, known in known_from.items():
        if np.isin(known, (-1, NEVER)).all():
            yield check, measure_stretches((known == NEVER).astype(np.int64), 2)
