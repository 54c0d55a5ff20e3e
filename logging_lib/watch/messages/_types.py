"""Messages: plain data, so that one that could not be delivered can be kept and sent as it was."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from logging_lib.watch.http import Call

_BOLD = re.compile(r"(?<!\w)\*(\S[^*\n]*)\*(?!\w)")


class MessageError(ValueError):
    """An action whose message cannot be made; the message says why."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Attached(_Data):
    """A file of a mail; ``content`` is base64."""

    name: str
    content_type: str
    content: str
    inline: bool = False

    @classmethod
    def of(cls, name: str, content_type: str, content: bytes, *, inline: bool = False) -> Attached:
        encoded = base64.b64encode(content).decode()
        return cls(name=name, content_type=content_type, content=encoded, inline=inline)

    @property
    def bytes(self) -> bytes:
        return base64.b64decode(self.content)


class Email(_Data):
    """Addresses are ``Name <local@domain>``. ``recipients``, where set, narrows who still has to get it."""

    kind: Literal["email"] = "email"
    id: str
    date: datetime
    sender: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str
    text: str | None = None
    html: str | None = None
    priority: str | None = None
    attachments: tuple[Attached, ...] = ()
    recipients: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return self.subject


class Slack(_Data):
    """One post to one channel; ``channel`` None leaves the choice to the webhook."""

    kind: Literal["slack"] = "slack"
    channel: str | None
    sender: str | None = None
    icon: str | None = None
    text: str | None = None
    attachments: tuple[dict[str, Any], ...] = ()

    @property
    def summary(self) -> str:
        """The first line as a subject, without Slack's bold; still escaped, since it may be posted again."""
        text = self.text or next((str(a.get("title") or a.get("text") or "") for a in self.attachments), "")
        return _BOLD.sub(r"\1", text.partition("\n")[0])


class Webhook(_Data):
    """One request. ``id`` is the same when the same alert is sent again, so that a receiver can tell."""

    kind: Literal["webhook"] = "webhook"
    id: str
    call: Call

    @property
    def summary(self) -> str:
        return f"{self.call.method} {self.call.place}"


class Stored(_Data):
    """A document for an index; ``id`` is the same when the same alert is stored again."""

    index: str
    id: str
    source: dict[str, Any]


class Index(_Data):
    """Documents to store. ``create``: one that is there already stays as it is."""

    kind: Literal["index"] = "index"
    documents: tuple[Stored, ...]
    create: bool = False
    refresh: bool = False

    @property
    def summary(self) -> str:
        count = len(self.documents)
        targets = ", ".join(dict.fromkeys(document.index for document in self.documents))
        return f"{count} document{'s' if count != 1 else ''} to {targets}"


class Log(_Data):
    kind: Literal["logging"] = "logging"
    level: str
    category: str | None = None
    text: str

    @property
    def summary(self) -> str:
        return self.text


AnyMessage = Email | Slack | Webhook | Index | Log
Message = Annotated[AnyMessage, Field(discriminator="kind")]
