"""``python -m benchmarks.detection.natural --streams tuning --clean-only --hours-step 1``: alerts where nothing broke.

Prints, for each natural stream, the alerts that a person would have got in the clean weeks, by watch and feature.
``--streams`` takes ``tuning``, ``reporting`` or names of streams, ``--folds`` numbers of folds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any

from benchmarks.detection.datasets import REPORTING, STREAMS, TUNING, Stream
from benchmarks.detection.serving import Fold
from logging_lib.watch.results import Alert


def chosen_streams(text: str) -> list[Stream]:
    groups = {"tuning": TUNING, "reporting": REPORTING, "all": (*TUNING, *REPORTING)}
    return [stream for name in text.split(",") for stream in groups.get(name) or [STREAMS[name]]]


def describe(alert: Alert) -> dict[str, Any]:
    """An alert as a record: each of its features with the finding's numbers."""
    return {
        "time": alert.time.isoformat(timespec="minutes"),
        "watch": alert.watch,
        "features": list(alert.features),
        "findings": [
            {key: value for key, value in finding.items() if isinstance(value, int | float | str)}
            for finding in alert.findings_sent
        ],
        "subject": alert.subject,
    }


def clean(name: str, number: int, *, every: timedelta, timed: bool, sample: float) -> dict[str, Any]:
    started = time.perf_counter()
    fold = Fold(STREAMS[name], number, timed=timed)
    result = fold.replay_clean(every=every, sample=sample)
    return {
        "stream": name,
        "fold": number,
        "events": len(fold.served),
        "weeks": fold.stream.serve,
        "alerts": [describe(alert) for alert in result.alerts],
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", default="tuning")
    parser.add_argument("--folds", default="")
    parser.add_argument("--hours-step", type=float, default=1 / 12, help="hours between ticks")
    parser.add_argument("--without-time", action="store_true", help="fit the profile without the time column")
    parser.add_argument("--sample", type=float, default=1.0)
    parser.add_argument("--clean-only", action="store_true")
    parser.add_argument("--list", action="store_true", help="print each alert")
    given = parser.parse_args()
    folds = {int(each) for each in given.folds.split(",") if each}
    every = timedelta(hours=given.hours_step)
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        waiting = [
            pool.submit(
                clean, stream.name, number, every=every, timed=not given.without_time, sample=given.sample
            )
            for stream in chosen_streams(given.streams)
            for number in range(stream.folds)
            if not folds or number in folds
        ]
        records = [each.result() for each in waiting]
    for name in dict.fromkeys(record["stream"] for record in records):
        chosen = [record for record in records if record["stream"] == name]
        alerts = [alert for record in chosen for alert in record["alerts"]]
        weeks = sum(record["weeks"] for record in chosen)
        by_fold = ", ".join(str(len(record["alerts"])) for record in chosen)
        print(f"\n{name}: {len(alerts)} alerts in {weeks} weeks, {len(alerts) / weeks:.2f} a week "
              f"(by fold: {by_fold}; {sum(record['seconds'] for record in chosen):.0f} s)")  # fmt: skip
        counted = Counter(
            (alert["watch"], feature) for alert in alerts for feature in alert["features"] or [""]
        )
        for (watch, feature), count in counted.most_common():
            print(f"  {count:5d} {watch:20} {feature}")
        if given.list:
            for alert in alerts:
                print(f"    {alert['time']} {alert['watch']:18} {alert['subject']}")
    total, weeks = sum(len(r["alerts"]) for r in records), sum(r["weeks"] for r in records)
    print(f"\nin all {total} alerts in {weeks} model-weeks, {total / weeks:.2f} a week")
    return 0


if __name__ == "__main__":
    sys.exit(main())
