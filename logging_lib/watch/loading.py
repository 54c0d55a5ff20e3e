"""Read watch files; refuse what cannot run as it is written, with all reasons at once."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from logging_lib.schema import fields
from logging_lib.watch import model
from logging_lib.watch.errors import WatchError, WatchProblem, json_path, suggest
from logging_lib.watch.evaluate import default_scripts
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import SettingsError
from logging_lib.watch.notify.registry import CHANNELS, parse_definition
from logging_lib.watch.validation.metadata import is_http_address
from logging_lib.watch.validation.rules import find_problems

KIBANA_URL = "LOGGING_LIB_KIBANA_URL"
_ID = re.compile(r"[\w.-]+")

# Part of Watcher, not executed here; refused by name, since the watch is right and the runner lacks it.
_UNSUPPORTED = {
    "jira": "use a webhook",
    "hipchat": "use a webhook",
    "proxy": "set HTTPS_PROXY in the runner's environment",
    "types": "documents have no types any more; leave it out",
    "preference": "leave it out",
    "timeout": "leave it out",
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
        raise WatchError([WatchProblem(str(directory), "$", "there is no *.json in this folder")])
    watches: list[Watch] = []
    problems: list[WatchProblem] = []
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
        raise WatchError([WatchProblem(str(file), "$", f"cannot be read: {error}")]) from error
    return parse_watch(
        text, id=file.stem, file=str(file), scripts=scripts, sources=read_user_scripts(file.parent)
    )


def read_user_scripts(folder: Path) -> dict[str, str]:
    """Read the Painless beside watches, ``scripts/<id>.painless``, by id. Raises WatchError."""
    sources = {}
    for file in sorted((folder / "scripts").glob("*.painless")):
        try:
            sources[file.stem] = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WatchError([WatchProblem(str(file), "$", f"cannot be read: {error}")]) from error
    return sources


def parse_watch(
    document: str | dict[str, Any],
    *,
    id: str,  # noqa: A002 - Watcher's word
    file: str = "watch",
    scripts: Container[str] | None = None,
    sources: Mapping[str, str] | None = None,
) -> Watch:
    """Parse and validate a watch given as JSON text or as an object.

    Args:
        scripts: the ids of the shipped scripts, or of those that replace them.
        sources: the user's own Painless scripts by id; a shipped one of the same id comes first.

    Raises:
        WatchError: with all problems found.
    """
    if not _ID.fullmatch(id):
        raise WatchError(
            [WatchProblem(file, "$", f"{id!r} is no watch id: use letters, digits, '.', '_' and '-'")]
        )
    if isinstance(document, str):
        try:
            document = json.loads(
                document, object_pairs_hook=_reject_duplicates, parse_constant=reject_constant
            )
        except (ValueError, RecursionError) as error:
            raise WatchError([WatchProblem(file, "$", f"is not JSON: {error}")]) from error
    try:
        shipped = default_scripts() if scripts is None else scripts
        user_scripts = {name: source for name, source in (sources or {}).items() if name not in shipped}
        definition = parse_definition(document, sources=user_scripts)
    except ValidationError as error:
        raise WatchError(
            WatchProblem(
                file, json_path(*(part for part in entry["loc"] if part != "[key]")), _describe_error(entry)
            )
            for entry in error.errors()
        ) from error
    problems = find_problems(
        definition,
        scripts=shipped,
        schema=fields.load(),
    )
    if problems:
        raise WatchError(WatchProblem(file, json_path(*path), message) for path, message in problems)
    return Watch(id, definition, file)


def with_kibana_url(watches: Iterable[Watch], environ: Mapping[str, str]) -> list[Watch]:
    """Fill ``metadata.kibana_url`` of the watches from the environment, where they leave it empty.

    It turns the query of a finding into a link to Discover.

    Raises:
        SettingsError: the variable holds no http address.
    """
    url = environ.get(KIBANA_URL, "").rstrip("/")
    if not is_http_address(url):
        raise SettingsError(f"{KIBANA_URL}: {url!r}: write such as https://kibana.example.org/s/ml")
    return [_with_kibana_url(watch, url) for watch in watches]


def _with_kibana_url(watch: Watch, url: str) -> Watch:
    if not url or watch.metadata.get("kibana_url") != "":
        return watch
    metadata = {**watch.metadata, "kibana_url": url}
    return Watch(watch.id, watch.definition.model_copy(update={"metadata": metadata}), watch.file)


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the key {twice[0]!r} is given twice in one object")
    return dict(pairs)


def reject_constant(name: str) -> Any:
    """Refuse NaN and the infinities, which are not JSON. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def _list_field_names() -> list[str]:
    names: set[str] = set()
    remaining: list[type[model.Model]] = [model.Model]
    while remaining:
        model_class = remaining.pop()
        remaining += model_class.__subclasses__()
        names.update(info.alias or name for name, info in model_class.model_fields.items())
    return sorted(names)


def _unsupported(path: Sequence[str | int]) -> Mapping[str, str]:
    """The fields of Watcher's that are not executed at a place, with their remedies: below an action its channel's
    come first."""
    is_action = len(path) > 2 and path[0] == "actions"
    channels = [channel for channel in CHANNELS.values() if is_action and channel.action_type == path[2]]
    return {**_UNSUPPORTED, **{name: remedy for c in channels for name, remedy in c.unsupported.items()}}


def _describe_error(error: Any) -> str:
    kind, name = error["type"], str(error["loc"][-1]) if error["loc"] else "$"
    if kind == "extra_forbidden":
        remedies = _unsupported(error["loc"])
        if name in remedies:
            return f"Watcher's {name!r} is not executed by this runner: {remedies[name]}"
        return f"unknown field {name!r}" + (suggest(name, _list_field_names()) or "; remove it")
    if kind == "missing":
        return f"{name!r} is required and missing"
    if kind == "literal_error" and name == "[key]":
        return f"unknown operator {error['input']!r}: {error['msg']}"
    return str(error["msg"])
