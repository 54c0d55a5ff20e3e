"""Each role may do its work and nothing else, tried on a real Elasticsearch with security on."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.store import IndexResult
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings, ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.daemon import Heartbeat
from logging_lib.watch.lease import LeaderElector
from logging_lib.watch.state.base import HistoryQuery
from logging_lib.watch.state.elasticsearch import ElasticsearchState
from tests.stack.conftest import Call
from tests.store import elastic
from tests.store.events import event

pytestmark = pytest.mark.elasticsearch
ROLES = ("writer", "reader", "watch-runner", "annotator", "eraser")
As = Callable[[str], Connection]


@pytest.fixture
def stream(deployed: Call, root: Connection) -> str:
    """A stream with one event in it."""
    name = elastic.new_stream()
    store = ElasticsearchStore(root)
    store.index(name, [event(1)])
    store.index("ml-profiles", [{"_id": "roles:1", "ml": {"model": {"name": "roles", "version": "1"}}}])
    store.refresh()
    return name


@pytest.fixture
def as_role(deployed: Call, secured: ConnectionSettings, tmp_path: Path) -> Iterator[As]:
    """Connects with the API key that deploy makes for a role."""
    opened: list[Connection] = []

    def connect(role: str) -> Connection:
        deployed("stack", "deploy", "--api-key", role, "--keys", str(tmp_path / "keys"))
        file = tmp_path / "keys" / f"logging-lib-{role}.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        opened.append(Connection(ConnectionSettings(secured.url, api_key=file.read_text().strip())))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def forbidden(connection: Connection, method: str, path: str, body: Any = None) -> None:
    with pytest.raises(ElasticsearchError) as caught:
        connection.call(method, path, body)
    assert caught.value.status == 403, caught.value
    assert "docs/elasticsearch.md" in str(caught.value)


def test_the_writer_creates_and_can_neither_read_nor_delete(as_role: As, stream: str) -> None:
    writer = as_role("writer")
    assert ElasticsearchStore(writer).index(stream, [event(2), event(1)]) == IndexResult(1, 1)
    assert ElasticsearchStore(writer).index(elastic.new_stream(), [event(1)]).created == 1
    forbidden(writer, "POST", f"/{stream}/_search", {})
    forbidden(writer, "GET", f"/{stream}/_count")
    forbidden(writer, "POST", f"/{stream}/_delete_by_query", {"query": {"match_all": {}}})
    forbidden(writer, "DELETE", f"/{backing(as_role, stream)}")
    forbidden(writer, "POST", f"/{backing(as_role, stream)}/_update/e1", {"doc": {"message": "x"}})
    forbidden(writer, "PUT", "/ml-profiles/_doc/x", {})
    forbidden(writer, "PUT", "/_component_template/logs-ml@settings", {"template": {}})
    result = ElasticsearchStore(writer).index("ml-profiles", [{"_id": "x"}])
    assert result.created == 0
    assert "unauthorized" in result.failed[0][1]


def backing(as_role: As, stream: str) -> str:
    with as_role("reader") as reader:
        return str(reader.call("POST", f"/{stream}/_search", {})["hits"]["hits"][0]["_index"])


def test_the_reader_reads_and_can_write_nothing(as_role: As, stream: str) -> None:
    reader = as_role("reader")
    assert reader.call("POST", f"/{stream}/_search", {})["hits"]["total"]["value"] == 1
    assert reader.call("GET", "/ml-profiles/_doc/roles:1")["found"]
    forbidden(reader, "POST", f"/{stream}/_doc", event(3))
    forbidden(reader, "POST", f"/{stream}/_delete_by_query", {"query": {"match_all": {}}})
    forbidden(reader, "PUT", "/ml-profiles/_doc/x", {})
    forbidden(reader, "POST", "/_security/api_key", {"name": "x"})
    forbidden(reader, "POST", "/.security/_search", {})


def test_the_watch_runner_keeps_its_state_and_writes_nothing_else(as_role: As, stream: str) -> None:
    runner = as_role("watch-runner")
    assert runner.call("POST", f"/{stream}/_search", {})["hits"]["total"]["value"] == 1
    state = ElasticsearchStore(runner)
    assert state.index("ml-watch-state", [{"_id": "na-spike", "watch": "na-spike", "state": {}}]).created == 1
    state.refresh()
    assert state.execute_painless("return params.x + 1", {"x": 1}) == "2"
    elastic_state = ElasticsearchState(state)
    assert elastic_state.update("w", lambda known: known).generation == 0
    assert LeaderElector(elastic_state).acquire(datetime.now(UTC))
    elastic_state.record([{"time": "2018-02-01T00:00:00Z", "kind": "run", "watch": "w"}])
    assert [entry["watch"] for entry in elastic_state.history(HistoryQuery(watch="w"))] == ["w"]
    elastic_state.forget({"*": datetime.now(UTC)})
    beat = Heartbeat(state, datetime.now(UTC), namespace="roles")
    alive = beat.event(datetime.now(UTC), leading=True, running=0, undelivered=0)
    assert state.index("logs-ml.health-roles", [alive]).created == 1
    forbidden(runner, "POST", f"/{stream}/_doc", event(3))
    forbidden(runner, "PUT", "/ml-profiles/_doc/x", {})


def test_the_annotator_changes_events_and_deletes_none(as_role: As, stream: str) -> None:
    annotator = as_role("annotator")
    store = ElasticsearchStore(annotator)
    (hit,) = store.search(stream, {"seq_no_primary_term": True})["hits"]["hits"]
    (outcome,) = store.replace([(hit, {**hit["_source"], "message": "changed"})])
    assert outcome.reason == ""
    store.refresh()
    forbidden(annotator, "POST", f"/{stream}/_delete_by_query", {"query": {"match_all": {}}})
    forbidden(annotator, "DELETE", f"/{hit['_index']}/_doc/{hit['_id']}")
    forbidden(annotator, "POST", f"/{elastic.new_stream('ml.label')}/_search?ignore_unavailable=false", {})
    forbidden(annotator, "PUT", "/ml-profiles/_doc/x", {})


def test_the_eraser_deletes_events_and_writes_none(as_role: As, stream: str) -> None:
    eraser = as_role("eraser")
    path = f"/{stream}/_delete_by_query?refresh=true"
    assert eraser.call("POST", path, {"query": {"term": {"event.id": "e1"}}})["deleted"] == 1
    forbidden(eraser, "POST", f"/{stream}/_doc", event(3))
    forbidden(eraser, "DELETE", "/ml-profiles/_doc/x")


def test_the_deployer_deploys_without_being_a_superuser(
    deployed: Call,
    root: Connection,
    secured: ConnectionSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Templates, scripts and keys for the other roles; neither users nor other indices."""
    deployed("stack", "deploy", "--roles")
    password = "of-the-deployer"
    user = {"password": password, "roles": ["logging-lib-deployer"]}
    root.call("PUT", "/_security/user/deploying", user)
    root.call("DELETE", "/_scripts/ml-check-rate")
    root.call("PUT", "/somebody-elses/_doc/1", {"x": 1})
    monkeypatch.setenv(f"{PREFIX}USER", "deploying")
    monkeypatch.setenv(f"{PREFIX}PASSWORD", password)
    keys = [argument for role in ROLES for argument in ("--api-key", role)]
    result = CliRunner().invoke(app, ["stack", "deploy", *keys, "--keys", str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert "stored script ml-check-rate: created" in result.stdout
    for command in (["stack", "status"], ["doctor"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    key = (tmp_path / "made" / "logging-lib-writer.key").read_text().strip()
    with Connection(ConnectionSettings(secured.url, api_key=key)) as writer:
        assert ElasticsearchStore(writer).index(elastic.new_stream(), [event(1)]).created == 1
    with Connection(ConnectionSettings(secured.url, user="deploying", password=password)) as connection:
        forbidden(connection, "POST", "/somebody-elses/_search", {})
        forbidden(connection, "PUT", "/_security/user/another", user)
        forbidden(connection, "PUT", "/_security/role/another", {"cluster": ["all"]})
    refused = CliRunner().invoke(app, ["stack", "deploy", "--roles"])
    assert refused.exit_code == 2
    assert "403" in refused.stderr


def test_each_command_works_with_its_own_key(
    deployed: Call,
    as_role: As,
    secured: ConnectionSettings,
    profile: profiles.Profile,
    inputs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The writer indexes, the annotator adds checks, the watch runner evaluates; the reader backtests."""
    profiles.save(profile, "profile.json")
    deployed("profile", "publish", "profile.json")
    events = [
        {
            "model": "loans",
            "version": "1",
            "id": uuid4().hex,
            "inputs": inputs | ({"home": "?"} if n % 2 else {}),
        }
        for n in range(40)
    ]
    Path("events.jsonl").write_text("\n".join(map(json.dumps, events)))
    commands = {
        "writer": ["index", "events.jsonl"],
        "annotator": ["annotate", "--json"],
        "watch-runner": ["watch", "run", "--once", "--dry-run", "--watch", "unseen-categories"],
        "reader": ["watch", "backtest", "--watch", "unseen-categories", "--json"],
    }
    for role in commands:
        as_role(role).close()
    for name in ("USER", "PASSWORD"):
        monkeypatch.delenv(PREFIX + name)
    said = {}
    for role, command in commands.items():
        key = (tmp_path / "keys" / f"logging-lib-{role}.key").read_text().strip()
        monkeypatch.setenv(f"{PREFIX}API_KEY", key)
        if role == "annotator":
            time_to_refresh(secured)
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, f"{role}: {result.output}"
        said[role] = result.stdout
    assert "40 events indexed" in said["writer"]
    assert json.loads(said["annotator"])["done"] >= 40
    assert "home" in said["watch-runner"]


def time_to_refresh(secured: ConnectionSettings) -> None:
    """What the cluster does every few seconds."""
    with Connection(secured) as root:
        root.call("POST", "/logs-ml.*/_refresh")


def test_a_key_that_is_there_is_kept_and_an_unknown_role_named(deployed: Call, tmp_path: Path) -> None:
    options = ("stack", "deploy", "--keys", str(tmp_path / "k"))
    deployed(*options, "--api-key", "reader")
    file = tmp_path / "k" / "logging-lib-reader.key"
    first = file.read_text()
    again = deployed(*options, "--api-key", "reader", "--expiration", "30d")
    assert f"unchanged ({file} is there; remove it to get a new one)" in again.stdout
    assert file.read_text() == first
    assert first.strip() not in again.output
    wrong = deployed(*options, "--api-key", "king", code=2)
    assert "there is no role 'king'; there are analyst, annotator, deployer" in wrong.stderr


def test_destroy_makes_the_keys_worthless(as_role: As, deployed: Call) -> None:
    reader = as_role("reader")
    reader.call("POST", "/ml-profiles/_search", {}, params={"ignore_unavailable": "true"})
    deployed("stack", "destroy", "--yes")
    with pytest.raises(ElasticsearchError, match="401"):
        reader.call("POST", "/ml-profiles/_search", {})
    deployed("stack", "deploy", "--force")
