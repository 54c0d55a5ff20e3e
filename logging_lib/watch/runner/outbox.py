"""Messages that wait: which are due, which go out together, when the next try is, where else they may go. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import getaddresses

from logging_lib.watch.messages import Email, Message, Slack
from logging_lib.watch.runner.state import Undelivered
from logging_lib.watch.templating import Medium

_LISTED, _MOST_TEXT, _MOST_SLACK = 200, 200_000, 3_000


@dataclass(frozen=True)
class Policy:
    """How deliveries are repeated.

    Attributes:
        first_wait: after the first failure; each further wait is twice as long, up to ``longest_wait``.
        fallback_after: failed attempts before a message goes to its fallback.
        give_up_after: the age at which a message is given up, and said to be.
        digest_over: more messages than this for one recipient go out as one; 0 never.
    """

    first_wait: timedelta = timedelta(seconds=30)
    longest_wait: timedelta = timedelta(minutes=15)
    fallback_after: int = 5
    give_up_after: timedelta = timedelta(days=3)
    digest_over: int = 5

    def wait(self, identity: str, attempts: int) -> timedelta:
        """Until the next try: exponential, with a jitter of up to a half that is the same for the same message
        ("full jitter", Brooker 2015, but with a floor)."""
        full = min(self.longest_wait, self.first_wait * (1 << min(attempts - 1, 30)))
        chance = int.from_bytes(hashlib.sha256(f"{identity}\x00{attempts}".encode()).digest()[:4]) / 2**32
        return full * (0.5 + chance / 2)


def entry_id(identity: str) -> str:
    """A message's id, of what makes it the one it is."""
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:32]


def is_due(entry: Undelivered, now: datetime, *, at_once: bool = False) -> bool:
    """Whether to try it. ``at_once`` passes over our own backoff, never over what a server asked for."""
    if entry.not_before is not None and now < entry.not_before:
        return False
    return at_once or entry.next_try is None or now >= entry.next_try


@dataclass(frozen=True)
class Parcel:
    """One thing to send. ``parts``: which of whose entries it delivers, by id, and to which addresses."""

    message: Message
    parts: tuple[tuple[str, frozenset[str]], ...]


def addresses(message: Message) -> frozenset[str]:
    """To whom it still has to go: a mail's bare addresses, Slack's channel, nobody in particular otherwise."""
    if isinstance(message, Email):
        everyone = message.recipients or (*message.to, *message.cc, *message.bcc)
        return frozenset(address for _, address in getaddresses(list(everyone)) if address)
    return frozenset([message.channel or ""]) if isinstance(message, Slack) else frozenset([""])


def narrowed(message: Message, to: frozenset[str]) -> Message:
    """The same message for these alone."""
    if isinstance(message, Email) and to != addresses(message):
        return message.model_copy(update={"recipients": tuple(sorted(to))})
    return message


def plan(entries: Iterable[Undelivered], now: datetime, digest_over: int) -> list[Parcel]:
    """What to send: who has more than ``digest_over`` messages gets one that lists them, all others each one."""
    entries = list(entries)
    waiting: dict[tuple[str, str], list[Undelivered]] = {}
    for entry in entries:
        if isinstance(entry.message, Email | Slack):
            for address in addresses(entry.message):
                waiting.setdefault((entry.message.kind, address), []).append(entry)
    many = {who: found for who, found in waiting.items() if digest_over and len(found) > digest_over}
    parcels = []
    for entry in entries:
        kind: str = entry.message.kind
        rest = frozenset(to for to in addresses(entry.message) if (kind, to) not in many)
        if rest:
            parcels.append(Parcel(narrowed(entry.message, rest), ((entry.id, rest),)))
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (kind, address), found in many.items():
        apart = (address,) if kind == "slack" else ()  # a post goes to one channel
        together.setdefault((kind, tuple(entry.id for entry in found) + apart), []).append(address)
    for people in together.values():
        found = next(found for (_, address), found in many.items() if address == people[0])
        to = frozenset(people)
        parcels.append(Parcel(digest(found, sorted(people), now), tuple((each.id, to) for each in found)))
    return parcels


def digest(entries: list[Undelivered], to: list[str], now: datetime) -> Message:
    """One message that lists several of one kind; its id is the same for the same ones."""
    first = entries[0].message
    subjects = [entry.message.summary for entry in entries]
    models = Counter(entry.model for entry in entries if entry.model)
    about = ", ".join(f"{model} ({count})" for model, count in models.most_common(3))
    head = f"{len(entries)} alerts" + (f": {about}" if about else "") + (" …" if len(models) > 3 else "")
    lines = [f"• {subject}" for subject in subjects[:_LISTED]]
    if len(subjects) > _LISTED:
        lines.append(f"and {len(subjects) - _LISTED} more; see: logging-lib watch history")
    if isinstance(first, Slack):
        post, cut = f"*{Medium.SLACK.escape(head)}*", 0
        for line in lines:
            if len(post) + len(line) > _MOST_SLACK:
                cut += 1
            else:
                post += "\n" + line
        post += f"\nand {cut} more; see: logging-lib watch history" if cut else ""
        return first.model_copy(update={"text": post, "attachments": ()})
    whole = "\n".join([head, "", *lines, ""])
    for entry in entries:
        text = entry.message.text if isinstance(entry.message, Email) else None
        part = "\n" + "-" * 72 + f"\n{entry.message.summary}\n\n{text or ''}"
        if len(whole) + len(part) > _MOST_TEXT:
            break
        whole += part
    identity = "\x00".join([*(entry.id for entry in entries), *to])
    return Email(
        id=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:32],
        date=now,
        sender=first.sender if isinstance(first, Email) else None,
        to=tuple(to),
        subject=Medium.HEADER.escape(head),
        text=whole,
    )


def by_fallback(entry: Undelivered) -> Undelivered | None:
    """The same entry, its message as its fallback takes it; None where it has none, or needs none."""
    other, message = entry.fallback, entry.message
    if other is None or other.kind == message.kind or not isinstance(message, Email | Slack):
        return None
    made: Message
    if isinstance(message, Email):
        body = (message.text or "")[:_MOST_SLACK]
        made = Slack(channel=other.to, text=Medium.SLACK.escape(message.subject) + "\n" + _slack_lines(body))
    else:
        identity = hashlib.sha256(f"fallback\x00{entry.id}".encode("utf-8", "replace")).hexdigest()[:32]
        text = _unescaped(message.text or "\n".join(str(each) for each in message.attachments))
        subject = Medium.HEADER.escape(_unescaped(message.summary))[:200] or "An alert"
        to = (other.to,) if other.to else ()
        made = Email(id=identity, date=entry.since, sender=None, to=to, subject=subject, text=text)
    return entry.model_copy(update={"message": made})


def _unescaped(text: str) -> str:
    """Slack's text as it reads."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _slack_lines(text: str) -> str:
    return "\n".join(map(Medium.SLACK.escape, text.split("\n")))


@dataclass(frozen=True)
class Failure:
    """Why a delivery failed. ``to``: the addresses without it; ``wait``: as long the server wants to be left."""

    reason: str
    to: frozenset[str]
    wait: timedelta | None = None


def after_failure(
    entry: Undelivered, failures: Iterable[Failure], now: datetime, policy: Policy
) -> Undelivered:
    """The entry after a try that failed, wholly or for some of its addresses."""
    failures = list(failures)
    attempts = entry.attempts + 1
    waits = [failure.wait for failure in failures if failure.wait is not None]
    missing = frozenset(address for failure in failures for address in failure.to)
    return entry.model_copy(
        update={
            "message": narrowed(entry.message, missing) if missing else entry.message,
            "attempts": attempts,
            "reason": "; ".join(dict.fromkeys(failure.reason for failure in failures)),
            "next_try": now + policy.wait(entry.id, attempts),
            "not_before": now + max(waits) if waits else None,
        }
    )


def fallbacks(metadata: Mapping[str, object], default: Mapping[str, str]) -> dict[str, str]:
    """Where a watch's messages go that their own channel does not take: ``metadata.fallback``, else the default.

    Returns:
        By kind, ``email`` or ``slack``, an address or channel; empty where the watch says ``false``.
    """
    given = metadata.get("fallback")
    if given is False:
        return {}
    return (
        {**default, **{str(kind): str(to) for kind, to in given.items()}}
        if isinstance(given, dict)
        else dict(default)
    )
