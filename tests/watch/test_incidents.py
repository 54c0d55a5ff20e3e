"""Incidents: opened, closed, throttled, acknowledged and muted each by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch import incidents as inc
from logging_lib.watch.incidents import Incident, Key, Mute, ResolvePolicy
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.state.base import WatchState
from tests.watch.conftest import NOW, build_result, finding, minutes, notification

A, B = Key("m", "1", "a"), Key("m", "1", "b")


def mail(key: Key, now: datetime = NOW, **more: Any) -> Notification:
    """A mail about an incident."""
    about = {"model": key.model, "version": key.version, "features": (key.feature,)}
    return notification("email", to=["a@x.org"], **about, **more).model_copy(update={"created_at": now})


def notify(known: inc.Incidents, key: Key, now: datetime = NOW, **more: Any) -> dict[Key, Incident]:
    return inc.record_notifications(known, [mail(key, now, **more)])


def test_an_incident_opens_closes_and_opens_again() -> None:
    """It remembers when it was notified of, also while closed."""
    first = notify(inc.observe({}, [A], NOW), A)
    receipts = {"email": (mail(A).receipt(),)}
    assert first[A] == Incident(key=A, opened_at=NOW, notified=receipts)
    assert inc.observe(first, [A], NOW + minutes(5)) == first
    closed = inc.observe(first, [B], NOW + minutes(10))
    assert closed[A].closed_at == NOW + minutes(10)
    assert closed[B].opened_at == NOW + minutes(10)
    again = inc.observe(closed, [A], NOW + minutes(15))
    assert again[A] == Incident(key=A, opened_at=NOW + minutes(15), notified=receipts)


def test_an_incident_is_open_until_it_was_absent_long_enough() -> None:
    """So many runs or a time; found again meanwhile, it is the same incident, and an acknowledgment holds."""
    opened, _ = inc.acknowledge(inc.observe({}, [A], NOW), lambda key: True, NOW, "ada")
    for policy in (ResolvePolicy(runs=3), ResolvePolicy(quiet=minutes(10))):
        known = opened
        for step in (5, 10):
            known = inc.observe(known, [], NOW + minutes(step), policy)
            assert (known[A].closed_at, known[A].absent_since) == (None, NOW + minutes(5))
        assert inc.observe(known, [A], NOW + minutes(15), policy) == opened
        closed = inc.observe(known, [], NOW + minutes(15), policy)[A]
        assert closed.closed_at == NOW + minutes(15)
        assert closed.acked_at is None


def test_what_a_run_could_not_evaluate_is_not_resolved() -> None:
    """A model version without a profile tells nothing of its incidents."""
    known = inc.observe({}, [A, B], NOW)
    after = inc.observe(known, [], NOW + minutes(5), is_unknown=lambda key: key == A)
    assert after[A] == known[A]
    assert after[B].closed_at == NOW + minutes(5)


def test_closed_incidents_are_forgotten_after_a_month() -> None:
    """The state does not grow for ever."""
    closed = inc.observe(inc.observe({}, [A], NOW), [], NOW)
    assert inc.observe(closed, [], NOW + minutes(60 * 24 * 29)) == closed
    assert inc.observe(closed, [], NOW + minutes(60 * 24 * 30)) == {}


def decide(known: inc.Incidents, key: Key, action: str = "email", **more: Any) -> str:
    given = {"watch": "w", "period": minutes(60), "now": NOW, **more}
    return inc.decide(known, key, action=action, **given)


def test_throttling_is_by_incident_and_action() -> None:
    """A notification of A by mail says nothing of B, nor of A in Slack."""
    notified = notify(inc.observe({}, [A, B], NOW), A)
    assert decide(notified, A, now=NOW + minutes(59)) == "throttled"
    assert decide(notified, A, now=NOW + minutes(60)) == "notify"
    assert decide(notified, B) == decide(notified, A, "slack") == "notify"


def test_only_what_is_open_can_be_acknowledged() -> None:
    """Else the next one would pass unheard."""
    closed = inc.observe(inc.observe({}, [A], NOW), [B], NOW)
    acked, chosen = inc.acknowledge(closed, lambda key: True, NOW)
    assert chosen == [B]
    assert (decide(acked, A), decide(acked, B)) == ("notify", "acknowledged")


def test_findings_are_grouped_by_model_version() -> None:
    """In their order; without findings the watch itself is the incident."""
    findings = [finding("a"), finding("b", version="2"), finding("c")]
    groups = inc.by_model_version(findings)
    assert [(version, [k.feature for k in inc.keys_of(group)]) for (_, version), group in groups.items()] == [
        ("1", ["a", "c"]),
        ("2", ["b"]),
    ]
    assert [inc.keys_of(group) for group in inc.by_model_version([]).values()] == [[Key()]]
    assert inc.key_of({"model": "m", "version": 2, "feature": None}) == Key("m", "2", "")


def test_a_payload_with_fewer_findings_is_as_if_evaluated_so() -> None:
    """Counts follow, what was skipped stays said."""
    payload = {"window": {}, "result": {**build_result([finding("a"), finding("b")]), "skipped": [1]}}
    assert inc.find(payload) == [finding("a"), finding("b")]
    assert inc.with_findings(payload, [finding("b")], build_result) == {
        "window": {},
        "result": {"count": 1, "more": None, "findings": [finding("b")], "skipped": [1]},
    }
    top = build_result([finding("a"), finding("b")])
    assert inc.with_findings(top, [finding("b")], build_result) == build_result([finding("b")])
    assert inc.find({"hits": {}}) is None


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
    made = WatchState().with_incidents(inc.observe({}, found, NOW))
    again = WatchState.model_validate_json(made.model_dump_json())
    assert set(again.by_key()) == set(found)


def test_a_name_with_a_lone_surrogate_can_be_kept() -> None:
    """Logs may hold what no store takes."""
    key = inc.key_of(finding("a\ud800"))
    assert WatchState().with_incidents(inc.observe({}, [key], NOW)).model_dump_json()


steps = st.lists(
    st.tuples(st.sets(keys, max_size=4), st.sampled_from(["", "ack", "mute"]), keys, mutes), max_size=30
)


@given(steps, st.sampled_from([1, 2, 3]))
def test_who_is_notified_over_any_course_of_events(course: list[Any], runs: int) -> None:
    """A new incident always notifies; never a muted, acknowledged or throttled one; a recovery comes once, and
    only to whom was notified; after it the incident notifies anew."""
    known: dict[Key, Incident] = {}
    silenced: tuple[Mute, ...] = ()
    heard: dict[Key, str] = {}
    period, policy = minutes(60 * 24), ResolvePolicy(runs=runs)
    for step, (seen, act, target, mute) in enumerate(course):
        now = NOW + minutes(5 * step)
        known = inc.observe(known, seen, now, policy)
        for key in seen:
            said = inc.decide(known, key, watch="w", action="email", period=period, now=now, mutes=silenced)
            muted = any(now < each.until and each.covers(watch="w", **key._asdict()) for each in silenced)
            if muted:
                assert said == "muted"
            elif known[key].acked_at:
                assert said == "acknowledged"
            elif heard.get(key) != "open":
                assert said == "notify"
            else:
                assert said == "throttled"
            if said == "notify":
                known = notify(known, key, now)
                heard[key] = "open"
        for incident in inc.awaiting_resolution(known, now, watch="w", mutes=silenced):
            assert heard[incident.key] == "open"
            assert incident.key not in seen
            known = notify(known, incident.key, now, kind="resolved")
            heard[incident.key] = "over"
        assert all(incident.acked_at is None for incident in known.values() if incident.closed_at)
        if act == "ack":
            known, _ = inc.acknowledge(known, lambda key, target=target: key == target, now)
        elif act == "mute":
            silenced = (*silenced, mute)
