"""Describe the actions of a watch whose condition is met. The channel parses the content that an action sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model.base import Duration, Model, fault, in_millis, refuse_null
from logging_lib.watch.model.steps import Condition, Transform

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
            raise fault("foreach", "max_iterations belongs to foreach, which is not there")
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
