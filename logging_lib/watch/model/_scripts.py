"""Scripts and transforms."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, model_validator

from logging_lib.watch.model._base import Duration, Model, OneOf, fault
from logging_lib.watch.model._requests import SearchRequest

MAX_SOURCE = 65_535


class Script(Model):
    """A script: shipped or the user's own.

    ``id`` alone is a shipped one, run as its Python twin. A user's is Painless, run by Elasticsearch: its
    ``source`` stands in the watch, or in ``scripts/<id>.painless`` beside the watch, from where it is read when the
    watch is loaded (validation context ``sources``, by id).
    """

    id: str | None = None
    source: str | None = None
    lang: str = "painless"
    params: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = {"source": value}
        if not isinstance(value, dict):
            return value
        if "inline" in value and "source" not in value:
            value = {**{k: v for k, v in value.items() if k != "inline"}, "source": value["inline"]}
        if ("id" in value) == ("source" in value):
            raise fault("script", "a script has either 'source' or the 'id' of a stored script")
        own = (info.context or {}).get("sources", {})
        if value.get("id") in own:
            value = {**value, "source": own[value["id"]]}
        return value

    @model_validator(mode="after")
    def _runs(self) -> Script:
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
