"""A Watcher watch as typed, immutable objects: the subset of Watcher's JSON that the runner executes.

Field names and defaults are Watcher's. What Watcher knows and the runner does not is refused by name, never
ignored.
"""

from logging_lib.watch.model._actions import (
    ACTION_KINDS,
    Action,
    Attachment,
    DataFormat,
    DynamicAttachments,
    EmailAction,
    HttpAttachment,
    IndexAction,
    LoggingAction,
    SlackAttachment,
    SlackMessage,
)
from logging_lib.watch.model.base import Model
from logging_lib.watch.model.requests import HttpRequest, SearchRequest
from logging_lib.watch.model.schedule import ScheduleModel
from logging_lib.watch.model.steps import (
    MAX_SOURCE,
    OPERATORS,
    Condition,
    HttpInput,
    Input,
    Operator,
    Script,
    SearchInput,
    SearchTransform,
    Transform,
)
from logging_lib.watch.model.watch import DEFAULT_THROTTLE, Definition, Watch

__all__ = [
    "ACTION_KINDS",
    "DEFAULT_THROTTLE",
    "MAX_SOURCE",
    "OPERATORS",
    "Action",
    "Attachment",
    "Condition",
    "DataFormat",
    "Definition",
    "DynamicAttachments",
    "EmailAction",
    "HttpAttachment",
    "HttpInput",
    "HttpRequest",
    "IndexAction",
    "Input",
    "LoggingAction",
    "Model",
    "Operator",
    "ScheduleModel",
    "Script",
    "SearchInput",
    "SearchRequest",
    "SearchTransform",
    "SlackAttachment",
    "SlackMessage",
    "Transform",
    "Watch",
]
