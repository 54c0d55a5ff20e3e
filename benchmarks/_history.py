"""A month of one model's events, in the folder of an embedded store: predictions, labels, health, starts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson

from benchmarks._common import frame
from logging_lib import PredictionProcessor, profile
from logging_lib.profile.model import Profile
from logging_lib.store.duckdb.store import EmbeddedStore

START = datetime(2018, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=30)
DISTINCT = 20_000
LABELED = 10  # one prediction in this number gets its label, a day later
MODEL, SERVICE = "m", "s"


def fitted() -> Profile:
    data = frame(20_000)
    output = data["number_0"] / 20
    actual = output + np.random.default_rng(9).normal(0, 1, len(output))
    data = data.assign(output=output, actual=actual)
    return profile.fit(data, model=MODEL, version="1", prediction="output", target="actual")


def write(folder: Path, events: int) -> Profile:
    """Write healthy traffic, evenly spread, with missing values at the rate of training; return the profile."""
    made = fitted()
    with EmbeddedStore(folder) as store:
        store.index("ml-profiles", [profile.build_document(made)])
    for target, lines in {
        "logs-ml.prediction-default": predictions(made, events),
        "logs-ml.label-default": labels(events),
        "logs-ml.health-default": health(events),
        "logs-ml.start-default": starts(),
    }.items():
        (folder / target).mkdir()
        with (folder / target / "documents.jsonl").open("wb") as file:
            file.writelines(lines)
    return made


def predictions(
    made: Profile, events: int, start: datetime = START, span: timedelta = SPAN
) -> Iterator[bytes]:
    """Yield lines of ``ml.prediction`` events, as the logger writes them and a store keeps them."""
    draw = random.Random(7)
    process = PredictionProcessor(model=MODEL, version="1", profile=made, service=SERVICE)
    rows = []
    for row in frame(DISTINCT, seed=1).to_dict("records"):
        value = row["number_0"] / 20
        event = process(None, "info", {"inputs": row, "prediction": value, "request_id": "r"})
        event["@timestamp"], event["event"]["ingested"], event["event"]["id"] = "$made", "$came", "$id"
        event["event"]["duration"] = "$took"
        rows.append(orjson.dumps(event).replace(b'"$took"', b"$took").decode())
    for number in range(events):
        made_at = start + span * number / events
        line = rows[draw.randrange(DISTINCT)]
        line = line.replace("$made", _text(made_at)).replace("$came", _text(made_at + timedelta(seconds=2)))
        line = line.replace("$took", str(int(draw.lognormvariate(16.6, 0.4)))).replace(
            "$id", f"p{number:012d}"
        )
        if draw.random() < 0.001:
            line = line.replace('"outcome":"success"', '"outcome":"failure"')
        yield line.encode() + b"\n"


def labels(events: int) -> Iterator[bytes]:
    draw = random.Random(8)
    for number in range(events // LABELED):
        made_at = START + SPAN * number * LABELED / events
        came = made_at + timedelta(days=1)
        if came > START + SPAN:
            return
        error = draw.gauss(0, 1)
        yield _line(came, "label", number, label={
            "joined": True, "value": 10 + error, "error": error, "absolute_error": abs(error),
            "squared_error": error * error,
        }, prediction={"value": 10.0, "timestamp": _text(made_at)}, sample={"weight": 1.0})  # fmt: skip


def health(events: int) -> Iterator[bytes]:
    minutes = SPAN // timedelta(minutes=1)
    for minute in range(1, minutes):
        at = START + timedelta(minutes=minute)
        logged = events * minute // minutes - events * (minute - 1) // minutes
        yield _line(at, "health", 2 * minute, health={"interval": 60, "logged": logged, "dropped": 0})
        yield _line(at, "health", 2 * minute + 1, model=False, health={
            "interval": 60, "cpu": {"pct": 0.3}, "memory": {"rss": 300_000_000}, "logged": logged,
            "disk": {"used_pct": 0.4, "free": 50_000_000_000}, "backlog": {"age": 1.0},
        })  # fmt: skip


def starts() -> Iterator[bytes]:
    for day in range(0, SPAN.days, 3):
        yield _line(START + timedelta(days=day, hours=9), "start", day, start={"libraries": ["numpy==2.0"]})


def _line(at: datetime, dataset: str, number: int, *, model: bool = True, **ml: object) -> bytes:
    about = {"model": {"name": MODEL, "version": "1", "role": "live"}} if model else {}
    event = {
        "@timestamp": _text(at),
        "event": {"id": f"{dataset}{number}", "dataset": f"ml.{dataset}", "ingested": _text(at)},
        "service": {"name": SERVICE},
        "host": {"name": "h"},
        "process": {"pid": 1},
        "ml": {"schema_version": 1, **about, **ml},
    }
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
