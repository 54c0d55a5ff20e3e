"""What the benchmarks share: a result, and training data of 20 features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

NUMBERS, CATEGORIES, TEXTS = 10, 8, 2


@dataclass(frozen=True)
class Result:
    """One figure, with a named peer measured in the same run where there is one."""

    name: str
    value: float
    unit: str
    goal: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None


def frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """10 numbers, 8 categories and 2 short texts; shape (rows, 20)."""
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    for i in range(NUMBERS):
        values = random.lognormal(8, 1, rows) if i % 2 else random.integers(0, 500, rows).astype(float)
        columns[f"number_{i}"] = np.where(random.random(rows) < 0.02, np.nan, values) if i == 3 else values
    for i in range(CATEGORIES):
        labels = np.array([f"label_{i}_{j}" for j in range(3 + 5 * i)], dtype=object)
        columns[f"category_{i}"] = random.choice(labels, rows)
    words = np.array([f"{a}{b}" for a in ("nur", "teach", "driv", "cook", "sell") for b in
                      ("er", "ing", "ist", "ant", "or", "man", "al", "y")], dtype=object)  # fmt: skip
    for i in range(TEXTS):
        columns[f"text_{i}"] = [
            f"{a} {b} {c}" for a, b, c in zip(*(random.choice(words, rows) for _ in range(3)), strict=True)
        ]
    return pd.DataFrame(columns)
