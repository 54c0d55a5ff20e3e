"""As much of a client for Elasticsearch as the comparison needs, and an index mapped like ``fields.yml``."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from logging_lib.schema.fields import Schema
from logging_lib.store import SearchError


class Elasticsearch:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/{path}", data, method=method)
        request.add_header(
            "Content-Type", "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise SearchError(error.read().decode()) from None

    def create(self, index: str, schema: Schema) -> None:
        self.call(
            "PUT",
            index,
            {"settings": {"number_of_shards": 1, "refresh_interval": "-1"}, "mappings": mappings(schema)},
        )

    def delete(self, index: str) -> None:
        self.call("DELETE", f"{index}?ignore_unavailable=true")

    def index(self, index: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """The id is ``event.id``; documents that Elasticsearch refuses raise."""
        lines = []
        for document in documents:
            lines += [{"create": {"_id": document["event"]["id"]}}, document]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        answer = self.call("POST", f"{index}/_bulk?refresh=true", data)
        failed = [item["create"]["error"] for item in answer["items"] if "error" in item["create"]]
        if failed:
            raise SearchError(json.dumps(failed[:3]))

    def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("POST", f"{urllib.parse.quote(index)}/_search", body)
        return answer


# Types of modules that small distributions leave out; these stand for them.
PLAIN = {"match_only_text": "text", "wildcard": "keyword"}


def mappings(schema: Schema) -> dict[str, Any]:
    """An explicit mapping; starred fields become dynamic templates below an object without sub-objects."""
    root: dict[str, Any] = {"dynamic": False, "properties": {}, "dynamic_templates": []}
    for field in schema.fields:
        *parents, leaf = field.name.split(".")
        node = root
        for parent in parents:
            node = node["properties"].setdefault(parent, {"properties": {}})
        if leaf == "*":
            node |= {"type": "object", "dynamic": True, "subobjects": False}
            node.pop("properties", None)
            template = {"path_match": field.name, "mapping": {"type": PLAIN.get(field.type, field.type)}}
            root["dynamic_templates"].append({field.name.replace(".", "_"): template})
        elif field.type == "object":
            node["properties"][leaf] = {"type": "object", "enabled": False}
        else:
            node["properties"][leaf] = {"type": PLAIN.get(field.type, field.type)}
            if not field.indexed:
                node["properties"][leaf] |= {"index": False, "doc_values": False}
    return root
