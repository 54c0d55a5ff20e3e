"""``watch lint``: what would go wrong with a watch that Watcher takes without a word.

A finding is an error where the watch cannot do what it says, a warning where it most likely does not do what was
meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from logging_lib.schema import fields
from logging_lib.schema.templates import PROFILES, profile_fields
from logging_lib.watch.checking.check import check, element_of, sample_context
from logging_lib.watch.checking.loading import load_watch
from logging_lib.watch.checking.shapes import Known
from logging_lib.watch.engine.conditions import ConditionError, is_met, resolve_path
from logging_lib.watch.engine.evaluate import default_scripts
from logging_lib.watch.errors import WatchError, json_path
from logging_lib.watch.model import (
    Action,
    Condition,
    Definition,
    HttpRequest,
    Input,
    SearchRequest,
    Transform,
    Watch,
)
from logging_lib.watch.notify.registry import CHANNELS, channel_of
from logging_lib.watch.templating import Sample, TemplateError, render_json, value_of
from logging_lib.watch.times import format_duration

Severity = Literal["error", "warning"]
JsonPath = tuple[str | int, ...]
Found = Iterator["tuple[Severity, JsonPath, str, str]"]
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
class Finding:
    """``rule`` names the kind of finding; ``path`` is a JSON path."""

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


def lint_files(paths: list[Path], *, now: datetime) -> list[Finding]:
    """The findings of files, and of all ``*.json`` of folders. A file that is refused is a finding itself.

    Raises:
        FileNotFoundError: a path is not there, or a folder holds no watch.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            raise FileNotFoundError(f"{path}: there is no watch: give a file, or a folder of *.json")
        files += found
    return [finding for file in files for finding in lint_file(file, now=now)]


def lint_file(file: Path, *, now: datetime) -> list[Finding]:
    """The findings of one file."""
    try:
        watch = load_watch(file)
    except WatchError as error:
        return [
            Finding("refused", "error", problem.file, problem.path, problem.message)
            for problem in error.problems
        ]
    return lint_watch(watch, now=now)


def lint_watch(watch: Watch, *, now: datetime) -> list[Finding]:
    """The findings of a watch that can be loaded.

    Args:
        now: to see that its schedule still has slots.
    """
    given = watch.definition
    rules: dict[str, Callable[[], Found]] = {
        "unknown-variable": lambda: _unknown_variables(given),
        "unknown-field": lambda: _unknown_fields(given),
        "never-runs": lambda: _never_runs(watch, now),
        "long-throttle": lambda: _long_throttles(watch),
        "no-size": lambda: _sizes(given),
        "event-time": lambda: _event_times(given),
        "literal-secret": lambda: _secrets(given),
        "unencrypted": lambda: _unencrypted(given),
    }
    return [
        Finding(name, severity, watch.file or watch.id, json_path(*path), message, remedy)
        for name, rule in rules.items()
        for severity, path, message, remedy in rule()
    ]


def _unknown_variables(given: Definition) -> Found:
    """Loading knows a payload's names; this knows its whole shape."""
    schema = fields.load()
    for path, message in check(given, scripts=default_scripts(), schema=schema, payloads=Known(schema)):
        yield "error", path, message, "correct the path, or make the payload hold it"


# --- searches


def _searches(given: Definition) -> Iterator[tuple[JsonPath, SearchRequest]]:
    yield from _of_input(given.input, ("input",))
    if given.transform:
        yield from _of_transform(given.transform, ("transform",))
    for name, action in given.actions.items():
        if action.transform:
            yield from _of_transform(action.transform, ("actions", name, "transform"))


def _of_input(given: Input, path: JsonPath) -> Iterator[tuple[JsonPath, SearchRequest]]:
    if given.search:
        yield (*path, "search", "request"), given.search.request
    if given.transform:
        yield from _of_transform(given.transform, (*path, "transform"))
    for index, (name, step) in enumerate(given.chain.items() if given.chain else ()):
        yield from _of_input(step, (*path, "chain", "inputs", index, name))


def _of_transform(given: Transform, path: JsonPath) -> Iterator[tuple[JsonPath, SearchRequest]]:
    if given.search:
        yield (*path, "search", "request"), given.search.request
    for index, step in enumerate(given.chain or ()):
        yield from _of_transform(step, (*path, "chain", index))


def _bodies(given: Definition) -> Iterator[tuple[JsonPath, SearchRequest, Mapping[str, Any]]]:
    for path, request in _searches(given):
        context = sample_context(given, Sample())
        try:
            body = render_json(request.text, {**context, **request.params})
        except TemplateError:
            continue
        yield (*path, "body" if request.template is None else "template"), request, body


def _of_ours(request: SearchRequest) -> bool:
    return all(name.strip().startswith("logs-ml.") for entry in request.indices for name in entry.split(","))


def _sizes(given: Definition) -> Found:
    for path, _, body in _bodies(given):
        if "size" not in body:
            has_aggs = "aggs" in body or "aggregations" in body
            what = (
                "ten hits come along with the aggregations" if has_aggs else "at most ten hits are returned"
            )
            remedy = "write 'size': 0" if has_aggs else "write the 'size' that is meant"
            yield "warning", path, f"the search has no size: {what}", remedy
        yield from _unsized(body, path)


def _unsized(node: Mapping[str, Any], path: JsonPath) -> Found:
    for key in ("aggs", "aggregations"):
        aggs = node.get(key)
        for name, agg in aggs.items() if isinstance(aggs, Mapping) else ():
            terms = agg.get("terms") if isinstance(agg, Mapping) else None
            if isinstance(terms, Mapping) and "size" not in terms:
                message = (
                    f"the terms of {name!r} have no size: ten buckets, and a run with more of them fails"
                )
                yield "warning", (*path, key, name, "terms"), message, "write the 'size' that is enough"
            if isinstance(agg, Mapping):
                yield from _unsized(agg, (*path, key, name))


def _event_times(given: Definition) -> Found:
    """A search over the events' time beside one over their arrival is taken as meant."""
    found = []
    for path, request, body in _bodies(given):
        for below, key, value in _walk(body, ()):
            if key != "range" or not isinstance(value, Mapping) or not _of_ours(request):
                continue
            if "event.ingested" in value:
                return
            bounds = value.get("@timestamp")
            if isinstance(bounds, Mapping) and any(_NOW.search(str(bound)) for bound in bounds.values()):
                found.append((*path, *below, "@timestamp"))
    message = "the window is over the events' own time: what arrives after an outage is never judged"
    yield from (("warning", path, message, "use event.ingested") for path in found)


def _unknown_fields(given: Definition) -> Found:
    """Those of ``logs-ml.*`` are looked at when the watch is loaded."""
    known = profile_fields()
    for path, request, body in _bodies(given):
        if {name.strip() for entry in request.indices for name in entry.split(",")} != {PROFILES}:
            continue
        for key in ("query", "aggs", "aggregations", "sort"):
            for below, name in _named(body.get(key), (key,)):
                if name not in known and not name.startswith("_") and Sample.TEXT not in name:
                    yield (
                        "error",
                        (*path, *below),
                        f"{PROFILES} has no indexed field {name!r}",
                        f"there are {', '.join(sorted(known))}",
                    )


_FIELD_QUERIES = frozenset(
    {"term", "terms", "range", "prefix", "wildcard", "regexp", "match", "match_phrase"}
)


def _named(node: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    """The fields that a query, aggregations or a sort name."""
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


def _never_runs(watch: Watch, now: datetime) -> Found:
    given = watch.definition
    if watch.schedule.next(now) is None:
        yield "error", ("trigger", "schedule"), "the schedule has no time left", "write one that comes again"
    if not given.actions:
        yield "warning", ("actions",), "the watch has no action: nobody hears of what it finds", "add one"
    known = Known(fields.load())
    payload = known.of_input(given.input, sample_context(given, Sample()))
    yield from _impossible(given.condition, given, payload, ("condition",))
    if given.transform:
        payload = known.of_transform(given.transform, sample_context(given, payload))
    for name, action in given.actions.items():
        yield from _action_never_runs(action, given, payload, known, ("actions", name))


def _action_never_runs(
    action: Action, given: Definition, payload: Mapping[str, Any], known: Known, path: JsonPath
) -> Found:
    if action.condition:
        yield from _impossible(action.condition, given, payload, (*path, "condition"))
    if action.transform:
        payload = known.of_transform(action.transform, sample_context(given, payload))
    context = sample_context(given, payload)
    if action.foreach:
        if action.max_iterations == 0:
            yield "error", (*path, "max_iterations"), "foreach runs no iteration", "write a number above 0"
        yield from _no_list(action.foreach, context, (*path, "foreach"))
        context = sample_context(given, element_of(action.foreach, context))
    for below, list_path, _ in channel_of(action).element_templates(action.settings):
        yield from _no_list(list_path, context, (*path, action.type, *below))


def _no_list(name: str, context: Mapping[str, Any], path: JsonPath) -> Found:
    found = value_of(name, context)
    if isinstance(found, list | tuple):
        if not found:
            yield "error", path, f"{name} is always empty", "a search for hits has a 'size' above 0"
    elif found is not None and not isinstance(found, Sample):
        yield "error", path, f"{name} is no list", "name a list, such as ctx.payload.hits.hits"


def _impossible(condition: Condition, given: Definition, payload: Mapping[str, Any], path: JsonPath) -> Found:
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
        elif _constant(name, given) and not _holds(condition, given):
            yield (
                "error",
                here,
                "both sides are written in the watch, and never compare so",
                "correct one of them",
            )
    elif condition.array_compare:
        name = next(iter(condition.array_compare))
        yield from _no_list(name, sample_context(given, payload), (*path, "array_compare", name))


def _constant(name: str, given: Definition) -> bool:
    """Whether the value is written in the watch itself."""
    if name.startswith("ctx.metadata."):
        return True
    return name.startswith("ctx.payload.") and given.input.simple is not None


def _holds(condition: Condition, given: Definition) -> bool:
    """Taken as met where it also depends on what only a run knows."""
    assert condition.compare is not None
    ((name, comparison),) = condition.compare.items()
    ((_, operand),) = comparison.items()
    if isinstance(operand, str) and operand.startswith(("<{", "{{")) and "ctx.metadata" not in operand:
        return True
    context = sample_context(given, given.input.simple or {})
    try:
        return is_met(condition, context) or resolve_path(name, context) is None
    except (ConditionError, ValueError):
        return True


def _long_throttles(watch: Watch) -> Found:
    for name in watch.actions:
        period = watch.throttle_period(name)
        if period > LONG_THROTTLE:
            own = watch.actions[name].throttle_period is not None
            yield (
                "warning",
                ("actions", name, "throttle_period") if own else ("throttle_period",),
                f"an open incident is notified of once in {format_duration(period)}",
                f"write {format_duration(LONG_THROTTLE)} or less; ack or mute what is known",
            )


# --- secrets and the network


def _requests(given: Definition) -> Iterator[tuple[JsonPath, HttpRequest]]:
    yield from _http_inputs(given.input, ("input",))
    for name, action in given.actions.items():
        for below, request in channel_of(action).requests(action.settings):
            yield ("actions", name, action.type, *below), request


def _http_inputs(given: Input, path: JsonPath) -> Iterator[tuple[JsonPath, HttpRequest]]:
    if given.http:
        yield (*path, "http", "request"), given.http.request
    for index, (name, step) in enumerate(given.chain.items() if given.chain else ()):
        yield from _http_inputs(step, (*path, "chain", "inputs", index, name))


def _secrets(given: Definition) -> Found:
    remedy = (
        "set LOGGING_LIB_AUTHORIZATION_<HOST> or the channel's own setting in the runner's environment, or a "
        ".netrc, and leave it out here"
    )
    seen: set[JsonPath] = set()
    for path, request in _requests(given):
        if request.auth:
            seen.add((*path, "auth", "basic", "password"))
            yield (
                "warning",
                (*path, "auth", "basic", "password"),
                "a password stands in the watch, and in what is kept while a delivery waits",
                remedy,
            )
        for place in ("headers", "params"):
            for name, value in getattr(request, place).items():
                if _SECRET_NAME.search(name) and value.strip() and "{{" not in value:
                    seen.add((*path, place, name))
                    yield "warning", (*path, place, name), f"what {name!r} holds looks like a secret", remedy
    document = given.model_dump(by_alias=True, exclude_unset=True, mode="json")
    for below, key, value in _walk(document, ()):
        if below in seen or not isinstance(value, str) or not value.strip():
            continue
        named = below[0] == "metadata" and isinstance(key, str) and _SECRET_NAME.search(key)
        if named or _SECRET_TEXT.search(value):
            yield "warning", below, "this looks like a secret", "keep it in the runner's environment"


def _unencrypted(given: Definition) -> Found:
    for path, request in _requests(given):
        if request.scheme == "http" and not _is_here(request.host):
            yield "warning", path, f"what goes to {request.host} is not encrypted", "use https"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
