"""Describe the steps of an evaluation as a watch writes them: its requests, scripts, transforms, conditions and
inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.watch.model.base import Duration, Empty, Model, OneOf, Strings, fault, refuse_null

MAX_SOURCE = 65_535
Path = tuple[str | int, ...]


# --- requests: searches of the store, and requests over HTTP


class SearchTemplate(Model):
    """An inline search template: ``source`` is an object or a text, ``params`` its variables beside ``ctx``."""

    source: dict[str, Any] | str
    params: dict[str, Any] = {}
    lang: Literal["mustache"] = "mustache"

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, value: Any) -> Any:
        if isinstance(value, dict) and "inline" in value and "source" not in value:
            value = {**{k: v for k, v in value.items() if k != "inline"}, "source": value["inline"]}
        if isinstance(value, dict) and "id" in value:
            raise fault(
                "template", "stored search templates are not executed by this runner: write its 'source' here"
            )
        return value


def _split_commas(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


class IndicesOptions(Model):
    """Options of indices, which must be Watcher's defaults, because both stores work like that."""

    ignore_unavailable: Literal[True] = True
    allow_no_indices: Literal[True] = True
    expand_wildcards: Annotated[tuple[Literal["open"], ...], BeforeValidator(_split_commas)] = ("open",)
    ignore_throttled: bool = True


def _replace_old_bounds(node: Any) -> Any:
    """Rewrite ``from`` and ``to`` of ranges to ``gt``, ``gte``, ``lt`` and ``lte``, the only ones in new
    servers."""
    if isinstance(node, list):
        return [_replace_old_bounds(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _replace_old_bounds(item) for key, item in node.items()}
    ranges = node.get("range")
    if isinstance(ranges, dict):
        node["range"] = {name: _new_bounds(bounds) for name, bounds in ranges.items()}
    return node


def _new_bounds(bounds: Any) -> Any:
    if not isinstance(bounds, dict) or ("from" not in bounds and "to" not in bounds):
        return bounds
    new = {k: v for k, v in bounds.items() if k not in ("from", "to", "include_lower", "include_upper")}
    for old, name, included in (("from", "gt", "include_lower"), ("to", "lt", "include_upper")):
        if bounds.get(old) is not None:
            new[name if bounds.get(included) is False else f"{name}e"] = bounds[old]
    return new


class SearchRequest(Model):
    indices: Strings = ("*",)
    body: dict[str, Any] | None = None
    template: SearchTemplate | None = None
    search_type: Literal["query_then_fetch"] = "query_then_fetch"
    indices_options: IndicesOptions = IndicesOptions()
    rest_total_hits_as_int: bool = True

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("body"), dict):
            value = {**value, "body": _replace_old_bounds(value["body"])}
        return value

    @model_validator(mode="after")
    def _one_body(self) -> SearchRequest:
        if (self.body is None) == (self.template is None):
            raise fault("body", "a search has either 'body' or 'template'")
        return self

    @property
    def depends_on_run(self) -> bool:
        """Return whether its body may contain data that the run has read before."""
        return "payload" in self.text or "ctx.vars" in self.text

    @cached_property
    def text(self) -> str:
        """Return the body as the one text that Watcher renders, keys included."""
        source = self.body if self.template is None else self.template.source
        return source if isinstance(source, str) else json.dumps(source, ensure_ascii=False)

    @property
    def params(self) -> dict[str, Any]:
        """Return the variables that the text has beside ``ctx``."""
        return self.template.params if self.template else {}


class BasicAuth(Model):
    username: str
    password: str = Field(repr=False)


class Auth(Model):
    basic: BasicAuth


class HttpRequest(Model):
    """A request: ``path``, ``params``, ``headers`` and ``body`` are templates; ``url`` is short for the other
    fields."""

    scheme: Literal["http", "https"] = "http"
    host: str
    port: int = Field(ge=1, le=65535, strict=True)
    path: str = ""
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    method: Literal["head", "get", "post", "put", "delete"] = "get"
    auth: Auth | None = None
    body: str | None = None
    connection_timeout: Duration | None = None
    read_timeout: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if "url" in value:
            value = {**_split_url(value.pop("url")), **value}
        if "port" not in value and value.get("scheme") == "https":
            value["port"] = 443
        elif "port" not in value:
            value["port"] = 80
        if isinstance(value.get("method"), str):
            value["method"] = value["method"].lower()
        for name in ("params", "headers"):
            if isinstance(value.get(name), dict):
                value[name] = {key: _to_parameter(parameter) for key, parameter in value[name].items()}
        if isinstance(value.get("body"), dict | list):
            value["body"] = json.dumps(value["body"], ensure_ascii=False)
        return value

    @model_validator(mode="after")
    def _check_host(self) -> HttpRequest:
        if "{{" in self.host or not self.host or any(c.isspace() or c in "/@?#\\" for c in self.host):
            raise fault(
                "host", f"{self.host!r} is not a host name: it cannot be a template, and is written alone"
            )
        return self

    @property
    def is_json(self) -> bool:
        """Return whether the body is JSON: by the header, or because it begins like an object or a list."""
        kind = next((v for k, v in self.headers.items() if k.lower() == "content-type"), None)
        if kind is not None:
            return "json" in kind.lower()
        return (self.body or "").lstrip().startswith(("{", "["))

    @property
    def is_form(self) -> bool:
        kind = next((v for k, v in self.headers.items() if k.lower() == "content-type"), "")
        return "x-www-form-urlencoded" in kind.lower()


def _to_parameter(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _split_url(url: Any) -> dict[str, Any]:
    """Split a URL into the fields of a request. As in Watcher, it is not a template."""
    if not isinstance(url, str) or "{{" in url:
        raise fault(
            "url", f"{url!r:.200}: 'url' is not a template: write scheme, host, port, path and params"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise fault("url", f"{url!r:.200} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise fault("url", f"{url!r:.200} is not an http:// or https:// address")
    if parts.username or parts.password:
        raise fault("url", "leave user and password out of the URL: write them into auth.basic")
    request: dict[str, Any] = {"scheme": parts.scheme, "host": parts.hostname, "path": parts.path}
    if port:
        request["port"] = port
    if parts.query:
        request["params"] = dict(parse_qsl(parts.query, keep_blank_values=True))
    return request


# --- scripts, transforms and conditions


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


# --- inputs


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
