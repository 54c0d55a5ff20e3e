"""The names under which foreign events hold what a canonical event has: the built-in ones, and those of a file.

Such a file says where the records of another log hold it; its format is in ``pipelines/README.md``. All its scalars
are texts, so that no YAML library decides what ``1.0`` or ``no`` is. The twin is
``pipelines/ruby/ml_normalize/aliases.rb``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from logging_lib._util.suggestions import explain_unreadable
from logging_lib.normalize.errors import quote_value
from logging_lib.normalize.parsing import is_filled
from logging_lib.normalize.payloads import parse_text
from logging_lib.normalize.tables import RowPlace, read_inputs, read_output

ALIASES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "ml_model", "modelName"),
    "version": ("model_version", "version", "modelVersion"),
    "inputs": ("inputs", "features", "input", "instance"),
    "prediction": ("prediction", "outputs", "predictions", "output", "predicted", "result"),
    "timestamp": ("@timestamp", "timestamp", "time", "ts", "timestamp_ms", "request_time", "date"),
    "id": ("event_id", "id", "uuid", "databricks_request_id"),
    "request": ("request_id", "requestId", "correlation_id", "client_request_id"),
    "duration": ("duration", "latency"),
    "duration_ms": ("duration_ms", "latency_ms", "execution_time_ms", "execution_duration_ms"),
    "service": ("service", "app", "application"),
    "score": ("score", "probability", "confidence"),
    "scores": ("scores", "probabilities"),
    "sampling": ("sampling_fraction", "sample_rate"),
    "error": ("error", "exception"),
    "error_type": ("error_type", "error_code"),
}
"""Canonical name → its possible keys in foreign events; the first key with a value is used."""
MAX_FILE = 1_000_000
"""The maximum size of a file in bytes."""
MAX_NESTING = 6
MAX_PARTS = 16
"""The maximum number of parts of a path."""
MAX_SOURCES = 16
"""The maximum number of sources of one field: an event is searched for each of them."""

_KEYS = ("extend", "replace", "drop")
_SOURCE_KEYS = ("path", "names", "encoding", "default")
_WITH_TABLES = ("inputs", "prediction", "scores")
_WITH_DEFAULT = ("model", "version", "service", "sampling")
_NAME_OF_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_PART = r"(?:\\[.\\]|[^.\\])+"
_PARTS = re.compile(_PART)
_PATH = re.compile(rf"{_PART}(?:\.{_PART})*")
_ESCAPE = re.compile(r"\\(.)")
_INDEX = re.compile(r"[0-9]{1,9}")
_REMOVED = object()

Parts = tuple[str, ...]
"""The parts of a path; a number is also the place in a list."""


class AliasesError(ValueError):
    """The error of a file of aliases that cannot be used; the message names the file, the entry and the remedy."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place of a value in a foreign event.

    Attributes:
        text: the path as it is written.
        path: its parts.
        names: the columns of a row.
        names_path: the place of these columns in the event.
        encoding_path: the place of the encoding of a text: ``CSV``, ``JSON`` or ``BASE64``.
    """

    text: str
    path: Parts
    names: Parts | None = None
    names_path: Parts | None = None
    encoding_path: Parts | None = None


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases of a file.

    Attributes:
        sources: the places to look at before the built-in names, by canonical name.
        defaults: the values of fields that an event does not have.
        replaced: the canonical names whose built-in names do not apply.
        dropped: the paths of what does not become a label.
    """

    sources: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    dropped: tuple[Parts, ...] = ()

    def extract(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values of an event's sources by canonical name, and the event without them.

        Raises:
            NormalizeError: ``batch`` or ``names``, for rows that are not one or do not have their columns' number.
        """
        found: dict[str, Any] = {}
        used: list[Parts] = list(self.dropped)
        parsed: dict[str, Any] = {}
        for name, sources in self.sources.items():
            for source in sources:
                value = _find(document, source.path, parsed)
                if not is_filled(value):
                    continue
                if name in _WITH_TABLES:
                    value = _read_table(name, value, source, document, parsed)
                    if value is None:
                        continue
                found[name] = value
                used += (p for p in (source.path, source.names_path, source.encoding_path) if p is not None)
                break
        rest = _remove(document, used, parsed)
        return found, {} if rest is _REMOVED else rest

    def built_in(self, found: Mapping[str, Any]) -> dict[str, str]:
        """Return the canonical names of the built-in names that still apply."""
        return {
            alias: name
            for alias, name in _NAME_OF_ALIAS.items()
            if name not in found and name not in self.replaced
        }

    def names_of(self, name: str) -> tuple[str, ...]:
        """Return all names of a field, for a message."""
        own = tuple(source.text for source in self.sources.get(name, ()))
        return own if name in self.replaced else own + ALIASES[name]


def _read_table(
    name: str, value: Any, source: Source, document: Mapping[str, Any], parsed: dict[str, Any]
) -> Any:
    names, encoding = source.names, None
    if source.names_path is not None:
        columns = _find(document, source.names_path, parsed)
        if isinstance(columns, list) and columns and all(isinstance(column, str) for column in columns):
            names = tuple(columns) if len(set(columns)) == len(columns) else None
    if source.encoding_path is not None:
        encoding = _find(document, source.encoding_path, parsed)
    is_table = source.encoding_path is not None or source.names_path is not None or source.names is not None
    table = RowPlace(source.text, names, encoding, is_table)
    return read_inputs(value, table) if name == "inputs" else read_output(value, table, ALIASES[name])


def _parse(text: str, parsed: dict[str, Any]) -> Any:
    """Parse a text once, however many paths lead through it."""
    if text not in parsed:
        parsed[text] = parse_text(text)
    return parsed[text]


def _find(document: Any, path: Parts, parsed: dict[str, Any]) -> Any:
    """Return the value at a path, which may lead through JSON text, or None."""
    value = document
    for part in path:
        if isinstance(value, str):
            value = _parse(value, parsed)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and _INDEX.fullmatch(part):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def _remove(value: Any, paths: list[Parts], parsed: dict[str, Any]) -> Any:
    """Return a value without what is at the paths, and what is empty then; in a list, null takes its place."""
    if any(not path for path in paths):
        return _REMOVED
    if isinstance(value, str):
        content = _parse(value, parsed)
        rest = content if content is value else _remove(content, paths, parsed)
        return value if rest is content else rest
    by_part: dict[str, list[Parts]] = {}
    for path in paths:
        by_part.setdefault(path[0], []).append(path[1:])
    if isinstance(value, dict):
        items = {part: _remove(value[part], rest, parsed) for part, rest in by_part.items() if part in value}
        if all(item is value[part] for part, item in items.items()):
            return value
        kept = {key: items.get(key, item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not _REMOVED} or _REMOVED
    if isinstance(value, list):
        places = [(int(part), rest) for part, rest in by_part.items() if _INDEX.fullmatch(part)]
        elements = list(value)
        for place, rest in places:
            if place < len(value):
                element = _remove(elements[place], rest, parsed)
                elements[place] = None if element is _REMOVED else element
        if all(element is old for element, old in zip(elements, value, strict=True)):
            return value
        return elements if any(element is not None for element in elements) else _REMOVED
    return value


def read_aliases(path: str | Path) -> Aliases:
    """Read a file of aliases, such as the shipped ``pipelines/aliases/seldon.yml``.

    Args:
        path: the file.

    Raises:
        AliasesError: the file cannot be used; the message names the file, the entry and the remedy.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AliasesError(f"{path}: {explain_unreadable(path, error)}") from error
    return parse(content, str(path))


def parse(content: bytes, source: str) -> Aliases:
    """Build the aliases from the content of a file; ``source`` names it in errors."""
    return _Reader(source).read(_load_texts(content, source))


def _load_texts(content: bytes, source: str) -> Any:
    """Load YAML with all scalars as texts; anchors are refused, since a small file of them has a huge content."""
    import yaml

    if len(content) > MAX_FILE:
        raise AliasesError(f"{source}: has {len(content)} bytes; write at most {MAX_FILE}")
    try:
        text = content.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "anchor", None) is not None:
                raise AliasesError(f"{source}: has anchors or aliases of YAML (& and *); write their content")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTING:
                raise AliasesError(
                    f"{source}: is nested deeper than {MAX_NESTING}; see pipelines/README.md for its format"
                )
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AliasesError(f"{source}: not YAML: {error}") from error
    return {} if node is None else _to_plain(node, source)


def _to_plain(node: Any, source: str) -> Any:
    if isinstance(node.value, str):
        return node.value
    if node.id == "sequence":
        return [_to_plain(item, source) for item in node.value]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _to_plain(key_node, source)
        if not isinstance(key, str):
            raise AliasesError(f"{source}: the key {quote_value(key)} is not a text; write one")
        if key in mapping:
            raise AliasesError(f"{source}: {key} is written twice; put both into one list")
        mapping[key] = _to_plain(value_node, source)
    return mapping


@dataclass(frozen=True, slots=True)
class _Reader:
    """A reader of a file's content."""

    file: str

    def read(self, document: Any) -> Aliases:
        mapping = self._expect_mapping(document, "the file")
        self._check_keys(mapping, _KEYS, "")
        sources: dict[str, tuple[Source, ...]] = {}
        defaults: dict[str, str] = {}
        replaced: set[str] = set()
        for key in ("extend", "replace"):
            fields = self._expect_mapping(mapping.get(key, {}), key)
            self._check_keys(fields, tuple(ALIASES), f"{key}.")
            for name, value in fields.items():
                entry = f"{key}.{name}"
                if key == "replace":
                    replaced.add(name)
                    if name in mapping.get("extend", {}):
                        self._fail(entry, f"is in extend, too; keep one of extend.{name} and {entry}")
                sources[name] = self._read_sources(name, value, entry, defaults)
                if name in ("model", "inputs") and not sources[name] and name not in defaults:
                    self._fail(entry, "has no path; write one")
        dropped = mapping.get("drop", [])
        paths = [dropped] if isinstance(dropped, str) else dropped
        if not isinstance(paths, list):
            self._fail("drop", f"expected a list of paths, found {quote_value(dropped)}")
        return Aliases(
            sources={name: of_name for name, of_name in sources.items() if of_name},
            defaults=defaults,
            replaced=frozenset(replaced),
            dropped=tuple(self._read_path(path, f"drop[{i}]") for i, path in enumerate(paths)),
        )

    def _read_sources(
        self, name: str, value: Any, entry: str, defaults: dict[str, str]
    ) -> tuple[Source, ...]:
        items = value if isinstance(value, list) else [value]
        if len(items) > MAX_SOURCES:
            self._fail(entry, f"has {len(items)} sources; write at most {MAX_SOURCES}")
        sources: list[Source] = []
        for i, item in enumerate(items):
            place = f"{entry}[{i}]" if isinstance(value, list) else entry
            if isinstance(item, dict) and "default" in item:
                self._read_default(name, item, place, defaults)
            elif isinstance(item, dict):
                sources.append(self._read_source(name, item, place))
            else:
                sources.append(Source(item, self._read_path(item, place)))
        return tuple(sources)

    def _read_default(self, name: str, item: dict[str, Any], place: str, defaults: dict[str, str]) -> None:
        self._check_keys(item, ("default",), f"{place}.")
        if name not in _WITH_DEFAULT:
            self._fail(f"{place}.default", f"only {', '.join(_WITH_DEFAULT)} can have one; write a path")
        if not isinstance(item["default"], str) or not is_filled(item["default"]):
            self._fail(f"{place}.default", f"expected a text, found {quote_value(item['default'])}")
        if name in defaults:
            self._fail(f"{place}.default", f"{name} has a default already; keep one")
        defaults[name] = item["default"]

    def _read_source(self, name: str, item: dict[str, Any], place: str) -> Source:
        self._check_keys(item, _SOURCE_KEYS, f"{place}.")
        if "path" not in item:
            self._fail(place, "has no path; write path: with the place of the value, or default:")
        path = self._read_path(item["path"], f"{place}.path")
        for key in ("names", "encoding"):
            if key in item and name not in _WITH_TABLES:
                self._fail(f"{place}.{key}", f"only {', '.join(_WITH_TABLES)} can have it; remove it")
        names, names_path = item.get("names"), None
        if isinstance(names, list):
            for i, column in enumerate(names):
                if not isinstance(column, str) or column == "":
                    self._fail(f"{place}.names[{i}]", f"expected a name, found {quote_value(column)}")
            if not names:
                self._fail(f"{place}.names", "is empty; write a name for each column, or remove it")
            if len(set(names)) < len(names):
                self._fail(f"{place}.names", "has a name twice; give each column its own")
        elif names is not None:
            names, names_path = None, self._read_path(names, f"{place}.names")
        encoding_path = None
        if "encoding" in item:
            encoding_path = self._read_path(item["encoding"], f"{place}.encoding")
        return Source(item["path"], path, None if names is None else tuple(names), names_path, encoding_path)

    def _read_path(self, value: Any, place: str) -> Parts:
        if not isinstance(value, str) or not _PATH.fullmatch(value):
            self._fail(
                place,
                f"{quote_value(value)} is not a path; write keys with dots between them, such as "
                "request.inputs.0, and \\. for a dot within a key",
            )
        parts = tuple(_ESCAPE.sub(r"\1", part) for part in _PARTS.findall(value))
        if len(parts) > MAX_PARTS:
            self._fail(place, f"has {len(parts)} parts; write at most {MAX_PARTS}")
        return parts

    def _expect_mapping(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._fail(place, f"expected a mapping, found {quote_value(value)}")
        mapping: dict[str, Any] = value
        return mapping

    def _check_keys(self, mapping: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
        for key in mapping:
            if key not in known:
                self._fail(f"{prefix}{key}", f"is not known; write one of {', '.join(known)}")

    def _fail(self, place: str, message: str) -> NoReturn:
        raise AliasesError(f"{self.file}: {place}: {message}")
