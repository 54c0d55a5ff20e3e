"""Hold the content of a watch file, its actions, and the watch that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model.base import Duration, Model, fault, in_millis, refuse_null
from logging_lib.watch.model.schedule import Schedule, Trigger
from logging_lib.watch.model.steps import (
    ALWAYS,
    Condition,
    Input,
    Path,
    SearchInput,
    SearchTransform,
    Transform,
)

DEFAULT_THROTTLE = timedelta(seconds=5)


MAX_ITERATIONS = 100


class Action(Model):
    """When an action runs, and on which data. ``with_types`` adds the fields for the content that it sends."""

    types: ClassVar[tuple[str, ...]] = ()

    throttle_period: Duration | None = None
    condition: Condition | None = None
    transform: Transform | None = None
    foreach: str | None = Field(None, min_length=1)
    max_iterations: int = Field(MAX_ITERATIONS, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _millis(cls, value: Any) -> Any:
        return in_millis(value)

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        if len(self.model_fields_set & set(self.types)) != 1:
            raise PydanticCustomError("one_of", f"an action has exactly one of {', '.join(self.types)}")
        refuse_null(self, self.type)
        if "max_iterations" in self.model_fields_set and self.foreach is None:
            raise fault("foreach", "max_iterations is allowed only together with foreach")
        return self

    @property
    def type(self) -> str:
        """Return the key of the way in which it sends, such as ``email``."""
        return next(name for name in self.types if name in self.model_fields_set)

    @property
    def settings(self) -> Model:
        """Return the value of that key, as its channel parsed it."""
        settings: Model = getattr(self, self.type)
        return settings


def with_types(models: Mapping[str, type[Model]]) -> type[Action]:
    """Create the class of actions that have exactly one of these keys; any other key is refused."""
    fields: dict[str, Any] = {name: (model | None, None) for name, model in models.items()}
    action = create_model("Action", __base__=Action, **fields)
    action.types = tuple(models)
    return action


class Definition(Model):
    """The content of a watch file."""

    metadata: dict[str, Any] = {}
    trigger: Trigger
    input: Input = Input(none={})
    condition: Condition = ALWAYS
    transform: Transform | None = None
    throttle_period: Duration = DEFAULT_THROTTLE
    actions: dict[str, Action] = {}

    @model_validator(mode="before")
    @classmethod
    def _millis(cls, value: Any) -> Any:
        return in_millis(value)

    def searches(self) -> Iterator[tuple[Path, str, SearchInput | SearchTransform]]:
        """Yield all searches with their paths in the file, and the names of their inputs or actions."""
        yield from self.input.searches(("input",), "input")
        transforms: list[tuple[Path, str, Transform | None]] = [(("transform",), "transform", self.transform)]
        transforms += [
            (("actions", name, "transform"), f"actions.{name}", action.transform)
            for name, action in self.actions.items()
        ]
        for path, name, transform in transforms:
            if transform is not None:
                yield from ((below, name, search) for below, search in transform.searches(path))


def with_actions(action: type[Action]) -> type[Definition]:
    """Create the class of definitions whose actions are of this class."""
    return create_model("Definition", __base__=Definition, actions=(dict[str, action], {}))  # type: ignore[valid-type]


@dataclass(frozen=True)
class Watch:
    """A watch that has passed validation. ``id`` is the file's stem, ``file`` its path.

    ``ignored`` are keys of the file that have no effect here: (path within it, why).
    """

    id: str
    definition: Definition
    file: str = field(default="", compare=False)
    ignored: tuple[tuple[tuple[str | int, ...], str], ...] = field(default=(), compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.definition.metadata

    @property
    def title(self) -> str:
        return str(self.metadata.get("title", self.id))

    @property
    def schedule(self) -> Schedule:
        """Return when it runs: ``schedule.latest(now)``, ``schedule.next(after)``; see also ``find_due_time``."""
        return self.definition.trigger.schedule.schedule

    @property
    def schedule_text(self) -> str:
        """Return the schedule for people: ``5m``, or the cron expressions of a calendar."""
        return str(self.definition.trigger.schedule)

    @property
    def interval(self) -> timedelta:
        """Return the time between two scheduled runs; the shortest if they differ."""
        return self.definition.trigger.schedule.shortest_interval

    @property
    def actions(self) -> dict[str, Action]:
        return self.definition.actions

    def throttle_period(self, action: str) -> timedelta:
        """Return the action's own period, else the watch's, else Watcher's 5 seconds."""
        period = self.actions[action].throttle_period
        return self.definition.throttle_period if period is None else period
