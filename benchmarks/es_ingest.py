"""Documents per second into our streams on a real Elasticsearch, beside the same ones into ``dynamic: false``.

``es_ingest`` is the mapping's cost; ``es_ingest_pipeline`` also has the pipeline that sets the time of arrival.
Events with 20 features and all checks, as the logger writes them, in bulk requests of 1,000, one after another;
the rounds alternate, each into a new index. If ``LOGGING_LIB_TEST_ES_URL`` is set, that server is used.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson

import logging_lib
from benchmarks import _elasticsearch
from benchmarks._common import Result, frame
from logging_lib import profile
from logging_lib.store.connection import BulkOperation, Connection, send_bulk

EVENTS, ROUNDS = 20_000, 5
PEER = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "5s"},
    "mappings": {"dynamic": False},
}


def run() -> Iterator[Result]:
    operations = _operations()
    sent = statistics.mean(len(operation.source) for operation in operations)
    with _elasticsearch.deployed() as connection:
        if connection is None:
            return
        simulated = connection.call("POST", "/_index_template/_simulate/logs-ml.prediction")["template"]
        simulated["settings"]["index"].pop("final_pipeline")
        simulated["settings"]["index"]["number_of_replicas"] = 0
        mapped = {key: simulated[key] for key in ("settings", "mappings")}
        rates: dict[str, list[float]] = {"stream": [], "mapped": [], "peer": []}
        for number in range(ROUNDS + 1):
            name = uuid4().hex[:12]
            connection.call("PUT", f"/bench-mapped-{name}", mapped)
            connection.call("PUT", f"/bench-{name}", PEER)
            stream = f"logs-ml.prediction-bench{name}"
            targets = {"stream": stream, "mapped": f"bench-mapped-{name}", "peer": f"bench-{name}"}
            for key, target in targets.items():
                rate = _rate(connection, target, operations)
                if number:  # the first round warms the server up
                    rates[key].append(rate)
        size = _bytes(connection, stream)
        least = _bytes(connection, f"bench-{name}")
    peer = statistics.median(rates["peer"])
    for name, key, goal in (
        ("es_ingest", "mapped", "ratio >= 0.5"),
        ("es_ingest_pipeline", "stream", "reported"),
    ):
        ratio = statistics.median(a / b for a, b in zip(rates[key], rates["peer"], strict=True))
        yield Result(name, statistics.median(rates[key]), "docs/s", goal, "dynamic: false", peer, ratio)
    yield Result(
        "es_bytes", size, "bytes a document", f"stated; {sent:.0f} bytes as JSON", "dynamic: false", least,
        size / least,
    )  # fmt: skip


def _operations() -> list[BulkOperation]:
    data = frame(20_000)
    output = data["number_0"] / 20
    fitted = profile.fit(data.assign(output=output), model="m", version="1", prediction="output")
    requests = data.to_dict("records")
    with tempfile.TemporaryDirectory() as folder:
        log = logging_lib.configure(model="m", version="1", profile=fitted, spool=folder, service="s")
        for number in range(EVENTS):
            log.prediction(
                requests[number % len(requests)], prediction=output[number], request_id=f"r-{number}"
            )
        lines = [
            line for path in sorted(Path(folder).glob("*.jsonl")) for line in path.read_bytes().splitlines()
        ]
    made = []
    for line in lines:
        event = orjson.loads(line)["event"]
        if event["dataset"] == "ml.prediction":
            made.append(BulkOperation(event["id"], {"create": {"_id": event["id"]}}, line))
    return made


def _rate(connection: Connection, target: str, operations: list[BulkOperation]) -> float:
    first, rest = operations[:1], operations[1:]
    list(send_bulk(connection, target, first, retry_seconds=60))  # creates the stream
    start = time.perf_counter()
    refused = [outcome for outcome in send_bulk(connection, target, rest, retry_seconds=60) if outcome.reason]
    taken = time.perf_counter() - start
    assert refused == []
    return len(rest) / taken


def _bytes(connection: Connection, target: str) -> float:
    connection.call("POST", f"/{target}/_forcemerge", params={"max_num_segments": 1})
    connection.call("POST", f"/{target}/_flush")
    found = connection.call("GET", f"/{target}/_stats/store,docs")["_all"]["primaries"]
    return float(found["store"]["size_in_bytes"] / found["docs"]["count"])
