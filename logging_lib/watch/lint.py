"""Lint watches: find faults in watches that Watcher accepts silently.

A finding is an error if the watch cannot do what it says, and a warning if it most likely does not do what its
author meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from logging_lib._util.times import format_duration
from logging_lib.schema import fields
from logging_lib.schema.templates import PROFILES, profile_fields
from logging_lib.watch.conditions import ConditionError, is_met, resolve_path
from logging_lib.watch.errors import WatchError, json_path
from logging_lib.watch.evaluate import default_scripts
from logging_lib.watch.loading import load_watch
from logging_lib.watch.model import (
    Action,
    Condition,
    Definition,
    HttpRequest,
    Input,
    SearchRequest,
    Watch,
)
from logging_lib.watch.notify.registry import CHANNELS, channel_of
from logging_lib.watch.templating import Placeholder, TemplateError, find_value, render_json
from logging_lib.watch.validation.payloads import StaticPayload
from logging_lib.watch.validation.rules import find_problems, first_element, placeholder_context

Severity = Literal["error", "warning"]
JsonPath = tuple[str | int, ...]
LintResults = Iterator["tuple[Severity, JsonPath, str, str]"]
"""(severity, path within the file, what is wrong, what to do)"""

LONG_THROTTLE = timedelta(days=7)
_COUNTS = frozenset({"count", "doc_count", "total", "size"})
_SECRET_NAME = re.compile(
    r"(?i)(^|[_.-])(authorization|password|passwd|secret|token|api[_-]?key|apikey|cookie|sig)($|[_.-])|x-api-key"
)
_SECRET_TEXT = re.compile(
    "|".join(
        [
            r"\bBearer\s+\w{8,}|://[^/\s:@]+:[^/\s@]+@",
            *filter(None, (c.secret_pattern for c in CHANNELS.values())),
        ]
    )
)
_NOW = re.compile(r"now|\|\|")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One result of lint. ``rule`` names its kind; ``path`` is a JSON path."""

    rule: str
    severity: Severity
    file: str
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.file}: {self.path}: {self.severity}: {self.message}{remedy} [{self.rule}]"

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def lint_files(paths: list[Path], *, now: datetime) -> list[LintFinding]:
    """Lint files, and all ``*.json`` of folders. A refused file is itself a finding.

    Raises:
        FileNotFoundError: a path does not exist, or a folder contains no watch.
    """
    files: list[Path] = []
    for path in paths:
        watch_files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not watch_files or not all(file.is_file() for file in watch_files):
            raise FileNotFoundError(f"{path}: there is no watch: give a file, or a folder of *.json")
        files += watch_files
    return [finding for file in files for finding in lint_file(file, now=now)]


def lint_file(file: Path, *, now: datetime) -> list[LintFinding]:
    """Lint one file."""
    try:
        watch = load_watch(file)
    except WatchError as error:
        return [
            LintFinding("refused", "error", problem.file, problem.path, problem.message)
            for problem in error.problems
        ]
    return lint_watch(watch, now=now)


def lint_watch(watch: Watch, *, now: datetime) -> list[LintFinding]:
    """Lint a watch that can be loaded.

    Args:
        now: the time after which its schedule must still have times.
    """
    definition = watch.definition
    rules: dict[str, Callable[[], LintResults]] = {
        "ignored": lambda: (("warning", path, message, "remove it") for path, message in watch.ignored),
        "unknown-variable": lambda: _check_variables(definition),
        "unknown-field": lambda: _check_profile_fields(definition),
        "never-runs": lambda: _check_runs(watch, now),
        "long-throttle": lambda: _check_throttles(watch),
        "no-size": lambda: _check_sizes(definition),
        "cut-terms": lambda: _check_cut_terms(definition),
        "event-time": lambda: _check_event_times(definition),
        "literal-secret": lambda: _check_secrets(definition),
        "unencrypted": lambda: _check_encryption(definition),
    }
    return [
        LintFinding(name, severity, watch.file or watch.id, json_path(*path), message, remedy)
        for name, rule in rules.items()
        for severity, path, message, remedy in rule()
    ]


def _check_variables(definition: Definition) -> LintResults:
    """Check variables against the whole shape of a payload; loading checks only the names."""
    schema = fields.load()
    for path, message in find_problems(
        definition, scripts=default_scripts(), schema=schema, payloads=StaticPayload(schema)
    ):
        yield "error", path, message, "correct the path, or make the payload hold it"


# --- searches


def _render_bodies(definition: Definition) -> Iterator[tuple[JsonPath, SearchRequest, Mapping[str, Any]]]:
    for path, _, search in definition.searches():
        request = search.request
        context = placeholder_context(definition, Placeholder())
        try:
            body = render_json(request.text, {**context, **request.params})
        except TemplateError:
            continue
        yield (*path, "request", "body" if request.template is None else "template"), request, body


def _is_own_data(request: SearchRequest) -> bool:
    return all(name.strip().startswith("logs-ml.") for entry in request.indices for name in entry.split(","))


def _check_sizes(definition: Definition) -> LintResults:
    for path, _, body in _render_bodies(definition):
        if "size" not in body:
            has_aggs = "aggs" in body or "aggregations" in body
            what = (
                "ten hits come along with the aggregations" if has_aggs else "at most ten hits are returned"
            )
            remedy = "write 'size': 0" if has_aggs else "write the 'size' that is meant"
            yield "warning", path, f"the search has no size: {what}", remedy
        for place, name, agg in _list_terms(body, path):
            if "size" not in agg["terms"]:
                message = (
                    f"the terms of {name!r} have no size: ten buckets, and a run with more of them fails"
                )
                yield "warning", place, message, "write the 'size' that is enough"


def _list_terms(node: Mapping[str, Any], path: JsonPath) -> Iterator[tuple[JsonPath, str, Mapping[str, Any]]]:
    """List the aggregations by terms, with the path of their settings and their name."""
    for key in ("aggs", "aggregations"):
        aggs = node.get(key)
        for name, agg in aggs.items() if isinstance(aggs, Mapping) else ():
            if isinstance(agg, Mapping):
                if isinstance(agg.get("terms"), Mapping):
                    yield (*path, key, name, "terms"), name, agg
                yield from _list_terms(agg, (*path, key, name))


def _check_cut_terms(definition: Definition) -> LintResults:
    """Warn of terms that their size truncates without failing the run; a shipped script would fail it."""
    document = definition.model_dump(by_alias=True, exclude_unset=True, mode="json")
    shipped = default_scripts()
    if any(
        key == "id" and isinstance(value, str) and value in shipped for _, key, value in _walk(document, ())
    ):
        return
    for path, _, body in _render_bodies(definition):
        for place, name, agg in _list_terms(body, path):
            meta = agg.get("meta")
            if "size" in agg["terms"] and not (isinstance(meta, Mapping) and meta.get("top")):
                size = agg["terms"]["size"]
                message = f"{name!r} has the {size} most frequent terms: a run leaves the others out"
                remedy = 'raise the size, or say that only these are wanted with "meta": {"top": true}'
                yield "warning", place, message, remedy


def _check_event_times(definition: Definition) -> LintResults:
    """Warn of windows over event time, unless another search of the watch is over arrival time."""
    paths = []
    for path, request, body in _render_bodies(definition):
        for place, key, value in _walk(body, ()):
            if key != "range" or not isinstance(value, Mapping) or not _is_own_data(request):
                continue
            if "event.ingested" in value:
                return
            bounds = value.get("@timestamp")
            if isinstance(bounds, Mapping) and any(_NOW.search(str(bound)) for bound in bounds.values()):
                paths.append((*path, *place, "@timestamp"))
    message = "the window is over the events' own time: what arrives after an outage is never evaluated"
    yield from (("warning", path, message, "use event.ingested") for path in paths)


def _check_profile_fields(definition: Definition) -> LintResults:
    """Check the fields of profiles; those of ``logs-ml.*`` are checked when the watch is loaded."""
    known = profile_fields()
    for path, request, body in _render_bodies(definition):
        if {name.strip() for entry in request.indices for name in entry.split(",")} != {PROFILES}:
            continue
        for key in ("query", "aggs", "aggregations", "sort"):
            for below, name in _list_fields(body.get(key), (key,)):
                if name not in known and not name.startswith("_") and Placeholder.TEXT not in name:
                    yield (
                        "error",
                        (*path, *below),
                        f"{PROFILES} has no indexed field {name!r}",
                        f"there are {', '.join(sorted(known))}",
                    )


_FIELD_QUERIES = frozenset(
    {"term", "terms", "range", "prefix", "wildcard", "regexp", "match", "match_phrase"}
)


def _list_fields(node: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    """List the fields that a query, aggregations or a sort name."""
    for below, key, value in _walk(node, path):
        if key == "field" and isinstance(value, str):
            yield below, value
        elif key in _FIELD_QUERIES and isinstance(value, Mapping) and "field" not in value:
            for name in value:
                if name not in ("boost", "_name"):
                    yield (*below, name), name


def _walk(node: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str | int, Any]]:
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield (*path, key), key, value
        yield from _walk(value, (*path, key))


# --- what never runs


def _check_runs(watch: Watch, now: datetime) -> LintResults:
    definition = watch.definition
    if watch.schedule.next(now) is None:
        yield "error", ("trigger", "schedule"), "the schedule has no time left", "write one that comes again"
    if not definition.actions:
        yield "warning", ("actions",), "the watch has no action: nobody hears of what it finds", "add one"
    payloads = StaticPayload(fields.load())
    payload = payloads.after_input(definition.input, placeholder_context(definition, Placeholder()))
    yield from _check_condition(definition.condition, definition, payload, ("condition",))
    if definition.transform:
        payload = payloads.after_transform(definition.transform, placeholder_context(definition, payload))
    for name, action in definition.actions.items():
        yield from _check_action_runs(action, definition, payload, payloads, ("actions", name))


def _check_action_runs(
    action: Action,
    definition: Definition,
    payload: Mapping[str, Any],
    payloads: StaticPayload,
    path: JsonPath,
) -> LintResults:
    if action.condition:
        yield from _check_condition(action.condition, definition, payload, (*path, "condition"))
    if action.transform:
        payload = payloads.after_transform(action.transform, placeholder_context(definition, payload))
    context = placeholder_context(definition, payload)
    if action.foreach:
        if action.max_iterations == 0:
            yield "error", (*path, "max_iterations"), "foreach runs no iteration", "write a number above 0"
        yield from _check_list(action.foreach, context, (*path, "foreach"))
        context = placeholder_context(definition, first_element(action.foreach, context))
    for below, list_path, _ in channel_of(action).element_templates(action.settings):
        yield from _check_list(list_path, context, (*path, action.type, *below))


def _check_list(name: str, context: Mapping[str, Any], path: JsonPath) -> LintResults:
    value = find_value(name, context)
    if isinstance(value, list | tuple):
        if not value:
            yield "error", path, f"{name} is always empty", "a search for hits has a 'size' above 0"
    elif value is not None and not isinstance(value, Placeholder):
        yield "error", path, f"{name} is not a list", "name a list, such as ctx.payload.hits.hits"


def _check_condition(
    condition: Condition, definition: Definition, payload: Mapping[str, Any], path: JsonPath
) -> LintResults:
    if condition.never is not None:
        yield "error", path, "the condition is 'never'", "remove it, or the action"
    elif condition.compare:
        ((name, comparison),) = condition.compare.items()
        ((operator, operand),) = comparison.items()
        number = operand if isinstance(operand, int | float) and not isinstance(operand, bool) else None
        below_zero = number is not None and (
            (operator == "lt" and number <= 0) or (operator in ("lte", "eq") and number < 0)
        )
        here = (*path, "compare", name)
        if name.rpartition(".")[2] in _COUNTS and below_zero:
            yield "error", here, f"{name} counts, and is never {operator} {operand}", "correct the comparison"
        elif _is_constant(name, definition) and not _can_be_met(condition, definition):
            yield (
                "error",
                here,
                "both sides are written in the watch, and never compare so",
                "correct one of them",
            )
    elif condition.array_compare:
        name = next(iter(condition.array_compare))
        yield from _check_list(name, placeholder_context(definition, payload), (*path, "array_compare", name))


def _is_constant(name: str, definition: Definition) -> bool:
    """Return whether the value is in the watch itself."""
    if name.startswith("ctx.metadata."):
        return True
    return name.startswith("ctx.payload.") and definition.input.simple is not None


def _can_be_met(condition: Condition, definition: Definition) -> bool:
    """Return whether the condition can be met; True if it also depends on values that are known only in a run."""
    assert condition.compare is not None
    ((name, comparison),) = condition.compare.items()
    ((_, operand),) = comparison.items()
    if isinstance(operand, str) and operand.startswith(("<{", "{{")) and "ctx.metadata" not in operand:
        return True
    context = placeholder_context(definition, definition.input.simple or {})
    try:
        return is_met(condition, context) or resolve_path(name, context) is None
    except (ConditionError, ValueError):
        return True


def _check_throttles(watch: Watch) -> LintResults:
    for name in watch.actions:
        period = watch.throttle_period(name)
        if period > LONG_THROTTLE:
            is_own = watch.actions[name].throttle_period is not None
            yield (
                "warning",
                ("actions", name, "throttle_period") if is_own else ("throttle_period",),
                f"an open incident is notified of once in {format_duration(period)}",
                f"write {format_duration(LONG_THROTTLE)} or less; acknowledge or mute known incidents",
            )


# --- secrets and the network


def _list_requests(definition: Definition) -> Iterator[tuple[JsonPath, HttpRequest]]:
    yield from _requests_of_input(definition.input, ("input",))
    for name, action in definition.actions.items():
        for below, request in channel_of(action).requests(action.settings):
            yield ("actions", name, action.type, *below), request


def _requests_of_input(watch_input: Input, path: JsonPath) -> Iterator[tuple[JsonPath, HttpRequest]]:
    if watch_input.http:
        yield (*path, "http", "request"), watch_input.http.request
    for index, (name, step) in enumerate(watch_input.chain.items() if watch_input.chain else ()):
        yield from _requests_of_input(step, (*path, "chain", "inputs", index, name))


def _check_secrets(definition: Definition) -> LintResults:
    remedy = (
        "set LOGGING_LIB_AUTHORIZATION_<HOST> or the channel's own setting in the runner's environment, or a "
        ".netrc, and leave it out here"
    )
    seen: set[JsonPath] = set()
    for path, request in _list_requests(definition):
        if request.auth:
            seen.add((*path, "auth", "basic", "password"))
            yield (
                "warning",
                (*path, "auth", "basic", "password"),
                "the watch contains a password, which is also stored while a delivery waits",
                remedy,
            )
        for place in ("headers", "params"):
            for name, value in getattr(request, place).items():
                if _SECRET_NAME.search(name) and value.strip() and "{{" not in value:
                    seen.add((*path, place, name))
                    yield "warning", (*path, place, name), f"what {name!r} holds looks like a secret", remedy
    document = definition.model_dump(by_alias=True, exclude_unset=True, mode="json")
    for below, key, value in _walk(document, ()):
        if below in seen or not isinstance(value, str) or not value.strip():
            continue
        named = below[0] == "metadata" and isinstance(key, str) and _SECRET_NAME.search(key)
        if named or _SECRET_TEXT.search(value):
            yield "warning", below, "this looks like a secret", "keep it in the runner's environment"


def _check_encryption(definition: Definition) -> LintResults:
    for path, request in _list_requests(definition):
        if request.scheme == "http" and not _is_local(request.host):
            yield "warning", path, f"what goes to {request.host} is not encrypted", "use https"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
