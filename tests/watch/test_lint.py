"""What lint finds in watches that can be loaded, and that the shipped ones are clean."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from logging_lib._util import content
from logging_lib.cli.app import app
from logging_lib.watch.lint import LintFinding, lint_files, lint_watch
from logging_lib.watch.loading import parse_watch

NOW = datetime(2024, 5, 1, tzinfo=UTC)
SEARCH = {
    "search": {
        "request": {
            "indices": ["logs-ml.prediction-*"],
            "body": {
                "size": 5,
                "query": {"range": {"event.ingested": {"gt": "now-1h"}}},
                "aggs": {
                    "models": {
                        "terms": {"field": "ml.model.name", "size": 10},
                        "meta": {"top": True},
                        "aggs": {"p95": {"percentiles": {"field": "event.duration"}}},
                    },
                    "windows": {"filters": {"filters": {"{{ctx.metadata.short}}": {"match_all": {}}}}},
                },
            },
        }
    }
}
BODY = "input.search.request.body"
GOOD: dict[str, Any] = {
    "metadata": {"short": "1h", "limit": 3},
    "trigger": {"schedule": {"interval": "5m"}},
    "input": SEARCH,
    "condition": {"compare": {"ctx.payload.hits.total": {"gt": 0}}},
    "actions": {
        "log": {
            "logging": {
                "text": "{{#ctx.payload.aggregations.models.buckets}}{{key}} {{doc_count}} {{p95.values}}"
                "{{/ctx.payload.aggregations.models.buckets}} {{ctx.payload.hits.hits.0._source.ml.model.name}} "
                "{{ctx.payload.aggregations.windows.buckets.1h.doc_count}} {{ctx.vars.x}}"
            }
        }
    },
}


def findings(path: str = "", value: Any = None) -> list[LintFinding]:
    document = deepcopy(GOOD)
    place: Any = document
    *parents, last = path.split(".") if path else [""]
    for part in parents:
        place = place[part]
    if path:
        place[last] = value
    return lint_watch(parse_watch(document, id="w", file="w.json"), now=NOW)


def test_a_bucket_name_that_is_not_text_names_no_bucket() -> None:
    filters = {"filters": {"a": {"match_all": {}}}, "other_bucket_key": {"x": 1}}
    assert findings(f"{BODY}.aggs.windows.filters", filters)  # no bucket `1h` any more


def lint_script(script: Any) -> list[LintFinding]:
    document = deepcopy(GOOD)
    document["transform"] = {"script": script}
    document["actions"]["log"]["logging"]["text"] = (
        "{{ctx.payload.count}} {{#ctx.payload.findings}}{{feature}} {{featur}}{{/ctx.payload.findings}}"
        "{{ctx.payload.findings.0.model}} {{ctx.payload.fnidings}}"
    )
    return lint_watch(parse_watch(document, id="w", file="w.json", sources={"own": "return 1"}), now=NOW)


def test_lint_finds_nothing_in_a_good_watch() -> None:
    """Variables of aggregations, hits, metadata and vars are known or unknowable."""
    assert findings() == []


def test_shipped_watches_are_clean() -> None:
    """All of watchers/."""
    assert lint_files([content.path("watchers")], now=NOW) == []


TEXT = "actions.log.logging.text"
HTTP = {"url": "https://example.org/x"}
FOUND = [
    (TEXT, "{{ctx.payload.aggregations.model.buckets}}", "unknown-variable", "did you mean 'models'?"),
    (TEXT, "{{ctx.payload.hits.total.value}}", "unknown-variable", "'total' has no 'value'"),
    (TEXT, "{{ctx.payload.hits.hits.0._source.ml.modl}}", "unknown-variable", "did you mean 'model'?"),
    (
        TEXT,
        "{{#ctx.payload.aggregations.models.buckets}}{{doc_cnt}}{{/ctx.payload.aggregations.models.buckets}}",
        "unknown-variable",
        "no section around it",
    ),
    ("condition", {"compare": {"ctx.payload.aggs.models": {"gt": 1}}}, "unknown-variable", "has only"),
    ("condition", {"never": {}}, "never-runs", "'never'"),
    ("condition", {"compare": {"ctx.payload.hits.total": {"lt": 0}}}, "never-runs", "is never lt 0"),
    ("condition", {"compare": {"ctx.metadata.limit": {"gt": 5}}}, "never-runs", "written in the watch"),
    ("actions.log.condition", {"never": {}}, "never-runs", "'never'"),
    (
        "actions.log",
        {"foreach": "ctx.payload.hits.hits", "max_iterations": 0, "logging": {"text": "x"}},
        "never-runs",
        "no iteration",
    ),
    (
        "actions.log",
        {"foreach": "ctx.payload.hits.total", "logging": {"text": "x"}},
        "never-runs",
        "is not a list",
    ),
    ("actions", {}, "never-runs", "has no action"),
    ("trigger.schedule", {"cron": "0 0 0 30 2 ?"}, "never-runs", "no time left"),
    ("trigger.schedule", {"cron": "0 0 0 1 1 ? 2020"}, "never-runs", "no time left"),
    ("actions.log.throttle_period", "30d", "long-throttle", "once in 30d"),
    (f"{BODY}.aggs.models.meta", {}, "cut-terms", "10 most frequent terms"),
    (f"{BODY}.aggs.models.meta", "x", "cut-terms", "10 most frequent terms"),
    (f"{BODY}.aggs.models.terms", {"field": "ml.model.name"}, "no-size", "terms of 'models' have no size"),
    (f"{BODY}.query", {"range": {"@timestamp": {"gt": "now-1h"}}}, "event-time", "events' own time"),
    ("input.search.request.indices", ["ml-profiles"], "unknown-field", "no indexed field 'event.duration'"),
    ("metadata.api_key", "abc", "literal-secret", "looks like a secret"),
    (TEXT, "https://hooks.slack.com/services/T0/B0/x", "literal-secret", "looks like a secret"),
    (
        "actions.hook",
        {"webhook": {**HTTP, "auth": {"basic": {"username": "u", "password": "p"}}}},
        "literal-secret",
        "the watch contains a password",
    ),
    ("actions.hook", {"webhook": {**HTTP, "headers": {"X-Api-Key": "k"}}}, "literal-secret", "'X-Api-Key'"),
    ("actions.hook", {"webhook": {"host": "sms.example.org"}}, "unencrypted", "sms.example.org is not encr"),
]


@pytest.mark.parametrize(("path", "value", "rule", "message"), FOUND, ids=[f"{f[2]}-{f[3]}" for f in FOUND])
def test_each_rule_finds_its_fault(path: str, value: Any, rule: str, message: str) -> None:
    """With the file, a path into it and the remedy."""
    results = [result for result in findings(path, value) if result.rule == rule]
    assert any(message in result.message for result in results), results
    for result in results:
        assert result.file == "w.json"
        assert result.path.startswith("$.")
        assert result.remedy


def test_lint_requires_the_size_of_hits() -> None:
    """Ten is seldom what was meant."""
    document = deepcopy(GOOD)
    del document["input"]["search"]["request"]["body"]["size"]
    (result,) = lint_watch(parse_watch(document, id="w"), now=NOW)
    assert (result.rule, result.severity, result.path) == (
        "no-size",
        "warning",
        "$.input.search.request.body",
    )


def test_a_loop_over_hits_of_size_zero_is_a_finding() -> None:
    """An empty list fails a foreach, and array_compare is false over it."""
    document = deepcopy(GOOD)
    document["input"]["search"]["request"]["body"]["size"] = 0
    document["actions"] = {
        "log": {"foreach": "ctx.payload.hits.hits", "logging": {"text": "{{ctx.payload._id}}"}}
    }
    document["condition"] = {
        "array_compare": {"ctx.payload.hits.hits": {"path": "_id", "eq": {"value": "a"}}}
    }
    results = [
        result for result in lint_watch(parse_watch(document, id="w"), now=NOW) if result.rule == "never-runs"
    ]
    assert [result.path for result in results] == [
        "$.condition.array_compare['ctx.payload.hits.hits']",
        "$.actions.log.foreach",
    ]


def test_lint_knows_what_scripts_write() -> None:
    """A shipped script's keys at any depth; a user's own where its results are written out."""
    settings = ("metadata", "windows", "checks")
    shipped = [result.message for result in lint_script({"id": "own"}) if result.path not in settings]
    assert shipped == []  # `return 1` may be anything
    user_source = "return ['count': 1, 'findings': [['model': 'm', 'feature': 'f']]]"
    (result,) = lint_script({"source": user_source})
    assert "the script writes no 'fnidings'; did you mean 'findings'?" in result.message
    assert result.path == "$.actions.log.logging.text"


def test_shipped_scripts_are_known_deeply() -> None:
    """A wrong name within a finding is found, too."""
    document = json.loads((content.path("watchers") / "na-spike.json").read_text("utf-8"))
    text = "{{#ctx.payload.result.findings}}{{featur}}{{/ctx.payload.result.findings}}{{ctx.payload.result.cuont}}"
    document["actions"]["email"]["email"]["subject"] = text
    results = lint_watch(parse_watch(document, id="na-spike"), now=NOW)
    assert [result.path for result in results] == ["$.actions.email.email.subject"] * 2
    assert any("'featur'" in result.message for result in results)
    assert any("did you mean 'count'?" in result.message for result in results)


def test_the_lint_commands_exit_codes(tmp_path: Path) -> None:
    """Errors end with 1, warnings with 0, files that are not watches with 2; a refused file is a finding."""
    run = CliRunner()
    assert run.invoke(app, ["watch", "lint"]).exit_code == 0
    (tmp_path / "good.json").write_text(
        json.dumps({**GOOD, "metadata": {**GOOD["metadata"], "token": "abc"}})
    )
    result = run.invoke(app, ["watch", "lint", str(tmp_path)])
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "0 errors, 1 warning")
    (tmp_path / "bad.json").write_text('{"trigger": {}}')
    result = run.invoke(app, ["watch", "lint", str(tmp_path), "--json"])
    assert result.exit_code == 1
    refused, secret = json.loads(result.output)
    assert (refused["rule"], refused["severity"], refused["path"]) == (
        "refused",
        "error",
        "$.trigger.schedule",
    )
    assert (secret["rule"], secret["severity"], secret["path"]) == (
        "literal-secret",
        "warning",
        "$.metadata.token",
    )
    assert run.invoke(app, ["watch", "lint", str(tmp_path / "none")]).exit_code == 2
