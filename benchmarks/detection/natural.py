"""``python -m benchmarks.detection.natural``: natural streams in the product's own backtest.

``--streams`` takes ``tuning``, ``reporting``, ``all`` or names, ``--folds`` numbers; ``--clean-only`` measures only
the clean weeks, ``--hours-step 1`` is faster, ``--list`` prints each alert. Without ``--hours-step`` the
measurements are kept in ``build/detection``, and a run that was stopped continues where it was.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from benchmarks.detection import detectable
from benchmarks.detection.datasets import REPORTING, STREAMS, TUNING, WEEK, Stream
from benchmarks.detection.detectable import DAY, Cell, is_number
from benchmarks.detection.serving import Fold
from logging_lib._util import content
from logging_lib.watch.results import Alert

OUT = Path("build/detection")
STEP = 0.25
"""Hours between ticks in weeks; around a fault they are 5 minutes."""
FINE = timedelta(minutes=5)
PAST = 9 * DAY  # time before a fault: the longest window and the same weekday of the week before
STAGES = (pd.Timedelta(hours=2), DAY)
SHIFTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of a number, in standard deviations
MOVED = (0.05, 0.1, 0.2, 0.3, 0.5)  # share of events whose category becomes another one
SAMPLES = (0.1, 0.01)
Record = dict[str, Any]


class Served:
    """A fold whose events are built once, for the clean weeks and for the time before each fault."""

    def __init__(self, stream: str, number: int, *, timed: bool = True, step: float = STEP) -> None:
        self.fold = Fold(STREAMS[stream], number, timed=timed)
        self.rows = self.fold.served
        self.about = {"stream": stream, "fold": number}
        self._every = timedelta(hours=step)

    @cached_property
    def lines(self) -> list[bytes]:
        return list(self.fold.events(self.rows))

    def _replay(self, lines: Iterable[bytes], rows: pd.DataFrame) -> list[Record]:
        first, last = rows["time"].iloc[0], rows["time"].iloc[-1]
        return [describe(a) for a in self.fold.replay(lines, rows["time"], first, last, self._every)]

    def clean(self) -> list[Record]:
        days = (self.rows["time"].iloc[-1].normalize() - self.rows["time"].iloc[0].normalize()).days + 1
        alerts = [{**alert, "effects": self._effects(alert)} for alert in self._replay(self.lines, self.rows)]
        return [{**self.about, "events": len(self.rows), "weeks": days / 7, "days": days, "alerts": alerts}]

    def _effects(self, alert: Record) -> dict[str, str]:
        """Return how far the day before an alert, and the most distant day of training, are from training."""
        now = pd.Timestamp(alert["time"])
        rows = self.rows[(self.rows["time"] <= now) & (self.rows["time"] > now - DAY)]
        found = {}
        for name in alert["features"]:
            if name in self.fold.features and len(rows):
                for kind in ("missing", "unseen", "distance"):
                    if kind == "unseen" and is_number(self.fold.training, name):
                        continue
                    value, largest = self._days.measure(kind, name, rows), self._days.largest(kind, name)
                    if value > 0.0:
                        found[f"{name} {kind}"] = f"{value:.2f} ({largest:.2f})"
        return found

    @cached_property
    def _days(self) -> detectable.Days:
        return detectable.Days(self.fold.training)

    def early(self) -> list[Record]:
        """Return the alerts of the first two weeks."""
        rows = self.rows[self.rows["time"] < self.rows["time"].iloc[0] + 2 * WEEK]
        return [{**self.about, "weeks": 2.0, "alerts": self._replay(self.lines[: len(rows)], rows)}]

    def sampled(self) -> list[Record]:
        """Return the alerts for the same events with sampling."""
        records = []
        for sample in SAMPLES:
            lines = list(self.fold.events(self.rows, sample))
            alerts = self._replay(lines, self.rows)
            kept = len(lines) / len(self.rows)
            records.append({**self.about, "sample": sample, "kept": kept, "alerts": alerts})
        return records

    def faults(self) -> list[Record]:
        cells = [
            c for c in detectable.load() if (c.stream, c.fold) == (self.about["stream"], self.about["fold"])
        ]
        return [self._fault(cell) for cell in cells if not cell.excluded]

    def _fault(self, cell: Cell) -> Record:
        onset = cell.moment()

        def broken(rows: pd.DataFrame) -> pd.DataFrame:
            return detectable.alter(cell, self.fold.training, rows)[0]

        after = self.rows["time"][self.rows["time"] >= onset]
        record: Record = {**self.about, "fault": cell.fault, "features": list(cell.features), "found": False}
        record |= {"onset": cell.onset, "a_day": int((after < onset + DAY).sum())}
        for reach in STAGES:
            for alert in self._news(onset, reach, broken):
                if set(cell.features) & set(alert["features"]):
                    now = pd.Timestamp(alert["time"])
                    count = int((after <= now).sum())
                    hours = (now - onset) / pd.Timedelta(hours=1)
                    return {**record, "found": True, "watch": alert["watch"], "events": count, "hours": hours}
        return record

    def _news(
        self, onset: pd.Timestamp, reach: pd.Timedelta, broken: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> list[Record]:
        """Return the alerts after an onset, with the features that the same watch would not have named anyway."""
        alerts = self._after(onset, reach, broken)
        usual: dict[tuple[str, str], str] = {}
        for alert in self._after(onset, reach, lambda rows: rows) if alerts else ():
            for name in alert["features"]:
                usual.setdefault((alert["watch"], name), alert["time"])
        return [
            {
                **alert,
                "features": [
                    name
                    for name in alert["features"]
                    if usual.get((alert["watch"], name), "9") > alert["time"]
                ],
            }
            for alert in alerts
        ]

    def _after(
        self, onset: pd.Timestamp, reach: pd.Timedelta, broken: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> list[Record]:
        """Return the alerts from the onset on, in the order of time."""
        times = self.rows["time"]
        past = np.flatnonzero((times >= onset - PAST) & (times < onset))
        rows = self.rows[(times >= onset) & (times < onset + reach)]
        lines = [*(self.lines[place] for place in past), *self.fold.events(broken(rows))]
        until = onset + reach
        # One tick before the onset opens the incidents that are not new.
        alerts = self.fold.replay(lines, times[times < until], onset - DAY / 24, until, FINE)
        return [describe(alert) for alert in alerts if pd.Timestamp(alert.time) > onset]

    def shifts(self) -> list[Record]:
        """Return which features are found within a day if all of them move by each of ``SHIFTS`` or ``MOVED``."""
        onset = self.rows["time"].iloc[0] + 9 * DAY
        names = [name for name in self.fold.features if name != self.fold.stream.text]
        found: dict[str, float] = {}
        for shift, share in zip(SHIFTS, MOVED, strict=True):

            def broken(rows: pd.DataFrame, shift: float = shift, share: float = share) -> pd.DataFrame:
                return self._moved(rows, names, shift, share)

            for alert in self._news(onset, DAY, broken):
                for name in set(alert["features"]) & set(names) - found.keys():
                    found[name] = shift if is_number(self.fold.training, name) else share
        numbers = [name for name in names if is_number(self.fold.training, name)]
        return [
            {**self.about, "feature": name, "number": name in numbers, "smallest": found.get(name)}
            for name in names
        ]

    def _moved(self, rows: pd.DataFrame, names: list[str], shift: float, share: float) -> pd.DataFrame:
        chance, rows = np.random.default_rng(5), rows.copy()
        for name in names:
            known = self.fold.training[name].dropna()
            if is_number(self.fold.training, name):
                rows[name] = rows[name].astype(float) + shift * float(known.std())
            elif known.nunique() > 1:
                values = rows[name].astype(object)
                values[chance.random(len(rows)) < share] = known.value_counts().index[1]
                rows[name] = values
        return rows


PARTS = ("clean", "faults", "shifts", "sampled", "early", "early faults")
"""``early``: the first two weeks, with a profile that was fitted without times."""


def of_fold(
    stream: str, number: int, parts: Iterable[str], step: float, folder: str
) -> list[tuple[str, list[Record]]]:
    """Return the requested parts of a fold; they are kept in the folder, if there is one."""
    served = Served(stream, number, step=step)
    untimed = Served(stream, number, timed=False, step=step)
    measured = []
    for part in parts:
        file = Path(folder) / f"{stream}-{number}-{part}.json"
        if folder and file.is_file():
            records = orjson.loads(file.read_bytes())
        else:
            source = untimed if part.startswith("early") else served
            records = getattr(source, part.split()[-1])()
            if folder:
                file.write_bytes(orjson.dumps(records, option=orjson.OPT_SERIALIZE_NUMPY))
        measured.append((part, records))
    return measured


def describe(alert: Alert) -> Record:
    return {
        "time": alert.time.isoformat(timespec="minutes"),
        "watch": alert.watch,
        "features": list(alert.features),
        "subject": alert.subject,
    }


def fingerprint() -> str:
    """Return a hash of everything that the figures depend on."""
    digest, package = hashlib.sha256(), Path(content.__file__).parents[1]
    here = Path(__file__).parent
    code = [*(here / f"{name}.py" for name in ("datasets", "detectable", "serving")), Path(__file__)]
    for folder in ("logger", "profile", "watch"):
        code += sorted((package / folder).rglob("*.py"))
    for file in code:
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):  # without docstrings
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value = ast.Constant("")
        digest.update(ast.dump(tree).encode())
    for file in [*sorted(content.path("watchers").glob("*.json")), detectable.FILE]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def measure(
    streams: Iterable[Stream], *, parts: Iterable[str] = PARTS, folds: Iterable[int] = (), step: float = STEP
) -> dict[str, list[Record]]:
    """Return part → the records of these streams; some parts are measured only on one fold of each stream."""
    folder = OUT / fingerprint()
    if step == STEP:
        folder.mkdir(parents=True, exist_ok=True)
    wanted, measured = set(folds), {part: list[Record]() for part in parts}

    def of(number: int) -> Iterator[str]:
        only = {"sampled": 0, "early faults": 0, "shifts": 1}
        return (part for part in measured if only.get(part, number) == number)

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        waiting = [
            pool.submit(
                of_fold, stream.name, number, list(of(number)), step, str(folder) if step == STEP else ""
            )
            for stream in streams
            for number in range(stream.folds)
            if not wanted or number in wanted
        ]
        for each in waiting:
            for part, records in each.result():
                measured[part] += records
    return measured


def chosen_streams(text: str) -> list[Stream]:
    groups = {"tuning": TUNING, "reporting": REPORTING, "all": (*TUNING, *REPORTING)}
    return [stream for name in text.split(",") for stream in groups.get(name) or [STREAMS[name]]]


def show_clean(records: list[Record], *, each: bool) -> None:
    for name in dict.fromkeys(record["stream"] for record in records):
        chosen = [record for record in records if record["stream"] == name]
        alerts = [alert for record in chosen for alert in record["alerts"]]
        weeks = sum(record["weeks"] for record in chosen)
        by_fold = ", ".join(str(len(record["alerts"])) for record in chosen)
        print(f"\n{name}: {len(alerts)} alerts in {weeks:.0f} weeks, {len(alerts) / weeks:.2f} a week, "
              f"by fold: {by_fold}")  # fmt: skip
        counted = Counter(
            (alert["watch"], feature) for alert in alerts for feature in alert["features"] or [""]
        )
        for (watch, feature), count in counted.most_common():
            print(f"  {count:5d} {watch:20} {feature}")
        if each:
            for alert in alerts:
                print(
                    f"    {alert['time']} {alert['watch']:18} {alert['subject']} {alert.get('effects', '')}"
                )
    total, weeks = sum(len(r["alerts"]) for r in records), sum(r["weeks"] for r in records)
    print(f"\nin all {total} alerts in {weeks:.0f} model-weeks, {total / weeks:.2f} a week")


def show_faults(records: list[Record]) -> None:
    for record in records:
        found = (
            f"{record['events']} events, {record['hours']:.1f} h, {record['watch']}"
            if record["found"]
            else "-"
        )
        about = f"{record['stream']:12} {record['fold']} {record['fault']:21}"
        print(f"  {about} {', '.join(record['features']):.40} {found}")
    print(f"{sum(record['found'] for record in records)} of {len(records)} faults found within a day")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", default="tuning")
    parser.add_argument("--folds", default="")
    parser.add_argument("--hours-step", type=float, default=STEP, help="hours between ticks in clean weeks")
    parser.add_argument(
        "--without-time", action="store_true", help="the profile is fitted without times: two weeks"
    )
    parser.add_argument("--clean-only", action="store_true")
    parser.add_argument("--list", action="store_true", help="print each alert")
    given = parser.parse_args()
    clean, faults = ("early", "early faults") if given.without_time else ("clean", "faults")
    measured = measure(
        chosen_streams(given.streams),
        parts=[clean] if given.clean_only else [clean, faults],
        folds=[int(each) for each in given.folds.split(",") if each],
        step=given.hours_step,
    )
    show_clean(measured[clean], each=given.list)
    if faults in measured:
        show_faults(measured[faults])
    return 0


if __name__ == "__main__":
    sys.exit(main())
