"""Run Evidently's drift report on two Parquet files, in Evidently's own environment; print one JSON line.

With further arguments, run each of those methods for all columns that it fits.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import pandas as pd
from evidently import Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

NUMERIC = ("ks", "wasserstein", "t_test")
CATEGORICAL = ("chisquare",)


def report(wanted: list[object], reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, float]:
    made = Report(wanted).run(current_data=current, reference_data=reference).dict()
    return {
        metric["config"]["column"]: float(metric["value"])
        for metric in made["metrics"]
        if metric["config"]["type"].endswith("ValueDrift")
    }


def fits(method: str, column: pd.Series) -> bool:
    numeric = pd.api.types.is_numeric_dtype(column)
    return method not in CATEGORICAL if numeric else method not in NUMERIC


if __name__ == "__main__":
    reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    used = time.process_time()
    if methods := sys.argv[3:]:
        scores = {
            method: report(
                [
                    ValueDrift(column=name, method=method)
                    for name in reference
                    if fits(method, reference[name])
                ],
                reference,
                current,
            )
            for method in methods
        }
    else:
        scores = report([DataDriftPreset()], reference, current)
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "before": before, "peak": peak, "scores": scores}))
