"""``ack``, ``mute``, ``unmute``, ``history`` and the state in ``list``, on both states, while a runner may run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from logging_lib.cli.watch import app
from logging_lib.store.connection import Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import StateStore
from logging_lib.watch.state.elasticsearch import INDEX, ElasticsearchState
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    FakeStore,
    build_result,
    email_action,
    finding,
    minutes,
    watch,
)

Call = Callable[..., Result]


class Place:
    """A state, and the options by which commands find it."""

    def __init__(self, state: StateStore, *options: object, watch: str) -> None:
        self.state, self.options, self.watch = state, options, watch
        self.texts: list[str] = []
        self.found: list[dict[str, Any]] = []
        self._runner = Runner(
            FakeStore(lambda now: self.found),
            [watch_of(watch)],
            channels={"email": self},
            scripts=SCRIPTS,
            summarize=build_result,
            state=state,
        )

    def deliver(self, message: Any) -> None:
        self.texts.append(message.text.strip())

    def run(self, minute: float) -> list[str]:
        """Run the runner once and return what it sent."""
        before = len(self.texts)
        self._runner.run_once(NOW + minutes(minute))
        return self.texts[before:]

    def __call__(self, command: str, *arguments: object, minute: float = 0, code: int = 0) -> Result:
        at = () if command == "list" else ("--now", (NOW + minutes(minute)).isoformat())
        words = [command, *arguments, *self.options, *at]
        result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result


def watch_of(name: str) -> Any:
    return watch(name, email=email_action(throttle_period="1s"))


@pytest.fixture(params=["files", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name in ("STORE", "WATCH_STATE", "ELASTICSEARCH_URL"):
        monkeypatch.delenv(f"LOGGING_LIB_{name}", raising=False)
    if request.param == "files":
        yield Place(FileState(tmp_path / "state"), "--state", tmp_path / "state", watch="na-spike")
        return
    connection: Connection = request.getfixturevalue("elasticsearch")
    store = ElasticsearchStore(connection, retry_seconds=10)
    store.delete(INDEX, {"match_all": {}})
    yield Place(ElasticsearchState(store), "--elasticsearch", connection.url, watch="na-spike")
    store.refresh(INDEX)
    store.delete(INDEX, {"match_all": {}})


def test_an_acknowledged_incident_is_silent_until_it_is_over(place: Place) -> None:
    """And no other is."""
    place.found = [finding("a", model="A"), finding("b", model="A"), finding("a", model="B")]
    assert place.run(0) == ["A 1 a\nA 1 b", "B 1 a"]
    place("ack", "na-spike", "--model", "C", code=1)
    said = place("ack", "na-spike", "--model", "A", "--feature", "a", "--user", "ada")
    assert said.stdout == "acknowledged: na-spike A 1 a\n"
    assert place.run(5) == ["A 1 b", "B 1 a"]
    place("ack", "na-spike")
    assert place.run(10) == []
    place.found.append(finding("c", model="A"))
    assert place.run(15) == ["A 1 c"]
    (row,) = [row for row in json.loads(place("list", "--json").stdout) if row["id"] == "na-spike"]
    assert (row["open"], row["acknowledged"], row["muted"]) == (4, 3, 0)
    assert row["incidents"][0]["acknowledged_by"]
    place.found = []
    for minute in (20, 25, 30):
        place.run(minute)
    place.found = [finding("a", model="A")]
    assert place.run(35) == ["A 1 a"]


def test_one_action_is_acknowledged(place: Place) -> None:
    """The incident stays unacknowledged for the others; an action that notified of none is named."""
    place.found = [finding("a", model="A")]
    place.run(0)
    assert "is open of which slack notified" in place("ack", "na-spike", "--action", "slack", code=1).stderr
    said = place("ack", "na-spike", "--action", "email")
    assert said.stdout == "acknowledged: na-spike A 1 a\n"
    assert place.run(90) == []
    (row,) = [row for row in json.loads(place("list", "--json").stdout) if row["id"] == "na-spike"]
    assert (row["open"], row["acknowledged"]) == (1, 0)


def test_what_is_not_open_cannot_be_acknowledged(place: Place) -> None:
    """It is said, and nothing remembered."""
    assert "nope: no such incident is open" in place("ack", "nope", code=1).stderr
    assert place.state.watch_ids() == []


def test_a_mute_is_made_shown_and_ended(place: Place) -> None:
    """For a while or until a time; by id or by what it mutes."""
    place.found = [finding("a", model="A"), finding("a", model="B")]
    made = json.loads(place("mute", "--model", "A", "--for", "2h", "--comment", "deploy", "--json").stdout)
    assert (made["model"], made["comment"], made["until"]) == ("A", "deploy", "2018-02-01T14:00:00Z")
    assert place.run(1) == ["B 1 a"]
    assert "deploy" in place("mute").stdout
    place("mute", "--watch", "na-*", "--until", "2100-02-01T13:00:00Z")
    assert place.run(2) == []
    table = place("list").stdout
    assert "all" in next(line for line in table.splitlines() if line.startswith("na-spike"))
    assert "model A is no longer muted" in place("unmute", made["id"], minute=3).stdout
    place("unmute", "--watch", "na-*", minute=3)
    assert "no such mute" in place("unmute", "--watch", "na-*", minute=3, code=1).stderr
    assert place.run(4) == ["A 1 a", "B 1 a"]
    assert "nothing is muted" in place("mute", minute=5).stdout
    place("mute", "--all", "--for", "1h", minute=5)
    assert place.run(6) == []
    assert place.run(65) == ["A 1 a", "B 1 a"]


def test_the_history_tells_what_was_done(place: Place) -> None:
    """Runs, alerts, deliveries, and what people did; quiet runs when asked for."""
    place.run(0)
    place.found = [finding("a", model="A")]
    place.run(5)
    place("ack", "na-spike", minute=6)
    place("mute", "--model", "A", "--for", "1h", minute=7)
    found = json.loads(place("history", "--json", minute=10).stdout)
    assert [each["kind"] for each in found] == ["run", "alert", "delivery", "ack", "mute"]
    assert found[1]["actions"] == {"email": "executed"}
    table = place("history", "--watch", "na-spike", "--model", "A", "--since", "10m", minute=10).stdout
    assert "A: 1 a (email executed)" in table
    assert len(table.splitlines()) == 4
    quiet = json.loads(place("history", "--kind", "quiet", "--json").stdout)
    assert [each["status"] for each in quiet] == ["quiet"]
    assert json.loads(place("history", "--since", "3m", "--json", minute=9).stdout)[0]["kind"] == "ack"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mute", "--for", "1h"], "say what to mute"),
        (["mute", "--all"], "say how long"),
        (["mute", "--all", "--for", "1h", "--until", "2030-01-01"], "say how long"),
        (["mute", "--all", "--for", "long"], "--for long: not a duration"),
        (["mute", "--all", "--until", "soon"], "--until soon: not an ISO 8601 time"),
        (["mute", "--all", "--until", "2010-01-01"], "--until 2010-01-01: must be in the future"),
        (["unmute"], "say which"),
        (["history", "--kind", "x"], "--kind x: not one of run"),
        (["history", "--since", "x"], "--since x: neither a time such as"),
        (["history", "--since", "2999-01-01"], "--since 2999-01-01: in the future; it is now"),
    ],
)
def test_wrong_input_ends_with_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    """On standard error, with the remedy."""
    result = CliRunner().invoke(app, [*arguments, "--state", str(tmp_path)])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_state_has_to_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For each command that needs one."""
    for name in ("STORE", "WATCH_STATE", "ELASTICSEARCH_URL"):
        monkeypatch.delenv(f"LOGGING_LIB_{name}", raising=False)
    for words in (["ack", "w"], ["mute"], ["unmute", "--all"], ["history"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert "say where the runner's state is" in result.stderr
    result = CliRunner().invoke(app, ["history", "--store", str(tmp_path / "no")])
    assert "no such folder" in result.stderr
