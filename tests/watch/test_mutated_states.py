"""The runner's states with any part replaced: they are refused with their place, or a run goes on from them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import pytest

from logging_lib.watch.errors import StateError
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Incident, Mute
from logging_lib.watch.lease import LeaderElector, LeaderState, LeaseLost
from logging_lib.watch.notify.log import LogChannel
from logging_lib.watch.state.base import ANY, DocumentState, HistoryQuery, Lease, Mutes, Record, WatchState
from tests.mutation import CASES, SEEDS, Mutator, mutate_bytes, to_json
from tests.watch.conftest import NOW, FakeStore, finding, minutes, notification, runner_of, watch

TIMES = ("2018-02-01T11:00:00", "2018-02-01T11:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1e11)
NAMES = ("key", "opened_at", "closed_at", "incidents", "queue", "absent_since", "notified", "until", "mutes")

ACTION = {"throttle_period": "1h", "logging": {"text": "{{ctx.payload.result.count}}"}}
WATCH = watch("test", log=ACTION)


class BytesState(DocumentState):
    """States whose JSON is given."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self.documents = dict(documents)

    def watch_ids(self) -> list[str]:
        return [name.partition(":")[2] for name in self.documents if name.startswith("watch:")]

    def _read(self, name: str) -> bytes | None:
        return self.documents.get(name)

    def _change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        content = change(self._read(name))
        if content is not None:
            self.documents[name] = content

    def _place(self, name: str) -> str:
        return name

    def record(self, records: Iterable[Record]) -> None: ...

    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        return []

    def forget(self, before: Mapping[str, datetime]) -> None: ...


def build_documents() -> dict[str, bytes]:
    """What a runner has stored: incidents that are open, absent and resolved, a queue, mutes, and a lease."""
    about = {"model": "loans", "version": "1", "features": ("income",), "watch": "test"}
    mail = notification(
        "email", id="1", to=["a@b.c"], attempts=2, reason="down", next_attempt_at=NOW, **about
    )
    line = notification("logging", id="2", **about)
    post = notification("slack", id="3", to=["#ml"], fallback=("email", "a@x.org"), **about)
    receipts = {"log": (line.receipt(),), "email": (mail.receipt(),)}
    income, home, title = (Key("loans", "1", feature) for feature in ("income", "home", "title"))
    incidents = (
        Incident(key=income, opened_at=NOW - minutes(60), notified=receipts, window="1h", effect=2.0,
                 notified_effect=1.0, severity="high", notified_severity="low", leading="a", leading_runs=2,
                 times_notified=1),
        Incident(key=home, opened_at=NOW - minutes(90), absent_since=NOW - minutes(400), absent_runs=5,
                 notified=receipts, acked_at=NOW - minutes(10), acked_by="me", acked_actions=("log",)),
        Incident(key=title, opened_at=NOW - minutes(90), closed_at=NOW - minutes(20), related="input-drift"),
    )  # fmt: skip
    state = WatchState(
        incidents=incidents, queue=(mail, line, post), last_scheduled=NOW - minutes(5), generation=1
    )
    mute = Mute(id="a", since=NOW - minutes(5), until=NOW + minutes(5), model="l*", feature="x", comment="c")
    lease = Lease(holder="another", generation=1, until=NOW - minutes(1))
    stored = {"watch:test": state, "mutes": Mutes(mutes=(mute,)), "lease": lease}
    return {name: part.model_dump_json(exclude_defaults=True).encode() for name, part in stored.items()}


def run(documents: Mapping[str, bytes]) -> str:
    """Lead, run a watch and deliver; return whether that ended well, failed as it should, or was refused."""
    stored = BytesState(documents)
    elector = LeaderElector(stored, timedelta(seconds=30), "this")
    store = FakeStore(lambda now: [finding("income", effect=3.0, severity="high"), finding("new")])
    runner = runner_of(
        store,
        WATCH,
        channels={"logging": LogChannel()},
        state=LeaderState(stored, elector),
    )
    try:
        elector.acquire(NOW)
        report = runner.tick(NOW)
        stored.mutes()
        elector.release(NOW)
    except StateError as error:
        if "is not a state of this watch runner" not in str(error):
            raise
        return "refused"
    except LeaseLost:
        return "lease lost"
    errors = [watch_run.error for watch_run in report.runs if watch_run.error]
    assert all("is not a state" in error or "names a channel" in error for error in errors), errors
    return "failed" if errors else "run"


def test_the_state_that_is_mutated_is_a_good_one() -> None:
    assert run(build_documents()) == "run"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_state_of_the_runner_is_read_or_refused(seed: int) -> None:
    documents = build_documents()
    chance = random.Random(seed)
    mutators = {
        name: Mutator([json.loads(content)], odd=TIMES, names=NAMES) for name, content in documents.items()
    }
    results = []
    for _ in range(CASES):
        name = chance.choice(("watch:test", "watch:test", "watch:test", "mutes", "lease"))
        whole = chance.random() < 0.9
        content = to_json(mutators[name].draw(chance)) if whole else mutate_bytes(documents[name], chance)
        results.append(run({**documents, name: content}))
    assert 0.05 < results.count("run") / CASES < 0.95
