"""``python -m benchmarks.detection.detectable``: decide beforehand which faults of natural streams are detectable.

Write ``detectable.json`` beside this file, without using logging_lib. A fault is detectable if the 24 hours after
its onset differ from training by more than any day of training differs from the rest of it, in the measure that
the fault affects (the share of missing or of unseen values, the Kolmogorov-Smirnov distance of numbers, the
total variation of categories), and if it hits at least five events of these hours.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from benchmarks.detection.datasets import STREAMS, Stream

ABSENT = "\ue000absent"
"""Replaces a value: the event has no such key."""
NEW = "new one"
FAULTS = (
    "unseen category, 5 %",
    "NA +10 points",
    "vanished column",
    "unit change",
    "respelling",
    "lost join: missing",
    "lost join: constant",
)
DAY = pd.Timedelta(days=1)
FILE = Path(__file__).with_name("detectable.json")
LEAST_HIT, LEAST_DAY, THINNED = 5, 5, 50_000


@dataclass(frozen=True)
class Cell:
    """A fault of these features from the onset on; ``excluded`` says why it need not be found."""

    stream: str
    fold: int
    fault: str
    features: tuple[str, ...]
    onset: str
    excluded: str = ""

    @property
    def key(self) -> str:
        return f"{self.stream}/{self.fold}/{self.fault}/{self.onset}"

    def moment(self) -> pd.Timestamp:
        return pd.Timestamp(self.onset)

    def chance(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(self.key.encode()))


def inputs_of(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows if name not in ("time", "target")]


def is_number(rows: pd.DataFrame, name: str) -> bool:
    return pd.api.types.is_numeric_dtype(rows[name])


def respell(value: Any) -> Any:
    """Return another spelling of a text, which training does not have."""
    if not isinstance(value, str) or value == ABSENT:
        return value
    return next(other for other in (value.upper(), value.lower(), value + " ") if other != value)


def alter(cell: Cell, training: pd.DataFrame, rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows with the fault, and the mask of rows that it hit."""
    chance, stream = cell.chance(), STREAMS[cell.stream]
    hit = np.ones(len(rows), dtype=bool)
    rows = rows.copy()
    (first, *_) = cell.features
    if cell.fault in ("unseen category, 5 %", "NA +10 points"):
        hit = chance.random(len(rows)) < (0.05 if cell.fault.startswith("unseen") else 0.10)
    elif cell.fault == "respelling":
        hit = (rows[first] == _spelled(training, first)).to_numpy()
    elif cell.fault.startswith("lost join") and stream.of is not None:
        hit = (rows[stream.of[0]] == stream.of[1]).to_numpy()
    for name in cell.features:
        values = rows[name].astype(object).where(rows[name].notna(), None)
        if cell.fault.startswith("unseen"):
            values[hit] = NEW
        elif cell.fault == "vanished column":
            values[:] = ABSENT
        elif cell.fault == "unit change":
            values = stream.units[name](rows[name].astype(float)).astype(object)
        elif cell.fault == "respelling":
            values = values.where(~hit, values.map(respell))
        elif cell.fault == "lost join: constant":
            known = training[name]
            values[hit] = float(known.median()) if is_number(training, name) else known.mode()[0]
        else:
            values[hit] = None
        rows[name] = values.where(values.notna(), None)
    return rows, hit


def _spelled(training: pd.DataFrame, name: str) -> str | None:
    """Return a category's most frequent value among those in 8 % to 50 % of training."""
    shares = training[name].value_counts(normalize=True)
    fitting = shares[(shares >= 0.08) & (shares <= 0.5)]
    return str(fitting.index[0]) if len(fitting) else None


def _eligible(stream: Stream, fault: str, training: pd.DataFrame) -> list[tuple[str, ...]]:
    names = [name for name in inputs_of(training) if name != stream.text]
    categories = [name for name in names if not is_number(training, name)]
    if fault.startswith("unseen"):
        return [(name,) for name in categories]
    if fault == "respelling":
        return [(n,) for n in categories if n != "weekday" and _spelled(training, n) is not None]
    if fault == "unit change":
        return [(name,) for name in stream.units]
    if fault.startswith("lost join"):
        return [tuple(stream.join)] if stream.join else []
    return [(name,) for name in names]


def cells(streams: Iterable[Stream]) -> Iterator[Cell]:
    for stream in streams:
        for number in range(stream.folds):
            training, served = stream.fold(number)
            days = Days(training)
            for fault in FAULTS:
                chance = np.random.default_rng(zlib.crc32(f"{stream.name}/{number}/{fault}".encode()))
                if not (eligible := _eligible(stream, fault, training)):
                    continue
                features = eligible[chance.integers(len(eligible))]
                start = served["time"].iloc[0] + 2 * DAY
                possible = served["time"][
                    (served["time"] > start) & (served["time"] < served["time"].iloc[-1] - 1.5 * DAY)
                ]
                onset = possible.iloc[chance.integers(len(possible))]
                cell = Cell(stream.name, number, fault, features, onset.isoformat())
                yield Cell(**{**asdict(cell), "excluded": days.excludes(cell, served)})


class Days:
    """The differences between single days of training and the whole training."""

    def __init__(self, training: pd.DataFrame) -> None:
        self.training = training
        days = training["time"].dt.floor("D")
        counts = days.value_counts()
        self._days = [
            rows for _, rows in training.groupby(days) if len(rows) >= max(LEAST_DAY, counts.median() / 4)
        ]
        self._whole = training.sample(min(len(training), THINNED), random_state=1)
        self._first: dict[str, pd.Series] = {}
        self._largest: dict[tuple[str, str], float] = {}

    def measure(self, kind: str, name: str, rows: pd.DataFrame) -> float:
        values, known = rows[name], self._whole[name].dropna()
        present = values[values.notna()]
        if kind == "missing" or not len(present):
            return float(values.isna().mean())
        if kind == "distance" and is_number(self.training, name):
            given, usual = (np.sort(pd.to_numeric(each).to_numpy(float)) for each in (present, known))
            grid = np.concatenate([given, usual])
            below = (np.searchsorted(each, grid, side="right") / len(each) for each in (given, usual))
            return float(np.abs(next(below) - next(below)).max())
        if kind == "distance":
            shares, usual = present.value_counts(normalize=True), known.value_counts(normalize=True)
            return float(shares.sub(usual, fill_value=0.0).abs().sum() / 2)
        return float((~present.isin(self.training[name].unique())).mean())

    def largest(self, kind: str, name: str) -> float:
        """Return the largest difference of any day of training.

        A value is unseen if no earlier day had it; this is measured over the later half of training.
        """
        if (kind, name) not in self._largest:
            if kind == "unseen":
                first = self.training.groupby(name)["time"].transform("min").dt.floor("D")
                is_new = first == self.training["time"].dt.floor("D")
                half = len(self.training) // 2
                by_day = is_new[half:].groupby(self.training["time"][half:].dt.floor("D")).mean()
                self._largest[kind, name] = float(by_day.max())
            else:
                self._largest[kind, name] = max(self.measure(kind, name, rows) for rows in self._days)
        return self._largest[kind, name]

    def excludes(self, cell: Cell, served: pd.DataFrame) -> str:
        """Return why a fault need not be found; empty if it must be."""
        onset = cell.moment()
        rows = served[(served["time"] >= onset) & (served["time"] < onset + DAY)]
        altered, hit = alter(cell, self.training, rows)
        if hit.sum() < LEAST_HIT:
            return f"it hits {hit.sum()} events in 24 hours"
        if cell.fault == "vanished column":
            return ""
        kind = {
            "unseen category, 5 %": "unseen",
            "respelling": "unseen",
            "unit change": "distance",
            "lost join: constant": "distance",
        }.get(cell.fault, "missing")
        reasons = []
        for name in cell.features:
            value, largest = self.measure(kind, name, altered), self.largest(kind, name)
            if value > largest:
                return ""
            reasons.append(f"{name}: {kind} {value:.3f}, in training up to {largest:.3f} a day")
        return "; ".join(reasons)


def load() -> list[Cell]:
    return [Cell(**{**each, "features": tuple(each["features"])}) for each in orjson.loads(FILE.read_bytes())]


def main() -> int:
    found = list(cells(STREAMS.values()))
    FILE.write_bytes(orjson.dumps([asdict(cell) for cell in found], option=orjson.OPT_INDENT_2) + b"\n")
    for cell in found:
        if cell.excluded:
            print(f"{cell.stream} {cell.fold} {cell.fault} ({', '.join(cell.features)}): {cell.excluded}")
    print(f"{sum(not cell.excluded for cell in found)} of {len(found)} faults are to be found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
