"""Mark our objects in a cluster, and compare stored objects with the desired ones. Pure.

A mark says who wrote the object and with which version, and holds a fingerprint of its body. Elasticsearch returns
bodies in its own form, so both sides are normalized first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from logging_lib._util.ownership import OwnershipState, compare_mark, fingerprint
from logging_lib.stack.resources import COMPONENT, ROLE, SCRIPT, TEMPLATE, WATCH, Resource, ResourceKind

OWNER = "logging-lib"
_SCRIPT_MARK = re.compile(r"\n// logging-lib (\S+) ([0-9a-f]{16})\n?\Z")

Body = Mapping[str, Any]


def compare(part: Resource, stored: Body | None) -> OwnershipState:
    """Compare a stored body with the desired one."""
    if stored is None:
        return OwnershipState.MISSING
    body = normalize_body(part.kind, stored)
    if body == normalize_body(part.kind, part.body):
        return OwnershipState.CURRENT
    return compare_mark(_read_mark(part.kind, stored), _fingerprint(body))


def is_ours(kind: ResourceKind, stored: Body) -> bool:
    """Return whether a stored body carries our mark."""
    return _read_mark(kind, stored) is not None


def with_mark(part: Resource, version: str) -> dict[str, Any]:
    """Return the resource's body with our mark."""
    mark = _fingerprint(normalize_body(part.kind, part.body))
    if part.kind is SCRIPT:
        source = part.body["source"].rstrip("\n")
        return {"script": {**part.body, "source": f"{source}\n// {OWNER} {version} {mark}\n"}}
    notes = {"managed_by": OWNER, "version": version, "fingerprint": mark}
    return {**part.body, part.kind.mark_key: {**part.body.get(part.kind.mark_key, {}), **notes}}


def normalize_body(kind: ResourceKind, body: Body) -> dict[str, Any]:
    """Normalize a body to one form for both what we want and what Elasticsearch returns."""
    normalized = {
        key: value for key, value in body.items() if not re.fullmatch(r"(created|modified)_date\w*", key)
    }
    if kind is SCRIPT:
        source = _SCRIPT_MARK.sub("", normalized["source"]).rstrip("\n")
        return {"lang": normalized["lang"], "source": source}
    if kind is WATCH:
        metadata = {k: v for k, v in normalized.get("metadata", {}).items() if k not in _MARK_KEYS}
        normalized["metadata"] = metadata
        normalized = _without_keys(normalized, _WATCHER_DEFAULTS)
    else:
        normalized.pop(kind.mark_key, None)
    if kind is ROLE:
        normalized.pop("transient_metadata", None)
        return {key: _without_empty(value) for key, value in normalized.items() if value}
    if kind in (COMPONENT, TEMPLATE) and "template" in normalized:
        normalized["template"] = _normalize_template(normalized["template"])
    if "data_stream" in normalized:
        normalized["data_stream"] = _without_empty(normalized["data_stream"])
    return {key: value for key, value in normalized.items() if key != "composed_of" or value}


# Watcher returns a watch with its defaults filled in, and periods in another unit.
_WATCHER_DEFAULTS = frozenset(
    {"search_type", "rest_total_hits_as_int", "profile", "status", "_version"}
) | frozenset(f"throttle_period{suffix}" for suffix in ("", "_in_millis", "_in_seconds"))
_MARK_KEYS = ("managed_by", "version", "fingerprint")


def _normalize_template(template: Body) -> dict[str, Any]:
    normalized = dict(template)
    if "settings" in normalized:
        normalized["settings"] = dict(_flatten_settings(normalized["settings"], ""))
    if "lifecycle" in normalized:
        normalized["lifecycle"] = {
            k: v for k, v in normalized["lifecycle"].items() if (k, v) != ("enabled", True)
        }
    return normalized


def _flatten_settings(node: Body, prefix: str) -> list[tuple[str, Any]]:
    settings = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            settings += _flatten_settings(value, name + ".")
        else:
            name = name if name.startswith("index.") else f"index.{name}"
            settings.append((name, value if isinstance(value, list) else json.dumps(value).strip('"')))
    return settings


def _without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, False, [], {})}
    return value


def _without_keys(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_without_keys(item, keys) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_keys(item, keys) for key, item in value.items() if key not in keys}
    return value


def _read_mark(kind: ResourceKind, stored: Body) -> str | None:
    if kind is SCRIPT:
        match = _SCRIPT_MARK.search(stored["source"])
        return match[2] if match else None
    notes = stored.get(kind.mark_key) or {}
    return str(notes.get("fingerprint")) if notes.get("managed_by") == OWNER else None


def _fingerprint(body: Body) -> str:
    return fingerprint(body, length=16)
