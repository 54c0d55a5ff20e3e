"""Diagnose a cluster: report what is wrong or missing, each finding with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from logging_lib._util.formatting import join_names
from logging_lib._util.ownership import OwnershipState
from logging_lib.profile.words import OUTDATED
from logging_lib.schema import DATASETS
from logging_lib.schema.templates import FINAL_PIPELINE
from logging_lib.stack import deploy
from logging_lib.stack.capabilities import ServerCapabilities, inspect_server
from logging_lib.stack.resources import Resource
from logging_lib.store.annotate import count_unchecked
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import list_careful, list_outdated

MAX_CLOCK_SKEW = timedelta(seconds=5)
MAX_EVENT_AGE = timedelta(hours=1)
RECENT = "24h"
MAX_SHOWN = 5


class FindingLevel(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to do
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """A result of the diagnosis; ``remedy`` says what to do, and is empty if nothing needs doing.

    Attributes:
        subject: what the message is about, if the same message may apply to several things.
    """

    level: FindingLevel
    check: str
    message: str
    remedy: str = ""
    subject: str = ""

    @property
    def text(self) -> str:
        """Return the whole message."""
        return f"{self.subject}: {self.message}" if self.subject else self.message


DoctorFindings = Iterator[DoctorFinding]


def diagnose(
    connection: Connection,
    parts: Callable[[ServerCapabilities], Iterable[Resource]],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[DoctorFinding]:
    """Run all checks; a check without the privilege reports so, and the others continue.

    Args:
        parts: returns the resources that a cluster with these capabilities should have.
        clock: returns the time of this machine.
    """
    try:
        server = inspect_server(connection)
    except StoreError as error:
        return [
            DoctorFinding(
                FindingLevel.ERROR, "reachable", str(error), "see the settings in docs/elasticsearch.md"
            )
        ]
    findings = [
        DoctorFinding(FindingLevel.OK, "reachable", f"{connection.url}: Elasticsearch {server.version_text}")
    ]
    findings += _license(server)
    store = ElasticsearchStore(connection)
    checks: list[tuple[str, Callable[[], DoctorFindings]]] = [
        ("security", lambda: _security(server)),
        ("clock", lambda: _clock(connection, clock)),
        ("health", lambda: _health(connection)),
        ("templates", lambda: _templates(connection, list(parts(server)))),
        ("streams", lambda: _streams(connection)),
        ("last event", lambda: _last_event(store, clock)),
        ("dead letters", lambda: _dead_letters(store)),
        ("ignored fields", lambda: _ignored(store)),
        ("unchecked events", lambda: _unchecked(store)),
        ("natural variation", lambda: _variation(store)),
    ]
    for name, check in checks:
        try:
            findings += check()
        except ElasticsearchError as error:
            if error.status != 403:
                findings.append(DoctorFinding(FindingLevel.ERROR, name, str(error), "see the message"))
            else:
                findings.append(
                    DoctorFinding(
                        FindingLevel.NOTE,
                        name,
                        f"could not be checked: {error.reason:.200}",
                        "ask as an operator",
                    )
                )
    return findings


def group_findings(findings: Iterable[DoctorFinding]) -> list[DoctorFinding]:
    """Merge findings that say the same about several things into one, with their number and the first names."""
    groups: dict[tuple[str, ...], list[DoctorFinding]] = {}
    for finding in findings:
        own = () if finding.subject else (str(len(groups)),)
        key = (finding.level, finding.check, finding.message, finding.remedy, *own)
        groups.setdefault(key, []).append(finding)
    return [
        group[0]
        if len(group) == 1
        else replace(
            group[0], subject=f"{len(group)} parts", message=f"{group[0].message} ({_list_subjects(group)})"
        )
        for group in groups.values()
    ]


def _list_subjects(group: list[DoctorFinding]) -> str:
    return join_names([finding.subject for finding in group], MAX_SHOWN)


def _variation(store: ElasticsearchStore) -> DoctorFindings:
    careful = list_careful(store)
    if careful:
        names = ", ".join(careful[:MAX_SHOWN]) + (" and others" if len(careful) > MAX_SHOWN else "")
        message = f"is not known of {names}: watches are careful, by a stated default"
        yield DoctorFinding(FindingLevel.NOTE, "natural variation", message, "logging-lib profile learn")
    outdated = list_outdated(store)
    if outdated:
        names = ", ".join(outdated[:MAX_SHOWN]) + (" and others" if len(outdated) > MAX_SHOWN else "")
        yield DoctorFinding(FindingLevel.NOTE, "profiles", f"{names}: {OUTDATED}", "logging-lib profile fit")


def _license(server: ServerCapabilities) -> DoctorFindings:
    level = FindingLevel.WARNING if server.license.startswith("expired") else FindingLevel.OK
    remedy = "install a valid license, or go back to Basic" if level is FindingLevel.WARNING else ""
    yield DoctorFinding(level, "license", server.license, remedy)
    for lacking in server.missing:
        yield DoctorFinding(FindingLevel.NOTE, "license", lacking)


def _security(server: ServerCapabilities) -> DoctorFindings:
    if server.security:
        yield DoctorFinding(FindingLevel.OK, "security", "on")
    else:
        yield DoctorFinding(
            FindingLevel.WARNING, "security", "off: whoever reaches the cluster reads and deletes every event",
            "set xpack.security.enabled: true, see docs/operate.md",
        )  # fmt: skip


def _clock(connection: Connection, clock: Callable[[], datetime]) -> DoctorFindings:
    before = clock()
    answer = connection.call(
        "GET", "/_nodes/stats/os", params={"filter_path": "nodes.*.name,nodes.*.timestamp"}
    )
    after = clock()
    worst = timedelta(0)
    for node in answer.get("nodes", {}).values():
        node_time = datetime.fromtimestamp(node["timestamp"] / 1000, UTC)
        worst = max(worst, before - node_time, node_time - after)
    if worst > MAX_CLOCK_SKEW:
        yield DoctorFinding(
            FindingLevel.ERROR, "clock",
            f"a node's clock and this machine's differ by {worst.total_seconds():.1f} s: "
            "windows of watches miss events", "synchronize all clocks by NTP",
        )  # fmt: skip
    else:
        yield DoctorFinding(
            FindingLevel.OK, "clock", f"differs by at most {MAX_CLOCK_SKEW.total_seconds():.0f} s"
        )


def _health(connection: Connection) -> DoctorFindings:
    health = connection.call("GET", "/_cluster/health")
    if health["status"] == "red":
        yield DoctorFinding(
            FindingLevel.ERROR, "health", f"red: {health['unassigned_shards']} shards are not assigned",
            "see GET _cluster/allocation/explain",
        )  # fmt: skip
    elif health["status"] == "yellow":
        yield DoctorFinding(
            FindingLevel.WARNING, "health", f"yellow: {health['unassigned_shards']} replicas are not assigned",
            "add a node, or set number_of_replicas to 0 where one node is all there is",
        )  # fmt: skip
    else:
        yield DoctorFinding(FindingLevel.OK, "health", "green")


def _templates(connection: Connection, parts: list[Resource]) -> DoctorFindings:
    wrong = [
        (part, state)
        for part, state in deploy.status(connection, parts)
        if state is not OwnershipState.CURRENT
    ]
    for part, state in wrong:
        level = FindingLevel.NOTE if state is OwnershipState.EDITED else FindingLevel.ERROR
        remedy = "logging-lib stack deploy"
        if state in (OwnershipState.EDITED, OwnershipState.FOREIGN):
            remedy += " --diff --dry-run shows the difference, --force overwrites it"
        yield DoctorFinding(level, "templates", str(state), remedy, subject=str(part))
    if not wrong:
        yield DoctorFinding(FindingLevel.OK, "templates", f"{len(parts)} parts are current")


def _streams(connection: Connection) -> DoctorFindings:
    """Check the streams' settings: a stream older than our templates has other settings until it rolls over."""
    number = 0
    for dataset in DATASETS:
        for stream in deploy.list_streams(connection, dataset):
            number += 1
            answer = connection.call("GET", f"/{quote(stream)}/_settings", params={"flat_settings": "true"})
            _, newest = max(answer.items())
            settings = newest.get("settings", {})
            mode = settings.get("index.mode", "standard")
            if settings.get("index.final_pipeline") != FINAL_PIPELINE:
                yield DoctorFinding(
                    FindingLevel.ERROR, "streams", f"{stream} was begun without our template (index mode {mode})",
                    f"logging-lib stack deploy, then POST {stream}/_rollover",
                )  # fmt: skip
    yield DoctorFinding(FindingLevel.OK, "streams", f"{number} data streams")


def _last_event(store: ElasticsearchStore, clock: Callable[[], datetime]) -> DoctorFindings:
    last = {"max": {"field": "event.ingested"}}
    answer = store.search("logs-ml.prediction-*", {"size": 0, "aggs": {"last": last}})
    value = answer.get("aggregations", {}).get("last", {}).get("value")
    if value is None:
        yield DoctorFinding(
            FindingLevel.WARNING, "last event", "no prediction was ever stored",
            "point a service's shipper or Logstash here, see docs/shipping.md",
        )  # fmt: skip
        return
    age = clock() - datetime.fromtimestamp(value / 1000, UTC)
    text = f"the last prediction arrived {_format_age(age)} ago"
    if age > MAX_EVENT_AGE:
        yield DoctorFinding(
            FindingLevel.WARNING, "last event", text,
            "look at the shippers' backlog (ml.health.backlog.*) and at Logstash's log",
        )  # fmt: skip
    else:
        yield DoctorFinding(FindingLevel.OK, "last event", text)


def _dead_letters(store: ElasticsearchStore) -> DoctorFindings:
    buckets = _recent_counts(store, "logs-ml.deadletter-*", "error.type")
    if not buckets:
        yield DoctorFinding(FindingLevel.OK, "dead letters", f"none in {RECENT}")
        return
    yield DoctorFinding(
        FindingLevel.WARNING, "dead letters", f"in {RECENT}: {_format_counts(buckets)}",
        "read event.original and error.message in logs-ml.deadletter-*, fix the sender, and index them again",
    )  # fmt: skip


def _ignored(store: ElasticsearchStore) -> DoctorFindings:
    buckets = _recent_counts(store, "logs-ml.prediction-*", "_ignored")
    if not buckets:
        yield DoctorFinding(FindingLevel.OK, "ignored fields", f"none in {RECENT}")
        return
    yield DoctorFinding(
        FindingLevel.WARNING, "ignored fields",
        f"stored but not searchable, events by field in {RECENT}: {_format_counts(buckets)}",
        "see `_ignored` in docs/elasticsearch.md: a value of another type, a long text, or too many fields",
    )  # fmt: skip


def _unchecked(store: ElasticsearchStore) -> DoctorFindings:
    counts = count_unchecked(store)
    if not counts:
        yield DoctorFinding(FindingLevel.OK, "unchecked events", "none")
        return
    buckets = [(f"{model} {version}", count) for (model, version), count in counts.items()]
    yield DoctorFinding(
        FindingLevel.WARNING, "unchecked events",
        f"events without checks, which no watch evaluates: {_format_counts(buckets)}",
        "publish the model's profile (logging-lib profile publish), then logging-lib annotate --follow",
    )  # fmt: skip


def _recent_counts(store: ElasticsearchStore, indices: str, by: str) -> list[tuple[str, int]]:
    body: dict[str, Any] = {
        "size": 0,
        "query": {"range": {"event.ingested": {"gt": f"now-{RECENT}"}}},
        "aggs": {"by": {"terms": {"field": by, "size": 1000}}},
    }
    buckets = store.search(indices, body).get("aggregations", {}).get("by", {}).get("buckets", ())
    return [(bucket["key"], bucket["doc_count"]) for bucket in buckets]


def _format_counts(buckets: list[tuple[str, int]]) -> str:
    ordered = sorted(buckets, key=lambda bucket: -bucket[1])
    text = ", ".join(f"{name}: {count}" for name, count in ordered[:MAX_SHOWN])
    more = len(ordered) - MAX_SHOWN
    return text + (f" and {more} more" if more > 0 else "")


def _format_age(age: timedelta) -> str:
    seconds = age.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
