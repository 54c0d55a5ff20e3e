"""Apply Elasticsearch's mapping to a document: coerce its values and reject those that do not fit.

``conform`` is the twin of a strict index template made from ``fields.yml``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import orjson

from logging_lib._util import datemath
from logging_lib.schema.fields import NUMERIC_TYPES, Field, Schema, load

TEXT_TYPES: Final = frozenset({"text", "match_only_text"})
WHOLE_TYPES: Final = frozenset({"long", "integer", "short"})
SQL_TYPES: Final = {
    "keyword": "VARCHAR", "wildcard": "VARCHAR", "text": "VARCHAR", "match_only_text": "VARCHAR",
    "date": "BIGINT", "boolean": "BOOLEAN", "long": "BIGINT", "integer": "INTEGER", "short": "SMALLINT",
    "double": "DOUBLE", "float": "FLOAT",
}  # fmt: skip
_BITS: Final = {"long": 63, "integer": 31, "short": 15}
FLOAT_MAX: Final = 3.4028235677973366e38  # the largest value that still rounds to the largest 32-bit float

FieldPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """The location of a field's values: a column of a table, its type, and whether it holds lists."""

    column: str
    type: str
    is_list: bool


class MappingError(ValueError):
    """Raised if a value does not fit its field's type; the message is the reason."""


@dataclass(slots=True)
class SchemaNode:
    """The schema as a tree, so that one walk checks a document."""

    children: dict[str, SchemaNode] = field(default_factory=dict)
    leaf: Field | None = None
    wildcard: Field | None = None


@cache
def schema_tree() -> SchemaNode:
    root = SchemaNode()
    for entry in load().fields:
        node = root
        for part in entry.name.removesuffix(".*").split("."):
            node = node.children.setdefault(part, SchemaNode())
        if entry.dynamic:
            node.wildcard = entry
        else:
            node.leaf = entry
    return root


def dumps(document: Any) -> bytes:
    """Serialize to JSON; integers beyond 64 bits, which orjson rejects, go through the standard library.

    Raises:
        TypeError, ValueError: it cannot be JSON.
    """
    try:
        return orjson.dumps(document)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def json_pointer(path: FieldPath) -> str:
    """Return the JSON pointer (RFC 6901) of a path."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def locate_field(schema: Schema, name: str) -> tuple[Field, FieldPath] | None:
    """Return the schema's field of a dotted name, and the path of its value in a document."""
    schema_field = schema.field(name)
    if schema_field is None or not schema_field.indexed or schema_field.type == "object":
        return None
    if not schema_field.dynamic:
        return schema_field, tuple(name.split("."))
    prefix = schema_field.name[:-2]
    return schema_field, (*prefix.split("."), name[len(prefix) + 1 :])


def coerce(value: Any, kind: str) -> Any:
    """Coerce a value to a field's type as Elasticsearch does; dates become ISO text.

    Returns:
        None if the value counts as missing, such as an empty text for a number.

    Raises:
        MisfitError: Elasticsearch would refuse the document.
    """
    if isinstance(value, (dict, list)):
        raise MappingError("an object where a single value belongs")
    if kind == "boolean":
        return _coerce_boolean(value)
    if kind == "date":
        return _coerce_date(value)
    if kind in NUMERIC_TYPES:
        return _coerce_number(value, kind)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _format_number(value)


def _format_number(number: float) -> str:
    return str(number)


def _coerce_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false", ""):
        return bool(value == "true")
    raise MappingError(f"{value!r:.80} is not a boolean")


def _coerce_date(value: Any) -> str:
    if isinstance(value, bool):
        raise MappingError(f"{value!r} is not a date")
    text = value if isinstance(value, str) else _format_number(value)
    try:
        return datemath.render(datemath.parse(text))
    except (ValueError, OverflowError) as error:
        raise MappingError(f"{text!r:.80} is not a date") from error


def _coerce_number(value: Any, kind: str) -> float | None:
    if isinstance(value, bool):
        raise MappingError(f"{value!r} is not a number")
    if isinstance(value, str):
        value = value if kind == "long" else value.strip()
        if not value:
            return None
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value, re.ASCII):
            raise MappingError(f"{value!r:.80} is not a number")
        whole = re.fullmatch(r"[+-]?\d{1,20}", value, re.ASCII)
        value = int(value) if whole and kind in WHOLE_TYPES else float(value)
    if kind in WHOLE_TYPES:
        if isinstance(value, float) and not math.isfinite(value):
            raise MappingError(f"{value!r} is not a whole number")
        value = int(value)
        if not -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
            raise MappingError(f"{value!r:.80} does not fit into a {kind}")
        return int(value)
    try:
        value = float(value)
    except OverflowError:
        raise MappingError(f"a number too large for a {kind}") from None
    if not math.isfinite(value) or (kind == "float" and abs(value) >= FLOAT_MAX):
        raise MappingError(f"{value!r} is not finite as a {kind}")
    return float(value)


def is_canonical(value: Any, kind: str) -> bool:
    """Return whether the value needs no coercion. This runs for each value of each event, so it must be fast."""
    typed = type(value)
    if kind == "double":
        return typed is float or typed is int
    if kind in WHOLE_TYPES:
        return typed is int and -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]
    if kind == "float":
        return (typed is float or typed is int) and -1e38 < value < 1e38
    if kind == "boolean":
        return typed is bool
    if kind == "date":
        return typed is str and _CANONICAL_DATE(value) is not None
    return typed is str


_CANONICAL_DATE = re.compile(
    r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z",
    re.ASCII,
).fullmatch


@dataclass(slots=True)
class ConformResult:
    """The result of ``conform``.

    ``document`` is None if the original already has the canonical form; ``problems`` are the values that fit no
    field (``document`` omits them); ``list_fields`` are the fields with several values that ``fields.yml`` does not
    declare as arrays.
    """

    document: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    list_fields: set[str] = field(default_factory=set)


def conform(document: Mapping[str, Any]) -> ConformResult:
    """Check a document against the schema, and bring it into the form from which columns are extracted."""
    result = ConformResult()
    if not _walk_is_canonical(document, schema_tree()):
        result.document = {}
        for path, entry, values in _field_values(document, schema_tree(), ()):
            coerced = []
            for value in values:
                try:
                    single = coerce(value, entry.type)
                    if single is not None:
                        coerced.append(single)
                except MappingError as reason:
                    result.problems.append(f"{'.'.join(path)}: {reason}")
            _set_values(result, path, entry, coerced)
    return result


def _set_values(result: ConformResult, path: FieldPath, entry: Field, values: list[Any]) -> None:
    assert result.document is not None
    if entry.dynamic:
        depth = entry.name.count(".")
        path = (*path[:depth], ".".join(path[depth:]))
    node = result.document
    for part in path[:-1]:
        node = node.setdefault(part, {})
    before = node.get(path[-1])
    if before is not None:
        values = [*(before if isinstance(before, list) else [before]), *values]
    if entry.array:
        node[path[-1]] = values
    elif len(values) > 1:
        node[path[-1]] = values
        result.list_fields.add(".".join(path))
    elif values:
        node[path[-1]] = values[0]


def _walk_is_canonical(node: Mapping[str, Any], at: SchemaNode) -> bool:
    children = at.children
    for key, value in node.items():
        below = children.get(key)
        if below is None:
            if "." in key:
                return False
            continue
        leaf = below.leaf
        if leaf is not None:
            if value is None or not leaf.indexed:
                continue
            if leaf.array:
                if type(value) is not list or not all(type(item) is str for item in value):
                    return False
            elif not is_canonical(value, leaf.type):
                return False
        elif value is None:
            continue
        elif type(value) is not dict:
            return False
        elif below.wildcard is not None:
            kind = below.wildcard.type
            if below.wildcard.indexed and not all(
                item is None or is_canonical(item, kind) for item in value.values()
            ):
                return False
        elif not _walk_is_canonical(value, below):
            return False
    return True


def _field_values(node: Any, at: SchemaNode, path: FieldPath) -> Iterator[tuple[FieldPath, Field, list[Any]]]:
    """Yield the values of each known field; flatten objects in arrays and dotted keys as Elasticsearch does."""
    for key, value in node.items():
        below: SchemaNode | None = at
        parts = tuple(key.split(".")) if at.wildcard is None and key not in at.children else (key,)
        for part in parts:
            if below is not None and below.wildcard is None:
                below = below.children.get(part)
        here = (*path, *parts)
        if below is None or value is None:
            continue
        objects = [item for item in _flatten_lists(value) if isinstance(item, dict)]
        scalars = [item for item in _flatten_lists(value) if not isinstance(item, dict)]
        entry = below.leaf or (below.wildcard if len(here) > _depth(below) else None)
        if entry is not None and (not entry.indexed or entry.type == "object"):
            continue
        if entry is not None and (scalars or (objects and not entry.dynamic)):
            yield here, entry, scalars + ([] if entry.dynamic else objects)
        elif scalars:
            yield here, _OBJECT, scalars
        for nested in objects:
            if entry is None or entry.dynamic:
                yield from _field_values(nested, below, here)


def _depth(node: SchemaNode) -> int:
    return node.wildcard.name.count(".") if node.wildcard else 0


def _flatten_lists(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flatten_lists(item)
    elif value is not None:
        yield value


_OBJECT: Final = Field("?", "unknown", "", ())


def flatten(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of a document without a schema as (dotted name, value), as dynamic mapping does."""
    for key, value in document.items():
        name = f"{path}.{key}" if path else key
        for item in _flatten_lists(value):
            if isinstance(item, Mapping):
                yield from flatten(item, name)
            else:
                yield name, item


def infer_type(values: list[Any]) -> str:
    """Infer the type of a field without a definition from all its values."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "boolean"
    if kinds <= {int} and all(-(1 << 63) <= value < 1 << 63 for value in values):
        return "long"
    if kinds <= {int, float}:
        return "double"
    if kinds == {str} and all(_LOOKS_LIKE_DATE(value) for value in values):
        try:
            for value in values:
                datemath.parse(value)
        except (ValueError, OverflowError):
            return "keyword"
        return "date"
    return "keyword"


_LOOKS_LIKE_DATE: Callable[[str], object] = re.compile(r"\d{4}-\d\d-\d\d(T.*)?", re.ASCII).fullmatch
