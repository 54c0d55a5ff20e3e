"""Write ``tests/analysis/golden/peers.json``: the results of Evidently and NannyML for the same columns as ours.

python -m benchmarks.peer_values
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import _peers

GOLDEN = Path("tests/analysis/golden/peers.json")


def columns(seed: int, rows: int = 3000) -> pd.DataFrame:
    """Return numbers, also with ties and skewed, and categories; shape (rows, 6). The second seed is shifted."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "normal": random.normal(0.1 * seed, 1, rows),
            "wide": random.normal(0, 1 + 0.3 * seed, rows),
            "skewed": random.lognormal(10, 0.5, rows),
            "whole": random.integers(0, 60 + 5 * seed, rows).astype(float),
            "home": random.choice(
                ["RENT", "OWN", "MORTGAGE"], rows, p=[0.4 - 0.05 * seed, 0.2 + 0.05 * seed, 0.4]
            ),
            "state": random.choice([f"S{i:02}" for i in range(30)], rows),
        }
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("reference.parquet", "current.parquet")]
        for seed, path in enumerate(paths):
            columns(seed).to_parquet(path)
        methods = ("ks", "wasserstein", "jensenshannon", "chisquare", "psi", "t_test")
        evidently = _peers.run("evidently", *paths, *methods)["scores"]
        nannyml = _peers.run("nannyml", *paths)
    made = {"pinned": _peers.PINNED, "evidently": evidently, "nannyml": nannyml["values"]}
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"written to {GOLDEN}")


if __name__ == "__main__":
    main()
