"""Reads watch files; refuses what cannot run as it is written, with all reasons at once."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from logging_lib.schema import fields
from logging_lib.watch import model
from logging_lib.watch.errors import Problem, WatchError, json_path
from logging_lib.watch.evaluate import default_scripts
from logging_lib.watch.lint import check
from logging_lib.watch.model import Definition, Watch

_ID = re.compile(r"[\w.-]+")

# Part of Watcher, not executed here; said by name, since the watch is right and the runner is what lacks it.
_UNSUPPORTED = {
    "cron": "use 'interval'",
    "hourly": "use 'interval': '1h'",
    "daily": "use 'interval': '1d'",
    "weekly": "use 'interval': '1w'",
    "monthly": "use 'interval'",
    "yearly": "use 'interval'",
    "http": "use a search input",
    "webhook": "use email or slack",
    "index": "use email, slack or logging",
    "jira": "use email or slack",
    "pagerduty": "use email or slack",
    "foreach": "repeat inside the text with a section, {{#ctx.payload...}}",
    "max_iterations": "it belongs to foreach",
    "script": "judge in a transform's stored script and compare its result",
    "search": "search in the input",
    "template": "write the search into 'body'",
    "search_type": "leave it out",
    "indices_options": "leave it out",
    "throttle_period_in_millis": "use 'throttle_period'",
    "account": "the account is the runner's setting, see LOGGING_LIB_SMTP_URL and LOGGING_LIB_SLACK_WEBHOOK",
    "profile": "leave it out",
    "attachments": "put the data into the body",
    "attach_data": "put the data into the body",
    "dynamic_attachments": "use 'attachments'",
}


def load_watches(directory: str | Path, *, scripts: Container[str] | None = None) -> list[Watch]:
    """Read all ``*.json`` of a folder, sorted by id; a watch's id is its file's stem.

    Args:
        directory: the folder, or one file.
        scripts: the ids of the stored scripts; default: the shipped ones.

    Raises:
        WatchError: with all problems of all files.
    """
    directory = Path(directory)
    files = sorted(directory.glob("*.json")) if directory.is_dir() else [directory]
    if not files:
        raise WatchError([Problem(str(directory), "$", "there is no *.json in this folder")])
    watches: list[Watch] = []
    problems: list[Problem] = []
    for file in files:
        try:
            watches.append(load_watch(file, scripts=scripts))
        except WatchError as error:
            problems.extend(error.problems)
    if problems:
        raise WatchError(problems)
    return watches


def load_watch(file: str | Path, *, scripts: Container[str] | None = None) -> Watch:
    """Read one watch file. Raises WatchError."""
    file = Path(file)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WatchError([Problem(str(file), "$", f"cannot be read: {error}")]) from error
    return parse_watch(text, id=file.stem, file=str(file), scripts=scripts)


def parse_watch(
    document: str | dict[str, Any],
    *,
    id: str,  # noqa: A002 - Watcher's word
    file: str = "watch",
    scripts: Container[str] | None = None,
) -> Watch:
    """Check a watch given as JSON text or as an object. Raises WatchError with all problems found."""
    if not _ID.fullmatch(id):
        raise WatchError(
            [Problem(file, "$", f"{id!r} is no watch id: use letters, digits, '.', '_' and '-'")]
        )
    if isinstance(document, str):
        try:
            document = json.loads(document, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise WatchError([Problem(file, "$", f"is not JSON: {error}")]) from error
    try:
        definition = Definition.model_validate(document)
    except ValidationError as error:
        raise WatchError(
            Problem(file, json_path(*(part for part in entry["loc"] if part != "[key]")), _message(entry))
            for entry in error.errors()
        ) from error
    found = check(
        definition,
        scripts=default_scripts() if scripts is None else scripts,
        schema=fields.load(),
    )
    if found:
        raise WatchError(Problem(file, json_path(*path), message) for path, message in found)
    return Watch(id, definition, file)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the key {twice[0]!r} is given twice in one object")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _names() -> list[str]:
    models = [m for m in vars(model).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    return sorted({info.alias or name for m in models for name, info in m.model_fields.items()})


def _message(error: Any) -> str:
    kind, name = error["type"], str(error["loc"][-1]) if error["loc"] else "$"
    if kind == "extra_forbidden":
        if name in _UNSUPPORTED:
            return f"Watcher's {name!r} is not executed by this runner: {_UNSUPPORTED[name]}"
        close = get_close_matches(name, _names(), 1)
        return f"unknown field {name!r}" + (f"; did you mean {close[0]!r}?" if close else "; remove it")
    if kind == "missing":
        return f"{name!r} is required and missing"
    if kind == "literal_error" and name == "[key]":
        return f"unknown operator {error['input']!r}: {error['msg']}"
    return str(error["msg"])
