"""The reader of ``fields.yml``, which lists the fields that events may have, by type and dataset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

TYPES = frozenset(
    {"keyword", "match_only_text", "text", "wildcard", "date", "boolean", "object"}
    | {"long", "integer", "short", "double", "float"}
)
NUMERIC_TYPES = frozenset({"long", "integer", "short", "double", "float"})


class SchemaError(ValueError):
    """The error for an entry of ``fields.yml`` that the loader does not understand."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the event.

    ``name`` is a dotted path; if it ends in ``.*``, the star matches any key. ``array``: the field holds a list;
    ``several``: it holds one value or, rarely, a list.
    """

    name: str
    type: str
    description: str
    datasets: tuple[str, ...]
    required: tuple[str, ...] = ()
    array: bool = False
    several: bool = False
    indexed: bool = True
    values: tuple[str, ...] = ()
    unit: str = ""
    source: str = "ml"
    example: Any = None

    @property
    def dynamic(self) -> bool:
        return self.name.endswith(".*")


@dataclass(frozen=True, slots=True)
class Schema:
    schema_version: int
    ecs_version: str
    datasets: dict[str, str]
    fields: tuple[Field, ...]
    _by_name: dict[str, Field]

    def field(self, path: str) -> Field | None:
        """Find the field of a dotted path, or None; ``ml.input.numeric.age`` finds the starred field."""
        field = self._by_name.get(path)
        if field is not None:
            return field
        for candidate in self.fields:
            if candidate.dynamic and path.startswith(candidate.name[:-1]):
                return candidate
        return None


def parse(document: Any, *, source: str = "fields.yml") -> Schema:
    """Build a ``Schema`` from the parsed YAML.

    Raises:
        SchemaError: an entry is invalid; the message names the file, the field and what is wrong with it.
    """
    datasets = document["datasets"]

    def scope(value: Any, name: str, key: str) -> tuple[str, ...]:
        chosen = tuple(datasets) if value == "all" else tuple(value)
        unknown = set(chosen) - set(datasets)
        if unknown:
            raise SchemaError(f"{source}: {name}: {key}: unknown dataset {sorted(unknown)}")
        return chosen

    by_name: dict[str, Field] = {}
    for entry in document["fields"]:
        name = entry.get("name", "?")
        unknown = set(entry) - set(Field.__slots__)
        if unknown:
            raise SchemaError(f"{source}: {name}: unknown key {sorted(unknown)}")
        if entry.get("type") not in TYPES:
            raise SchemaError(f"{source}: {name}: type: {entry.get('type')!r} is not one of {sorted(TYPES)}")
        if name in by_name:
            raise SchemaError(f"{source}: {name}: defined twice")
        by_name[name] = Field(
            **{
                **entry,
                "datasets": scope(entry["datasets"], name, "datasets"),
                "required": scope(entry.get("required", ()), name, "required"),
                "values": tuple(entry.get("values", ())),
            }
        )
    return Schema(
        schema_version=document["schema_version"],
        ecs_version=document["ecs_version"],
        datasets=dict(datasets),
        fields=tuple(by_name.values()),
        _by_name=by_name,
    )


@cache
def load() -> Schema:
    """Load the schema that this version of the library writes and reads."""
    import yaml

    return parse(yaml.safe_load(files("logging_lib.schema").joinpath("fields.yml").read_text("utf-8")))
