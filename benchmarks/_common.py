"""The common parts of the benchmarks: a result, and training data with 20 features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

NUMBERS, CATEGORIES, TEXTS = 10, 8, 2


@dataclass(frozen=True)
class Result:
    """One figure, with a named peer measured in the same run if there is one."""

    name: str
    value: float
    unit: str
    goal: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None


def frame(
    rows: int,
    seed: int = 0,
    *,
    numbers: int = NUMBERS,
    categories: int = CATEGORIES,
    texts: int = TEXTS,
    words_a_text: int = 3,
) -> pd.DataFrame:
    """Return by default 10 numbers, 8 categories, 2 short texts; shape (rows, numbers + categories + texts)."""
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    for i in range(numbers):
        values = random.lognormal(8, 1, rows) if i % 2 else random.integers(0, 500, rows).astype(float)
        columns[f"number_{i}"] = np.where(random.random(rows) < 0.02, np.nan, values) if i == 3 else values
    for i in range(categories):
        labels = np.array([f"label_{i}_{j}" for j in range(3 + 5 * i)], dtype=object)
        columns[f"category_{i}"] = random.choice(labels, rows)
    words = np.array([f"{a}{b}" for a in ("nur", "teach", "driv", "cook", "sell") for b in
                      ("er", "ing", "ist", "ant", "or", "man", "al", "y")], dtype=object)  # fmt: skip
    for i in range(texts):
        columns[f"text_{i}"] = [
            " ".join(found)
            for found in zip(*(random.choice(words, rows) for _ in range(words_a_text)), strict=True)
        ]
    return pd.DataFrame(columns)
