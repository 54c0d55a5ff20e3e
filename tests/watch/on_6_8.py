"""The stack as a Watcher of 6.8 can read it: other mappings, two expressions in scripts, and `doc_type`.

The shipped watches themselves are the same, byte for byte, but for the document type of an index action.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from logging_lib._util import content
from logging_lib.schema.templates import PROFILES, WATCH_NOTIFIED
from logging_lib.stack import resources
from tests.watcher_server import WatcherServer

_TYPES = {"match_only_text": "text", "wildcard": "keyword"}
_SPLIT = "path.splitOnToken('.')"
_TOKENS = """\
List readTokens(String path) {
  List tokens = new ArrayList();
  StringTokenizer rest = new StringTokenizer(path, '.');
  while (rest.hasMoreTokens()) { tokens.add(rest.nextToken()); }
  return tokens;
}

"""


def deploy(server: WatcherServer) -> None:
    """Put the templates and the scripts, as `stack deploy` does. Indices appear with their first document."""
    names = [f"logs-{dataset}" for dataset in resources.DATASETS]
    bodies = {name: _read("component_templates", f"{name}@mappings") for name in names}
    bodies |= {name: _read("index_templates", name) for name in (PROFILES, WATCH_NOTIFIED)}
    for name, body in bodies.items():
        pattern = f"{name}-*" if name.startswith("logs-") else name
        settings = {"number_of_shards": 1, "number_of_replicas": 0, "mapping.total_fields.limit": 2000}
        mapping = _adapt(body["template"]["mappings"])
        template = {"index_patterns": [pattern], "settings": settings, "mappings": {"_doc": mapping}}
        server.call("PUT", f"/_template/{name}", template)
    for script in resources.load_scripts(content.path("watchers") / "scripts"):
        source = script.body["source"].replace("ZonedDateTime moment = instant", "def moment = instant")
        if _SPLIT in source:
            source = _TOKENS + source.replace(_SPLIT, "readTokens(path)")
        server.call("PUT", f"/_scripts/{script.name}", {"script": {"lang": "painless", "source": source}})


def _read(folder: str, name: str) -> Any:
    return json.loads(
        (content.path("pipelines") / "elasticsearch" / folder / f"{name}.json").read_text("utf-8")
    )


def _adapt(node: Any) -> Any:
    if isinstance(node, list):
        return [_adapt(item) for item in node]
    if not isinstance(node, dict):
        return node
    adapted = {key: _adapt(value) for key, value in node.items() if key != "subobjects"}
    kind = node.get("type")
    if isinstance(kind, str):
        adapted["type"] = _TYPES.get(kind, kind)
        if kind == "boolean":
            adapted.pop("ignore_malformed", None)
        if node.get("doc_values", True):
            adapted.pop("index", None)  # it does not search by doc values alone
    return adapted


def put_watch(server: WatcherServer, watch_id: str, definition: Mapping[str, Any]) -> None:
    """Put a watch that runs only when it is asked to."""
    actions = {
        name: {**action, "index": {**action["index"], "doc_type": "_doc"}} if "index" in action else action
        for name, action in definition["actions"].items()
    }
    path = f"/_xpack/watcher/watch/{quote(watch_id)}?active=false"
    server.call("PUT", path, {**definition, "actions": actions})


def run_watch(server: WatcherServer, watch_id: str, scheduled: str) -> Any:
    """Return the record of a run at a time: what it found, and what it would have sent."""
    body = {
        "trigger_data": {"scheduled_time": scheduled, "triggered_time": scheduled},
        "action_modes": {"email": "force_simulate", "slack": "force_simulate", "remember": "skip"},
    }
    answer = server.call("POST", f"/_xpack/watcher/watch/{quote(watch_id)}/_execute", body)
    return answer["watch_record"]


def run_once(server: WatcherServer, definition: Mapping[str, Any]) -> Any:
    """Return the record of a run of a watch that is not stored."""
    watch = {"trigger": {"schedule": {"interval": "1d"}}, **definition}
    return server.call("POST", "/_xpack/watcher/watch/_execute", {"watch": watch})["watch_record"]


def index(server: WatcherServer, name: str, documents: list[dict[str, Any]]) -> None:
    """Index documents; they can be searched at once."""
    for begin in range(0, len(documents), 5000):
        part = documents[begin : begin + 5000]
        lines: list[dict[str, Any]] = []
        for document in part:
            source = {key: value for key, value in document.items() if key != "_id"}
            lines += [{"index": {"_id": document["_id"]} if "_id" in document else {}}, source]
        answer = server.call("POST", f"/{name}/_doc/_bulk?refresh=true", lines)
        assert not answer["errors"], [i for i in answer["items"] if i["index"]["status"] >= 400][:1]


def clear(server: WatcherServer) -> None:
    """Delete all of our indices."""
    server.call("DELETE", "/logs-ml.*,ml-*")
