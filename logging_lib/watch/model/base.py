"""Base classes of the strict, immutable models of a watch, and validators of Watcher's notations for values."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from logging_lib._util.times import parse_duration


class Model(BaseModel):
    """Base class of models that refuse unknown keys and changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OneOf(Model):
    """Base class of models that require exactly one of their keys, as in Watcher's ``{"search": {...}}``."""

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            names = ", ".join(info.alias or name for name, info in type(self).model_fields.items())
            present = ", ".join(sorted(self.model_fields_set)) or "none"
            raise PydanticCustomError("one_of", f"give exactly one of {names}; there is {present}")
        refuse_null(self, self.kind)
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))


class Empty(Model):
    """A model that accepts only ``{}``."""


def fault(kind: str, message: str) -> PydanticCustomError:
    """Create a validation error whose text is shown unchanged."""
    return PydanticCustomError(kind, "{reason}", {"reason": message})


def refuse_null(model: BaseModel, name: str) -> None:
    """Refuse null as the value of the one key that gives a part's type. Raises PydanticCustomError."""
    if getattr(model, name) is None:
        raise fault("one_of", f"{name!r} is null: write what it holds")


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise fault("duration", f"{value!r} is not a duration: write it as text, such as '15m'")
    try:
        return parse_duration(value, weeks=False)
    except ValueError as error:
        raise fault("duration", str(error)) from error


def in_millis(value: Any) -> Any:
    """Rewrite ``throttle_period_in_millis``, Watcher's other form of ``throttle_period``; null counts as
    missing."""
    if not isinstance(value, dict):
        return value
    value = {k: item for k, item in value.items() if item is not None or not k.startswith("throttle_period")}
    if "throttle_period_in_millis" not in value:
        return value
    millis = value["throttle_period_in_millis"]
    if "throttle_period" in value:
        raise fault("throttle", "give throttle_period or throttle_period_in_millis, not both")
    if isinstance(millis, bool) or not isinstance(millis, int) or millis < 0:
        raise fault("duration", f"throttle_period_in_millis: {millis!r} is not a whole number from 0 on")
    rest = {name: item for name, item in value.items() if name != "throttle_period_in_millis"}
    return {**rest, "throttle_period": f"{millis}ms"}


def lower_case(value: Any) -> Any:
    """Return a text in lower case, for words that Watcher accepts in either case."""
    return value.lower() if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
