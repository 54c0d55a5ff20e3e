"""What other people's watches hold, and Watcher takes: it is executed here too, or is named in a warning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from logging_lib.cli.app import app
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import Store
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.registry import preview_channels
from logging_lib.watch.runner import Runner

NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)
INDEX = "migrated-logs"
TRIGGER = {"schedule": {"interval": "5m"}}
LOG: dict[str, Any] = {"log": {"logging": {"text": "seen"}}}


@pytest.fixture
def embedded() -> Iterator[Store]:
    with EmbeddedStore(None) as store:
        fill(store)
        yield store


@pytest.fixture
def elastic(elasticsearch_url: str) -> Iterator[Store]:
    settings = {"mappings": {"properties": {"at": {"type": "date"}, "host": {"type": "keyword"}}}}
    with Connection(ConnectionSettings(elasticsearch_url), timeout=600) as connection:
        connection.call("PUT", f"/{INDEX}", settings)
        store = ElasticsearchStore(connection)
        fill(store)
        yield store
        connection.call("DELETE", f"/{INDEX}")


def fill(store: Store) -> None:
    entries = [("11:40", "a"), ("11:52", "a"), ("11:55", "b"), ("11:59", "a"), ("12:00", "c")]
    assert not store.index(INDEX, [{"at": f"2018-02-01T{at}:00.000Z", "host": h} for at, h in entries]).failed
    store.refresh()


def watch(**parts: Any) -> Watch:
    return parse_watch(json.dumps({"trigger": TRIGGER, "actions": LOG, **parts}), id="own", file="own.json")


def search(**body: Any) -> dict[str, Any]:
    return {"search": {"request": {"indices": [INDEX], "body": body}}}


def run(store: Store, loaded: Watch) -> tuple[list[str], tuple[str, ...]]:
    """What one run would send, and its warnings."""
    sent: list[str] = []
    runner = Runner(store, [loaded], channels=preview_channels(sent.append), dry_run=True)
    (done,) = runner.run_once(NOW).runs
    assert done.error is None
    return sent, done.warnings


RANGES = [
    {"gte": "now-10m", "lte": "now"},
    {"gte": "now-10m", "lte": "now", "format": "strict_date_optional_time"},
    {"gte": "now-10m", "lte": "now", "format": "epoch_millis"},
    {"gte": "now-10m", "lt": "01/02/2018 13:00", "format": "dd/MM/yyyy HH:mm"},
    {"from": "now-10m", "to": "now"},
    {"from": "now-20m", "to": "now", "include_lower": False},
    {"from": "now-10m", "to": None},
]


@pytest.mark.elasticsearch
@pytest.mark.parametrize("bounds", RANGES, ids=str)
def test_ranges_have_the_form_that_watcher_accepts(elastic: Store, bounds: dict[str, Any]) -> None:
    """``now`` beside a format, which is asked for the run's own moment; and the older names of bounds."""
    text = {"log": {"logging": {"text": "{{ctx.payload.hits.total}}"}}}
    loaded = watch(input=search(size=0, query={"range": {"at": bounds}}), actions=text)
    assert run(elastic, loaded)[0] == ["log info: 4"]


def test_older_bounds_on_the_embedded_store(embedded: Store) -> None:
    text = {"log": {"logging": {"text": "{{ctx.payload.hits.total}}"}}}
    bounds = {"from": "now-20m", "to": "now", "include_lower": False, "include_upper": False}
    loaded = watch(input=search(size=0, query={"range": {"at": bounds}}), actions=text)
    assert run(embedded, loaded)[0] == ["log info: 3"]


@pytest.mark.parametrize("size", [2, 50])
def test_the_largest_terms_are_enough_for_a_users_own_watch(embedded: Store, size: int) -> None:
    """As in Watcher; the run says what it left out, lint that it may."""
    aggs = {"hosts": {"terms": {"field": "host", "size": size}}}
    text = {"log": {"logging": {"text": "{{ctx.payload.aggregations.hosts.buckets.0.key}}"}}}
    loaded = watch(input=search(size=0, aggs=aggs), actions=text)
    sent, warnings = run(embedded, loaded)
    assert sent == ["log info: a"]
    assert [("hosts left out 1 documents" in warning) for warning in warnings] == [True] * (size == 2)
    assert [found.rule for found in lint_watch(loaded, now=NOW)] == ["cut-terms"]


def test_templates_may_be_objects() -> None:
    """Wherever a template stands, but not in scripts, metadata and payloads."""
    source = {"source": "{{ctx.metadata.a.source}}!", "lang": "mustache"}
    body = {"text": source, "html": source}
    loaded = watch(
        metadata={"a": {"source": "x"}},
        input={"chain": {"inputs": [
            {"one": {"simple": {"b": {"source": "y"}}}},
            {"two": {"http": {"request": {"host": "h", "path": source, "headers": {"a": source}, "body": source}}}},
        ]}},
        condition={"script": {"source": "true"}},
        actions={
            "log": {"logging": {"text": source}},
            "mail": {"email": {"to": [{"inline": "a@b.c"}], "subject": source, "body": body}},
            "slack": {"slack": {"message": {"text": source, "attachments": [{"title": source}]}}},
            "hook": {"webhook": {"host": "h", "params": {"q": source}, "body": source}},
        },
    )  # fmt: skip
    text = source["source"]
    definition = loaded.definition.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert definition["metadata"] == {"a": {"source": "x"}}
    steps = definition["input"]["chain"]["inputs"]
    assert steps[0]["one"]["simple"] == {"b": {"source": "y"}}
    request = steps[1]["two"]["http"]["request"]
    assert (request["path"], request["headers"], request["body"]) == (text, {"a": text}, text)
    actions = definition["actions"]
    assert actions["mail"]["email"]["body"] == {"text": text, "html": text}
    assert actions["slack"]["slack"]["message"]["attachments"] == [{"title": text}]
    assert actions["hook"]["webhook"]["params"] == {"q": text}


@pytest.mark.parametrize("template", [{"id": "stored"}, {"source": "{{x}}", "params": {"x": 1}}])
def test_a_template_that_is_not_executed_is_refused_with_a_remedy(template: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"own\.json: \$\.actions\.log\.logging\.text: write the template as a text"
    ):
        watch(actions={"log": {"logging": {"text": template}}})


def test_a_port_is_a_number() -> None:
    """As in Watcher, which refuses a text."""
    hook = {"host": "h", "port": 9}
    assert watch(actions={"hook": {"webhook": hook}}).actions["hook"].settings.port == 9
    with pytest.raises(ValueError, match=r"own\.json: \$\.actions\.hook\.webhook\.port: "):
        watch(actions={"hook": {"webhook": {**hook, "port": "9"}}})


def test_keys_without_an_effect_are_a_warning() -> None:
    loaded = watch(
        input={"search": {"request": {"indices": ["a"], "types": [], "body": {"size": 0}}}},
        actions={
            "mail": {"email": {"to": "a@b.c", "profile": "standard", "account": "work", "priority": "HIGH"}},
            "slack": {"slack": {"account": "ops", "message": {"text": "x"}}},
            "save": {"index": {"index": "i", "doc_type": "_doc"}},
            "log": {"throttle_period": None, "logging": {"text": "x", "level": "WARN"}},
        },
        throttle_period=None,
    )
    found = {finding.path: finding.message for finding in lint_watch(loaded, now=NOW)}
    assert found.keys() == {
        "$.input.search.request.types",
        "$.actions.mail.email.profile",
        "$.actions.mail.email.account",
        "$.actions.slack.slack.account",
        "$.actions.save.index.doc_type",
    }
    assert found["$.input.search.request.types"].startswith("'types' has no effect here: ")
    assert loaded.throttle_period("log").total_seconds() == 5


def test_comments_and_paths_without_a_value(embedded: Store) -> None:
    """As Elasticsearch's parser and Mustache take them."""
    text = """{ // when
      "trigger": {"schedule": {"interval": "5m"}}, /* what
      */ "input": {"simple": {"url": "http://x"}},
      "actions": {"log": {"logging": {"text": "<{{ctx.metadata.none}}{{ctx.payload.no.ne}}> {{ctx.payload.url}}"}}}
    }"""
    assert run(embedded, parse_watch(text, id="own"))[0] == ["log info: <> http://x"]
    nothing = {"compare": {"ctx.payload.none": {"gt": 0}}}
    assert run(embedded, watch(condition=nothing))[0] == []


def test_a_mail_needs_no_body(embedded: Store) -> None:
    (mail,), _ = run(embedded, watch(actions={"mail": {"email": {"to": "a@b.c", "subject": "look"}}}))
    assert "Subject: look" in mail


@pytest.mark.parametrize("command", ["run", "list"])
def test_a_file_that_is_refused_stops_no_other(tmp_path: Path, command: str) -> None:
    """The others run and are listed; the exit code and the output say that one is not."""
    watches = tmp_path / "watches"
    watches.mkdir()
    good = {"trigger": TRIGGER, "input": {"simple": {}}, "actions": LOG}
    (watches / "good.json").write_text(json.dumps(good))
    (watches / "bad.json").write_text(json.dumps({**good, "inptu": {}}))
    with EmbeddedStore(tmp_path / "store") as store:
        event = {"@timestamp": "2018-02-01T12:00:00.000Z", "event": {"id": "1", "dataset": "ml.health"}}
        assert not store.index("logs-ml.health-default", [event]).failed
    options = ["--once", "--dry-run", "--store", str(tmp_path / "store")] if command == "run" else []
    arguments = ["watch", command, "--watches", str(watches), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1, done.output
    assert "bad.json: $.inptu: unknown field 'inptu'" in done.stderr
    assert ("seen" if command == "run" else "good") in done.stdout
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    refused = document["refused"] if command == "run" else document[1]["refused"]
    assert "unknown field 'inptu'" in refused[0]
    (watches / "good.json").unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 2
