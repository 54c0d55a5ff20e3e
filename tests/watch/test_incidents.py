"""Incidents: opened, closed, throttled, acknowledged and muted each by itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch import incidents as inc
from logging_lib.watch.findings import (
    Key,
    by_model_version,
    findings_of,
    gravest_by_key,
    key_of,
    keys_of,
    with_findings,
)
from logging_lib.watch.incidents import Incident, Mute, ResolvePolicy
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.results import awaiting_resolution
from logging_lib.watch.state.base import WatchState
from tests.watch.conftest import NOW, build_result, finding, minutes, notification

A, B = Key("m", "1", "a"), Key("m", "1", "b")


def mail(key: Key, now: datetime = NOW, **more: Any) -> Notification:
    """A mail about an incident."""
    about = {"model": key.model, "version": key.version, "features": (key.feature,)}
    return notification("email", to=["a@x.org"], **about, **more).model_copy(update={"created_at": now})


def observe(
    known: inc.Incidents, seen: Iterable[Key] | dict[Key, Any], *more: Any, **options: Any
) -> dict[Key, Incident]:
    """With findings that say nothing of themselves, where they are not given."""
    found = seen if isinstance(seen, dict) else {key: {} for key in seen}
    return inc.observe(known, found, *more, **options)


def notify(known: inc.Incidents, key: Key, now: datetime = NOW, **more: Any) -> dict[Key, Incident]:
    return inc.record_notifications(known, [mail(key, now, **more)])


def test_an_incident_opens_closes_and_opens_again() -> None:
    """It remembers when it was notified of, also while closed."""
    first = notify(observe({}, [A], NOW), A)
    receipts = {"email": (mail(A).receipt(),)}
    assert first[A] == Incident(key=A, opened_at=NOW, notified=receipts, leading_runs=1, times_notified=1)
    still = {A: first[A].model_copy(update={"leading_runs": 2})}
    assert observe(first, [A], NOW + minutes(5)) == still
    closed = observe(first, [B], NOW + minutes(10))
    assert closed[A].closed_at == NOW + minutes(10)
    assert closed[B].opened_at == NOW + minutes(10)
    again = observe(closed, [A], NOW + minutes(15))
    assert again[A] == Incident(
        key=A, opened_at=NOW + minutes(15), notified=receipts, leading_runs=2, times_notified=1
    )


def test_an_incident_is_open_until_it_was_absent_long_enough() -> None:
    """So many runs or a time; found again meanwhile, it is the same incident, and an acknowledgment holds."""
    opened, _ = inc.acknowledge(observe({}, [A], NOW), lambda key: True, NOW, "ada")
    for policy in (ResolvePolicy(runs=3), ResolvePolicy(quiet=minutes(10))):
        known = opened
        for step in (5, 10):
            known = observe(known, [], NOW + minutes(step), policy)
            assert (known[A].closed_at, known[A].absent_since) == (None, NOW + minutes(5))
        returned = observe(known, [A], NOW + minutes(15), policy)
        assert returned[A].model_copy(update={"leading_runs": 1}) == opened[A]
        closed = observe(known, [], NOW + minutes(15), policy)[A]
        assert closed.closed_at == NOW + minutes(15)
        assert closed.acked_at is None


def test_an_incident_that_a_run_could_not_evaluate_is_not_resolved() -> None:
    """A model version without a profile tells nothing of its incidents."""
    known = observe({}, [A, B], NOW)
    after = observe(known, [], NOW + minutes(5), is_unknown=lambda key: key == A)
    assert after[A] == known[A]
    assert after[B].closed_at == NOW + minutes(5)


def test_resolved_incidents_are_deleted_after_a_month() -> None:
    """The state does not grow for ever."""
    closed = observe(observe({}, [A], NOW), [], NOW)
    assert observe(closed, [], NOW + minutes(60 * 24 * 29)) == closed
    assert observe(closed, [], NOW + minutes(60 * 24 * 30)) == {}


def decide(known: inc.Incidents, key: Key, action: str = "email", **more: Any) -> str:
    given = {"watch": "w", "period": minutes(60), "now": NOW, **more}
    return inc.decide(known, key, action=action, **given)


def test_throttling_is_by_incident_and_action() -> None:
    """A notification of A by mail says nothing of B, nor of A in Slack."""
    notified = notify(observe({}, [A, B], NOW), A)
    assert decide(notified, A, now=NOW + minutes(59)) == "throttled"
    assert decide(notified, A, now=NOW + minutes(60)) == "notify"
    assert decide(notified, B) == decide(notified, A, "slack") == "notify"


@pytest.mark.parametrize(("window", "hours"), [("15m", 6), ("6h", 6), ("12h", 12), ("24h", 24), ("7d", 24)])
def test_an_incident_is_open_for_the_length_of_the_window_that_flagged_it(window: str, hours: int) -> None:
    """At least 6 hours and at most 24; it is that of its last finding, and every finding begins it anew."""
    known = observe({}, {A: {"window": "24h"}}, NOW - timedelta(days=1), ResolvePolicy())
    known = observe(known, {A: {"window": window}}, NOW, ResolvePolicy())
    known = observe(known, [], NOW + minutes(5), ResolvePolicy())
    known = observe(known, {A: {"window": window}}, NOW + minutes(10), ResolvePolicy())
    absent = NOW + minutes(15)
    known = observe(known, [], absent, ResolvePolicy())
    for late in (minutes(60 * hours - 5), minutes(60 * hours)):
        known = observe(known, [], absent + late, ResolvePolicy())
        assert (known[A].closed_at is not None) == (late == minutes(60 * hours))


@pytest.mark.parametrize("window", [None, 7, "soon", ""])
def test_a_finding_without_a_window_is_resolved_by_runs(window: Any) -> None:
    """And where the watch says how long, its window does not count."""
    known = observe({}, {A: {"window": window}}, NOW)
    for step in (1, 2, 3):
        known = observe(known, [], NOW + minutes(step), ResolvePolicy())
        assert (known[A].closed_at is not None) == (step == 3)
    own = inc.resolve_policy({"recovery_after": 1}, ResolvePolicy())
    flagged = observe({}, {A: {"window": "24h"}}, NOW)
    assert observe(flagged, [], NOW + minutes(5), own)[A].closed_at == NOW + minutes(5)


def test_an_incident_notifies_again_when_its_effect_doubles() -> None:
    """Against what was last notified of, not against the last run."""
    known = notify(observe({}, {A: {"effect": 2.0, "window": "5m"}}, NOW), A)
    said = []
    for step, effect in enumerate([3.9, 3.0, 4.0, 7.9, 8, 1], 1):
        now = NOW + minutes(360 * step)
        known = observe(known, {A: {"effect": effect, "window": "5m"}}, now)
        said.append(decide(known, A, now=now, period=minutes(9999)))
        if said[-1] == "notify":
            known = notify(known, A, now)
    assert said == ["throttled", "throttled", "notify", "throttled", "notify", "throttled"]


@pytest.mark.parametrize(
    ("window", "settled"), [({"window": "15m"}, 360), ({"window": "24h"}, 1440), ({}, 60)]
)
def test_an_effect_that_rises_while_windows_fill_does_not_notify(
    window: dict[str, str], settled: int
) -> None:
    """What it rose to is what a later one has to double."""
    known = notify(observe({}, {A: {"effect": 1.0, **window}}, NOW), A)
    for minute in range(5, settled, 5):
        known = observe(known, {A: {"effect": min(8.0, minute / 5), **window}}, NOW + minutes(minute))
        assert decide(known, A, now=NOW + minutes(minute), period=minutes(9999)) == "throttled"
    later = NOW + minutes(settled)
    for effect, decision in ((15.9, "throttled"), (16.0, "notify")):
        grown = observe(known, {A: {"effect": effect, **window}}, later)
        assert decide(grown, A, now=later, period=minutes(9999)) == decision


def test_an_incident_notifies_again_when_another_value_leads() -> None:
    """For three findings in succession, and each value once: two that take turns do not flap."""
    known = notify(observe({}, {A: {"leading": "x"}}, NOW), A)
    said = ""
    for step, leading in enumerate("xyyxyyyyxxxxyyyyzzzzwwww", 1):
        now = NOW + minutes(step)
        known = observe(known, {A: {"leading": leading, "window": "1m"}}, now)
        if decide(known, A, now=now) == "notify":
            known = notify(known, A, now)
            said += f"{leading}{step} "
    assert said == "y7 z19 "


def test_a_finding_that_leads_with_nothing_new_does_not_notify() -> None:
    known = notify(observe({}, {A: {"leading": "x"}}, NOW), A)
    for step in range(5):
        known = observe(known, {A: {"leading": "", "effect": True}}, NOW + minutes(step))
        assert decide(known, A, now=NOW + minutes(step)) == "throttled"


def test_a_throttle_period_outlives_a_resolution() -> None:
    """Who heard that it is resolved hears that it is back when the throttle has passed, or it is clearly worse."""
    known = notify(observe({}, {A: {"effect": 2.0, "window": "15m"}}, NOW), A)
    closed = observe(known, [], NOW + minutes(10))
    assert [each.key for each in awaiting_resolution(closed, NOW, watch="w")] == [A]
    closed = notify(closed, A, NOW + minutes(10), kind="resolved")
    assert awaiting_resolution(closed, NOW, watch="w") == []
    for effect, late, decision in (
        (2.9, 20, "throttled"),
        (3.0, 20, "notify"),
        (2.0, 59, "throttled"),
        (2.0, 60, "notify"),
    ):
        back = observe(closed, {A: {"effect": effect, "window": "15m"}}, NOW + minutes(late))
        assert decide(back, A, now=NOW + minutes(late)) == decision
    gone = observe(observe(closed, [A], NOW + minutes(20)), [], NOW + minutes(25))
    assert awaiting_resolution(gone, NOW, watch="w") == []  # nobody heard that it was back
    again = notify(observe(closed, [A], NOW + minutes(60)), A, NOW + minutes(60))
    gone = observe(again, [], NOW + minutes(65))
    assert [each.key for each in awaiting_resolution(gone, NOW, watch="w")] == [A]


def test_the_gravest_of_several_findings_represents_an_incident() -> None:
    """As of a feature that fails several checks of one watch."""
    small, large, other = finding("a", effect=2), finding("a", effect=3), finding("b")
    assert list(gravest_by_key([small, other, large]).values()) == [large, other]
    assert gravest_by_key([]) == {Key(): {}}


def test_only_an_open_incident_can_be_acknowledged() -> None:
    """Else the next one would pass unheard."""
    closed = observe(observe({}, [A], NOW), [B], NOW)
    acked, chosen = inc.acknowledge(closed, lambda key: True, NOW)
    assert chosen == [B]
    assert (decide(acked, A), decide(acked, B)) == ("notify", "acknowledged")


@pytest.mark.parametrize(("metadata", "expected"), [({}, "acknowledged"), ({"recovery_after": 1}, "notify")])
def test_an_acknowledgment_outlives_one_quiet_run(metadata: dict[str, Any], expected: str) -> None:
    """Watcher's does not; a watch that says ``recovery_after: 1`` has it as Watcher does."""
    policy = inc.resolve_policy(metadata, ResolvePolicy())
    acked, _ = inc.acknowledge(observe({}, [A], NOW), lambda key: True, NOW)
    returned = observe(observe(acked, [], NOW + minutes(5), policy), [A], NOW + minutes(10), policy)
    assert decide(returned, A, now=NOW + minutes(10)) == expected


def test_one_action_can_be_acknowledged_while_the_others_go_on() -> None:
    """As Watcher's ``_ack/slack``; only what it notified of, and until the incident is resolved."""
    opened = notify(observe({}, [A, B], NOW), A)
    post = mail(A).model_copy(update={"action": "slack"})
    opened = inc.record_notifications(opened, [post])
    later = NOW + minutes(90)
    acked, chosen = inc.acknowledge(opened, lambda key: True, NOW, "ada", ["slack"])
    assert chosen == [A]
    assert (decide(acked, A, "slack", now=later), decide(acked, A, now=later)) == ("acknowledged", "notify")
    assert decide(acked, B, "slack", now=later) == "notify"
    both, _ = inc.acknowledge(acked, lambda key: True, NOW, "ada", ["email"])
    assert {decide(both, A, action, now=later) for action in ("email", "slack")} == {"acknowledged"}
    closed = observe(acked, [], later, ResolvePolicy(runs=1))
    again = observe(closed, [A], later + minutes(5))
    assert decide(again, A, "slack", now=later + minutes(90)) == "notify"


def test_findings_are_grouped_by_model_version() -> None:
    """In their order; without findings the watch itself is the incident."""
    findings = [finding("a"), finding("b", version="2"), finding("c")]
    groups = by_model_version(findings)
    assert [(version, [k.feature for k in keys_of(group)]) for (_, version), group in groups.items()] == [
        ("1", ["a", "c"]),
        ("2", ["b"]),
    ]
    assert [keys_of(group) for group in by_model_version([]).values()] == [[Key()]]
    assert key_of({"model": "m", "version": 2, "feature": None}) == Key("m", "2", "")


def test_a_payload_with_fewer_findings_is_as_if_evaluated_so() -> None:
    """Counts follow, what was skipped stays said."""
    payload = {"window": {}, "result": {**build_result([finding("a"), finding("b")]), "skipped": [1]}}
    assert findings_of(payload) == [finding("a"), finding("b")]
    assert with_findings(payload, [finding("b")], build_result) == {
        "window": {},
        "result": {"count": 1, "more": None, "findings": [finding("b")], "skipped": [1]},
    }
    top = build_result([finding("a"), finding("b")])
    assert with_findings(top, [finding("b")], build_result) == build_result([finding("b")])
    assert findings_of({"hits": {}}) is None


names = st.sampled_from(["a", "b", "*", "a[1]"])
keys = st.builds(Key, names, st.sampled_from(["1", "2"]), names)
mutes = st.builds(
    Mute,
    id=st.just("m"),
    since=st.just(NOW),
    until=st.integers(0, 40).map(lambda step: NOW + minutes(5 * step)),
    watch=st.none(),
    model=st.none() | names,
    feature=st.none() | names,
)


@given(st.lists(keys, unique=True))
def test_any_names_make_different_incidents(found: list[Key]) -> None:
    """Through the state and back, whatever characters a log put into a name."""
    made = WatchState().with_incidents(observe({}, found, NOW))
    again = WatchState.model_validate_json(made.model_dump_json())
    assert set(again.by_key()) == set(found)


def test_a_name_with_a_lone_surrogate_can_be_kept() -> None:
    """Logs may hold what no store takes."""
    key = key_of(finding("a\ud800"))
    assert WatchState().with_incidents(observe({}, [key], NOW)).model_dump_json()


steps = st.lists(
    st.tuples(st.sets(keys, max_size=4), st.sampled_from(["", "ack", "mute"]), keys, mutes), max_size=30
)


@given(steps, st.sampled_from([1, 2, 3]))
def test_who_is_notified_over_any_course_of_events(course: list[Any], runs: int) -> None:
    """A new incident always notifies; never a muted, acknowledged or throttled one; a recovery comes once, and
    only to whom was notified; it does not end the throttle."""
    known: dict[Key, Incident] = {}
    silenced: tuple[Mute, ...] = ()
    heard: dict[Key, str] = {}
    period, policy = minutes(60 * 24), ResolvePolicy(runs=runs)
    for step, (seen, act, target, mute) in enumerate(course):
        now = NOW + minutes(5 * step)
        known = observe(known, seen, now, policy)
        for key in seen:
            said = inc.decide(known, key, watch="w", action="email", period=period, now=now, mutes=silenced)
            muted = any(now < each.until and each.covers(watch="w", **key._asdict()) for each in silenced)
            if muted:
                assert said == "muted"
            elif known[key].acked_at:
                assert said == "acknowledged"
            elif key not in heard:
                assert said == "notify"
            else:
                assert said == "throttled"
            if said == "notify":
                known = notify(known, key, now)
                heard[key] = "open"
        for incident in awaiting_resolution(known, now, watch="w", mutes=silenced):
            assert heard[incident.key] == "open"
            assert incident.key not in seen
            known = notify(known, incident.key, now, kind="resolved")
            heard[incident.key] = "over"
        assert all(incident.acked_at is None for incident in known.values() if incident.closed_at)
        if act == "ack":
            known, _ = inc.acknowledge(known, lambda key, target=target: key == target, now)
        elif act == "mute":
            silenced = (*silenced, mute)


def test_a_throttle_doubles_with_each_notification_up_to_the_longest() -> None:
    day = timedelta(days=1)
    lengths = [inc.lengthen_throttle(day, times, 7 * day) / day for times in range(6)]
    assert lengths == [1, 1, 2, 4, 7, 7]
    assert inc.lengthen_throttle(day, 5, None) == day
    assert inc.lengthen_throttle(10 * day, 5, 7 * day) == 10 * day
