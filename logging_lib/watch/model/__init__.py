"""Read a Watcher watch as typed, immutable objects: the subset of Watcher's JSON that the runner executes.

Field names and defaults are Watcher's. Features that Watcher has and the runner lacks are refused by name, never
ignored.
"""

from logging_lib.watch.model.base import Duration, Model, OneOf, Strings, fault, lower_case
from logging_lib.watch.model.schedule import ScheduleModel
from logging_lib.watch.model.steps import (
    MAX_SOURCE,
    OPERATORS,
    Condition,
    HttpInput,
    HttpRequest,
    Input,
    Operator,
    Script,
    SearchInput,
    SearchRequest,
    SearchTransform,
    Transform,
)
from logging_lib.watch.model.watch import (
    DEFAULT_THROTTLE,
    Action,
    Definition,
    Watch,
    with_actions,
    with_types,
)

__all__ = [
    "DEFAULT_THROTTLE",
    "MAX_SOURCE",
    "OPERATORS",
    "Action",
    "Condition",
    "Definition",
    "Duration",
    "HttpInput",
    "HttpRequest",
    "Input",
    "Model",
    "OneOf",
    "Operator",
    "ScheduleModel",
    "Script",
    "SearchInput",
    "SearchRequest",
    "SearchTransform",
    "Strings",
    "Transform",
    "Watch",
    "fault",
    "lower_case",
    "with_actions",
    "with_types",
]
