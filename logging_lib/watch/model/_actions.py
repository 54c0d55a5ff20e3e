"""``actions``: whom a watch tells, and what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model.base import Duration, Model, OneOf, Strings, fault, in_millis
from logging_lib.watch.model.requests import HttpRequest
from logging_lib.watch.model.steps import Condition, Transform

ACTION_KINDS = ("email", "slack", "webhook", "index", "logging")
MAX_ITERATIONS = 100


class EmailBody(Model):
    text: str | None = None
    html: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _not_empty(self) -> EmailBody:
        if self.text is None and self.html is None:
            raise PydanticCustomError("body", "a mail's body has 'text', 'html' or both")
        return self


DataFormat = Literal["json", "yaml"]


class DataAttachment(Model):
    """The run's ``ctx``, payload included."""

    format: DataFormat = "yaml"


class HttpAttachment(Model):
    request: HttpRequest
    content_type: str | None = None
    inline: bool = False


class Attachment(OneOf):
    data: DataAttachment | None = None
    http: HttpAttachment | None = None


def _attach_data(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


class EmailAction(Model):
    to: Strings = ()
    cc: Strings = ()
    bcc: Strings = ()
    reply_to: Strings = ()
    sender: str | None = Field(None, alias="from")
    subject: str = ""
    body: EmailBody
    priority: Literal["lowest", "low", "normal", "high", "highest"] | None = None
    attachments: dict[str, Attachment] = {}
    attach_data: Annotated[DataAttachment | None, BeforeValidator(_attach_data)] = None

    @model_validator(mode="after")
    def _someone(self) -> EmailAction:
        if not (self.to or self.cc or self.bcc):
            raise PydanticCustomError("recipient", "a mail needs a recipient in 'to', 'cc' or 'bcc'")
        return self


class SlackField(Model):
    title: str
    value: str
    short: bool = False


class SlackAttachment(Model):
    fallback: str | None = None
    color: str | None = None
    pretext: str | None = None
    author_name: str | None = None
    author_link: str | None = None
    author_icon: str | None = None
    title: str | None = None
    title_link: str | None = None
    text: str | None = None
    fields: tuple[SlackField, ...] = ()
    image_url: str | None = None
    thumb_url: str | None = None
    footer: str | None = None
    footer_icon: str | None = None
    mrkdwn_in: tuple[str, ...] = ()


class DynamicAttachments(Model):
    """One attachment for each element of the list at ``list_path``; the template's variables are the element's."""

    list_path: str
    attachment_template: SlackAttachment


class SlackMessage(Model):
    sender: str | None = Field(None, alias="from")
    to: Strings = ()
    icon: str | None = None
    text: str | None = None
    attachments: tuple[SlackAttachment, ...] = ()
    dynamic_attachments: DynamicAttachments | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> SlackMessage:
        if self.text is None and not self.attachments and self.dynamic_attachments is None:
            raise PydanticCustomError("slack", "a Slack message has 'text', 'attachments' or both")
        return self


class SlackAction(Model):
    message: SlackMessage


class IndexAction(Model):
    """Stores the payload; ``_doc`` in it is the document, or a list of them."""

    index: str | None = None
    doc_id: str | None = None
    op_type: Literal["index", "create"] = "index"
    execution_time_field: str | None = None
    refresh: bool | Literal["true", "false", "wait_for"] = False

    @model_validator(mode="after")
    def _literal(self) -> IndexAction:
        for name in ("index", "doc_id"):
            text = getattr(self, name) or ""
            if "{{" in text or text.startswith("<"):
                raise fault(
                    "index",
                    f"{name} is no template and no date maths: set _index or _id in the document instead",
                )
        return self


class LoggingAction(Model):
    text: str
    level: Literal["error", "warn", "info", "debug", "trace"] = "info"
    category: str | None = None


class Action(Model):
    throttle_period: Duration | None = None
    condition: Condition | None = None
    transform: Transform | None = None
    foreach: str | None = Field(None, min_length=1)
    max_iterations: int = Field(MAX_ITERATIONS, ge=0)
    email: EmailAction | None = None
    slack: SlackAction | None = None
    webhook: HttpRequest | None = None
    index: IndexAction | None = None
    logging: LoggingAction | None = None

    @model_validator(mode="before")
    @classmethod
    def _millis(cls, value: Any) -> Any:
        return in_millis(value)

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        kinds = self.model_fields_set & set(ACTION_KINDS)
        if len(kinds) != 1:
            raise PydanticCustomError("one_of", f"an action has exactly one of {', '.join(ACTION_KINDS)}")
        if "max_iterations" in self.model_fields_set and self.foreach is None:
            raise fault("foreach", "max_iterations belongs to foreach, which is not there")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set & set(ACTION_KINDS)))
