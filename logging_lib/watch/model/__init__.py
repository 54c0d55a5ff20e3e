"""A Watcher watch as typed, immutable objects: the subset of Watcher's JSON that the runner executes.

Field names and defaults are Watcher's. What Watcher knows and the runner does not is refused by name, never
ignored.
"""

from logging_lib.watch.model._action import Action, with_types
from logging_lib.watch.model._base import Duration, Model, OneOf, Strings, fault
from logging_lib.watch.model._conditions import OPERATORS, Condition, Operator
from logging_lib.watch.model._inputs import HttpInput, Input, SearchInput
from logging_lib.watch.model._requests import HttpRequest, SearchRequest
from logging_lib.watch.model._scripts import MAX_SOURCE, Script, SearchTransform, Transform
from logging_lib.watch.model._trigger import ScheduleModel
from logging_lib.watch.model._watch import DEFAULT_THROTTLE, Definition, Watch, with_actions

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
    "with_actions",
    "with_types",
]
