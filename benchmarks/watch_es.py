"""One run of a watch on a real Elasticsearch, with a one-hour window inside many events and inside few.

``na-spike``, with windows up to an hour, over 2M events (as many as the machine can take in time) and over 200k,
both spread over 30 days on one server; 200 runs each, alternating, at random times; the 95th percentile. If
``LOGGING_LIB_TEST_ES_URL`` is set, that server is used.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np

from benchmarks import _elasticsearch, _history
from benchmarks._common import Result
from logging_lib import profile
from logging_lib._util import content
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.evaluate import evaluate, run_dependencies
from logging_lib.watch.loading import load_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.overrides import apply_overrides

MANY, FEW, RUNS = 2_000_000, 200_000, 200
WINDOWS = '["5m", "15m", "30m", "1h"]'


def run() -> Iterator[Result]:
    many = int(os.environ.get("LOGGING_LIB_BENCH_EVENTS", MANY))
    few = max(1, many * FEW // MANY)
    with _elasticsearch.deployed() as connection:
        if connection is None:
            return
        store = ElasticsearchStore(connection)
        made = _history.fitted()
        store.index("ml-profiles", [profile.build_document(made)])
        streams = {}
        for name, count in (("many", many), ("few", few)):
            streams[name] = f"logs-ml.prediction-bench{name}"
            _elasticsearch.fill(connection, streams[name], _history.predictions(made, count))
            connection.call("POST", f"/{streams[name]}/_forcemerge", params={"max_num_segments": 5})
        store.refresh()
        (hourly,) = apply_overrides(
            [load_watch(content.path("watchers") / "na-spike.json")], [f"na-spike.windows={WINDOWS}"]
        )
        watches = {name: _over(hourly, stream) for name, stream in streams.items()}
        draw = random.Random(1)
        taken: dict[str, list[float]] = {"many": [], "few": []}
        for number in range(RUNS + 20):
            now = _history.START + timedelta(minutes=5 * draw.randrange(24, 30 * 24 * 12))
            for name, watch in watches.items():
                start = time.perf_counter()
                evaluate(watch, dependencies=run_dependencies(store, now=now), now=now, scheduled=now)
                if number >= 20:  # the first ones warm the server up
                    taken[name].append(time.perf_counter() - start)
    at = {name: float(np.quantile(found, 0.95)) * 1000 for name, found in taken.items()}
    ratio = at["many"] / at["few"]
    yield Result("watch_es", at["many"], "ms, p95", "ratio <= 1.3", f"{few:,} events", at["few"], ratio)


def _over(watch: Watch, stream: str) -> Watch:
    """Return the watch over one stream alone."""
    inputs = watch.definition.input.model_dump_json(exclude_unset=True, by_alias=True)
    narrowed = inputs.replace("logs-ml.prediction-*", stream)
    definition = watch.definition.model_copy(
        update={"input": type(watch.definition.input).model_validate_json(narrowed)}
    )
    return Watch(watch.id, definition, watch.file)
