"""Attach files to a mail: the run's data, and responses over HTTP. A failed attachment never stops an alert."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypedDict

from logging_lib.watch.http import CallError, render_call
from logging_lib.watch.model import HttpRequest, Model, OneOf
from logging_lib.watch.notify.base import Fetch, one_line
from logging_lib.watch.templating import TemplateError

MAX_ATTACHED = 5 * 1024 * 1024


class AttachedFile(TypedDict):
    """A file in a notification's content; ``content`` is base64."""

    name: str
    content_type: str
    content: str
    inline: bool


DataFormat = Literal["json", "yaml"]


class DataAttachment(Model):
    """An attachment with the run's ``ctx``, including the payload."""

    format: DataFormat = "yaml"


class HttpAttachment(Model):
    request: HttpRequest
    content_type: str | None = None
    inline: bool = False


class Attachment(OneOf):
    data: DataAttachment | None = None
    http: HttpAttachment | None = None


def attach_files(
    attachments: Mapping[str, Attachment],
    attach_data: DataAttachment | None,
    context: Mapping[str, Any],
    fetch: Fetch | None,
) -> Iterator[AttachedFile]:
    """Yield the files of a mail, in the order of its action.

    Args:
        attach_data: Watcher's short form to attach the run's data.
        fetch: sends the requests for attachments over HTTP; without it, a note takes the place of the file.
    """
    if attach_data is not None:
        yield _data(f"data.{attach_data.format}", attach_data.format, context)
    for name, attachment in attachments.items():
        if attachment.data is not None:
            yield _data(one_line(name), attachment.data.format, context)
        elif attachment.http is not None:
            yield _fetched(one_line(name), attachment.http, context, fetch)


def _data(name: str, data_format: DataFormat, context: Mapping[str, Any]) -> AttachedFile:
    """Build the file with all of ``ctx``, including the payload, as in Watcher."""
    as_json = json.dumps({"ctx": context["ctx"]}, ensure_ascii=False, indent=2, default=str)
    if data_format == "json":
        return _bounded(name, "application/json", as_json.encode("utf-8", "replace"))
    import yaml

    text = yaml.safe_dump(json.loads(as_json), allow_unicode=True, sort_keys=False)
    return _bounded(name, "application/yaml", text.encode("utf-8", "replace"))


def _fetched(
    name: str, attachment: HttpAttachment, context: Mapping[str, Any], fetch: Fetch | None
) -> AttachedFile:
    """Build the file with a request's response. If it fails, a note says what is missing: the alert must not be
    lost."""
    if fetch is None:
        return _note(name, "it is not fetched here")
    try:
        answer = fetch(render_call(attachment.request, context))
    except (CallError, TemplateError) as error:
        return _note(name, str(error))
    if answer.status >= 300:
        return _note(name, f"the server answered {answer.status}")
    kind = attachment.content_type or answer.headers.get("content-type", ["application/octet-stream"])[0]
    return _bounded(name, one_line(kind), answer.content, is_inline=attachment.inline)


def _bounded(name: str, content_type: str, content: bytes, *, is_inline: bool = False) -> AttachedFile:
    if len(content) > MAX_ATTACHED:
        return _note(name, f"it has {len(content)} bytes, and a mail takes {MAX_ATTACHED}")
    return attached_file(name, content_type, content, is_inline=is_inline)


def _note(name: str, reason: str) -> AttachedFile:
    return attached_file(f"{name}.txt", "text/plain", f"{name} is not attached: {reason}\n".encode())


def attached_file(name: str, content_type: str, content: bytes, *, is_inline: bool = False) -> AttachedFile:
    """Encode a file of a mail for a notification's content."""
    encoded = base64.b64encode(content).decode()
    return {"name": name, "content_type": content_type, "content": encoded, "inline": is_inline}
