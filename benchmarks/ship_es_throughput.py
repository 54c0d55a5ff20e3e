"""From the spool directly to a real Elasticsearch on the same machine; events with 20 features, all checked.

The server shares the cores and indexes only ``@timestamp``, so this measures the shipper's side and the
bulk API, not a cluster.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator

from benchmarks._common import Result
from benchmarks.ship_throughput import fill
from logging_lib.ship.receivers import create_receiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.target import parse_target
from tests import elasticsearch_server

EVENTS, ROUNDS = 50_000, 3


def run() -> Iterator[Result]:
    try:
        with elasticsearch_server.running() as url:
            yield from _measured(url)
    except elasticsearch_server.Unavailable as reason:
        print(f"  skipped: {reason}")


def _measured(url: str) -> Iterator[Result]:
    best = cpu = 0.0
    _template(url)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            fill(folder, EVENTS)
            shipper = Shipper(folder, create_receiver(parse_target(f"es+{url}?namespace=bench")))
            shipper.reader.lock()
            start, started = time.perf_counter(), time.process_time()
            while shipper.ship_batch():
                pass
            taken, used = time.perf_counter() - start, time.process_time() - started
            state = shipper.reader.state
            assert (state.shipped, state.duplicates) == (EVENTS, 0)
            shipper.close()
        if EVENTS / taken > best:
            best, cpu = EVENTS / taken, used / EVENTS * 1e6
    yield Result("ship_es_throughput", best, "events/s", "reported; one node on the same two cores")
    yield Result("ship_es_cpu", cpu, "µs CPU an event", "reported")


def _template(url: str) -> None:
    body = {
        "index_patterns": ["logs-ml.*-bench"],
        "priority": 900,
        "data_stream": {},
        "template": {"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": False}},
    }
    request = urllib.request.Request(f"{url}/_index_template/bench", json.dumps(body).encode(), method="PUT")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request).close()
