"""A server that answers as Elasticsearch's documentation says, for what the test server lacks: Watcher and
data stream lifecycle on a trial license. Objects are kept in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

STREAM = "logs-ml.prediction-default"
LISTS = {"_component_template": "component_template", "_index_template": "index_template"}


class Cluster:
    """What the server holds; ``license`` may be changed."""

    def __init__(self) -> None:
        self.license = "trial"
        self.models = {"loans": True}
        self.retention: str | None = "90d"
        self.objects: dict[tuple[str, str], Any] = {}
        self.rolled_over: list[str] = []
        self.empty = False
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match method, parts:
            case "GET", [""]:
                return 200, {"version": {"number": "8.15.0"}}
            case "GET", ["_license"]:
                return 200, {"license": {"type": self.license, "status": "active"}}
            case "GET", ["_nodes", "plugins"]:
                return 200, {"nodes": {"a": {"modules": [{"name": "mapper-extras"}]}}}
            case "GET", ["_security", "_authenticate"]:
                return 200, {"username": "elastic"}
            case "GET", ["_resolve", "index", pattern]:
                streams = [{"name": STREAM}] if STREAM.startswith(pattern.rstrip("*")) else []
                return 200, {"indices": [], "aliases": [], "data_streams": streams}
            case "POST", [stream, "_rollover"]:
                self.rolled_over.append(stream)
                return 200, {"acknowledged": True}
            case "GET", ["_data_stream", name, "_lifecycle"]:
                if name != STREAM:
                    return 404, {"error": {"type": "index_not_found_exception", "reason": name}}
                lifecycle = {"enabled": True, "data_retention": self.retention} if self.retention else None
                entry = {"name": name, **({"lifecycle": lifecycle} if lifecycle else {})}
                return 200, {"data_streams": [entry]}
            case "PUT", ["_data_stream", _, "_lifecycle"]:
                self.retention = body["data_retention"]
                return 200, {"acknowledged": True}
            case "POST", [_, "_search"] if self.empty:
                shards = {"total": 0, "successful": 0, "skipped": 0, "failed": 0}
                return 200, {"_shards": shards, "hits": {"total": {"value": 0}, "hits": []}}
            case "POST", ["ml-profiles", "_search"]:
                hits = [
                    {"_id": name, "_source": {"ml": {"model": {"name": name}}, "deployed": deployed}}
                    for name, deployed in self.models.items()
                ]
                return 200, {"hits": {"total": {"value": len(hits)}, "hits": hits}}
            case _, ["_watcher", "watch", name]:
                return self._watch(method, name, body)
            case _, [*api, name]:
                return self._object(method, "/".join(api), name, body)
        return 400, {"error": f"no handler found for uri [{path}] and method [{method}]"}

    def _watch(self, method: str, name: str, body: Any) -> tuple[int, Any]:
        if self.license == "basic":
            reason = "current license is non-compliant for [watcher]"
            return 403, {"error": {"type": "security_exception", "reason": reason}}
        known = self.objects.get(("watch", name))
        if method == "PUT":
            self.objects["watch", name] = body
            return (200 if known else 201), {"_id": name, "_version": 1, "created": known is None}
        if known is None:
            return 404, {"found": False, "_id": name}
        if method == "DELETE":
            del self.objects["watch", name]
            return 200, {"found": True, "_id": name, "_version": 2}
        return 200, {"found": True, "_id": name, "status": {"version": 1}, "watch": shown(known)}

    def _object(self, method: str, api: str, name: str, body: Any) -> tuple[int, Any]:
        known = self.objects.get((api, name))
        if method == "PUT":
            self.objects[api, name] = body
            return 200, {"acknowledged": True}
        if known is None:
            return 404, {"error": {"type": "resource_not_found_exception", "reason": f"[{name}] not found"}}
        if method == "DELETE":
            del self.objects[api, name]
            return 200, {"acknowledged": True}
        if api in LISTS:
            return 200, {f"{LISTS[api]}s": [{"name": name, LISTS[api]: known}]}
        return 200, known if api == "_scripts" else {name: known}

    def watches(self) -> dict[str, Any]:
        return {name: body for (api, name), body in self.objects.items() if api == "watch"}


def shown(node: Any) -> Any:
    """A watch as Watcher gives it back: defaults written out, periods in milliseconds."""
    if isinstance(node, list):
        return [shown(item) for item in node]
    if not isinstance(node, dict):
        return node
    normalized = {key: shown(value) for key, value in node.items() if key != "throttle_period"}
    if "throttle_period" in node:
        normalized["throttle_period_in_millis"] = 86_400_000
    if "indices" in node and "body" in node:
        normalized |= {"search_type": "query_then_fetch", "rest_total_hits_as_int": True}
    return normalized


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two writes, and the second would wait 40 ms for an ACK

    def _handle(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        cluster: Cluster = self.server.cluster  # type: ignore[attr-defined]
        code, answer = cluster.answer(
            self.command, urlsplit(self.path).path, json.loads(data) if data else None
        )
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def serving() -> Iterator[Cluster]:
    cluster = Cluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.cluster = cluster  # type: ignore[attr-defined]
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield cluster
    server.shutdown()
    server.server_close()
    thread.join()
