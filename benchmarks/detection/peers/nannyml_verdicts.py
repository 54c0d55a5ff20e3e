"""Measure NannyML's drift, missing and unseen values of each day, in deviations of training's own days.

Its thresholds are a number of standard deviations from the mean of the reference's chunks; here these are the days
of training in order. The score of a day is the largest number that any column reaches.
Run in its own environment: ``python nannyml_verdicts.py FOLDER OUT``.
"""

import json
import pickle
import sys
import warnings
from pathlib import Path

import nannyml
import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
FIRST = pd.Timestamp(2100, 1, 1)
LARGEST = 1e9  # replaces infinity if the reference's days do not differ at all


def typed(table: dict, numeric: list) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    for name in frame.columns.drop("time"):
        frame[name] = (
            pd.to_numeric(frame[name], errors="coerce") if name in numeric else frame[name].astype(object)
        )
    return frame.assign(time=pd.to_datetime(frame["time"]))


def scores(calculator, analysis: pd.DataFrame) -> np.ndarray:
    """Return the largest deviation of any column by chunk, in the order of time."""
    table = calculator.calculate(analysis).to_df()
    period = table["chunk", "period"] if ("chunk", "period") in table else table["chunk", "chunk", "period"]
    values = table.loc[:, [c for c in table.columns if c[-1] == "value"]].to_numpy(float)
    usual, now = values[period == "reference"], values[period == "analysis"]
    mean, deviation = np.nanmean(usual, axis=0), np.nanstd(usual, axis=0)
    above = np.nan_to_num(now - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nanmax(np.where(above > 1e-12, np.minimum(above / deviation, LARGEST), 0.0), axis=1)


def main(folder: Path, out: Path) -> None:
    records = []
    for file in sorted(folder.glob("*.pickle")):
        given = pickle.loads(file.read_bytes())
        reference = typed(given["reference"], given["numeric"])
        columns = [name for name in reference if name != "time"]
        categories = [name for name in columns if name not in given["numeric"]]
        days = {"timestamp_column_name": "time", "chunk_period": "D"}
        calculators = [
            nannyml.UnivariateDriftCalculator(column_names=columns, treat_as_categorical=categories, **days),
            nannyml.MissingValuesCalculator(column_names=columns, **days),
        ]
        if categories:
            calculators.append(nannyml.UnseenValuesCalculator(column_names=categories, **days))
        for calculator in calculators:
            calculator.fit(reference)
        frames = [typed(window["rows"], given["numeric"]) for window in given["windows"]]
        whole = [i for i, frame in enumerate(frames) if set(frame) == set(reference)]
        # each window is its own day
        analysis = pd.concat(
            [frames[i].assign(time=FIRST + pd.Timedelta(days=n)) for n, i in enumerate(whole)]
        )
        highest = np.max([scores(calculator, analysis) for calculator in calculators], axis=0)
        found = dict(zip(whole, highest.tolist(), strict=True))
        for i, window in enumerate(given["windows"]):
            failed = "" if i in found else "a column is missing"
            records.append({**window["about"], "score": found.get(i), "failed": failed})
    out.write_text(json.dumps(records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
