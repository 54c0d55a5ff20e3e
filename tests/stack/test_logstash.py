"""What the doctor finds at a Logstash: a real HTTP server answers in the shape of Logstash 9's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from typer.testing import CliRunner

from logging_lib.cli.app import app
from logging_lib.stack.doctor import DoctorFinding, FindingLevel
from logging_lib.stack.logstash import diagnose_logstash, logstash_settings
from logging_lib.store.port import StoreError
from tests.stack.logstash_api import HEALTH, ROOT, answers, flow, serving


def found(documents: dict[str, Any]) -> list[DoctorFinding]:
    with serving(documents) as url:
        return diagnose_logstash(logstash_settings({}, url=url))


def faults(documents: dict[str, Any]) -> list[tuple[FindingLevel, str]]:
    ordinary = (FindingLevel.OK, FindingLevel.NOTE)
    return [(finding.level, finding.text) for finding in found(documents) if finding.level not in ordinary]


def test_a_healthy_logstash_has_no_fault() -> None:
    findings = found(answers())
    assert {finding.level for finding in findings} == {FindingLevel.OK}
    texts = [finding.text for finding in findings]
    assert texts[0].endswith(": Logstash 9.5.2")
    assert "of pipeline ml holds 3 events, 11.3 kB of 1.07 GB" in texts
    assert "of pipeline ml since Logstash started: 90,000 events stored" in texts
    assert not [text for text in texts if "web-logs" in text]


def ml(documents: dict[str, Any], name: str = "ml") -> dict[str, Any]:
    stats: dict[str, Any] = documents["/_node/stats/pipelines"]["pipelines"][name]
    return stats


def test_a_queue_that_grows_and_one_that_is_full() -> None:
    documents = answers()
    ml(documents)["queue"].update(events_count=40_000, queue_size_in_bytes=200_000_000)
    ml(documents)["flow"]["queue_persisted_growth_events"] = flow(10.0)
    ml(documents)["flow"]["queue_persisted_growth_bytes"] = flow(100_000.0)
    ((level, text),) = faults(documents)
    assert level is FindingLevel.WARNING
    assert "holds 40,000 events, 200 MB of 1.07 GB, and grows by 10 events a second: full in 2.43 h" in text
    ml(documents)["queue"].update(queue_size_in_bytes=1_000_000_000)
    ((level, text),) = faults(documents)
    assert level is FindingLevel.ERROR
    assert "shippers wait" in text


def test_a_short_or_shrinking_backlog_is_not_a_fault() -> None:
    documents = answers()
    ml(documents)["queue"].update(events_count=40_000, queue_size_in_bytes=200_000_000)
    ml(documents)["flow"]["queue_persisted_growth_events"] = flow(-300.0)
    assert not faults(documents)
    ml(documents)["queue"].update(events_count=500)
    ml(documents)["flow"]["queue_persisted_growth_events"] = flow(4.0)
    assert not faults(documents)


def test_an_output_that_makes_no_progress_is_a_fault() -> None:
    documents = answers()
    ml(documents)["queue"].update(events_count=500)
    ml(documents)["flow"]["queue_persisted_growth_events"] = flow(4.0)
    ml(documents)["flow"]["output_throughput"] = flow(0.0)
    assert [level for level, _ in faults(documents)] == [FindingLevel.WARNING]


def test_a_queue_in_memory_and_a_disk_that_is_too_small() -> None:
    documents = answers()
    ml(documents)["queue"]["data"]["free_space_in_bytes"] = 500_000_000
    ((_, text),) = faults(documents)
    assert "may take 1.07 GB more, and the disk has 500 MB" in text
    ml(documents)["queue"] = {"type": "memory", "events_count": 0}
    ((_, text),) = faults(documents)
    assert "is in memory" in text


def test_dead_letters_that_are_dropped_pile_up_or_are_refused_again() -> None:
    documents = answers()
    ml(documents)["dead_letter_queue"].update(
        queue_size_in_bytes=1 << 30, dropped_events=12, expired_events=1,
        last_error="Cannot write event to DLQ(path: /var/lib/dlq/ml): reached maxQueueSize of 1073741824",
    )  # fmt: skip
    ml(documents, "ml-dead-letters")["dead_letter_queue"].update(queue_size_in_bytes=52_000)
    (dropped, full, refused) = faults(documents)
    assert dropped[0] is full[0] is FindingLevel.ERROR
    assert "12 events dropped since the queue is full and 1 event removed for their age" in dropped[1]
    assert "reached maxQueueSize" in dropped[1]
    assert "take 1.07 GB of 1.07 GB" in full[1]
    assert refused[0] is FindingLevel.WARNING
    assert "52 kB were refused even as dead letters" in refused[1]
    del ml(documents)["dead_letter_queue"]
    assert "has no dead letter queue" in faults(documents)[0][1]


def test_refusals_of_existing_ids_are_not_a_fault() -> None:
    documents = answers()
    ml(documents)["plugins"]["outputs"][0]["documents"] = {
        "successes": 90_000, "non_retryable_failures": 50, "dlq_routed": 7,
    }  # fmt: skip
    assert not faults(documents)
    (note,) = [finding for finding in found(documents) if finding.level is FindingLevel.NOTE]
    assert "7 events refused and put into the dead letter queue, 50 events not stored (< 0.1 %)" in note.text
    ml(documents)["plugins"]["outputs"][0]["documents"]["non_retryable_failures"] = 30_000
    ((level, text),) = faults(documents)
    assert level is FindingLevel.WARNING
    assert "30,000 events not stored (25.0 %), since the id was there already" in text


def test_missing_pipelines_are_reported() -> None:
    documents = answers()
    del documents["/_node/stats/pipelines"]["pipelines"]["ml-dead-letters"]
    ((level, text),) = faults(documents)
    assert level is FindingLevel.ERROR
    assert "no pipeline reads the dead letter queue" in text
    del documents["/_node/stats/pipelines"]["pipelines"]["ml"]
    ((level, text),) = faults(documents)
    assert "none of its pipelines has our inputs and outputs" in text


def test_the_health_report_is_passed_on() -> None:
    documents = answers()
    blocked = {
        "status": "red",
        "symptom": "The pipeline is unhealthy; 1 area is impacted and 1 diagnosis is available",
        "diagnosis": [
            {
                "id": "logstash:health:pipeline:flow:worker_utilization:diagnosis:5m-blocked",
                "cause": "pipeline workers have been completely blocked for at least five minutes",
                "action": "address bottleneck or add resources",
                "help_url": "https://ela.st/health-report-pipeline-flow-worker-utilization",
            }
        ],
    }
    report = deepcopy(HEALTH)
    indicators: dict[str, Any] = report["indicators"]["pipelines"]["indicators"]  # type: ignore[index]
    indicators["ml"] = blocked
    indicators["web-logs"] = {"status": "yellow", "symptom": "The pipeline is concerning"}
    documents["/_health_report"] = report
    ours, others = (finding for finding in found(documents) if finding.check == "Logstash health")
    assert ours.level is FindingLevel.ERROR
    assert ours.text == (
        "pipeline ml is red: pipeline workers have been completely blocked for at least five minutes"
    )
    assert ours.remedy == "address bottleneck or add resources"
    assert others.level is FindingLevel.WARNING
    assert others.text == "pipeline web-logs is yellow: The pipeline is concerning"
    del documents["/_health_report"]
    (note,) = (finding for finding in found(documents) if finding.check == "Logstash health")
    assert note.level is FindingLevel.NOTE
    assert "8.16" in note.text


def test_an_old_logstash_is_a_warning() -> None:
    documents = answers()
    documents["/"] = {**ROOT, "version": "8.4.3"}
    ((level, text),) = faults(documents)
    assert level is FindingLevel.WARNING
    assert "the pipelines need 8.15 or later" in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"<html>", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b"[1, 2]", "is not the API of a Logstash"),
        ({"name": "es", "version": {"number": "9.4.3"}}, "is not the API of a Logstash"),
        (b" " * (11 * 1024 * 1024), "longer than 10485760 bytes"),
        (401, "set LOGGING_LIB_LOGSTASH_USER and LOGGING_LIB_LOGSTASH_PASSWORD"),
        (503, "answers 503"),
    ],
)
def test_an_answer_of_something_else_is_one_finding(answer: Any, expected: str) -> None:
    (finding,) = found({**answers(), "/": answer})
    assert finding.level is FindingLevel.ERROR
    assert expected in finding.text
    assert "docs/operate-logstash.md" in finding.remedy


def test_answers_of_other_types_are_no_exception() -> None:
    """Whatever a later version makes of a part, the other parts are still examined."""
    documents = answers()
    with serving(documents) as url:
        for path in ("/_health_report", "/_node/stats/pipelines"):
            for change in changed(answers()[path]):
                documents[path] = change
                findings = diagnose_logstash(logstash_settings({}, url=url))
                assert findings[0].text.endswith(": Logstash 9.5.2")
                documents[path] = answers()[path]


def changed(document: Any) -> Iterator[Any]:
    """The document with one of its parts replaced, each in turn."""
    if isinstance(document, dict):
        for key, value in document.items():
            for part in (["NaN", None], {"x": []}, *changed(value)):
                yield {**document, key: part}
    elif isinstance(document, list):
        for number, value in enumerate(document):
            for part in (None, *changed(value)):
                yield [*document[:number], part, *document[number + 1 :]]


def test_a_server_that_does_not_answer_is_one_finding() -> None:
    (finding,) = diagnose_logstash(logstash_settings({}, url="http://127.0.0.1:9"))
    assert finding.level is FindingLevel.ERROR
    assert "no answer" in finding.text
    with pytest.raises(StoreError, match="LOGGING_LIB_LOGSTASH_CA"):
        logstash_settings({"LOGGING_LIB_LOGSTASH_CA": "/no/such"}, url="https://localhost:9600")


def test_the_command_examines_logstash_alone() -> None:
    documents = answers()
    with serving(documents) as url:
        done = CliRunner().invoke(
            app, ["doctor", "--logstash", url], env={"LOGGING_LIB_ELASTICSEARCH_URL": ""}
        )
        assert done.exit_code == 0, done.output
        assert "Logstash 9.5.2" in done.output
        ml(documents)["dead_letter_queue"]["dropped_events"] = 1
        environment = {"LOGGING_LIB_LOGSTASH_URL": url, "LOGGING_LIB_ELASTICSEARCH_URL": ""}
        done = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert [row["check"] for row in rows if row["level"] == "error"] == ["Logstash dead letters"]
