"""Evidently's verdicts with its defaults: the data drift preset, an alarm where any column drifted.

Run in an environment of its own: ``python evidently_verdicts.py FOLDER OUT``.
"""

import json
import pickle
import sys
import warnings
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

warnings.filterwarnings("ignore")


def typed(table: dict, kinds: dict) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    for name in [*kinds["numeric"], "latency_ms"]:
        if name in frame:
            frame[name] = pd.to_numeric(frame[name])
    return frame.drop(columns=[name for name in kinds["text"] if name in frame])


def main(folder: Path, out: Path) -> None:
    records = []
    for file in sorted(folder.glob("*.pickle")):
        given = pickle.loads(file.read_bytes())
        kinds = given["kinds"]
        reference = typed(given["reference"], kinds).sample(
            min(5000, len(given["reference"]["prediction"])), random_state=1
        )
        numeric = [c for c in reference.columns if reference[c].dtype != object]
        categories = [c for c in reference.columns if c not in numeric]
        definition = DataDefinition(numerical_columns=numeric, categorical_columns=categories)
        before = Dataset.from_pandas(reference, data_definition=definition)
        named = [("clean", window) for window in given["clean"]]
        named += [(fault, window) for fault, windows in given["faults"].items() for window in windows]
        for fault, window in named:
            record = {"stream": file.stem, "fault": fault, "found": False, "dataset": False, "failed": ""}
            try:
                now = Dataset.from_pandas(typed(window, kinds), data_definition=definition)
                result = Report([DataDriftPreset()]).run(now, before).dict()
                count = next(m for m in result["metrics"] if "DriftedColumnsCount" in m["metric_name"])
                record["found"] = count["value"]["count"] > 0
                record["dataset"] = count["value"]["share"] >= 0.5
            except Exception as error:  # noqa: BLE001 - a verdict is what is wanted, also of a table it cannot take
                record["failed"] = f"{type(error).__name__}: {error}"[:120]
            records.append(record)
    out.write_text(json.dumps(records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
