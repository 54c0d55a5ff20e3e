"""Messages that wait: when the next try is, what goes out together, where else it may go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.notify import queue, registry
from logging_lib.watch.notify.base import DeliveryError, Notification
from logging_lib.watch.notify.queue import DeliveryPolicy, plan_deliveries
from tests.watch.conftest import NOW, minutes, notification

POLICY = DeliveryPolicy()


def mail(identity: str, *to: str, **more: Any) -> Notification:
    return notification("email", id=identity, to=to, model="loans", **more)


def post(identity: str, channel: str | None, text: str = "t", **more: Any) -> Notification:
    to = [channel] if channel else []
    return notification(
        "slack", id=identity, to=to, subject=text.partition("\n")[0], text=text, model="loans", **more
    )


def log(identity: str) -> Notification:
    return notification("logging", id=identity, text="x")


@given(st.text(), st.integers(1, 100))
def test_waits_double_up_to_a_limit_with_jitter(identity: str, attempts: int) -> None:
    """Between a half and the whole of the exponential wait, the same for the same message and try."""
    full = min(POLICY.longest_wait, POLICY.first_wait * 2 ** min(attempts - 1, 20))
    wait = POLICY.wait(identity, attempts)
    assert full / 2 <= wait <= full
    assert wait == POLICY.wait(identity, attempts)


def test_retries_are_spread_over_time() -> None:
    """Else a server that comes back is overrun."""
    assert len({POLICY.wait(str(number), 3) for number in range(50)}) == 50


def test_a_retry_after_of_a_server_is_obeyed() -> None:
    """By a run that tries all at once, too; our own backoff it passes over."""
    everyone = frozenset(["a@x.org"])
    busy = DeliveryError("429", retry_after=180.0)
    failed = queue.after_failure(mail("a", "a@x.org"), [(busy, everyone)], NOW, POLICY)
    assert failed.not_before == NOW + minutes(3)
    assert not queue.is_due(failed, NOW + minutes(2.9), at_once=True)
    assert queue.is_due(failed, NOW + minutes(3))
    plain = queue.after_failure(failed, [(DeliveryError("down"), everyone)], NOW, POLICY)
    assert (plain.attempts, plain.reason, plain.not_before) == (2, "down", None)
    assert not queue.is_due(plain, NOW + timedelta(seconds=29))
    assert queue.is_due(plain, NOW, at_once=True)
    assert queue.is_due(plain, NOW + minutes(1))


def test_few_notifications_are_sent_unchanged() -> None:
    """Up to the limit; a log line is never part of a digest."""
    entries = [mail(str(number), "a@x.org", "b@x.org") for number in range(5)]
    logs = [log(f"log{number}") for number in range(9)]
    deliveries = plan_deliveries([*entries, *logs], NOW, 5)
    assert [delivery.notification for delivery in deliveries] == [*entries, *logs]


def test_a_recipient_of_many_notifications_gets_a_digest() -> None:
    """The others get theirs as they are."""
    entries = [mail(str(n), "Team <team@x.org>", f"owner{n}@x.org", subject=f"s{n}") for n in range(6)]
    *single, digest = plan_deliveries(entries, NOW, 5)
    assert [delivery.notification.recipients for delivery in single] == [
        (f"owner{n}@x.org",) for n in range(6)
    ]
    together = digest.notification
    assert together.channel == "email"
    assert together.address["to"] == ["team@x.org"]
    assert together.recipients == ("team@x.org",)
    assert together.subject == "6 alerts: loans (6)"
    assert together.text.startswith("6 alerts: loans (6)\n\n• s0\n• s1\n")
    assert "\ns5\n\nt" in together.text
    again = plan_deliveries(entries, NOW + minutes(1), 5)[-1]
    assert again.notification.id == together.id


def test_a_channel_gets_a_digest_too() -> None:
    """Short enough for Slack, with a note of what it leaves out."""
    entries = [post(str(n), "#ml", f"alert {n} " + "x" * 400 + "\nmore") for n in range(20)]
    other = post("o", "#other", "alone")
    alone, digest = plan_deliveries([*entries, other], NOW, 5)
    assert alone.notification == other
    together = digest.notification
    assert together.channel == "slack"
    assert together.address["channel"] == "#ml"
    assert together.content["text"].startswith("*20 alerts: loans (20)*\n• alert 0 ")
    assert "more; see: logging-lib watch history" in together.content["text"]
    assert len(together.content["text"]) < 3500


def test_the_list_of_a_digest_is_escaped_for_its_channel() -> None:
    """A subject is plain text until then."""
    entries = [post(str(n), "#ml", "<!channel> *b*") for n in range(6)]
    (digest,) = plan_deliveries(entries, NOW, 5)
    assert "&lt;!channel&gt;" in digest.notification.content["text"]
    assert "<!channel>" not in digest.notification.content["text"]


people = st.sets(st.sampled_from([f"{name}@x.org" for name in "abcd"]), min_size=1)
notifications = st.one_of(
    people.map(lambda to: mail("", *sorted(to))),
    st.sampled_from(["#a", "#b", None]).map(lambda channel: post("", channel)),
    st.just(log("")),
)


@given(st.lists(notifications, max_size=30), st.integers(0, 6))
def test_a_plan_delivers_each_notification_to_each_of_its_people_once(
    drawn: list[Notification], over: int
) -> None:
    """Whatever is put together; and nobody gets more than the limit of messages of a channel beside a digest."""
    entries = [each.model_copy(update={"id": str(number)}) for number, each in enumerate(drawn)]
    deliveries = plan_deliveries(entries, NOW, over)
    sent = sorted(
        (part, to) for delivery in deliveries for part, people in delivery.parts.items() for to in people
    )
    assert sent == sorted((each.id, to) for each in entries for to in each.recipients)
    for delivery in deliveries:
        for to in delivery.parts.values():
            assert to == set(delivery.notification.recipients)
    if over:
        for channel in ("email", "slack"):
            for address in {to for each in entries for to in each.recipients}:
                own = [
                    each
                    for each in deliveries
                    if each.notification.channel == channel and address in each.notification.recipients
                ]
                assert len(own) <= over


def test_only_the_failed_part_is_sent_again() -> None:
    """With the addresses that did not get it."""
    refused = (DeliveryError("550"), frozenset(["b@x.org"]))
    failed = queue.after_failure(mail("a", "a@x.org", "b@x.org"), [refused], NOW, POLICY)
    assert failed.recipients == ("b@x.org",)
    assert failed.address["to"] == ["a@x.org", "b@x.org"]


def test_a_notification_is_rendered_for_its_fallback() -> None:
    """Escaped for there; none where nothing is named or it is of no use."""
    hostile = mail("a", "a@x.org", subject="<!channel> s", fallback=("slack", "#ops"))
    moved = queue.to_fallback(hostile)
    assert moved is not None
    assert moved.channel == "slack"
    assert moved.address == {"channel": "#ops"}
    assert moved.content == {"text": "*&lt;!channel&gt; s*\nt"}
    back = queue.to_fallback(post("a", "#ml", "a <b>\nmore", fallback=("email", "ops@x.org")))
    assert back is not None
    assert back.channel == "email"
    assert (back.address["to"], back.subject, back.content["text"]) == (["ops@x.org"], "a <b>", "a <b>\nmore")
    assert queue.to_fallback(post("a", "#ml")) is None
    assert registry.fallback_of("logging", {"email": "a@x.org"}) is None
    assert registry.fallback_of("email", {"email": "a@x.org", "slack": "#ops"}) == ("slack", "#ops")


def test_a_watch_names_its_own_fallback() -> None:
    """Its own, else the runner's, else none."""
    runners = {"email": "ops@x.org"}
    assert registry.fallback_addresses({}, runners) == runners
    assert registry.fallback_addresses({"fallback": {"slack": "#ops"}}, runners) == {
        "email": "ops@x.org",
        "slack": "#ops",
    }
    assert registry.fallback_addresses({"fallback": False}, runners) == {}
