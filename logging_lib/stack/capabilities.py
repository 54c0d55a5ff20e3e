"""Inspect a server's capabilities: version, license, and which parts of the stack it supports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.port import StoreError

OLDEST, NEWEST_MAJOR = (8, 15), 9
_WITH_WATCHER = frozenset({"trial", "gold", "platinum", "enterprise"})


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """The capabilities of a server.

    ``license`` is ``basic``, ``trial``, ``platinum``, ..., or ``unknown`` without the privilege to ask.
    ``missing`` lists the features that this server lacks, each with the consequence.
    """

    version: tuple[int, int, int]
    license: str
    security: bool
    watcher: bool
    lifecycle: bool
    match_only_text: bool
    missing: tuple[str, ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def inspect_server(connection: Connection) -> ServerCapabilities:
    """Ask a server for its capabilities.

    Raises:
        StoreError: its version is not supported, or it does not respond.
    """
    version = _parse_version(connection.call("GET", "/")["version"]["number"])
    if not version[:2] >= OLDEST or version[0] > NEWEST_MAJOR:
        raise StoreError(
            f"{connection.url}: is Elasticsearch {'.'.join(map(str, version))}; "
            f"{'.'.join(map(str, OLDEST))} to {NEWEST_MAJOR}.x are supported"
        )
    license_type = _read_license(connection)
    watcher_api = _has_api(connection, "/_watcher/watch/logging-lib-no-such-watch")
    lifecycle = _has_api(connection, "/_data_stream/logs-ml.no-such-stream/_lifecycle")
    modules = _list_modules(connection)
    missing = []
    if not watcher_api:
        missing.append("Watcher: the server does not have it; `logging-lib watch run` does its work")
    elif license_type not in _WITH_WATCHER:
        missing.append(
            f"Watcher: the {license_type} license leaves it out; `logging-lib watch run` does its work"
        )
    if not lifecycle:
        missing.append("data stream lifecycle: the server does not have it; delete old events yourself")
    match_only_text = modules is None or "mapper-extras" in modules
    if not match_only_text:
        missing.append("match_only_text: the server does not have this field type; text is used instead")
    return ServerCapabilities(
        version=version,
        license=license_type,
        security=_has_api(connection, "/_security/_authenticate"),
        watcher=watcher_api and license_type in _WITH_WATCHER,
        lifecycle=lifecycle,
        match_only_text=match_only_text,
        missing=tuple(missing),
    )


def _parse_version(text: str) -> tuple[int, int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", text)[:3]]
    return (*numbers, 0, 0, 0)[:3]  # type: ignore[return-value]


def _read_license(connection: Connection) -> str:
    try:
        answer: dict[str, Any] = connection.call("GET", "/_license")["license"]
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        return "unknown"
    return str(answer["type"]) if answer.get("status") == "active" else f"expired {answer['type']}"


def _has_api(connection: Connection, path: str) -> bool:
    """Return whether the server has an API; a 404 for the object or a 403 for us means that it does."""
    try:
        connection.call("GET", path)
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        return not error.is_unknown_api and error.status != 500
    return True


def _list_modules(connection: Connection) -> set[str] | None:
    """List the modules that all nodes have; None without the privilege."""
    try:
        answer = connection.call("GET", "/_nodes/plugins", params={"filter_path": "nodes.*.modules.name"})
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        return None
    sets = [{module["name"] for module in node["modules"]} for node in answer.get("nodes", {}).values()]
    return set.intersection(*sets) if sets else None
