"""Read watch files; refuse watches that cannot run as written, with all reasons at once."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from logging_lib._util.suggestions import explain_unreadable, suggest
from logging_lib._util.text import find_half_characters
from logging_lib.schema import fields
from logging_lib.watch import model
from logging_lib.watch.errors import WatchError, WatchProblem, json_path
from logging_lib.watch.evaluate import default_scripts
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Channel, SettingsError
from logging_lib.watch.notify.registry import CHANNELS, channel_of, parse_definition
from logging_lib.watch.validation.metadata import is_http_address
from logging_lib.watch.validation.rules import find_problems

ADDRESSES = {
    "kibana_url": ("LOGGING_LIB_KIBANA_URL", "https://kibana.example.org/s/ml"),
    "runbook_base_url": ("LOGGING_LIB_RUNBOOK_BASE_URL", "https://docs.example.org/logging-lib"),
    "report_url": ("LOGGING_LIB_REPORT_URL", "https://reports.example.org/loans.html"),
}
"""The links in messages: for each key of the metadata, the variable that sets it and an example."""
SAMPLE_RECIPIENT = "nobody@example.invalid"
"""The recipient of mails without one, if they are only shown."""
_ID = re.compile(r"[\w.-]+")

# These parts of Watcher are not executed here. They are refused by name, since the watch is correct but the runner
# lacks the feature.
_UNSUPPORTED = {
    "jira": "use a webhook",
    "hipchat": "use a webhook",
    "proxy": "set HTTPS_PROXY in the runner's environment",
    "preference": "leave it out",
    "timeout": "leave it out",
}


_COMMENT = re.compile(r'(?P<text>"(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TEMPLATE = frozenset({"source", "inline", "lang", "params", "options"})
_ACTION_TYPES = frozenset(channel.action_type for channel in CHANNELS.values())
_OPAQUE = frozenset({"metadata", "simple", "script", "template"})
JsonPath = tuple[str | int, ...]


def load_watches(directory: str | Path, *, scripts: Container[str] | None = None) -> list[Watch]:
    """Read all ``*.json`` of a folder, sorted by id; a watch's id is its file's stem.

    Args:
        directory: the folder, or one file.
        scripts: the ids of the stored scripts; default: the shipped ones.

    Raises:
        WatchError: a file is wrong; the error has all problems of all files.
    """
    watches, problems = load_accepted(directory, scripts=scripts)
    if problems:
        raise WatchError(problems)
    return watches


def load_accepted(
    directory: str | Path, *, scripts: Container[str] | None = None
) -> tuple[list[Watch], list[WatchProblem]]:
    """Read a folder like ``load_watches``, but without letting a refused file stop the others.

    Returns:
        The watches, and the problems of the files that are refused.

    Raises:
        WatchError: no watch is left.
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
    if not watches:
        raise WatchError(problems)
    return watches, problems


def load_watch(file: str | Path, *, scripts: Container[str] | None = None) -> Watch:
    """Read one watch file. Raises WatchError."""
    file = Path(file)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WatchError([WatchProblem(str(file), "$", explain_unreadable(file, error))]) from error
    return parse_watch(
        text, id=file.stem, file=str(file), scripts=scripts, sources=read_user_scripts(file.parent)
    )


def read_user_scripts(folder: Path) -> dict[str, str]:
    """Read the Painless scripts beside watches, ``scripts/<id>.painless``, by id. Raises WatchError."""
    sources = {}
    for file in sorted((folder / "scripts").glob("*.painless")):
        try:
            sources[file.stem] = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WatchError([WatchProblem(str(file), "$", explain_unreadable(file, error))]) from error
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
        sources: the user's own Painless scripts by id; a shipped one with the same id takes precedence.

    Raises:
        WatchError: the watch is wrong; the error has all problems.
    """
    if not _ID.fullmatch(id):
        raise WatchError(
            [WatchProblem(file, "$", f"{id!r} is not a watch id: use letters, digits, '.', '_' and '-'")]
        )
    if isinstance(document, str):
        try:
            document = json.loads(
                _blank_comments(document),
                object_pairs_hook=_reject_duplicates,
                parse_constant=reject_constant,
            )
        except (ValueError, RecursionError) as error:
            raise WatchError([WatchProblem(file, "$", f"is not JSON: {error}")]) from error
    if half_characters := find_half_characters(document):
        raise WatchError(WatchProblem(file, json_path(*path), message) for path, message in half_characters)
    ignored: list[tuple[JsonPath, str]] = []
    document = _as_we_write(document, (), ignored)
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
    return Watch(id, definition, file, tuple(ignored))


def with_settings(watches: Iterable[Watch], environ: Mapping[str, str]) -> list[Watch]:
    """Fill the recipients and links that the watches' metadata leaves empty from the environment.

    Raises:
        SettingsError: a variable is not an http address, or not a recipient.
    """
    settings = read_settings(environ)
    return [_fill(watch, settings) for watch in watches]


def with_sample_recipients(watches: Iterable[Watch]) -> list[Watch]:
    """Fill in the unset mail addresses of watches whose mails are shown and not sent."""
    return [_fill(watch, {"email_to": SAMPLE_RECIPIENT}) for watch in watches]


def read_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Read the environment's values for the metadata of all watches. Raises SettingsError."""
    settings = {}
    for key, (variable, example) in ADDRESSES.items():
        url = environ.get(variable, "").rstrip("/")
        if not is_http_address(url):
            raise SettingsError(f"{variable}: {url!r}: write such as {example}")
        settings[key] = url
    for channel in CHANNELS.values():
        recipient = environ.get(channel.recipient_setting, "").strip() if channel.recipient_setting else ""
        if recipient and not channel.is_recipient(recipient):
            raise SettingsError(f"{channel.recipient_setting}: {recipient!r:.80}: {channel.metadata_remedy}")
        settings[channel.metadata_key] = recipient
    return {key: value for key, value in settings.items() if key and value}


def find_unset_recipients(watches: Iterable[Watch], channels: Mapping[str, Channel]) -> str:
    """Describe which configured channels would notify nobody of some watches, and the remedy; empty if none."""
    for channel in channels.values():
        unset = [watch for watch in watches if channel.needs_recipient and _is_unset(watch, channel)]
        if unset:
            files = unset[0].file + (f" and {len(unset) - 1} more" if len(unset) > 1 else "")
            return (
                f"the recipients of {channel.name} are not set: set {channel.recipient_setting}, or "
                f"metadata.{channel.metadata_key} in {files}"
            )
    return ""


def _is_unset(watch: Watch, channel: Channel) -> bool:
    """Return whether an action's recipients are those of the metadata and these are empty."""
    return watch.metadata.get(channel.metadata_key) == "" and any(
        channel.names_recipients(recipient)
        for action in watch.actions.values()
        if channel_of(action) is type(channel)
        for recipient in channel.recipients(action.settings)
    )


def _fill(watch: Watch, settings: Mapping[str, str]) -> Watch:
    empty = {key: value for key, value in settings.items() if watch.metadata.get(key) == ""}
    if not empty:
        return watch
    definition = watch.definition.model_copy(update={"metadata": {**watch.metadata, **empty}})
    return Watch(watch.id, definition, watch.file, watch.ignored)


def _blank_comments(text: str) -> str:
    """Replace ``//`` and ``/* */`` comments, which Elasticsearch's parser accepts, by spaces."""
    return _COMMENT.sub(lambda match: match["text"] or re.sub(r"\S", " ", match[0]), text)


def _as_we_write(node: Any, path: JsonPath, ignored: list[tuple[JsonPath, str]]) -> Any:
    """Rewrite forms that Watcher accepts and the models do not: templates as objects, keys without an effect here.

    Args:
        ignored: the paths of the removed keys are added to it, each with the reason.
    """
    if isinstance(node, list):
        return [_as_we_write(item, (*path, index), ignored) for index, item in enumerate(node)]
    if not isinstance(node, dict) or (path and path[-1] in _OPAQUE):
        return node
    if _holds_templates(path) and node.keys() <= _TEMPLATE and not node.get("params"):
        template = node.get("source", node.get("inline"))
        if isinstance(template, str):
            return template
    without_effect = _list_ignored(path)
    ignored += [
        ((*path, key), f"{key!r} has no effect here: {without_effect[key]}")
        for key in node
        if key in without_effect
    ]
    return {
        key: _as_we_write(value, (*path, key), ignored)
        for key, value in node.items()
        if key not in without_effect
    }


def _holds_templates(path: JsonPath) -> bool:
    """Return whether texts at this place are templates: the contents of an action, and the parts of an HTTP
    request."""
    return (len(path) > 3 and path[0] == "actions" and path[2] in _ACTION_TYPES) or "http" in path


def _list_ignored(path: JsonPath) -> Mapping[str, str]:
    if len(path) == 3 and path[0] == "actions":
        channels = [channel for channel in CHANNELS.values() if channel.action_type == path[2]]
        return {name: reason for channel in channels for name, reason in channel.ignored.items()}
    return {"types": "documents have no types any more"} if path[-2:] == ("search", "request") else {}


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
    """Return Watcher's fields that are not executed at a place, with their remedies; below an action, those of its
    channel come first."""
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
    if kind == "string_type" and isinstance(error["input"], dict):
        return (
            "write the template as a text, or as {'source': text}: stored ones are not executed, and the values of "
            "'params' belong into 'metadata'"
        )
    if kind == "missing":
        return f"{name!r} is required and missing"
    if kind == "literal_error" and name == "[key]":
        return f"unknown operator {error['input']!r}: {error['msg']}"
    return str(error["msg"])
