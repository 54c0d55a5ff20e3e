"""NannyML's verdicts with its defaults, in chunks of 500: univariate drift, missing and unseen values.

Run in an environment of its own: ``python nannyml_verdicts.py FOLDER OUT``.
"""

import json
import pickle
import sys
import warnings
from pathlib import Path

import nannyml
import pandas as pd

warnings.filterwarnings("ignore")
WINDOW = 500


def typed(table: dict, kinds: dict) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    for name in [*kinds["numeric"], "latency_ms"]:
        if name in frame:
            frame[name] = pd.to_numeric(frame[name])
    return frame


def alarms(calculator, frame: pd.DataFrame) -> list[bool]:
    result = calculator.calculate(frame).filter(period="analysis").to_df()
    flags = result.loc[:, [column for column in result.columns if column[-1] == "alert"]]
    return flags.fillna(False).any(axis=1).tolist()


def main(folder: Path, out: Path) -> None:
    records = []
    for file in sorted(folder.glob("*.pickle")):
        given = pickle.loads(file.read_bytes())
        kinds = given["kinds"]
        reference = typed(given["reference"], kinds)
        named = [("clean", window) for window in given["clean"]]
        named += [(fault, window) for fault, windows in given["faults"].items() for window in windows]
        columns = [*kinds["numeric"], *kinds["category"], "prediction", "latency_ms", "model_version"]
        categories = [c for c in columns if reference[c].dtype == object]
        calculators = [
            nannyml.UnivariateDriftCalculator(
                column_names=columns, treat_as_categorical=categories, chunk_size=WINDOW
            ),
            nannyml.MissingValuesCalculator(column_names=columns, chunk_size=WINDOW),
            nannyml.UnseenValuesCalculator(column_names=categories, chunk_size=WINDOW),
        ]
        for calculator in calculators:
            calculator.fit(reference)
        for fault, window in named:
            frame = typed(window, kinds)
            found, failed = False, ""
            for calculator in calculators:
                try:
                    found = any(alarms(calculator, frame)) or found
                except Exception as error:  # noqa: BLE001 - a verdict is what is wanted, also of a table it cannot take
                    failed = f"{type(error).__name__}: {error}"[:120]
            records.append({"stream": file.stem, "fault": fault, "found": found, "failed": failed})
    out.write_text(json.dumps(records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
