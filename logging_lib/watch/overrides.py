"""Override settings of watches for a backtest: ``na-spike.min_effect=0.05``. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterable
from typing import Any

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.suggestions import suggest
from logging_lib.schema import fields
from logging_lib.watch.errors import WatchError, WatchProblem, json_path
from logging_lib.watch.evaluate import default_scripts
from logging_lib.watch.loading import reject_constant
from logging_lib.watch.model import Watch
from logging_lib.watch.validation.rules import find_problems


class OverrideError(LoggingLibError):
    """Raised if an override is refused; the message says why, and the remedy."""


def apply_overrides(
    watches: Iterable[Watch], settings: Iterable[str], *, scripts: Container[str] | None = None
) -> list[Watch]:
    """Return the watches that the settings change, with the changes, validated as when they are loaded.

    Args:
        settings: each ``WATCH.KEY=VALUE``, where KEY is a key of the watch's metadata, or a path to something in
            it such as ``windows.0`` or ``groups.0.limits.1.above``. VALUE is JSON, or a text without quotes; it
            must have the type of the present value.

    Raises:
        OverrideError: a setting is wrong; the message names it.
        WatchError: a watch cannot run with it.
    """
    known = {watch.id: watch for watch in watches}
    changed: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        matching_ids = [watch_id for watch_id in known if name.startswith(watch_id + ".")]
        if not separator or "." not in name:
            raise OverrideError(
                f"--set {setting:.200}: not WATCH.KEY=VALUE, such as na-spike.min_effect=0.05"
            )
        if not matching_ids:
            hint = suggest(name.partition(".")[0], known) or f"; there are {', '.join(known)}"
            raise OverrideError(f"--set {setting:.200}: there is no watch with this id{hint}")
        watch = max(matching_ids, key=len)
        metadata = changed.setdefault(watch, copy.deepcopy(known[watch].metadata))
        _set_value(metadata, name[len(watch) + 1 :].split("."), value, setting)
    shipped = default_scripts() if scripts is None else scripts
    return [_validate(known[watch], metadata, shipped) for watch, metadata in changed.items()]


def _validate(watch: Watch, metadata: dict[str, Any], scripts: Container[str]) -> Watch:
    # A deep copy is needed: a backtest identifies searches by identity, and this one may render differently.
    definition = watch.definition.model_copy(update={"metadata": metadata}, deep=True)
    problems = find_problems(definition, scripts=scripts, schema=fields.load())
    file = f"{watch.file or watch.id} with --set"
    if problems:
        raise WatchError(WatchProblem(file, json_path(*path), message) for path, message in problems)
    return Watch(watch.id, definition, file)


def _set_value(metadata: dict[str, Any], path: list[str], text: str, setting: str) -> None:
    node: Any = metadata
    for part in path[:-1]:
        node = _get_child(node, part, setting)
    last: Any = path[-1]
    before = _get_child(node, last, setting)
    if isinstance(node, list):
        last = int(last)
    node[last] = _parse_value(text, before, setting)


def _get_child(node: Any, part: str, setting: str) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, dict):
        choices = ", ".join(node)
    else:
        choices = f"0 to {len(node) - 1}" if isinstance(node, list) else "nothing below it"
    hint = (suggest(part, node) if isinstance(node, dict) else "") or f"; there are: {choices}"
    raise OverrideError(f"--set {setting:.200}: there is no {part!r:.80}{hint}")


def _parse_value(text: str, before: Any, setting: str) -> Any:
    try:
        value = json.loads(text, parse_constant=reject_constant)
    except ValueError:
        value = text
    if isinstance(before, str) and not isinstance(value, str):
        value = text  # a text that looks like a number
    kind = _describe_type(before)
    if kind != _describe_type(value):
        raise OverrideError(
            f"--set {setting:.200}: {text!r:.80} is not a {kind}, such as {json.dumps(before)}"
        )
    return value


def _describe_type(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    kinds: dict[type, str] = {str: "text", list: "list", dict: "object"}
    return kinds.get(type(value), "null")


def compare_metadata(
    before: Iterable[Watch], after: Iterable[Watch]
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return the values before and after, by watch and metadata key."""
    previous = {watch.id: watch.metadata for watch in before}
    return {
        watch.id: {
            key: (copy.deepcopy(previous[watch.id].get(key)), value)
            for key, value in watch.metadata.items()
            if previous[watch.id].get(key) != value
        }
        for watch in after
    }
