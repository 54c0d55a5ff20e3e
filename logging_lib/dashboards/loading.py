"""Load dashboard files; refuse invalid ones with file and line, and with all reasons at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.suggestions import explain_unreadable, suggest
from logging_lib.dashboards import spec
from logging_lib.dashboards.lint import check
from logging_lib.dashboards.spec import Dashboard
from logging_lib.schema import fields

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_DEEPEST = 12
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a dashboard file; ``message`` names the remedy."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class SpecError(LoggingLibError, ValueError):
    """Dashboard files that are refused. ``problems`` holds all problems, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def load_dashboards(directory: str | Path) -> list[Dashboard]:
    """Load all ``*.yml`` of a folder, in the order of their names.

    Raises:
        SpecError: a file is invalid; holds all problems of all files.
    """
    directory = Path(directory)
    files = sorted(directory.glob("*.yml")) if directory.is_dir() else [directory]
    if not files:
        raise SpecError([Problem(str(directory), 1, "there is no *.yml in this folder")])
    dashboards: list[Dashboard] = []
    problems: list[Problem] = []
    for file in files:
        try:
            dashboards.append(load_dashboard(file))
        except SpecError as error:
            problems.extend(error.problems)
    ids = {dashboard.id for dashboard in dashboards}
    if directory.is_dir() and not problems:
        problems += [
            Problem(
                str(directory / f"{dashboard.id}.yml"),
                1,
                f"drilldown: there is no dashboard {panel.drilldown!r}",
            )
            for dashboard in dashboards
            for panel in dashboard.panels
            if panel.drilldown is not None and panel.drilldown not in ids
        ]
    if problems:
        raise SpecError(problems)
    return dashboards


def load_dashboard(file: str | Path) -> Dashboard:
    """Load one file; the dashboard's id is the file's stem. Raise SpecError."""
    file = Path(file)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(str(file), 1, explain_unreadable(file, error))]) from error
    return parse_dashboard(text, id=file.stem, file=str(file))


def parse_dashboard(text: str, *, id: str, file: str = "dashboard") -> Dashboard:  # noqa: A002
    """Parse a dashboard given as YAML. Raise SpecError with all problems."""
    if not _ID.fullmatch(id):
        raise SpecError([Problem(file, 1, f"{id!r} is not an id: use lower-case letters, digits and '-'")])
    lines = _Lines(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = lines.read(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = mark.line + 1 if mark is not None else 1
        raise SpecError([Problem(file, at, f"is not YAML: {error.problem}")]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError([Problem(file, 1, f"is not YAML: {error}")]) from error
    if lines.problems:
        raise SpecError(lines.problems)
    if not isinstance(document, dict):
        raise SpecError([Problem(file, 1, "expected a mapping with 'title' and 'panels'")])
    if "id" in document:
        raise SpecError([Problem(file, lines.line_of(("id",)), "leave 'id' out: it is the file's name")])
    try:
        dashboard = Dashboard.model_validate({**document, "id": id})
    except ValidationError as error:
        problems = {
            Problem(file, lines.line_of(entry["loc"]), _describe_error(entry)): None
            for entry in _drop_consequences(error.errors())
        }
        raise SpecError(problems) from error
    faults = [Problem(file, lines.line_of(at), message) for at, message in check(dashboard, fields.load())]
    if faults:
        raise SpecError(faults)
    return dashboard


class _Lines:
    """Converts YAML's nodes to Python's values and remembers the line of each."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[tuple[str | int, ...], int] = {}
        self.problems: list[Problem] = []

    def read(self, node: yaml.Node | None, path: tuple[str | int, ...] = ()) -> Any:
        if node is None:
            return None
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, place)) for place, item in enumerate(node.value)]
        return yaml.SafeLoader("").construct_object(node)

    def _read_mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name, line = str(key_node.value), key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                value = self.read(value_node, path)
                merged |= value if isinstance(value, dict) else {}
                continue
            if name in mapping:
                self.problems.append(Problem(self._file, line, f"{name!r} is given twice"))
            self._lines[(*path, name)] = line
            mapping[name] = self.read(value_node, (*path, name))
        return {**merged, **mapping}

    def line_of(self, location: Sequence[str | int]) -> int:
        """Return the line of a location; parts that are not in the file (a union's branches) are skipped."""
        path: tuple[str | int, ...] = ()
        for part in location:
            if (*path, part) in self._lines:
                path = (*path, part)
        return self._lines.get(path, 1)


def _drop_consequences(errors: Sequence[Any]) -> list[Any]:
    """Drop errors that only follow from others: panels that are refused leave the list of panels empty."""
    has_panel_errors = any(entry["loc"][:1] == ("panels",) and len(entry["loc"]) > 1 for entry in errors)
    return [entry for entry in errors if not (has_panel_errors and entry["loc"] == ("panels",))]


def _list_keys() -> list[str]:
    models = [m for m in vars(spec).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    return sorted({info.alias or name for m in models for name, info in m.model_fields.items()})


def _describe_error(entry: Any) -> str:
    kind, name = entry["type"], str(entry["loc"][-1]) if entry["loc"] else "$"
    if kind == "extra_forbidden":
        return f"unknown key {name!r}" + (suggest(name, _list_keys()) or "; remove it")
    if kind == "missing":
        return f"{name!r} is required and missing"
    message = str(entry["msg"]).removeprefix("Value error, ")
    key_names = [part for part in entry["loc"] if isinstance(part, str)]
    where = ".".join(key_names[1:] if key_names[:1] == ["panels"] and len(entry["loc"]) > 1 else key_names)
    return f"{where}: {message}" if where else message
