"""Measures of how far windows are from their reference, and how far they would be by chance alone. No I/O.

If all differences are due to chance, every distance has a mean square of 1/n + 1/m, with n events in the window and
m in the reference; see ``logging_lib.profile.variation``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from logging_lib.profile.encoding import Array

MIN_CELL = 5.0
SMALL_BIN = 0.05


class Distances(NamedTuple):
    """The distances of windows from their reference, and their mean squares by chance alone; shape (windows,)."""

    distance: Array
    noise: Array


def measure_rates(hits: Array, total: Array, expected: int, rows: int) -> Distances:
    """Compare rates by the arcsine of their roots: 2 asin √p has the variance 1/n (Anscombe, Biometrika 35 (1948)).

    Args:
        hits, total: the number of failed and of all events of each window; shape (windows,).
        expected, rows: the number of failed and of all rows of the reference.
    """
    usual = (expected + 0.5) / (rows + 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = 2 * np.arcsin(np.sqrt(hits / total)) - 2 * np.arcsin(np.sqrt(usual))
        few = np.interp(total * min(usual, 1 - usual), _EXPECTED, _SQUARES)
        return Distances(distance, few / total + 1 / (rows + 1.0))


def _square_roots_of_few(expected: Array) -> Array:
    """Compute E[4(√X - √λ)²] of Poisson counts X: 1 for large λ, and up to 1.8 for λ near 1; shape (λ,)."""
    counts = np.arange(200)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(expected[:, None] > 0, counts * np.log(expected[:, None]), -np.inf * (counts > 0))
    p = np.exp(np.nan_to_num(log_p, nan=0.0, neginf=-1e9) - expected[:, None] - log_factorial)
    return np.asarray((p * 4 * (np.sqrt(counts) - np.sqrt(expected)[:, None]) ** 2).sum(axis=1))


_EXPECTED = np.concatenate([np.linspace(0, 5, 101), np.linspace(5.5, 60, 110)])
_SQUARES = _square_roots_of_few(_EXPECTED)


def keep_rises(distances: Distances) -> Distances:
    """Set the distance of a decrease to 0, for checks that are flagged only for an increase.

    Unknown words become fewer with every row of the reference, so the last fifth of it still had more of them than
    the windows after it. That is not variation, nor does it grow with the days.
    """
    return distances._replace(distance=distances.distance.clip(0.0))


def measure_bins(
    reference: Array, observed: Array, *, is_ordered: bool, has_rare: bool = True
) -> dict[str, Distances]:
    """Measure how far the bins of windows are from those of the reference, as ``ml-distribution`` does.

    Args:
        reference: the number of events in each bin; shape (windows, bins), or (1, bins) for all windows.
        observed: the number of events in each bin of each window; shape (windows, bins).
        is_ordered: whether to return the measures of ranks, too.
        has_rare: whether to return the measure of rare bins.

    Returns:
        ``psi``: the root of the population stability index per degree of freedom; ``rare``: the largest increase
        of a rare bin; ``shift`` and ``spread``: those of the ranks, in standard deviations.
    """
    m, n = reference.sum(axis=1), observed.sum(axis=1)
    measures = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = 1 / n + 1 / m
        q, p = reference / m[:, None], observed / n[:, None]
        measures["psi"] = Distances(_compute_psi_distance(reference, observed, m, n), noise)
        rare = (q <= SMALL_BIN) & (reference > 0)
        if has_rare and rare.any():
            usual = (reference + 0.5) / (m + 1)[:, None]
            rises = 2 * np.arcsin(np.sqrt(p)) - 2 * np.arcsin(np.sqrt(usual))
            measures["rare"] = Distances(np.where(rare, rises, 0.0).max(axis=1).clip(0.0), noise)
        if is_ordered and reference.shape[1] >= 4:
            rank = np.cumsum(q, axis=1) - 0.5 * q - 0.5
            mean = (q * rank**2).sum(axis=1)
            variance = (q * rank**4).sum(axis=1) - mean**2
            varies = (variance > 1e-12) & (mean > 1e-12)
            shift = (p * rank).sum(axis=1) / np.sqrt(mean)
            spread = ((p * rank**2).sum(axis=1) - mean) / np.sqrt(variance)
            measures["shift"] = Distances(np.where(varies, shift, np.nan), noise)
            measures["spread"] = Distances(np.where(varies, spread, np.nan), noise)
    return measures


def _compute_psi_distance(reference: Array, observed: Array, m: Array, n: Array) -> Array:
    """Compute the root of the index per degree of freedom; bins with few expected events count as one bin."""
    reference = np.broadcast_to(reference, observed.shape)
    large = n[:, None] * reference / m[:, None] >= MIN_CELL
    few_reference = np.where(large, 0.0, reference).sum(axis=1)
    few_observed = np.where(large, 0.0, observed).sum(axis=1)
    has_few = (few_reference > 0) | (few_observed > 0)
    k = large.sum(axis=1) + has_few
    added = 0.5 * k

    def part(expected: Array, seen: Array) -> Array:
        q = (expected + 0.5) / (m + added)[:, None]
        p = (seen + added[:, None] * q) / (n + added)[:, None]
        return np.asarray((p - q) * np.log(p / q))

    index = np.where(large, part(reference, observed), 0.0).sum(axis=1)
    index += np.where(has_few, part(few_reference[:, None], few_observed[:, None])[:, 0], 0.0)
    # If all bins count as one, the watch finds nothing; this does not mean that the distance is 0.
    index = np.where(k >= 2, index, 0.0)
    return np.where((n > 0) & large.any(axis=1), np.sqrt(index / np.maximum(k - 1, 1)), np.nan)
