"""The rows that a column is scored on: which they are, and how often a check failed on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from logging_lib.profile.model import Expectation, HeldOut

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Split:
    """``block`` says for each row which block of held-out rows it is in, or -1; shape (rows,)."""

    block: Array
    held_out: HeldOut

    def expectation(self, failed: Array) -> Expectation:
        """Held-out rows in which a check failed; ``failed`` is a mask of all rows, shape (rows,)."""
        held = self.block >= 0
        blocks = self.held_out.blocks
        sizes = np.bincount(self.block[held], minlength=blocks)
        counts = np.bincount(self.block[held & failed], minlength=blocks)
        return Expectation(int(counts.sum()), int(sizes.sum()), dispersion(counts, sizes))

    @property
    def scoring(self) -> Array:
        """The rows that the scoring tables are made from: all but the held-out ones, shape (rows,)."""
        rows: Array = self.block < 0
        return rows if rows.any() else np.ones_like(rows)


def dispersion(counts: Array, sizes: Array) -> float:
    """The intraclass correlation of failures within blocks, by the ANOVA estimator, clipped to [0, 0.99].

    Less its standard error where blocks do not differ, sqrt(2 / (k - 1)) / m0: of ten blocks, half would else seem
    to differ by chance alone, and a rise would have to be far greater to be found.

    Source: Ridout, Demétrio and Firth, "Estimating intraclass correlation for binary data", Biometrics 55
    (1999), eq. 3.
    """
    used = sizes > 0
    x, m = counts[used].astype(float), sizes[used].astype(float)
    k, n = len(m), m.sum()
    if k < 2 or n <= k or x.sum() in (0, n):
        return 0.0
    p = x.sum() / n
    within = (x * (m - x) / m).sum() / (n - k)
    between = (m * (x / m - p) ** 2).sum() / (k - 1)
    m0 = (n - (m**2).sum() / n) / (k - 1)
    rho = (between - within) / (between + (m0 - 1) * within) - (2.0 / (k - 1)) ** 0.5 / m0
    return float(f"{min(max(rho, 0.0), 0.99):.6g}")
