"""The account of `make soak`: whatever is lost on the way is a problem in it; a seed always gives the same plan.

The run itself takes an hour and is not part of the tests.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import load_watches
from tests.watch.conftest import NOW
from tools.soak.__main__ import format_account, read_alerts, write_watches
from tools.soak.account import DUE_EVENTS, Account, AlertKey, account_for_alerts, account_for_events
from tools.soak.parts import Disk
from tools.soak.plan import KINDS, Fault, plan_disruptions, plan_faults
from tools.soak.traffic import DROPPED, UNANSWERED, WRITTEN, Ledger

FAULTS = [Fault(20.0, "pricing", "number_1", "missing"), Fault(60.0, "fraud", "category_1", "unseen")]
STORED = {FAULTS[0].key: 500, FAULTS[1].key: DUE_EVENTS - 1}
MAILS = [("<1@h>", {FAULTS[0].key})]


def refused(row: str) -> str:
    return json.dumps({"event": {"id": row, "dataset": "ml.prediction"}})


def unusable(row: str) -> str:
    return json.dumps({"inputs": [1], "event_id": row})


def build_ledger() -> Ledger:
    rows = {"a": WRITTEN, "b": WRITTEN, "c": WRITTEN, "d": DROPPED, "e": UNANSWERED, "f": UNANSWERED}
    stats = {
        "one": {"written": 2, "dropped": {"No space left on device": 2}},
        "two": {"written": 2, "dropped": {}},
    }
    return Ledger(dict(rows), stats, refused={"b"}, unusable={"c"})


def account(
    ledger: Ledger | None = None,
    stored: Iterable[str] = ("a", "e"),
    letters: Iterable[str] = (refused("b"), unusable("c"), '{"torn'),
    waiting: int = 0,
    faulty: Mapping[AlertKey, int] = STORED,
    mails: Iterable[tuple[str, set[AlertKey]]] = MAILS,
) -> Account:
    events = account_for_events(ledger or build_ledger(), stored, letters, waiting=waiting)
    return Account({}, {"kill shipper": 2}, events, account_for_alerts(FAULTS, faulty, mails))


def test_a_run_in_which_nothing_is_lost() -> None:
    good = account(mails=[*MAILS, *MAILS])
    assert good.problems() == []
    events = good.events
    assert (events.rows, events.logged, events.dropped, events.unanswered) == (6, 3, 1, 2)
    assert (events.stored, events.dead_lettered, events.stored_unanswered, events.torn) == (1, 2, 1, 1)
    assert (events.logged_by_stats, events.dropped_by_reason) == (4, {"No space left on device": 2})
    alerts = good.alerts
    assert (alerts.planted, alerts.due, alerts.delivered, alerts.mails, alerts.repeated) == (2, 1, 1, 2, 1)
    assert json.loads(json.dumps(good.document()))["problems"] == []
    assert format_account(good).endswith("everything is accounted for")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stored": ["e"]}, "1 logged events are neither stored nor dead-lettered"),
        ({"letters": [refused("b")]}, "1 logged events are neither stored nor dead-lettered"),
        ({"stored": ["a", "d"]}, "1 events are stored that were counted as dropped"),
        ({"stored": ["a", "a"]}, "1 events are stored twice"),
        ({"stored": ["a", "b"]}, "1 events are stored as something else than they are"),
        ({"stored": ["a", "z"]}, "1 events are stored as something else than they are"),
        ({"waiting": 3}, "3 lines are still in the spool"),
        ({"ledger": Ledger({"a": WRITTEN}, {"one": {"written": 0, "dropped": {}}})}, r"stats\(\) count 0"),
        ({"stored": [], "letters": [], "ledger": Ledger({"a": DROPPED})}, "nothing was logged"),
        ({"mails": []}, "1 alerts that were due were not delivered"),
        ({"mails": [("<1@h>", {FAULTS[0].key, ("x", "y", "z")})]}, "1 alerts are about no planted fault"),
        ({"faulty": {}, "mails": []}, "no alert was due"),
    ],
)
def test_lost_and_duplicate_events_are_a_problem(change: dict[str, Any], says: str) -> None:
    bad = account(**change)
    assert any(re.match(says, problem) for problem in bad.problems()), bad.problems()
    assert "PROBLEM: " in format_account(bad)


def test_a_part_that_failed_is_a_problem() -> None:
    good = account()
    bad = Account(good.run, good.disruptions, good.events, good.alerts, ("shipper ended by itself 1 times",))
    assert bad.problems() == ["shipper ended by itself 1 times"]


def test_a_seed_determines_what_happens() -> None:
    plan = plan_disruptions(random.Random(7), 600, without=["logstash"])
    assert plan == plan_disruptions(random.Random(7), 600, without=["logstash"])
    assert plan != plan_disruptions(random.Random(8), 600, without=["logstash"])
    assert {(one.what, one.part) for one in plan} == {kind for kind in KINDS if kind[1] != "logstash"}
    store = [disruption.at for disruption in plan if disruption.part == "elasticsearch"]
    assert all(later - earlier >= 90 for earlier, later in pairwise(store))
    faults = plan_faults(random.Random(7), 3600)
    assert len({fault.key[:2] for fault in faults}) == len(faults) > 20


def test_its_watches_are_good_and_its_mails_are_read(tmp_path: Path) -> None:
    watches = load_watches(write_watches(tmp_path / "watches"))
    assert len(watches) == 3
    assert [finding for watch in watches for finding in lint_watch(watch, now=NOW)] == []
    mail = EmailMessage()
    mail.set_content("ALERT pricing number_1 missing\nALERT fraud category_1 unseen\n")
    assert read_alerts(mail) == {fault.key for fault in FAULTS}


def test_a_disk_that_is_full_takes_nothing_until_it_is_free(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", lambda: ())
    try:
        if not disk.is_mounted:
            pytest.skip(
                "a file system cannot be mounted here: writers get a limit on the size of their files"
            )
        disk.fill(600)
        with pytest.raises(OSError, match="No space left on device"):
            (disk.folder / "file").write_bytes(b"x" * 10_000)
        disk.free()
        (disk.folder / "file").write_bytes(b"x" * 10_000)
    finally:
        disk.close()
