"""The peers on the same natural streams: days of clean weeks, and the 24 hours after an onset, against training."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from benchmarks._peers import QUIET, environment
from benchmarks.detection import detectable
from benchmarks.detection.datasets import Stream
from benchmarks.detection.detectable import ABSENT, DAY, is_number
from benchmarks.detection.serving import Fold

MOST = 2000
"""The maximum number of rows per day; longer days are thinned."""
CLEAN_DAYS = 20
LEAST = 5
Record = dict[str, Any]


def verdicts(name: str, streams: Iterable[Stream], folder: Path) -> list[Record]:
    """Return a peer's scores, computed in its own environment; kept in the folder."""
    out, windows = folder / f"{name}.json", folder / "windows"
    if not out.is_file():
        windows.mkdir(exist_ok=True)
        for stream in streams:
            for number in range(stream.folds):
                file = windows / f"{stream.name}-{number}.pickle"
                if not file.is_file():
                    file.write_bytes(pickle.dumps(_windows(Fold(stream, number))))
        script = Path(__file__).parent / "peers" / f"{name}_verdicts.py"
        command = [str(environment(name)), str(script), str(windows), str(out)]
        subprocess.run(command, check=True, env={**os.environ, **QUIET})
    records: list[Record] = orjson.loads(out.read_bytes())
    return records


def _windows(fold: Fold) -> Record:
    served, days = fold.served, fold.served["time"].dt.floor("D")
    about = {"stream": fold.stream.name, "fold": fold.number}
    clean = [rows for _, rows in served.groupby(days) if len(rows) >= LEAST]
    step = max(1, len(clean) // CLEAN_DAYS)
    windows = [{"about": {**about, "fault": ""}, "rows": _table(fold, _thin(rows))} for rows in clean[::step]]
    for cell in detectable.load():
        if (cell.stream, cell.fold) == (fold.stream.name, fold.number) and not cell.excluded:
            onset = cell.moment()
            rows = served[(served["time"] >= onset) & (served["time"] < onset + DAY)]
            altered, _ = detectable.alter(cell, fold.training, rows)
            windows.append({"about": {**about, "fault": cell.fault}, "rows": _table(fold, _thin(altered))})
    training = fold.training.groupby(fold.training["time"].dt.floor("D"), group_keys=False)
    thinned = pd.concat([_thin(rows) for _, rows in training])
    numeric = [name for name in fold.features if is_number(fold.training, name)]
    if is_number(fold.training, "target"):
        numeric.append("prediction")
    return {"reference": _table(fold, thinned), "windows": windows, "numeric": numeric}


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(MOST, random_state=1).sort_index() if len(rows) > MOST else rows


def _table(fold: Fold, rows: pd.DataFrame) -> dict[str, list[Any]]:
    """Return lists, since the peers' pandas differs. Texts, and columns that no row has, are left out."""
    shown = rows[fold.features].astype(object).where(rows[fold.features].notna(), None)
    table = {name: shown[name].tolist() for name in fold.features if name != fold.stream.text}
    table = {name: values for name, values in table.items() if any(value != ABSENT for value in values)}
    times = rows["time"].dt.strftime("%Y-%m-%dT%H:%M:%S").tolist()
    return {**table, "prediction": fold.predict(rows), "time": times}
