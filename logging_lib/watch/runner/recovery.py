"""The message that an incident is over: to those who were told of it, and no one else. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_instant, parse_duration
from logging_lib.watch.messages import MAX_SUBJECT, Email, Message, Slack
from logging_lib.watch.runner.incidents import Incident, Key, Patience, Told
from logging_lib.watch.templating import Medium


@dataclass(frozen=True)
class Recovery:
    """One message, and which incidents it says are over by which action."""

    action: str
    keys: tuple[Key, ...]
    messages: tuple[Message, ...]


def patience_of(metadata: Mapping[str, Any], default: Patience) -> Patience:
    """``metadata.recovery_after``: a number of runs, or a time such as ``30m``.

    Raises:
        ValueError: when it is neither.
    """
    given = metadata.get("recovery_after")
    if given is None:
        return default
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return Patience(runs=given)
    if isinstance(given, str):
        return Patience(quiet=parse_duration(given))
    raise ValueError(f"{given!r}: write a number of runs from 1 on, or a duration such as 30m")


def is_wanted(metadata: Mapping[str, Any]) -> bool:
    """Unless a watch says ``"recovery": false``."""
    return metadata.get("recovery") is not False


def told_by(messages: Iterable[Message]) -> Told | None:
    """Who gets these messages of one action; None where a recovery has nowhere to go."""
    messages = list(messages)
    mails = [message for message in messages if isinstance(message, Email)]
    posts = [message for message in messages if isinstance(message, Slack)]
    if mails:
        mail = mails[0]
        return Told(
            kind="email", subject=mail.subject, sender=mail.sender, to=mail.to, cc=mail.cc, bcc=mail.bcc
        )
    if posts:
        channels = tuple(dict.fromkeys(post.channel for post in posts))
        return Told(kind="slack", subject=posts[0].summary, sender=posts[0].sender, channels=channels)
    return None


def recoveries(
    watch: str, title: str, closed: Iterable[Incident], now: datetime, *, identity: str
) -> Iterator[Recovery]:
    """One message an action, model version and group of people, about all of their incidents that are over.

    Args:
        title: the watch's.
        identity: of the run, so that what is repeated after a crash can be told from what is new.
    """
    groups: dict[tuple[Any, ...], list[Incident]] = {}
    for incident in closed:
        for action, told in incident.told.items():
            people = (told.kind, told.to, told.cc, told.bcc, told.channels, told.sender)
            key = (action, incident.key.model, incident.key.version, *people)
            groups.setdefault(key, []).append(incident)
    for (action, model, version, *_), incidents in groups.items():
        told = incidents[0].told[action]
        about = f"{title}" + (f": {model} {version}".rstrip() if model else "")
        names = [each.key.feature for each in incidents if each.key.feature]
        subject = f"[Resolved] {about}" + (f": {', '.join(names[:5])}" if names else "")
        subject += f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines = [_line(each) for each in incidents]
        keys = tuple(each.key for each in incidents)
        foot = f"Watch {watch}, checked at {format_instant(now)}"
        subjects = list(dict.fromkeys(each.told[action].subject for each in incidents))
        messages = tuple(_messages(told, subject, lines, subjects, foot, f"{identity}\x00{action}", now))
        yield Recovery(action, keys, messages)


def _line(incident: Incident) -> str:
    until = incident.absent_since or incident.closed_at or incident.opened_at
    name = incident.key.feature or incident.key.model or "the condition"
    span = f"since {format_instant(incident.opened_at)} until {format_instant(until)}"
    return f"{name}: {span}, for {duration(until - incident.opened_at)}"


def duration(span: timedelta) -> str:
    """For people: ``3 d 4 h``, ``2 h 5 min``, ``40 s``."""
    seconds = max(0, round(span.total_seconds()))
    days, hours, rest = seconds // 86400, seconds // 3600 % 24, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {rest} min"
    return f"{rest} min" if rest else f"{seconds} s"


def _messages(
    told: Told, subject: str, lines: list[str], subjects: list[str], foot: str, identity: str, now: datetime
) -> Iterator[Message]:
    if told.kind == "slack":
        text = "\n".join(
            [f"*{Medium.SLACK.escape(subject)}*", *(f"• {Medium.SLACK.escape(line)}" for line in lines)]
        )
        for channel in told.channels:
            yield Slack(channel=channel, sender=told.sender, text=text + "\n" + Medium.SLACK.escape(foot))
        return
    subject = " ".join(Medium.HEADER.escape(subject).split())
    told_of = [f"  {Medium.TEXT.escape(each)}" for each in subjects[:20]]
    body = [*map(Medium.TEXT.escape, lines), "", "What was told:", *told_of, "", Medium.TEXT.escape(foot), ""]
    text = "\n".join(body)
    content = "\x00".join(["recovery", identity, *told.to, *told.cc, *told.bcc, text])
    yield Email(
        id=hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32],
        date=now,
        sender=told.sender,
        to=told.to,
        cc=told.cc,
        bcc=told.bcc,
        subject=subject if len(subject) <= MAX_SUBJECT else subject[: MAX_SUBJECT - 1] + "…",
        text=text,
    )
