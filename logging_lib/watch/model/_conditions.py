"""``condition``: of a watch, or of one of its actions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model._base import Empty, Model, OneOf
from logging_lib.watch.model._scripts import Script

Operator = Literal["eq", "not_eq", "gt", "gte", "lt", "lte"]
OPERATORS: tuple[Operator, ...] = ("eq", "not_eq", "gt", "gte", "lt", "lte")


class ArrayOperand(Model):
    value: Any
    quantifier: Literal["some", "all"] = "some"


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
    script: Script | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> Condition:
        for entries in (self.compare, self.array_compare):
            if entries is not None and len(entries) != 1:
                raise PydanticCustomError("comparison", "a comparison has exactly one path, as in Watcher")
        if self.compare is not None and len(next(iter(self.compare.values()))) != 1:
            raise PydanticCustomError("operator", f"give exactly one operator of {', '.join(OPERATORS)}")
        return self


ALWAYS = Condition(always=Empty())
