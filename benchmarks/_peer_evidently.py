"""Evidently's drift report on two Parquet files; runs in Evidently's own environment, prints one JSON line."""

from __future__ import annotations

import json
import resource
import sys
import time

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

if __name__ == "__main__":
    reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    used = time.process_time()
    made = Report([DataDriftPreset()]).run(current_data=current, reference_data=reference).dict()
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    drifted = {
        metric["config"]["column"]: metric["value"]
        for metric in made["metrics"]
        if metric["config"]["type"].endswith("ValueDrift")
    }
    print(json.dumps({"seconds": seconds, "cpu": cpu, "before": before, "peak": peak, "scores": drifted}))
