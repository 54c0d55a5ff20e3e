"""Run NannyML's univariate drift on two Parquet files, in NannyML's own environment; print one JSON line."""

from __future__ import annotations

import json
import sys

import nannyml
import pandas as pd

if __name__ == "__main__":
    reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
    numbers = [name for name in reference if pd.api.types.is_numeric_dtype(reference[name])]
    others = [name for name in reference if name not in numbers]
    found = {}
    for columns, treated, methods in (
        (numbers, "continuous", ["kolmogorov_smirnov", "wasserstein"]),
        (others, "categorical", ["chi2", "jensen_shannon"]),
    ):
        options = (
            {"continuous_methods": methods} if treated == "continuous" else {"categorical_methods": methods}
        )
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=columns, chunk_number=1, thresholds={}, computation_params=None, **options
        )
        calculator.fit(reference)
        made = calculator.calculate(current).filter(period="analysis").to_df()
        for name in columns:
            found[name] = {method: float(made[(name, method, "value")].iloc[0]) for method in methods}
    print(json.dumps({"version": nannyml.__version__, "values": found}))
