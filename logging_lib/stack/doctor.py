"""Examines a cluster: what is wrong or missing, each finding with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from logging_lib.schema import DATASETS
from logging_lib.schema.templates import FINAL_PIPELINE
from logging_lib.stack import deploy
from logging_lib.stack.capabilities import Server, examine
from logging_lib.stack.ownership import State
from logging_lib.stack.resources import Part
from logging_lib.store.annotate import unchecked
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import StoreError

MAX_SKEW = timedelta(seconds=5)
MAX_AGE = timedelta(hours=1)
RECENT = "24h"
SHOWN = 5


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to do
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """``remedy`` is what to do about it; empty where there is nothing to do."""

    level: Level
    check: str
    message: str
    remedy: str = ""


Findings = Iterator[Finding]


def diagnose(
    connection: Connection,
    parts: Callable[[Server], Iterable[Part]],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Finding]:
    """Everything that can be found out; a check that may not be made says so and the others go on.

    Args:
        parts: what should be in a cluster of that kind.
        clock: our own.
    """
    try:
        server = examine(connection)
    except StoreError as error:
        return [Finding(Level.ERROR, "reachable", str(error), "see the settings in docs/elasticsearch.md")]
    found = [Finding(Level.OK, "reachable", f"{connection.url}: Elasticsearch {server.version_text}")]
    found += _license(server)
    store = ElasticsearchStore(connection)
    checks: list[tuple[str, Callable[[], Findings]]] = [
        ("security", lambda: _security(server)),
        ("clock", lambda: _clock(connection, clock)),
        ("health", lambda: _health(connection)),
        ("templates", lambda: _templates(connection, list(parts(server)))),
        ("streams", lambda: _streams(connection)),
        ("last event", lambda: _last_event(store, clock)),
        ("dead letters", lambda: _dead_letters(store)),
        ("ignored fields", lambda: _ignored(store)),
        ("unchecked events", lambda: _unchecked(store)),
    ]
    for name, check in checks:
        try:
            found += check()
        except ElasticsearchError as error:
            if error.status != 403:
                found.append(Finding(Level.ERROR, name, str(error), "see the message"))
            else:
                found.append(
                    Finding(
                        Level.NOTE, name, f"could not be checked: {error.reason:.200}", "ask as an operator"
                    )
                )
    return found


def _license(server: Server) -> Findings:
    level = Level.WARNING if server.license.startswith("expired") else Level.OK
    remedy = "install a valid license, or go back to Basic" if level is Level.WARNING else ""
    yield Finding(level, "license", server.license, remedy)
    for lacking in server.lacks:
        yield Finding(Level.NOTE, "license", lacking)


def _security(server: Server) -> Findings:
    if server.security:
        yield Finding(Level.OK, "security", "on")
    else:
        yield Finding(
            Level.WARNING, "security", "off: whoever reaches the cluster reads and deletes every event",
            "set xpack.security.enabled: true, see docs/operate-tls-api-keys.md",
        )  # fmt: skip


def _clock(connection: Connection, clock: Callable[[], datetime]) -> Findings:
    before = clock()
    answer = connection.call(
        "GET", "/_nodes/stats/os", params={"filter_path": "nodes.*.name,nodes.*.timestamp"}
    )
    after = clock()
    worst = timedelta(0)
    for node in answer.get("nodes", {}).values():
        told = datetime.fromtimestamp(node["timestamp"] / 1000, UTC)
        worst = max(worst, before - told, told - after)
    if worst > MAX_SKEW:
        yield Finding(
            Level.ERROR, "clock", f"a node's clock and this machine's differ by {worst.total_seconds():.1f} s: "
            "windows of watches miss events", "synchronize all clocks by NTP",
        )  # fmt: skip
    else:
        yield Finding(Level.OK, "clock", f"differs by at most {MAX_SKEW.total_seconds():.0f} s")


def _health(connection: Connection) -> Findings:
    health = connection.call("GET", "/_cluster/health")
    if health["status"] == "red":
        yield Finding(
            Level.ERROR, "health", f"red: {health['unassigned_shards']} shards are not assigned",
            "see GET _cluster/allocation/explain",
        )  # fmt: skip
    elif health["status"] == "yellow":
        yield Finding(
            Level.WARNING, "health", f"yellow: {health['unassigned_shards']} replicas are not assigned",
            "add a node, or set number_of_replicas to 0 where one node is all there is",
        )  # fmt: skip
    else:
        yield Finding(Level.OK, "health", "green")


def _templates(connection: Connection, parts: list[Part]) -> Findings:
    wrong = [(part, found) for part, found in deploy.status(connection, parts) if found is not State.CURRENT]
    for part, found in wrong:
        level = Level.NOTE if found is State.EDITED else Level.ERROR
        remedy = "logging-lib stack deploy"
        if found in (State.EDITED, State.FOREIGN):
            remedy += " --diff --dry-run shows the difference, --force overwrites it"
        yield Finding(level, "templates", f"{part}: {found}", remedy)
    if not wrong:
        yield Finding(Level.OK, "templates", f"{len(parts)} parts are current")


def _streams(connection: Connection) -> Findings:
    """A stream that was there before our templates has other settings until it rolls over."""
    number = 0
    for dataset in DATASETS:
        for stream in deploy.streams(connection, dataset):
            number += 1
            answer = connection.call("GET", f"/{quote(stream)}/_settings", params={"flat_settings": "true"})
            _, newest = max(answer.items())
            settings = newest.get("settings", {})
            mode = settings.get("index.mode", "standard")
            if settings.get("index.final_pipeline") != FINAL_PIPELINE:
                yield Finding(
                    Level.ERROR, "streams", f"{stream} was begun without our template (index mode {mode})",
                    f"logging-lib stack deploy, then POST {stream}/_rollover",
                )  # fmt: skip
    yield Finding(Level.OK, "streams", f"{number} data streams")


def _last_event(store: ElasticsearchStore, clock: Callable[[], datetime]) -> Findings:
    last = {"max": {"field": "event.ingested"}}
    answer = store.search("logs-ml.prediction-*", {"size": 0, "aggs": {"last": last}})
    value = answer.get("aggregations", {}).get("last", {}).get("value")
    if value is None:
        yield Finding(
            Level.WARNING, "last event", "no prediction was ever stored",
            "point a service's shipper or Logstash here, see docs/shipping.md",
        )  # fmt: skip
        return
    age = clock() - datetime.fromtimestamp(value / 1000, UTC)
    text = f"the last prediction arrived {_ago(age)} ago"
    if age > MAX_AGE:
        yield Finding(
            Level.WARNING, "last event", text,
            "look at the shippers' backlog (ml.health.backlog.*) and at Logstash's log",
        )  # fmt: skip
    else:
        yield Finding(Level.OK, "last event", text)


def _dead_letters(store: ElasticsearchStore) -> Findings:
    buckets = _recent(store, "logs-ml.deadletter-*", "error.type")
    if not buckets:
        yield Finding(Level.OK, "dead letters", f"none in {RECENT}")
        return
    yield Finding(
        Level.WARNING, "dead letters", f"in {RECENT}: {_counts(buckets)}",
        "read event.original and error.message in logs-ml.deadletter-*, mend the sender, and index them again",
    )  # fmt: skip


def _ignored(store: ElasticsearchStore) -> Findings:
    buckets = _recent(store, "logs-ml.prediction-*", "_ignored")
    if not buckets:
        yield Finding(Level.OK, "ignored fields", f"none in {RECENT}")
        return
    yield Finding(
        Level.WARNING, "ignored fields",
        f"stored but not searchable, events by field in {RECENT}: {_counts(buckets)}",
        "see `_ignored` in docs/elasticsearch.md: a value of another type, a long text, or too many fields",
    )  # fmt: skip


def _unchecked(store: ElasticsearchStore) -> Findings:
    found = unchecked(store)
    if not found:
        yield Finding(Level.OK, "unchecked events", "none")
        return
    buckets = [(f"{model} {version}", count) for (model, version), count in found.items()]
    yield Finding(
        Level.WARNING, "unchecked events", f"events without checks, which no watch judges: {_counts(buckets)}",
        "publish the model's profile (logging-lib profile publish), then logging-lib annotate --follow",
    )  # fmt: skip


def _recent(store: ElasticsearchStore, indices: str, by: str) -> list[tuple[str, int]]:
    body: dict[str, Any] = {
        "size": 0,
        "query": {"range": {"event.ingested": {"gt": f"now-{RECENT}"}}},
        "aggs": {"by": {"terms": {"field": by, "size": 1000}}},
    }
    buckets = store.search(indices, body).get("aggregations", {}).get("by", {}).get("buckets", ())
    return [(bucket["key"], bucket["doc_count"]) for bucket in buckets]


def _counts(buckets: list[tuple[str, int]]) -> str:
    ordered = sorted(buckets, key=lambda bucket: -bucket[1])
    text = ", ".join(f"{name}: {count}" for name, count in ordered[:SHOWN])
    more = len(ordered) - SHOWN
    return text + (f" and {more} more" if more > 0 else "")


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
