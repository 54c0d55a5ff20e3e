"""Messages that wait: when the next try is, what goes out together, where else it may go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.messages import Email, Log, Message, Slack
from logging_lib.watch.runner import outbox
from logging_lib.watch.runner.outbox import Failure, Policy, addresses, plan
from logging_lib.watch.runner.state import Fallback, Undelivered
from tests.watch.conftest import NOW, minutes

POLICY = Policy()


def mail(*to: str, subject: str = "s", **more: Any) -> Email:
    return Email(id="i", date=NOW, sender=None, to=to, subject=subject, text="t", **more)


def entry(identity: str, message: Message, **more: Any) -> Undelivered:
    return Undelivered(id=identity, action="email", message=message, since=NOW, model="loans", **more)


@given(st.text(), st.integers(1, 100))
def test_waits_double_up_to_a_limit_with_jitter(identity: str, attempts: int) -> None:
    """Between a half and the whole of the exponential wait, the same for the same message and try."""
    full = min(POLICY.longest_wait, POLICY.first_wait * 2 ** min(attempts - 1, 20))
    wait = POLICY.wait(identity, attempts)
    assert full / 2 <= wait <= full
    assert wait == POLICY.wait(identity, attempts)


def test_messages_are_not_tried_all_at_the_same_moment() -> None:
    """Else a server that comes back is overrun."""
    assert len({POLICY.wait(str(number), 3) for number in range(50)}) == 50


def test_a_server_that_asks_to_be_left_alone_is() -> None:
    """By a run that tries all at once, too; our own backoff it passes over."""
    failed = outbox.after_failure(
        entry("a", mail("a@x.org")), [Failure("429", frozenset(["a@x.org"]), minutes(3))], NOW, POLICY
    )
    assert failed.not_before == NOW + minutes(3)
    assert not outbox.is_due(failed, NOW + minutes(2.9), at_once=True)
    assert outbox.is_due(failed, NOW + minutes(3))
    plain = outbox.after_failure(failed, [Failure("down", frozenset(["a@x.org"]))], NOW, POLICY)
    assert (plain.attempts, plain.reason, plain.not_before) == (2, "down", None)
    assert not outbox.is_due(plain, NOW + timedelta(seconds=29))
    assert outbox.is_due(plain, NOW, at_once=True)
    assert outbox.is_due(plain, NOW + minutes(1))


def test_few_messages_go_out_as_they_are() -> None:
    """Up to the limit; a log line is never part of a digest."""
    entries = [entry(str(number), mail("a@x.org", "b@x.org")) for number in range(5)]
    logs = [entry(f"log{number}", Log(level="info", text="x")) for number in range(9)]
    parcels = plan([*entries, *logs], NOW, 5)
    assert [parcel.message for parcel in parcels] == [each.message for each in (*entries, *logs)]


def test_who_gets_many_gets_one_that_lists_them() -> None:
    """The others get theirs as they are."""
    entries = [entry(str(n), mail("Team <team@x.org>", f"owner{n}@x.org", subject=f"s{n}")) for n in range(6)]
    *own, together = plan(entries, NOW, 5)
    assert [parcel.message.recipients for parcel in own] == [(f"owner{n}@x.org",) for n in range(6)]
    assert isinstance(together.message, Email)
    assert together.message.to == ("team@x.org",)
    assert together.message.subject == "6 alerts: loans (6)"
    assert together.message.text is not None
    assert together.message.text.startswith("6 alerts: loans (6)\n\n• s0\n• s1\n")
    assert "\ns5\n\nt" in together.message.text
    again = plan(entries, NOW + minutes(1), 5)[-1]
    assert again.message.id == together.message.id


def test_a_channel_gets_a_digest_too() -> None:
    """Short enough for Slack, with a note of what it leaves out."""
    entries = [
        entry(str(n), Slack(channel="#ml", text=f"alert {n} " + "x" * 400 + "\nmore")) for n in range(20)
    ]
    others = [entry("o", Slack(channel="#other", text="alone"))]
    alone, together = plan([*entries, *others], NOW, 5)
    assert alone.message == others[0].message
    assert isinstance(together.message, Slack)
    assert together.message.channel == "#ml"
    assert together.message.text is not None
    assert together.message.text.startswith("*20 alerts: loans (20)*\n• alert 0 ")
    assert "more; see: logging-lib watch history" in together.message.text
    assert len(together.message.text) < 3500


people = st.sets(st.sampled_from([f"{name}@x.org" for name in "abcd"]), min_size=1)
messages = st.one_of(
    people.map(lambda to: mail(*sorted(to))),
    st.sampled_from(["#a", "#b", None]).map(lambda channel: Slack(channel=channel, text="t")),
    st.just(Log(level="info", text="t")),
)


@given(st.lists(messages, max_size=30), st.integers(0, 6))
def test_a_plan_delivers_each_message_to_each_of_its_people_once(found: list[Message], over: int) -> None:
    """Whatever is put together; and nobody gets more than the limit of messages of a kind beside a digest."""
    entries = [entry(str(number), message) for number, message in enumerate(found)]
    parcels = plan(entries, NOW, over)
    told = sorted((identity, to) for parcel in parcels for identity, people in parcel.parts for to in people)
    assert told == sorted((each.id, to) for each in entries for to in addresses(each.message))
    for parcel in parcels:
        for _, to in parcel.parts:
            assert to == addresses(parcel.message)
    if over:
        for kind in ("email", "slack"):
            for address in {to for each in entries for to in addresses(each.message)}:
                own = [p for p in parcels if p.message.kind == kind and address in addresses(p.message)]
                assert len(own) <= over


def test_a_part_that_failed_is_all_that_is_tried_again() -> None:
    """With the addresses that did not get it."""
    message = mail("a@x.org", "b@x.org")
    failed = outbox.after_failure(entry("a", message), [Failure("550", frozenset(["b@x.org"]))], NOW, POLICY)
    assert isinstance(failed.message, Email)
    assert failed.message.recipients == ("b@x.org",)
    assert failed.message.to == ("a@x.org", "b@x.org")


def test_a_message_as_its_fallback_takes_it() -> None:
    """Escaped for there; none where nothing is named or it is of no use."""
    hostile = mail("a@x.org", subject="<!channel> s")
    moved = outbox.by_fallback(entry("a", hostile, fallback=Fallback(kind="slack", to="#ops")))
    assert moved is not None
    assert moved.message == Slack(channel="#ops", text="&lt;!channel&gt; s\nt")
    post = Slack(channel="#ml", text="*a &lt;b&gt;*\nmore")
    back = outbox.by_fallback(entry("a", post, fallback=Fallback(kind="email", to="ops@x.org")))
    assert back is not None
    assert isinstance(back.message, Email)
    assert (back.message.to, back.message.subject, back.message.text) == (
        ("ops@x.org",),
        "a <b>",
        "*a <b>*\nmore",
    )
    assert outbox.by_fallback(entry("a", post)) is None
    assert outbox.by_fallback(entry("a", Log(level="info", text="x"))) is None


def test_where_a_watch_says_its_fallback_is() -> None:
    """Its own, else the runner's, else none."""
    runners = {"email": "ops@x.org"}
    assert outbox.fallbacks({}, runners) == runners
    assert outbox.fallbacks({"fallback": {"slack": "#ops"}}, runners) == {
        "email": "ops@x.org",
        "slack": "#ops",
    }
    assert outbox.fallbacks({"fallback": False}, runners) == {}
