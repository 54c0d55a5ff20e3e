"""``input``: where a watch's payload comes from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model._base import Duration, Model, OneOf
from logging_lib.watch.model._requests import HttpRequest, SearchRequest
from logging_lib.watch.model._scripts import Transform


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
    http: HttpInput | None = None
    chain: ChainInput | None = None
    transform: Transform | None = None
