"""A real HTTP server that answers as Kibana's documented saved-objects API does, its failures included."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

Json = dict[str, Any]
KNOWN = {"dashboard": (10, 3, 0), "search": (10, 11, 0), "index-pattern": (8, 0, 0), "tag": (8, 0, 0)}
"""The newest version of each type that this Kibana knows."""


class Server:
    """What is stored, by space; ``failures`` maps a path's end to an answer (status, headers, bytes)."""

    def __init__(self, version: str = "9.1.2") -> None:
        self.version = version
        self.spaces: dict[str, dict[tuple[str, str], Json]] = {"default": {}, "team-a": {}}
        self.authorization: str | None = None
        self.failures: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.bulk_delete = True
        self.calls: list[str] = []
        self.url = ""

    def put(self, space: str, one: Json) -> None:
        """Store an object as Kibana does: in its newest form, with notes of its own."""
        stored = {
            **one,
            "coreMigrationVersion": "8.8.0",
            "typeMigrationVersion": ".".join(map(str, KNOWN[one["type"]])),
            "managed": False,
            "updated_at": "2026-01-01T00:00:00.000Z",
            "version": uuid4().hex,
        }
        if one["type"] == "search":
            tab = {"id": "t1", "label": "Untitled", "attributes": {"columns": one["attributes"]["columns"]}}
            stored["attributes"] = {**one["attributes"], "tabs": [tab]}
        self.spaces[space][one["type"], one["id"]] = stored


def _error(status: int, message: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    names = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 422: "Unprocessable Entity"}
    body = {"statusCode": status, "error": names.get(status, "Error"), "message": message, **more}
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    def _answer(self, body: bytes) -> None:
        status, headers, content = self._made(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _made(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        path, space = parts.path, "default"
        if path.startswith("/s/"):
            _, _, space, path = path.split("/", 3)
            path = f"/{path}"
        self.state.calls.append(f"{self.command} {path}?{parts.query}".rstrip("?"))
        for end, answer in self.state.failures.items():
            if path.endswith(end):
                return answer
        if self.state.authorization not in (None, self.headers.get("authorization")):
            return _error(401, "[security_exception]: unable to authenticate")
        if self.command != "GET" and "kbn-xsrf" not in self.headers:
            return _error(400, "Request must contain a kbn-xsrf header.")
        if space not in self.state.spaces:
            return _error(404, "Not Found")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path == "/api/status":
            return self._json({"version": {"number": self.state.version}, "status": {}})
        if path == "/api/saved_objects/_import":
            return self._import(space, query, body)
        if path == "/api/saved_objects/_export":
            return self._export(space, json.loads(body))
        if path == "/api/saved_objects/_bulk_delete" and self.state.bulk_delete:
            return self._delete(space, json.loads(body))
        return _error(404, "Not Found")

    def _json(self, value: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"content-type": "application/json; charset=utf-8"}, json.dumps(value).encode()

    def _import(self, space: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        header = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=policy.HTTP).parsebytes(header + body)
        (part,) = list(message.iter_parts())
        assert part.get_filename().endswith(".ndjson")
        lines = part.get_payload(decode=True).decode().strip().split("\n")
        objects = [one for one in map(json.loads, lines) if "exportedCount" not in one]
        for one in objects:
            known = KNOWN.get(one["type"])
            if known is not None and _numbers(one.get("typeMigrationVersion", "0")) > known:
                last = ".".join(map(str, known))
                return _error(
                    422,
                    f'Document "{one["id"]}" belongs to a more recent version of Kibana '
                    f"[{one['typeMigrationVersion']}] when the last known version is [{last}].",
                )
        stored = self.state.spaces[space]
        there = {(one["type"], one["id"]) for one in objects} | stored.keys()
        errors, taken = [], []
        for one in objects:
            missing = [
                {"type": reference["type"], "id": reference["id"]}
                for reference in one["references"]
                if reference["type"] in ("index-pattern", "search")
                and (reference["type"], reference["id"]) not in there
            ]
            about = {"type": one["type"], "id": one["id"], "meta": {"title": one["attributes"].get("title")}}
            if one["type"] not in KNOWN:
                errors.append({**about, "error": {"type": "unsupported_type"}})
            elif missing:
                errors.append({**about, "error": {"type": "missing_references", "references": missing}})
            elif "createNewCopies" in query:
                taken.append({**one, "id": str(uuid4()), "originId": one["id"]})
            elif (one["type"], one["id"]) in stored and "overwrite" not in query:
                errors.append({**about, "error": {"type": "conflict"}})
            else:
                taken.append(one)
        for one in taken:
            self.state.put(space, one)
        answer: Json = {"success": not errors, "successCount": len(taken), "warnings": []}
        return self._json(answer | ({"errors": errors} if errors else {}))

    def _export(self, space: str, wanted: Json) -> tuple[int, dict[str, str], bytes]:
        stored = self.state.spaces[space]
        if "objects" in wanted:
            keys = [(one["type"], one["id"]) for one in wanted["objects"]]
            lost = [
                {"type": k, "id": i, "error": {"statusCode": 404}} for k, i in keys if (k, i) not in stored
            ]
            if lost:
                return _error(400, "Error fetching objects to export", attributes={"objects": lost})
        else:
            tag = wanted["hasReference"]
            keys = [
                key
                for key, one in stored.items()
                if key[0] in wanted["type"]
                and any((ref["type"], ref["id"]) == (tag["type"], tag["id"]) for ref in one["references"])
            ]
        found: dict[tuple[str, str], Json] = {}
        while keys:
            key = keys.pop()
            if key not in found and key in stored:
                found[key] = stored[key]
                keys += [(reference["type"], reference["id"]) for reference in stored[key]["references"]]
        summary = {"exportedCount": len(found), "missingRefCount": 0, "missingReferences": []}
        lines = "\n".join(json.dumps(one) for one in (*found.values(), summary))
        return 200, {"content-type": "application/ndjson"}, lines.encode()

    def _delete(self, space: str, wanted: list[Json]) -> tuple[int, dict[str, str], bytes]:
        statuses = []
        for one in wanted:
            gone = self.state.spaces[space].pop((one["type"], one["id"]), None)
            error = {"statusCode": 404, "error": "Not Found", "message": "not found"}
            statuses.append({**one, "success": gone is not None} | ({} if gone else {"error": error}))
        return self._json({"statuses": statuses})


@contextmanager
def running(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The server on 127.0.0.1, with its URL set."""
    handler = type("Handler", (_Handler,), {"state": server})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
