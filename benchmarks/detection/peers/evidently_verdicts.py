"""Measure Evidently's drift of each day against training: the largest distance of any column, by its preset.

Run in its own environment: ``python evidently_verdicts.py FOLDER OUT``.
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
ROWS = 5000


def typed(table: dict, numeric: list) -> pd.DataFrame:
    frame = pd.DataFrame(table).drop(columns="time")
    for name in frame:
        frame[name] = (
            pd.to_numeric(frame[name], errors="coerce") if name in numeric else frame[name].astype(object)
        )
    return frame


def main(folder: Path, out: Path) -> None:
    records = []
    for file in sorted(folder.glob("*.pickle")):
        given = pickle.loads(file.read_bytes())
        reference = typed(given["reference"], given["numeric"])
        reference = reference.sample(min(ROWS, len(reference)), random_state=1)
        categories = [name for name in reference if name not in given["numeric"]]
        definition = DataDefinition(numerical_columns=given["numeric"], categorical_columns=categories)
        before = Dataset.from_pandas(reference, data_definition=definition)
        preset = DataDriftPreset(num_method="wasserstein", cat_method="jensenshannon")
        for window in given["windows"]:
            record = {**window["about"], "score": None, "failed": ""}
            try:
                now = Dataset.from_pandas(typed(window["rows"], given["numeric"]), data_definition=definition)
                result = Report([preset]).run(now, before).dict()
                values = [m["value"] for m in result["metrics"] if "ValueDrift" in m["metric_name"]]
                record["score"] = max(map(float, values))
            except Exception as error:  # noqa: BLE001 - a verdict is wanted, also of a table it cannot take
                record["failed"] = f"{type(error).__name__}: {error}"[:120]
            records.append(record)
    out.write_text(json.dumps(records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
