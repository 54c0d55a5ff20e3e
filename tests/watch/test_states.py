"""The stores of the runner's state: one contract over memory, files and a real Elasticsearch; the election."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from logging_lib.store.connection import Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.errors import StateError
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Incident, Mute
from logging_lib.watch.lease import LeaderElector, LeaderState, LeaseLost
from logging_lib.watch.state.base import (
    HistoryQuery,
    MemoryState,
    StateStore,
    WatchState,
)
from logging_lib.watch.state.elasticsearch import ElasticsearchState
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import NOW, minutes, notification

Opener = Callable[[], StateStore]
A = Key("m", "1", "a")
HOSTILE = "é \u202e<b>{{x}}*?\\/"


def state() -> WatchState:
    about = {"model": "m", "version": "1", "features": ("a",)}
    mail = notification("email", id="1", to=["a@b.c"], text="é", attempts=2, reason="down", **about)
    post = notification("slack", id="2", to=["#ml"], fallback=("email", "a@x.org"))
    return WatchState(
        incidents=(Incident(key=A, opened_at=NOW, notified={"email": (mail.receipt(),)}),),
        queue=(mail, post, notification("logging", id="3", text="t")),
        last_scheduled=NOW,
    )


@pytest.fixture(params=["memory", "files", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same state, as another process would."""
    if request.param == "memory":
        kept = MemoryState()
        yield lambda: kept
    elif request.param == "files":
        yield lambda: FileState(tmp_path / "deep" / "state")
    else:
        connection: Connection = request.getfixturevalue("elasticsearch")
        index = f"ml-watch-state-{uuid4().hex[:8]}"
        template = connection.call("GET", "/_index_template/ml-watch-state")["index_templates"][0]
        connection.call("PUT", f"/{index}", template["index_template"]["template"])
        yield lambda: ElasticsearchState(ElasticsearchStore(connection, retry_seconds=10), index)
        connection.call("DELETE", f"/{index}")


def test_a_state_is_kept_by_watch(opened: Opener) -> None:
    """All of it; a watch that nothing is known of has an empty one."""
    assert opened().watch_ids() == []
    assert opened().update("one", lambda kept: state()) == state()
    opened().update(HOSTILE, lambda kept: kept.model_copy(update={"last_scheduled": NOW}))
    assert opened().watch_ids() == sorted(["one", HOSTILE])
    assert opened().load("one") == state()
    assert opened().load(HOSTILE) == WatchState(last_scheduled=NOW)
    assert opened().load("three") == WatchState()


def test_changes_at_the_same_time_are_all_kept(opened: Opener) -> None:
    """Each is applied to what the others left."""

    def add(number: int) -> None:
        def change(kept: WatchState) -> WatchState:
            key = Key("m", str(number))
            return kept.with_incidents({**kept.by_key(), key: Incident(key=key, opened_at=NOW)})

        opened().update("w", change)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened().load("w").incidents) == 8


def test_a_change_that_fails_leaves_all_as_it_was(opened: Opener) -> None:
    """Its exception comes out."""
    opened().update("w", lambda kept: state())

    def broken(kept: WatchState) -> WatchState:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        opened().update("w", broken)
    assert opened().load("w") == state()


def test_mutes_are_stored(opened: Opener) -> None:
    """One list for all watches."""
    mute = Mute(id="a", since=NOW, until=NOW + minutes(5), model=HOSTILE, comment="é")
    assert opened().mutes() == ()
    assert opened().update_mutes(lambda kept: (*kept, mute)) == (mute,)
    assert opened().mutes() == (mute,)


def record(minute: float, kind: str = "run", **more: Any) -> dict[str, Any]:
    return {"time": (NOW + minutes(minute)).isoformat(), "kind": kind, **more}


def test_the_history_is_found_by_watch_model_kind_and_time(opened: Opener) -> None:
    """The latest, the oldest first; and what is old enough is forgotten."""
    lines = [
        record(0, watch="a"),
        record(1, "alert", watch="a", model="m?", version="1", findings={"deep": [1]}),
        record(2, "alert", watch="b", model="mx"),
        record(3, "mute"),
    ]
    opened().record(lines[:2])
    opened().record(lines[2:])
    find = opened().history
    assert find() == lines
    assert find(HistoryQuery(watch="a")) == lines[:2]
    assert find(HistoryQuery(model="m*")) == lines[1:3]
    assert find(HistoryQuery(model="m?")) == lines[1:2]
    assert find(HistoryQuery(kinds=("alert", "mute"), limit=2)) == lines[2:]
    assert find(HistoryQuery(since=NOW + minutes(2))) == lines[2:]
    opened().forget({"alert": NOW + minutes(2), "*": NOW + minutes(0.5)})
    assert opened().history() == lines[2:]


def test_one_of_several_leads(opened: Opener) -> None:
    """The others when its lease has run out, or at once when it resigns."""
    first, second = (LeaderElector(opened(), timedelta(seconds=30), name) for name in ("one", "two"))
    assert first.acquire(NOW)
    assert not second.acquire(NOW + timedelta(seconds=29))
    assert second.leader is not None
    assert second.leader.holder == "one"
    assert first.acquire(NOW + timedelta(seconds=20))
    assert not second.acquire(NOW + timedelta(seconds=49))
    assert second.acquire(NOW + timedelta(seconds=50))
    assert (first.generation, second.generation) == (1, 2)
    assert not first.acquire(NOW + timedelta(seconds=51))
    second.release(NOW + timedelta(seconds=52))
    assert first.acquire(NOW + timedelta(seconds=52))
    assert first.generation == 3


def test_a_lease_is_renewed_in_time_and_holds_no_longer_than_it_says(opened: Opener) -> None:
    """A third before its end nothing more is sent."""
    elector = LeaderElector(opened(), timedelta(seconds=30))
    assert elector.is_due(NOW)
    elector.acquire(NOW)
    assert not elector.is_due(NOW + timedelta(seconds=9))
    assert elector.is_due(NOW + timedelta(seconds=10))
    elector.check(NOW + timedelta(seconds=19))
    with pytest.raises(LeaseLost):
        elector.check(NOW + timedelta(seconds=20))
    assert elector.is_leader(NOW + timedelta(seconds=29))
    assert not elector.is_leader(NOW + timedelta(seconds=30))


def test_a_runner_that_slept_cannot_write_over_its_successor(opened: Opener) -> None:
    """It believes to lead still; the state knows better."""
    slept, successor = (LeaderElector(opened(), timedelta(seconds=30), name) for name in ("one", "two"))
    slept.acquire(NOW)
    old = LeaderState(opened(), slept)
    assert old.update("w", lambda kept: kept).generation == 1
    successor.acquire(NOW + timedelta(seconds=31))
    LeaderState(opened(), successor).update("w", lambda kept: kept.model_copy(update={"last_scheduled": NOW}))
    with pytest.raises(LeaseLost):
        old.update("w", lambda kept: WatchState())
    assert opened().load("w") == WatchState(last_scheduled=NOW, generation=2)


def test_two_that_campaign_at_once_do_not_both_lead(opened: Opener) -> None:
    """Whoever comes first."""
    electors = [LeaderElector(opened(), timedelta(seconds=30), str(number)) for number in range(6)]
    threads = [threading.Thread(target=elector.acquire, args=(NOW,)) for elector in electors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(elector.is_leader(NOW) for elector in electors) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", '{"wachtes": {}}', '{"generation": "x"}', '{"undelivered": []}'),
        '{"last_scheduled": "2018-02-01T12:00:00"}',
        '{"incidents": [{"key": ["m", "1", "a"], "opened_at": "2018-02-01T12:00:00"}]}',
        '{"incidents": [{"key": ["m", "1", "a"], "opened_at": "2018-02-01T12:00:00Z", "window": "t"}]}',
        '{"queue": [{"id": "1", "action": "a", "created_at": "2018-02-01T12:00:00"}]}',
        '{"queue": [{"id": "1", "action": "a", "created_at": "2018-02-01T12:00:00Z", "attempts": -7}]}',
        '{"generation": -1}',
    ],
)
def test_a_damaged_state_is_an_error(tmp_path: Path, content: str) -> None:
    """Beginning afresh in silence would repeat every alert."""
    kept = FileState(tmp_path)
    kept.update("w", lambda _: state())
    (tmp_path / "watches" / "w.json").write_text(content)
    with pytest.raises(StateError, match=r"w\.json: is not a state"):
        kept.load("w")
    with pytest.raises(StateError, match=r"w\.json: is not a state"):
        kept.update("w", lambda _: state())
    assert (tmp_path / "watches" / "w.json").read_text() == content


def test_a_lease_and_mutes_without_a_time_zone_are_errors(tmp_path: Path) -> None:
    """A time that cannot be compared would end the runner at each look at the clock."""
    kept = FileState(tmp_path)
    (tmp_path / "lease.json").write_text('{"holder": "a", "generation": 1, "until": "2018-02-01T12:00:00"}')
    (tmp_path / "mutes.json").write_text(
        '{"mutes": [{"id": "a", "since": "2018-02-01T12:00:00Z", "until": "2018-02-01T12:00:00"}]}'
    )
    with pytest.raises(StateError, match=r"lease\.json: is not a state"):
        LeaderElector(kept).acquire(NOW)
    with pytest.raises(StateError, match=r"mutes\.json: is not a state"):
        kept.mutes()


def test_a_state_is_a_folder(tmp_path: Path) -> None:
    """A file is refused, and so is a folder that cannot be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="that is a folder"):
        FileState(tmp_path / "file")
    with pytest.raises(StateError, match="cannot be written"):
        FileState(tmp_path / "file" / "deep").update("w", lambda _: state())


def test_nothing_but_the_state_is_left_in_its_folder(tmp_path: Path) -> None:
    """No scratch files, and none before the first change."""
    folder = tmp_path / "state"
    kept = FileState(folder)
    assert kept.load("w") == WatchState()
    assert not folder.exists()
    kept.update("w", lambda _: state())
    assert sorted(file.name for file in folder.rglob("*")) == [".lock", "w.json", "watches"]


def test_a_runner_that_was_killed_while_it_wrote_leaves_nothing_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", lambda *_: os._exit(9))
        if (child := os.fork()) == 0:
            FileState(tmp_path).update("w", lambda _: state())
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    FileState(tmp_path).update("w", lambda _: state())
    assert sorted(file.name for file in tmp_path.rglob("*")) == [".lock", "w.json", "watches"]


def test_the_history_in_a_file_is_bounded_and_survives_a_torn_line(tmp_path: Path) -> None:
    """The oldest lines go."""
    kept = FileState(tmp_path, history_bytes=2000)
    file = tmp_path / "history.jsonl"
    for number in range(100):
        kept.record([record(number)])
        assert file.stat().st_size <= 2000
    with file.open("a") as torn:
        torn.write('{"time": "20')
    kept.record([record(100)])
    found = kept.history()
    assert found[-2:] == [record(99), record(100)]
    assert 10 < len(found) < 40
