"""Compare two models' answers to the same requests: how many differ, in which direction, and in which slice.

The requests are the same, so no answer differs by chance: the share of differing answers is tested against the
share that is tolerated. Whether one model's answers tend to be higher, or of other classes, is a separate test:
answers that differ equally often in both directions have no direction, but differ nevertheless.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import stats

from logging_lib._util.formatting import format_number, format_percent
from logging_lib.analysis.contingency import wilson
from logging_lib.analysis.results import Effect, Test, Variable, finite

Array = np.ndarray[Any, Any]
TOLERANCE: Final = 0.01
"""Two numbers agree within this share of the live model's standard deviation."""
TOLERATED: Final = 0.01
"""The share of differing answers that is tolerated."""
MAX_SLICES: Final = 3
MIN_REQUESTS: Final = 30
"""The least number of requests in a slice."""
MIN_PHI: Final = 0.2
"""The least correlation between membership in a slice and differing."""
MAX_P: Final = 0.001


@dataclass(frozen=True, slots=True)
class DifferingSlice:
    """A slice in which answers differ more often than elsewhere.

    Attributes:
        name: ``field=value``, such as ``channel=mobile``.
        requests: the number in the slice; ``differing`` is the share of them with different answers.
        elsewhere: that share among the requests outside this slice and the slices before it.
        factor: the shadow's number as a multiple of the live one, if it is always the same.
    """

    name: str
    requests: int
    differing: float
    elsewhere: float
    factor: float | None = None

    def describe(self) -> str:
        """Say in one sentence where the answers differ."""
        sentence = (
            f"the answers differ in {self.name}: {format_percent(self.differing)} of its {self.requests:,} "
            f"requests, {format_percent(self.elsewhere)} elsewhere"
        )
        if self.factor is None:
            return sentence
        return f"{sentence}; there the shadow's is {format_number(self.factor)} times the live one"

    def document(self) -> dict[str, Any]:
        """Return the slice as a JSON object."""
        return {
            "name": self.name,
            "requests": self.requests,
            "differing": self.differing,
            "elsewhere": self.elsewhere,
            "factor": finite(self.factor),
        }


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """Two models' outputs for the same requests.

    Attributes:
        name: the output's column, such as ``ml.prediction``.
        requests: the number to which at least one model gave this output; ``differing`` of them differ.
        direction: whether one model's outputs are higher, or of other classes; None if none differs.
        slices: the slices where they differ, those that explain most first.
    """

    name: str
    requests: int
    differing: int
    direction: Test | None
    slices: tuple[DifferingSlice, ...]

    @property
    def share(self) -> float:
        """Return the share of requests with different outputs, 0 to 1."""
        return self.differing / self.requests

    def variable(self) -> Variable:
        """Return the outputs as a variable of a comparison; its chosen test is the test of the share."""
        p = float(stats.binomtest(self.differing, self.requests, TOLERATED, alternative="greater").pvalue)
        share = Test("differing_share", self.differing, p, note=f"more than {TOLERATED:.0%}")
        return Variable(
            self.name,
            "paired",
            (self.requests, self.requests),
            (share, *([self.direction] if self.direction is not None else [])),
            (Effect("differing_share", self.share, *wilson(self.differing, self.requests)),),
            {},
            (),
            f"two answers to each request: whether more than {TOLERATED:.0%} of them differ",
            (
                f"{self.differing:,} of {self.requests:,} requests have different answers",
                *(one.describe() for one in self.slices),
            ),
        )

    def document(self) -> dict[str, Any]:
        """Return the outputs as a JSON object."""
        return {
            "name": self.name,
            "requests": self.requests,
            "differing": self.share,
            "direction": self.direction and {"name": self.direction.name, "p": finite(self.direction.p)},
            "slices": [each.document() for each in self.slices],
        }


def agree(live: Array, shadow: Array) -> Array:
    """Find the pairs that agree: equal classes, or numbers within ``TOLERANCE``; a mask, shape (pairs,)."""
    if live.dtype == object or shadow.dtype == object:
        same: Array = live == shadow
        return same
    spread = float(np.std(live, ddof=1)) if len(live) > 1 else 0.0
    return np.asarray(np.abs(shadow - live) <= TOLERANCE * spread + 1e-12)


def compare_pairs(
    name: str, live: Array, shadow: Array, unanswered: int = 0, slices: Sequence[Iterable[str]] = ()
) -> PairedAnswers:
    """Compare two models' outputs, request by request.

    Args:
        name: the output's column.
        live, shadow: numbers, or classes as objects, for each request with both; shape (pairs,), at least one.
        unanswered: the number of further requests that only one model answered with an output; they differ.
        slices: for each pair, ``field=value`` of everything it belongs to; shape (pairs,), or empty.
    """
    same = agree(live, shadow)
    differs = ~same
    direction = None
    if differs.any():
        a, b = live[differs], shadow[differs]
        direction = _test_classes(a, b) if a.dtype == object or b.dtype == object else _test_numbers(a, b)
    return PairedAnswers(
        name,
        len(live) + unanswered,
        int(differs.sum()) + unanswered,
        direction,
        find_slices(live, shadow, differs, slices) if len(slices) else (),
    )


def _test_numbers(a: Array, b: Array) -> Test:
    result = stats.wilcoxon(b - a, method="auto" if len(a) <= 50 else "approx")
    return Test("wilcoxon", float(result.statistic), float(result.pvalue))


def _test_classes(a: Array, b: Array) -> Test:
    """Test by McNemar (Psychometrika 12, 1947; exact), or by Bowker (JASA 43, 1948) for more than two classes."""
    counts = Counter(zip(a.tolist(), b.tolist(), strict=True))
    pairs = {tuple(sorted(pair)) for pair in counts}
    if len(pairs) == 1:
        x, y = next(iter(pairs))
        hits = counts[x, y]
        return Test("mcnemar", float(hits), float(stats.binomtest(hits, hits + counts[y, x]).pvalue))
    chi2 = sum((counts[x, y] - counts[y, x]) ** 2 / (counts[x, y] + counts[y, x]) for x, y in pairs)
    return Test("bowker", chi2, float(stats.chi2.sf(chi2, len(pairs))))


def find_slices(
    live: Array, shadow: Array, differs: Array, slices: Sequence[Iterable[str]]
) -> tuple[DifferingSlice, ...]:
    """Find the slices that best explain which pairs differ, each among the requests outside those before it.

    Args:
        live, shadow: outputs; shape (pairs,).
        differs: which pairs differ, a mask; shape (pairs,).
        slices: for each pair, ``field=value`` of everything it belongs to; shape (pairs,).
    """
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, names in enumerate(slices):
        for name in names:
            rows_of[name].append(row)
    members = {name: np.array(rows) for name, rows in rows_of.items() if len(rows) >= MIN_REQUESTS}
    remaining = np.ones(len(differs), dtype=bool)
    explaining: list[DifferingSlice] = []
    while len(explaining) < MAX_SLICES and differs[remaining].mean() > TOLERATED:
        best = max(
            ((_correlate(rows, differs, remaining), name) for name, rows in members.items()),
            default=(0.0, ""),
        )
        if best[0] < MIN_PHI:
            break
        name = best[1]
        inside = np.zeros_like(remaining)
        inside[members.pop(name)] = True
        inside &= remaining
        outside = remaining & ~inside
        counts = np.array([[differs[mask].sum(), (~differs[mask]).sum()] for mask in (inside, outside)])
        if stats.fisher_exact(counts, alternative="greater").pvalue * (len(members) + 1) > MAX_P:
            break
        explaining.append(
            DifferingSlice(
                name,
                int(inside.sum()),
                float(differs[inside].mean()),
                float(differs[outside].mean()),
                _find_factor(live[inside & differs], shadow[inside & differs]),
            )
        )
        remaining = outside
        if not remaining.any():
            break
    return tuple(explaining)


def _correlate(rows: Array, differs: Array, remaining: Array) -> float:
    """Return the correlation (phi) between being in a slice and differing, among the remaining pairs."""
    rows = rows[remaining[rows]]
    total, inside, hits = int(remaining.sum()), len(rows), int(differs[remaining].sum())
    if inside < MIN_REQUESTS or inside == total or hits in (0, total):
        return 0.0
    expected = inside * hits / total
    spread = np.sqrt(expected * (total - inside) * (total - hits) / total)
    return float((differs[rows].sum() - expected) / spread)


def _find_factor(live: Array, shadow: Array) -> float | None:
    """Return the factor between nearly all pairs; None if there is none, or for classes."""
    if live.dtype == object or shadow.dtype == object or (live == 0).any():
        return None
    ratios = shadow / live
    factor = float(np.median(ratios))
    always = np.abs(ratios - factor) <= 0.01 * abs(factor)
    return factor if always.mean() >= 0.95 else None
