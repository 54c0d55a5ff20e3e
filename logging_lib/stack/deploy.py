"""Deploy the stack's resources to a cluster, report what changed, and remove them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from logging_lib._util.ownership import (
    EDITED_NOTE,
    LEFT,
    OVERWRITTEN,
    REFUSED,
    REMOVED,
    UPDATED,
    Change,
    OwnershipState,
    diff_lines,
    plan_change,
)
from logging_lib.schema import DATASETS
from logging_lib.stack.marks import compare, is_ours, normalize_body, with_mark
from logging_lib.stack.resources import COMPONENT, PIPELINE, SCRIPT, TEMPLATE, Resource, ResourceKind
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.port import StoreError


@dataclass(frozen=True, slots=True)
class _ResourceStatus:
    resource: Resource
    stored: Mapping[str, Any] | None
    state: OwnershipState


def status(connection: Connection, parts: Iterable[Resource]) -> list[tuple[Resource, OwnershipState]]:
    """Return the state of each resource in the cluster."""
    return [(current.resource, current.state) for current in (_inspect(connection, part) for part in parts)]


def deploy(
    connection: Connection,
    parts: Iterable[Resource],
    *,
    version: str,
    force: bool = False,
    dry_run: bool = False,
) -> list[Change]:
    """Create what is missing and update what is ours.

    Objects that somebody edited, and foreign objects under the same name, are refused unless ``force``. If one
    object is refused, nothing is changed.

    Args:
        version: the version of logging_lib, recorded in each object.
        dry_run: only report what would be done.

    Raises:
        StoreError: the server rejects an object.
    """
    statuses = [_inspect(connection, part) for part in parts]
    changes = [_plan_change(current, force=force) for current in statuses]
    if dry_run or any(change.action == REFUSED for change in changes):
        return changes
    for current, change in zip(statuses, changes, strict=True):
        if change.is_change:
            connection.call("PUT", current.resource.path, with_mark(current.resource, version))
    return changes


def roll_over(connection: Connection, changes: Iterable[Change], *, dry_run: bool = False) -> list[Change]:
    """Roll over streams whose template changed with their next event: mappings and settings apply only then."""
    changed = {change.name for change in changes if change.action in (UPDATED, OVERWRITTEN)}
    if not changed:
        return []
    all_streams = f"{COMPONENT.title} logs-ml@settings" in changed
    rollovers = []
    for dataset in DATASETS:
        names = (
            f"{COMPONENT.title} logs-{dataset}@mappings",
            f"{TEMPLATE.title} logs-{dataset}",
        )
        if not all_streams and changed.isdisjoint(names):
            continue
        for stream in list_streams(connection, dataset):
            if not dry_run:
                connection.call("POST", f"/{quote(stream)}/_rollover", params={"lazy": "true"})
            rollovers.append(
                Change(f"data stream {stream}", UPDATED, "a new backing index with its next event")
            )
    return rollovers


def set_retention(
    connection: Connection, parts: Iterable[Resource], *, dry_run: bool = False
) -> list[Change]:
    """Set the lifecycle of existing streams to that of the templates."""
    changes = []
    for part in parts:
        if part.kind is not COMPONENT or not part.name.endswith("@lifecycle"):
            continue
        dataset = part.name.removeprefix("logs-").removesuffix("@lifecycle")
        wanted = part.body["template"]["lifecycle"]
        for stream in list_streams(connection, dataset):
            path = f"/_data_stream/{quote(stream)}/_lifecycle"
            (known,) = connection.call("GET", path)["data_streams"]
            period = (known.get("lifecycle") or {}).get("data_retention")
            if period == wanted["data_retention"]:
                continue
            if not dry_run:
                connection.call("PUT", path, {"data_retention": wanted["data_retention"]})
            note = f"events are kept for {wanted['data_retention']}, before {period or 'for ever'}"
            changes.append(Change(f"data stream {stream}", UPDATED, note))
    return changes


def destroy(
    connection: Connection, parts: Iterable[Resource], *, force: bool = False, dry_run: bool = False
) -> list[Change]:
    """Remove our resources in reverse order; data and everything that is not ours is kept.

    A template that a stream still uses is kept, together with what it needs.
    """
    used = {f"logs-{dataset}" for dataset in DATASETS if list_streams(connection, dataset)}
    used |= {
        name
        for name in ("ml-profiles", "ml-profile-files", "ml-watch-state", "ml-watch-notified", "ml-analysis")
        if _exists(connection, name)
    }
    changes = []
    for part in reversed(list(parts)):
        current = _inspect(connection, part)
        if current.stored is None:
            continue
        if not is_ours(part.kind, current.stored):
            changes.append(Change(str(part), LEFT, "it is not ours"))
        elif current.state is OwnershipState.EDITED and not force:
            changes.append(Change(str(part), LEFT, "somebody edited it; --force removes it all the same"))
        elif _is_needed(part, used):
            changes.append(Change(str(part), LEFT, "data is there that needs it; delete that first"))
        else:
            if not dry_run:
                connection.call("DELETE", part.path)
            changes.append(Change(str(part), REMOVED))
    return changes


def list_streams(connection: Connection, dataset: str) -> list[str]:
    """List the data streams of a dataset in all namespaces."""
    try:
        answer = connection.call(
            "GET", f"/_resolve/index/logs-{dataset}-*", params={"expand_wildcards": "all"}
        )
    except ElasticsearchError as error:
        if error.status == 404:
            return []
        raise
    return sorted(stream["name"] for stream in answer["data_streams"])


def _exists(connection: Connection, index: str) -> bool:
    answer = connection.call("GET", f"/_resolve/index/{index}*")
    return any(entry["name"] == index for entry in answer["indices"])


def _is_needed(part: Resource, used: set[str]) -> bool:
    if part.kind is TEMPLATE:
        return part.name in used
    if part.kind is COMPONENT:
        return any(
            part.name.split("@")[0] == name or (part.name == "logs-ml@settings" and name.startswith("logs-"))
            for name in used
        )
    return part.kind is PIPELINE and any(name.startswith("logs-") for name in used)


def _inspect(connection: Connection, part: Resource) -> _ResourceStatus:
    stored = _fetch_body(connection, part.kind, part)
    return _ResourceStatus(part, stored, compare(part, stored))


def _fetch_body(connection: Connection, kind: ResourceKind, part: Resource) -> Mapping[str, Any] | None:
    try:
        answer = connection.call("GET", part.path)
    except ElasticsearchError as error:
        if error.status == 404:
            return None
        raise
    for key in kind.response_path:
        answer = answer[int(key)] if isinstance(answer, list) else answer[key.format(name=part.name)]
    if not isinstance(answer, dict):
        raise StoreError(f"{part}: the server answered with {str(answer)[:80]!r}, which is not an object")
    return answer


def _plan_change(current: _ResourceStatus, *, force: bool) -> Change:
    note = EDITED_NOTE if current.state is OwnershipState.EDITED else "it is somebody else's"
    is_template = current.resource.kind in (COMPONENT, TEMPLATE)
    hint = ", your own settings belong into logs-ml@custom" if is_template else ""
    return plan_change(
        str(current.resource), current.state, note=note, diff=_diff(current), force=force, hint=hint
    )


def _diff(current: _ResourceStatus) -> str:
    def lines(body: Mapping[str, Any] | None) -> list[str]:
        if body is None:
            return []
        normalized = normalize_body(current.resource.kind, body)
        if current.resource.kind is SCRIPT:
            return list(normalized["source"].splitlines())
        return json.dumps(normalized, indent=2, sort_keys=True).splitlines()

    before, after = lines(current.stored), lines(current.resource.body)
    return diff_lines(before, after, where="in the cluster")
