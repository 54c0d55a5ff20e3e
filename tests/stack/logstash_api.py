"""A server that answers as a Logstash's node API does: in the shape of Logstash 9's documentation and sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ROOT = {"host": "ingest-1", "version": "9.5.2", "http_address": "127.0.0.1:9600", "id": "3e0e9b9a",
        "name": "ingest-1", "ephemeral_id": "6a218b06", "snapshot": False}  # fmt: skip
HEALTH = {
    **ROOT,
    "status": "green",
    "symptom": "1 indicator is healthy (`pipelines`)",
    "timestamp": "2026-08-12T10:30:45.123456789Z",
    "indicators": {
        "pipelines": {
            "status": "green",
            "symptom": "2 indicators are healthy (`ml`, and `ml-dead-letters`)",
            "indicators": {
                "ml": {
                    "status": "green",
                    "symptom": "The pipeline is healthy",
                    "details": {
                        "status": {"state": "RUNNING"},
                        "flow": {"worker_utilization": {"last_1_minute": 2.1, "last_5_minutes": 2.0}},
                    },
                },
                "ml-dead-letters": {
                    "status": "green",
                    "symptom": "The pipeline is healthy",
                    "details": {"status": {"state": "RUNNING"}},
                },
            },
        }
    },
}


def flow(rate: float) -> dict[str, float]:
    return {"current": rate, "last_1_minute": rate, "last_5_minutes": rate, "lifetime": rate}


def pipeline(reads: str, **documents: int) -> dict[str, Any]:
    """The statistics of one pipeline, as ``_node/stats/pipelines`` gives them."""
    return {
        "events": {"in": 90_000, "filtered": 90_000, "out": 90_000, "duration_in_millis": 86_000},
        "flow": {
            "input_throughput": flow(25.0),
            "output_throughput": flow(25.0),
            "queue_backpressure": flow(0.0),
            "worker_utilization": flow(2.0),
            "queue_persisted_growth_bytes": flow(120.5),
            "queue_persisted_growth_events": flow(0.0),
        },
        "plugins": {
            "inputs": [{"id": f"ml_input_{reads}", "name": reads, "events": {"out": 90_000}}],
            "codecs": [{"id": "plain_b0090202", "name": "plain"}],
            "filters": [{"id": "ml_normalize", "name": "ruby", "events": {"in": 90_000, "out": 90_000}}],
            "outputs": [
                {
                    "id": "ml_output_elasticsearch",
                    "name": "elasticsearch",
                    "events": {"in": 90_000, "out": 90_000, "duration_in_millis": 51_000},
                    "documents": {"successes": 90_000, **documents},
                    "bulk_requests": {"successes": 400, "responses": {"200": 400}},
                    "flow": {"worker_utilization": flow(1.0)},
                }
            ],
        },
        "reloads": {"successes": 0, "failures": 0, "last_error": None},
        "queue": {
            "type": "persisted",
            "events": 0,
            "capacity": {"max_queue_size_in_bytes": 1 << 30, "queue_size_in_bytes": 11_341},
            "data": {"free_space_in_bytes": 60_833_390_592, "path": "/var/lib/logstash/queue/ml"},
            "events_count": 3,
            "queue_size_in_bytes": 11_341,
            "max_queue_size_in_bytes": 1 << 30,
        },
        "dead_letter_queue": {
            "queue_size_in_bytes": 1,
            "max_queue_size_in_bytes": 1 << 30,
            "dropped_events": 0,
            "expired_events": 0,
            "last_error": "no errors",
            "storage_policy": "drop_newer",
        },
    }


def answers() -> dict[str, Any]:
    last = pipeline("dead_letter_queue")
    last["queue"] = {"type": "memory", "events_count": 0, "queue_size_in_bytes": 0}
    other = deepcopy(last)
    other["plugins"] = {
        "inputs": [{"id": "8d0f", "name": "beats"}],
        "outputs": [{"id": "9c1e", "name": "http"}],
    }
    pipelines = {"ml": pipeline("beats"), "ml-dead-letters": last, "web-logs": other}
    return {"/": ROOT, "/_health_report": HEALTH, "/_node/stats/pipelines": {**ROOT, "pipelines": pipelines}}


@contextmanager
def serving(documents: dict[str, Any]) -> Iterator[str]:
    """A server that answers these paths: with JSON, with bytes as they are, or with a status alone."""

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1  # the head and the body in one packet

        def do_GET(self) -> None:
            document = documents.get(self.path.partition("?")[0], 404)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(document if isinstance(document, int) else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
