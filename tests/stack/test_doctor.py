"""What the doctor finds on a real Elasticsearch, and the remedy it names."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from logging_lib.stack.doctor import DoctorFinding, FindingLevel, diagnose, group_findings
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.elasticsearch import ElasticsearchStore
from tests.stack.conftest import Call
from tests.store import elastic
from tests.store.events import event

pytestmark = pytest.mark.elasticsearch


def found(connection: Connection, **options: Any) -> dict[str, list[DoctorFinding]]:
    findings: dict[str, list[DoctorFinding]] = {}
    for finding in diagnose(connection, lambda server: elastic.wanted(connection), **options):
        findings.setdefault(finding.check, []).append(finding)
    return findings


def recent(number: int, **fields: Any) -> dict[str, Any]:
    document = event(number, **fields)
    document["event"].pop("ingested")
    document["event"]["id"] = uuid4().hex
    return document


def test_a_deployed_cluster_with_fresh_events_has_no_error(deployed: Call, root: Connection) -> None:
    store = ElasticsearchStore(root)
    store.index(elastic.new_stream(), [recent(1, ml__profile={"status": "matched"})])
    store.refresh()
    levels = {check: finding.level for check, (finding, *_) in found(root).items()}
    expected = ("reachable", "license", "security", "clock", "templates", "streams", "last event")
    assert {check: levels[check] for check in expected} == dict.fromkeys(expected, FindingLevel.OK)
    assert json.loads(deployed("doctor", "--json").stdout)[0]["check"] == "reachable"


def test_each_fault_is_found_with_its_remedy(deployed: Call, root: Connection) -> None:
    store = ElasticsearchStore(root)
    unchecked = f"foreign-{uuid4().hex[:6]}"
    store.index(
        elastic.new_stream(),
        [
            recent(1, ml__model={"name": unchecked, "version": "2"}, ml__profile={"status": "none"}),
            recent(2, ml__input={"numeric": {"some_feature": "N/A"}}),
        ],
    )
    store.index(elastic.new_stream("ml.deadletter"), [recent(3, error={"type": "not_json"})])
    store.refresh()
    root.call("DELETE", "/_index_template/ml-watch-state")
    by_check = found(root)
    (missing,) = by_check["templates"]
    assert (missing.level, missing.remedy) == (FindingLevel.ERROR, "logging-lib stack deploy")
    assert missing.text == "index template ml-watch-state: missing"
    assert "not_json: " in by_check["dead letters"][0].message
    assert "ml.input.numeric.some_feature: " in by_check["ignored fields"][0].message
    assert "logging-lib annotate" in by_check["unchecked events"][0].remedy
    assert "ml-watch-state" in deployed("doctor", code=1).stdout
    deployed("stack", "deploy")


def test_one_finding_about_several_parts_is_one_line(deployed: Call, root: Connection) -> None:
    parts = [replace(part, name=f"{part.name}-not-there") for part in elastic.wanted(root)]
    findings = diagnose(root, lambda server: parts)
    assert len([finding for finding in findings if finding.check == "templates"]) == len(parts) > 20
    grouped = group_findings(findings)
    (missing,) = [finding for finding in grouped if finding.check == "templates"]
    assert missing.level is FindingLevel.ERROR
    assert missing.text.startswith(f"{len(parts)} parts: missing ({parts[0]}, ")
    assert missing.text.endswith(f" and {len(parts) - 5} more)")
    assert missing.remedy == "logging-lib stack deploy"
    others = [finding for finding in findings if finding.check != "templates"]
    assert [finding for finding in grouped if finding.check != "templates"] == others
    root.call("DELETE", "/_scripts/ml-limits")
    root.call("DELETE", "/_scripts/ml-latency")
    printed = deployed("doctor", code=1).stdout
    assert "2 parts: missing (stored script ml-latency and stored script ml-limits)" in printed
    rows = json.loads(deployed("doctor", "--json", code=1).stdout)
    messages = [row["message"] for row in rows if row["check"] == "templates"]
    assert sorted(messages) == ["stored script ml-latency: missing", "stored script ml-limits: missing"]
    deployed("stack", "deploy")


def test_a_clock_that_differs_and_events_that_stopped(deployed: Call, root: Connection) -> None:
    store = ElasticsearchStore(root)
    store.index(elastic.new_stream(), [recent(1)])
    store.refresh()
    by_check = found(root, clock=lambda: datetime.now(UTC) + timedelta(hours=3))
    assert "differ by 10" in by_check["clock"][0].message
    assert "NTP" in by_check["clock"][0].remedy
    assert by_check["last event"][0].message == "the last prediction arrived 3 h ago"
    assert by_check["last event"][0].level is FindingLevel.WARNING


def test_a_stream_that_was_there_before_us_is_found(deployed: Call, root: Connection) -> None:
    """On 9.x it would be of the mode logsdb, without our mapping and pipeline."""
    stream = elastic.new_stream("ml.health")
    other = {"index_patterns": [stream], "data_stream": {}, "priority": 900}
    root.call("PUT", "/_index_template/test-before-us", other)
    root.call("POST", f"/{stream}/_doc", {"@timestamp": "2018-02-01"})
    try:
        stream_findings = [finding for finding in found(root)["streams"] if stream in finding.message]
    finally:
        root.call("PUT", "/_index_template/test-before-us", {**other, "index_patterns": ["test-unused"]})
        root.call("POST", f"/{stream}/_rollover")
    assert stream_findings[0].level is FindingLevel.ERROR
    assert f"POST {stream}/_rollover" in stream_findings[0].remedy
    assert not [finding for finding in found(root)["streams"] if stream in finding.message]


def test_a_server_that_does_not_answer_is_one_finding() -> None:
    with Connection(ConnectionSettings("http://127.0.0.1:9"), timeout=2) as connection:
        (finding,) = diagnose(connection, lambda server: [])
    assert finding.level is FindingLevel.ERROR
    assert "no answer" in finding.message
    assert "docs/elasticsearch.md" in finding.remedy


def test_requests_without_permission_are_reported(
    deployed: Call, secured: ConnectionSettings, tmp_path: Path
) -> None:
    deployed("stack", "deploy", "--api-key", "writer", "--keys", str(tmp_path))
    key = (tmp_path / "logging-lib-writer.key").read_text().strip()
    with Connection(ConnectionSettings(secured.url, api_key=key)) as writer:
        by_check = found_as(writer)
    assert by_check["last event"].level is FindingLevel.NOTE
    assert "could not be checked" in by_check["last event"].message


def found_as(connection: Connection) -> dict[str, DoctorFinding]:
    return {finding.check: finding for finding in diagnose(connection, lambda server: [])}
