"""Mails: addresses, one-line headers, bodies, attachments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from email.errors import MessageError as EmailError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Any

from logging_lib.watch.http import Call, CallError, HttpResponse, render_call
from logging_lib.watch.messages._identity import identity
from logging_lib.watch.messages._types import Attached, Email, MessageError
from logging_lib.watch.model import DataFormat, EmailAction, HttpAttachment
from logging_lib.watch.templating import Medium, TemplateError, render

MAX_SUBJECT = 250
MAX_ATTACHED = 5 * 1024 * 1024
Fetch = Callable[[Call], HttpResponse]


def email(
    name: str, action: EmailAction, context: Mapping[str, Any], now: datetime, fetch: Fetch | None
) -> Email:
    def addresses(templates: Iterable[str]) -> tuple[str, ...]:
        return tuple(a for t in templates for a in _addresses(render(t, context, Medium.HEADER)))

    to, cc, bcc = addresses(action.to), addresses(action.cc), addresses(action.bcc)
    if not (to or cc or bcc):
        raise MessageError("the mail has no recipient: all addresses rendered to nothing")
    sender = addresses([action.sender]) if action.sender else ()
    subject = " ".join(one_line(render(action.subject, context, Medium.HEADER)).split())
    if len(subject) > MAX_SUBJECT:
        subject = subject[: MAX_SUBJECT - 1] + "…"
    body = action.body
    text = None if body.text is None else render(body.text, context, Medium.TEXT)
    html = None if body.html is None else render(body.html, context, Medium.HTML)
    return Email(
        id=identity(context, name, *to, *cc, *bcc, subject, text or "", html or ""),
        date=now,
        sender=sender[0] if sender else None,
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=addresses(action.reply_to),
        subject=subject,
        text=text,
        html=html,
        priority=action.priority,
        attachments=tuple(_attachments(action, context, fetch)),
    )


def _addresses(rendered: str) -> list[str]:
    """The addresses of one entry; it may hold several, divided by commas, or render to nothing."""
    rendered = one_line(rendered).strip()
    found = []
    for display, spec in getaddresses([rendered]) if rendered else ():
        try:
            address = Address(display, addr_spec=spec)
        except (EmailError, ValueError, IndexError) as error:
            raise MessageError(f"{rendered!r} is no mail address: {error}") from error
        if not (address.username and address.domain):
            raise MessageError(f"{rendered!r} is no mail address")
        found.append(str(address))
    return found


def one_line(text: str) -> str:
    return Medium.HEADER.escape(text)


def _attachments(action: EmailAction, context: Mapping[str, Any], fetch: Fetch | None) -> Iterator[Attached]:
    if action.attach_data is not None:
        chosen = action.attach_data.format
        yield _data(f"data.{chosen}", chosen, context)
    for name, given in action.attachments.items():
        if given.data is not None:
            yield _data(one_line(name), given.data.format, context)
        elif given.http is not None:
            yield _fetched(one_line(name), given.http, context, fetch)


def _data(name: str, chosen: DataFormat, context: Mapping[str, Any]) -> Attached:
    """As in Watcher all of ``ctx``, the payload within it."""
    plain = json.dumps({"ctx": context["ctx"]}, ensure_ascii=False, indent=2, default=str)
    if chosen == "json":
        return _bounded(name, "application/json", plain.encode("utf-8", "replace"))
    import yaml

    text = yaml.safe_dump(json.loads(plain), allow_unicode=True, sort_keys=False)
    return _bounded(name, "application/yaml", text.encode("utf-8", "replace"))


def _fetched(name: str, given: HttpAttachment, context: Mapping[str, Any], fetch: Fetch | None) -> Attached:
    """What a request brings. An alert is not lost for want of its attachment: a note says what is missing."""
    if fetch is None:
        return _note(name, "it is not fetched here")
    try:
        answer = fetch(render_call(given.request, context))
    except (CallError, TemplateError) as error:
        return _note(name, str(error))
    if answer.status >= 300:
        return _note(name, f"the server answered {answer.status}")
    kind = given.content_type or answer.headers.get("content-type", ["application/octet-stream"])[0]
    return _bounded(name, one_line(kind), answer.content, inline=given.inline)


def _bounded(name: str, content_type: str, content: bytes, *, inline: bool = False) -> Attached:
    if len(content) > MAX_ATTACHED:
        return _note(name, f"it has {len(content)} bytes, and a mail takes {MAX_ATTACHED}")
    return Attached.of(name, content_type, content, inline=inline)


def _note(name: str, reason: str) -> Attached:
    return Attached.of(f"{name}.txt", "text/plain", f"{name} is not attached: {reason}\n".encode())
