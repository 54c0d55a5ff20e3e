"""Describe the steps of an evaluation as a watch writes them: its input, transforms, scripts and conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model.base import Duration, Empty, Model, OneOf, fault, refuse_null
from logging_lib.watch.model.requests import HttpRequest, SearchRequest

MAX_SOURCE = 65_535
Path = tuple[str | int, ...]


class Script(Model):
    """A shipped script, by name, or a user's own.

    ``id`` alone names a shipped script, which runs as its Python twin. A user's script is Painless, executed by
    Elasticsearch: its ``source`` is in the watch, or in ``scripts/<id>.painless`` beside the watch. The file is
    read when the watch is loaded (validation context ``sources``, by id).
    """

    id: str | None = None
    source: str | None = None
    lang: str = "painless"
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = {"source": value}
        if not isinstance(value, dict):
            return value
        if "inline" in value and "source" not in value:
            value = {**{k: v for k, v in value.items() if k != "inline"}, "source": value["inline"]}
        if ("id" in value) == ("source" in value):
            raise fault("script", "a script has either 'source' or the 'id' of a stored script")
        sources = (info.context or {}).get("sources", {})
        if isinstance(value.get("id"), str) and value["id"] in sources:
            value = {**value, "source": sources[value["id"]]}
        return value

    @model_validator(mode="after")
    def _check_executable(self) -> Script:
        if self.lang != "painless":
            raise fault(
                "script", f"the language {self.lang!r} is not executed by this runner: write Painless"
            )
        size = len((self.source or "").encode())
        if size > MAX_SOURCE:
            raise fault(
                "script",
                f"the source has {size} bytes, and Elasticsearch executes at most {MAX_SOURCE}: split it",
            )
        return self

    @property
    def name(self) -> str:
        return repr(self.id) if self.id else "inline"


class SearchTransform(Model):
    request: SearchRequest
    timeout: Duration | None = None


class Transform(OneOf):
    script: Script | None = None
    search: SearchTransform | None = None
    chain: tuple[Transform, ...] | None = Field(None, min_length=1)

    def searches(self, path: Path) -> Iterator[tuple[Path, SearchTransform]]:
        """Yield its searches with their paths in the file; ``path`` is its own path."""
        if self.search is not None:
            yield (*path, "search"), self.search
        for index, step in enumerate(self.chain or ()):
            yield from step.searches((*path, "chain", index))


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
    def _check_operator(self) -> ArrayCompare:
        operators = self.model_fields_set - {"path"}
        if len(operators) != 1:
            raise PydanticCustomError("operator", f"give exactly one operator of {', '.join(OPERATORS)}")
        refuse_null(self, *operators)
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
    def _check_comparison(self) -> Condition:
        for entries in (self.compare, self.array_compare):
            if entries is not None and len(entries) != 1:
                raise PydanticCustomError("comparison", "a comparison has exactly one path, as in Watcher")
        if self.compare is not None and len(next(iter(self.compare.values()))) != 1:
            raise PydanticCustomError("operator", f"give exactly one operator of {', '.join(OPERATORS)}")
        return self


ALWAYS = Condition(always=Empty())


class SearchInput(Model):
    request: SearchRequest
    extract: tuple[str, ...] = ()
    timeout: Duration | None = None


class HttpInput(Model):
    request: HttpRequest
    extract: tuple[str, ...] = ()
    response_content_type: Literal["json", "yaml", "text"] | None = None


class ChainInput(Model):
    inputs: tuple[dict[str, Input], ...]

    @model_validator(mode="after")
    def _check_names(self) -> ChainInput:
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
    http: HttpInput | None = None
    chain: ChainInput | None = None
    transform: Transform | None = None

    def searches(self, path: Path, name: str) -> Iterator[tuple[Path, str, SearchInput | SearchTransform]]:
        """Yield its searches with their paths in the file and the names of their inputs; ``path`` is its own
        path."""
        if self.search is not None:
            yield (*path, "search"), name, self.search
        if self.transform is not None:
            for below, search in self.transform.searches((*path, "transform")):
                yield below, name, search
        for index, (key, step) in enumerate(self.chain.items() if self.chain else ()):
            yield from step.searches((*path, "chain", "inputs", index, key), key)
