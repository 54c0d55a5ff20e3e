"""One tick of all shipped watches: over many events in 24 hours, on both stores, and over a fleet of models.

``tick_es`` and ``tick_embedded``: 1M predictions of 20 features within 24 hours (``LOGGING_LIB_BENCH_EVENTS``).
Each of several ticks is at another moment, because the server caches answers of equal requests; the median counts.
``fleet``: 300 models of 50 features with some events each, one tick, cold. Server and runner share the machine.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median

import orjson

from benchmarks import _elasticsearch, _history
from benchmarks._common import Result, frame
from logging_lib import PredictionProcessor, profile
from logging_lib._util import content
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import Store
from logging_lib.watch.loading import load_watches
from logging_lib.watch.runner import Runner

EVENTS, TICKS = 1_000_000, 9
MODELS, FEATURES, EVENTS_A_MODEL = 300, 50, 200
DAY = timedelta(hours=24)
STREAM = "logs-ml.prediction-default"


def run() -> Iterator[Result]:
    events = int(os.environ.get("LOGGING_LIB_BENCH_EVENTS", EVENTS))
    made = _history.fitted()
    with EmbeddedStore(None) as store:
        store.index("ml-profiles", [profile.build_document(made)])
        lines = _history.predictions(made, events, span=DAY)
        store.index(STREAM, map(orjson.loads, lines))
        yield Result("tick_embedded", _tick(store), "s", "<= 3 s")
    with _elasticsearch.deployed() as connection:
        if connection is None:
            return
        es = ElasticsearchStore(connection)
        es.index("ml-profiles", [profile.build_document(made)])
        _elasticsearch.fill(connection, STREAM, _history.predictions(made, events, span=DAY))
        yield Result("tick_es", _tick(es), "s", "<= 3 s")
    with _elasticsearch.deployed() as connection:
        if connection is None:
            return
        yield from _fleet(connection)


def _tick(store: Store) -> float:
    """Return the seconds of a tick of all watches."""
    taken = []
    for number in range(TICKS + 1):
        now = _history.START + DAY - timedelta(minutes=5 * number)
        runner = Runner(store, load_watches(content.path("watchers")), channels={}, dry_run=True)
        start = time.perf_counter()
        report = runner.run_once(now)
        if number:  # the first one warms up, and extracts columns
            taken.append(time.perf_counter() - start)
        assert not [run.error for run in report.runs if run.error]
    return median(taken)


def _fleet(connection: Connection) -> Iterator[Result]:
    rows = frame(2_000, numbers=FEATURES - 10, categories=8, texts=2)
    store = ElasticsearchStore(connection)
    fitted = profile.fit(rows, model="fleet000", version="1")
    document = profile.build_document(fitted)
    names = [f"fleet{number:03d}" for number in range(MODELS)]
    abouts = ({**document["ml"], "model": {"name": name, "version": "1"}} for name in names)
    copies = ({**document, "_id": f"{about['model']['name']}:1", "ml": about} for about in abouts)
    store.index("ml-profiles", copies)
    process = PredictionProcessor(model="fleet", version="1", profile=fitted, service="s")
    inputs = frame(EVENTS_A_MODEL, seed=1, numbers=FEATURES - 10, categories=8, texts=2).to_dict("records")
    _elasticsearch.fill(connection, STREAM, _fleet_lines(process, inputs))
    runner = Runner(store, load_watches(content.path("watchers")), channels={}, dry_run=True)
    start = time.perf_counter()
    report = runner.run_once(_history.START + DAY)
    taken = time.perf_counter() - start
    assert not [run.error for run in report.runs if run.error]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Result("fleet", taken, "s", "<= 60 s")
    yield Result("fleet_memory", peak, "MiB", "stated")


def _fleet_lines(process: PredictionProcessor, inputs: list[dict[str, object]]) -> Iterator[bytes]:
    for place, row in enumerate(inputs):
        event = process(None, "info", {"inputs": row, "prediction": 1.0, "request_id": "r"})
        at = _history.START + DAY * place / len(inputs)
        event["@timestamp"] = event["event"]["ingested"] = at.isoformat(timespec="milliseconds").replace(
            "+00:00", "Z"
        )
        for number in range(MODELS):
            event["event"]["id"] = f"f{place}-{number}"
            event["ml"]["model"]["name"] = f"fleet{number:03d}"
            yield orjson.dumps(event)
