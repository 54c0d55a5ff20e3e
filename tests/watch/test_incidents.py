"""Incidents: opened, closed, throttled each by itself; states: kept, damaged, locked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch import incidents as inc
from logging_lib.watch.incidents import Incident, Key
from logging_lib.watch.messages import Email, Log, Slack
from logging_lib.watch.state import FileState, MemoryState, StateError, Undelivered, WatchState
from tests.watch.conftest import NOW, finding, judged, minutes

A, B = Key("m", "1", "a"), Key("m", "1", "b")


def test_an_incident_opens_closes_and_opens_again() -> None:
    """It remembers when it was told of, also while closed."""
    first = inc.notify(inc.observe({}, [A], NOW), [A], "email", NOW)
    assert first[A] == Incident(key=A, opened_at=NOW, notified={"email": NOW})
    assert inc.observe(first, [A], NOW + minutes(5)) == first
    closed = inc.observe(first, [B], NOW + minutes(10))
    assert closed[A].closed_at == NOW + minutes(10)
    assert closed[B].opened_at == NOW + minutes(10)
    again = inc.observe(closed, [A], NOW + minutes(15))
    assert again[A] == Incident(key=A, opened_at=NOW + minutes(15), notified={"email": NOW})


def test_closed_incidents_are_forgotten_after_a_month() -> None:
    """The state does not grow for ever."""
    closed = inc.observe(inc.observe({}, [A], NOW), [], NOW)
    assert inc.observe(closed, [], NOW + minutes(60 * 24 * 29)) == closed
    assert inc.observe(closed, [], NOW + minutes(60 * 24 * 30)) == {}


def test_throttling_is_by_incident_and_action() -> None:
    """Told of A by mail says nothing of B, nor of A in Slack."""
    told = inc.notify(inc.observe({}, [A, B], NOW), [A], "email", NOW)
    hour = minutes(60)
    assert inc.is_throttled(told, A, "email", hour, NOW + minutes(59))
    assert not inc.is_throttled(told, A, "email", hour, NOW + minutes(60))
    assert not inc.is_throttled(told, B, "email", hour, NOW)
    assert not inc.is_throttled(told, A, "slack", hour, NOW)


def test_findings_are_grouped_by_model_version() -> None:
    """In their order; without findings the watch itself is the incident."""
    findings = [finding("a"), finding("b", version="2"), finding("c")]
    assert [(g.version, [k.feature for k in g.keys]) for g in inc.split(findings)] == [
        ("1", ["a", "c"]),
        ("2", ["b"]),
    ]
    assert [group.keys for group in inc.split([])] == [[Key()]]
    assert inc.key_of({"model": "m", "version": 2, "feature": None}) == Key("m", "2", "")


def test_a_payload_with_fewer_findings_is_as_if_judged_so() -> None:
    """Counts follow, what was skipped stays said."""
    payload = {"window": {}, "judged": {**judged([finding("a"), finding("b")]), "skipped": [1]}}
    assert inc.find(payload) == [finding("a"), finding("b")]
    assert inc.with_findings(payload, [finding("b")], judged) == {
        "window": {},
        "judged": {"count": 1, "more": None, "findings": [finding("b")], "skipped": [1]},
    }
    top = judged([finding("a"), finding("b")])
    assert inc.with_findings(top, [finding("b")], judged) == judged([finding("b")])
    assert inc.find({"hits": {}}) is None


def state() -> WatchState:
    return WatchState(
        incidents=(Incident(key=A, opened_at=NOW, notified={"email": NOW}),),
        undelivered=(
            Undelivered(
                action="email",
                message=Email(id="x", date=NOW, sender=None, to=("a@b.c",), subject="s", text="é"),
                since=NOW,
                attempts=2,
                reason="down",
            ),
            Undelivered(
                action="slack",
                message=Slack(channel="#ml", text="t", attachments=({"title": "x"},)),
                since=NOW,
                attempts=1,
                reason="429",
            ),
            Undelivered(action="log", message=Log(level="info", text="t"), since=NOW, attempts=1, reason="?"),
        ),
    )


def test_a_state_survives_in_its_file(tmp_path: Path) -> None:
    """All of it, for each watch; nothing else is left in the folder."""
    path = tmp_path / "deep" / "state.json"
    FileState(path).save("one", state())
    again = FileState(path)
    again.save("two", WatchState())
    found = FileState(path)
    assert found.watch_ids() == ["one", "two"]
    assert found.load("one") == state()
    assert found.load("three") == WatchState()
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


keys = st.builds(Key, st.text(), st.text(), st.text())


@given(st.lists(keys, unique=True))
def test_any_names_make_different_incidents(found: list[Key]) -> None:
    """Through the state and back, whatever characters a log put into a name."""
    made = WatchState().with_incidents(inc.observe({}, found, NOW))
    again = WatchState.model_validate_json(made.model_dump_json())
    assert set(again.by_key()) == set(found)
    assert MemoryState({"w": made}).load("w") == again


@pytest.mark.parametrize("content", ["", "{", '{"version": 1, "wachtes": {}}', '{"version": 2}'])
def test_a_damaged_state_is_an_error(tmp_path: Path, content: str) -> None:
    """Beginning afresh in silence would repeat every alert."""
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StateError, match=r"state\.json"):
        FileState(path)


def test_two_runs_cannot_hold_one_state(tmp_path: Path) -> None:
    """The second one ends with the reason; afterwards it may."""
    path = tmp_path / "state.json"
    with FileState.locked(path), pytest.raises(StateError, match="another run"), FileState.locked(path):
        pass
    with FileState.locked(path) as held:
        held.save("w", WatchState())
