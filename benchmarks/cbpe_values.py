"""Write ``tests/analysis/golden/cbpe.json``: the estimates of NannyML's CBPE for the same predictions as ours.

python -m benchmarks.cbpe_values
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _peers

GOLDEN = Path("tests/analysis/golden/cbpe.json")
CHUNK, CHUNKS = 2000, 4
CLASSES = ("bird", "cat", "dog")


def draw_binary(seed: int, rows: int, shift: float = 0.0, spread: float = 1.0) -> pd.DataFrame:
    """Draw predictions of two classes, with uncalibrated probabilities; ``shift`` and ``spread`` move the input."""
    random = np.random.default_rng(seed)
    x = random.normal(shift, spread, rows)
    probability = 1 / (1 + np.exp(-2 * x))
    actual = (random.random(rows) < probability).astype(int)
    said = np.round(probability**1.6, 6)
    return pd.DataFrame({"probability": said, "predicted": (said >= 0.5).astype(int), "actual": actual})


def draw_several(seed: int, rows: int, sharpness: float = 1.5) -> pd.DataFrame:
    """Draw overconfident predictions of three classes; ``sharpness`` moves the input."""
    random = np.random.default_rng(seed)
    logits = sharpness * random.normal([0.3, 0.0, -0.5], 1, (rows, len(CLASSES)))
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    actual = (exact.cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)
    said = np.exp(1.4 * logits) / np.exp(1.4 * logits).sum(axis=1, keepdims=True)
    names = np.array(CLASSES)
    columns = {name: said[:, i] for i, name in enumerate(CLASSES)}
    return pd.DataFrame({**columns, "predicted": names[said.argmax(axis=1)], "actual": names[actual]})


def tables() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return reference and analysis: chunks like the reference, and three in which inputs move more and more."""
    binary = [draw_binary(10 + i, CHUNK, 0.4 * i, 1 - 0.2 * i) for i in range(CHUNKS)]
    several = [draw_several(20 + i, CHUNK, 1.5 - 0.35 * i) for i in range(CHUNKS)]
    return {
        "binary": (draw_binary(1, 10_000), pd.concat(binary, ignore_index=True)),
        "several": (draw_several(2, 10_000), pd.concat(several, ignore_index=True)),
    }


def compute() -> dict[str, Any]:
    """Ask NannyML, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, pair in tables().items():
            for part, frame in zip(("reference", "analysis"), pair, strict=True):
                paths.append(str(Path(folder, f"{name}-{part}.parquet")))
                frame.to_parquet(paths[-1])
        found: dict[str, Any] = _peers.run("nannyml", *paths, str(CHUNK), script="nannyml_cbpe")
    return found


def main() -> None:
    GOLDEN.write_text(json.dumps(compute(), indent=1) + "\n", encoding="utf-8")
    print(f"written to {GOLDEN}")


if __name__ == "__main__":
    main()
