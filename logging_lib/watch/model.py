"""A Watcher watch as typed, immutable objects: the subset of Watcher's JSON that the runner executes.

Field names and defaults are Watcher's. What Watcher knows and the runner does not is refused by name, never
ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.schedule import latest_slot
from logging_lib.watch.times import parse_duration

DEFAULT_THROTTLE = timedelta(seconds=5)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OneOf(Model):
    """An object that must have exactly one of its keys: Watcher's ``{"search": {...}}``."""

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            names = ", ".join(info.alias or name for name, info in type(self).model_fields.items())
            given = ", ".join(sorted(self.model_fields_set)) or "none"
            raise PydanticCustomError("one_of", f"give exactly one of {names}; there is {given}")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))


def _tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("duration", f"{value!r} is no duration: write it as text, such as '15m'")
    try:
        return parse_duration(value, weeks=False)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error


def _interval(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("duration", f"{value!r} is no interval: write seconds or text such as '5m'")
    try:
        interval = timedelta(seconds=value) if isinstance(value, int) else parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error
    if interval < timedelta(seconds=1):
        raise PydanticCustomError("duration", "an interval is at least one second")
    return interval


Strings = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Schedule(Model):
    """``interval`` in seconds or as text; Watcher's other schedules are not executed yet."""

    interval: Annotated[timedelta, BeforeValidator(_interval)]

    def latest(self, now: datetime) -> datetime | None:
        """See ``schedule.Schedule``."""
        return latest_slot(self.interval, now)

    def next(self, after: datetime) -> datetime | None:
        """See ``schedule.Schedule``."""
        return latest_slot(self.interval, after) + self.interval


class Trigger(Model):
    schedule: Schedule


class Script(Model):
    """A stored script: ``watchers/scripts/<id>.painless`` on Elasticsearch, its Python twin here."""

    id: str
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _stored(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and "source" in value):
            raise PydanticCustomError(
                "inline_script",
                'inline scripts are not executed by this runner: store the script and name it, {"id": "..."}',
            )
        return value


class Transform(OneOf):
    script: Script | None = None
    chain: tuple[Transform, ...] | None = None


class SearchRequest(Model):
    indices: Strings
    body: dict[str, Any]
    rest_total_hits_as_int: bool = True

    @cached_property
    def template(self) -> str:
        """The body as the one JSON text that Watcher renders, keys included."""
        return json.dumps(self.body, ensure_ascii=False)


class SearchInput(Model):
    request: SearchRequest
    extract: tuple[str, ...] = ()
    timeout: Duration | None = None


class ChainInput(Model):
    inputs: tuple[dict[str, Input], ...]

    @model_validator(mode="after")
    def _named_once(self) -> ChainInput:
        names = [name for entry in self.inputs for name in entry]
        if any(len(entry) != 1 for entry in self.inputs):
            raise PydanticCustomError("chain", 'each input of a chain is one object {"name": {...}}')
        if len(names) != len(set(names)):
            raise PydanticCustomError("chain", f"two inputs of the chain have the same name: {sorted(names)}")
        return self

    def items(self) -> list[tuple[str, Input]]:
        return [item for entry in self.inputs for item in entry.items()]


class Input(OneOf):
    none: dict[str, Any] | None = None
    simple: dict[str, Any] | None = None
    search: SearchInput | None = None
    chain: ChainInput | None = None
    transform: Transform | None = None


Operator = Literal["eq", "not_eq", "gt", "gte", "lt", "lte"]
OPERATORS: tuple[Operator, ...] = ("eq", "not_eq", "gt", "gte", "lt", "lte")


class ArrayOperand(Model):
    value: Any
    quantifier: Literal["some", "all"] = "some"


class Empty(Model):
    """``{}``"""


class ArrayCompare(Model):
    path: str = ""
    eq: ArrayOperand | None = None
    not_eq: ArrayOperand | None = None
    gt: ArrayOperand | None = None
    gte: ArrayOperand | None = None
    lt: ArrayOperand | None = None
    lte: ArrayOperand | None = None

    @model_validator(mode="after")
    def _one_operator(self) -> ArrayCompare:
        if len(self.model_fields_set - {"path"}) != 1:
            raise PydanticCustomError("operator", f"give exactly one operator of {', '.join(OPERATORS)}")
        return self

    @property
    def operation(self) -> tuple[Operator, ArrayOperand]:
        return next((name, operand) for name in OPERATORS if (operand := getattr(self, name)) is not None)


class Condition(OneOf):
    always: Empty | None = None
    never: Empty | None = None
    compare: dict[str, dict[Operator, Any]] | None = None
    array_compare: dict[str, ArrayCompare] | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> Condition:
        for entries in (self.compare, self.array_compare):
            if entries is not None and len(entries) != 1:
                raise PydanticCustomError("comparison", "a comparison has exactly one path, as in Watcher")
        if self.compare is not None and len(next(iter(self.compare.values()))) != 1:
            raise PydanticCustomError("operator", f"give exactly one operator of {', '.join(OPERATORS)}")
        return self


ALWAYS = Condition(always=Empty())


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


class EmailAction(Model):
    to: Strings = ()
    cc: Strings = ()
    bcc: Strings = ()
    reply_to: Strings = ()
    sender: str | None = Field(None, alias="from")
    subject: str = ""
    body: EmailBody
    priority: Literal["lowest", "low", "normal", "high", "highest"] | None = None

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
    mrkdwn_in: tuple[str, ...] = ()


class SlackMessage(Model):
    sender: str | None = Field(None, alias="from")
    to: Strings = ()
    icon: str | None = None
    text: str | None = None
    attachments: tuple[SlackAttachment, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> SlackMessage:
        if self.text is None and not self.attachments:
            raise PydanticCustomError("slack", "a Slack message has 'text', 'attachments' or both")
        return self


class SlackAction(Model):
    message: SlackMessage


class LoggingAction(Model):
    text: str
    level: Literal["error", "warn", "info", "debug", "trace"] = "info"
    category: str | None = None


class Action(Model):
    throttle_period: Duration | None = None
    condition: Condition | None = None
    transform: Transform | None = None
    email: EmailAction | None = None
    slack: SlackAction | None = None
    logging: LoggingAction | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        kinds = self.model_fields_set & set(ACTION_KINDS)
        if len(kinds) != 1:
            raise PydanticCustomError("one_of", f"an action has exactly one of {', '.join(ACTION_KINDS)}")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set & set(ACTION_KINDS)))


ACTION_KINDS = ("email", "slack", "logging")


class Definition(Model):
    """The content of a watch file."""

    metadata: dict[str, Any] = {}
    trigger: Trigger
    input: Input = Input(none={})
    condition: Condition = ALWAYS
    transform: Transform | None = None
    throttle_period: Duration = DEFAULT_THROTTLE
    actions: dict[str, Action] = {}


@dataclass(frozen=True)
class Watch:
    """A watch that has passed all checks. ``id`` is the file's stem, ``file`` where it came from."""

    id: str
    definition: Definition
    file: str = field(default="", compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.definition.metadata

    @property
    def title(self) -> str:
        return str(self.metadata.get("title", self.id))

    @property
    def schedule(self) -> Schedule:
        """Its slots: ``schedule.latest(now)``, ``next(after)``; see also ``schedule.slots`` and ``due_slot``."""
        return self.definition.trigger.schedule

    @property
    def interval(self) -> timedelta:
        return self.definition.trigger.schedule.interval

    @property
    def actions(self) -> dict[str, Action]:
        return self.definition.actions

    def throttle_period(self, action: str) -> timedelta:
        """The action's own period, else the watch's, else Watcher's 5 seconds."""
        own = self.actions[action].throttle_period
        return self.definition.throttle_period if own is None else own
