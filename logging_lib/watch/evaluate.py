"""Evaluate one watch: its input, transforms and condition, over the same ``ctx`` as in Watcher.

The functions are pure except for their dependencies, which are an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_duration, format_instant
from logging_lib.store.joining import JoinedStore, Search
from logging_lib.store.port import ExecutePainless, Store, StoreError
from logging_lib.watch import painless
from logging_lib.watch.conditions import ConditionError, is_met
from logging_lib.watch.errors import RunError
from logging_lib.watch.http import Call, CallError, HttpClient, HttpResponse, render_call
from logging_lib.watch.model import Condition, HttpInput, Input, Script, SearchRequest, Transform, Watch
from logging_lib.watch.painless import PainlessError
from logging_lib.watch.templating import Placeholder, TemplateError, render_json

# Watcher's variables, including metadata and payload; any other is unknown.
TRIGGER_KEYS = frozenset({"triggered_time", "scheduled_time"})
KEYS = frozenset({"watch_id", "id", "execution_time", "trigger", "metadata", "payload", "vars"})


def new_context(watch: Watch, *, now: datetime, scheduled: datetime) -> dict[str, Any]:
    """Build the context of one run before its input: ``{"ctx": {...}}`` with an empty payload.

    Times are ISO strings in UTC with milliseconds. ``ctx.id`` is the same for the same watch and time, so that
    repetitions after a crash can be distinguished from new runs.
    """
    executed = format_instant(now)
    return {
        "ctx": {
            "watch_id": watch.id,
            "id": f"{watch.id}_{executed}",
            "execution_time": executed,
            "trigger": {"triggered_time": executed, "scheduled_time": format_instant(scheduled)},
            "metadata": watch.metadata,
            "payload": {},
            "vars": {},
        }
    }


def with_payload(context: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same context with another payload."""
    return {"ctx": {**context["ctx"], "payload": payload}}


class ResponseError(ValueError):
    """Raised if a response does not match its content type."""


def read_response(response: HttpResponse, kind: str | None) -> Mapping[str, Any]:
    """Return a response's payload as Watcher does: an object as it is, a list as ``data``, a text as ``_value``.

    Args:
        kind: ``json``, ``yaml`` or ``text``; None uses the response's own header.

    Raises:
        ResponseError: the response cannot be read as this kind.
    """
    if not response.content.strip():
        return {}
    if kind is None:
        content_type = ",".join(response.headers.get("content-type", ())).lower()
        kind = "json" if "json" in content_type else "yaml" if "yaml" in content_type else "text"
    if kind == "text":
        return {"_value": response.text}
    content = _parse_content(response, kind)
    if isinstance(content, Mapping):
        return content
    return {"data": content} if isinstance(content, list) else {"_value": content}


def response_headers(response: HttpResponse) -> dict[str, list[str]]:
    """Return the headers with dots in their names replaced by ``_``, because dots would make paths of them."""
    return {name.replace(".", "_"): list(values) for name, values in response.headers.items()}


def _parse_content(response: HttpResponse, kind: str) -> Any:
    try:
        if kind == "json":
            return json.loads(response.content)
        import yaml

        # A payload may hold only JSON types: dates and the like become texts.
        return json.loads(json.dumps(yaml.safe_load(response.content), default=str))
    except (ValueError, RecursionError) as error:
        raise ResponseError(f"the answer is not {kind.upper()}: {error}") from None
    except Exception as error:  # noqa: BLE001 - PyYAML has its own errors and lets others through
        raise ResponseError(f"the answer is not {kind.upper()}: {str(error)[:200]}") from None


Payload = Mapping[str, Any]
ScriptFunction = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
Scripts = Mapping[str, ScriptFunction]
SearchFunction = Callable[[SearchRequest, timedelta | None, Mapping[str, Any]], Mapping[str, Any]]
"""Answer a request, rendered in a run's context, completely: ``search(request, timeout, context) -> response``."""
AskStore = Callable[[Sequence[str], Mapping[str, Any]], Mapping[str, Any]]
"""Answer a search that no watch contains, completely: ``ask(indices, body) -> response``; raises StoreError."""
Http = Callable[[Call], HttpResponse]
"""Send one request; raises CallError."""


def default_scripts() -> Scripts:
    """Return the shipped scripts; imported here so that the engine can be used without them."""
    from logging_lib.watch.scripts import SCRIPTS

    return SCRIPTS


@dataclass(frozen=True)
class Evaluation:
    """The result of a watch's evaluation; ``context`` holds the payload that the condition was evaluated on."""

    context: dict[str, Any]
    met: bool

    @property
    def payload(self) -> Payload:
        payload: Payload = self.context["ctx"]["payload"]
        return payload


@dataclass(frozen=True)
class RunDependencies:
    """What a watch's run may use outside its context.

    Args:
        search: answers the run's searches (``store_search``, or answers computed for many ticks at once).
        scripts: the shipped scripts by id.
        painless: executes users' own scripts; None if the store cannot.
        http: sends the run's requests over HTTP; None if requests must be repeatable, as in a backtest.
        ask: answers the runner's own searches about the findings; None if the runner makes none.
        warnings: omissions in the searches' responses that did not fail the run; the run adds to them.
    """

    search: SearchFunction
    scripts: Scripts
    painless: ExecutePainless | None = None
    http: Http | None = None
    ask: AskStore | None = None
    warnings: list[str] = field(default_factory=list)


def run_dependencies(store: Store, *, now: datetime, scripts: Scripts | None = None) -> RunDependencies:
    """Collect what a run over a store uses: its searches, its Painless if it has one, and the shipped scripts.

    ``scripts`` replaces the shipped ones. If the store shows the past, no requests are sent over HTTP.
    """
    warnings: list[str] = []
    return RunDependencies(
        search=store_search(store, now, warnings.append),
        scripts=default_scripts() if scripts is None else scripts,
        painless=store.execute_painless,
        http=_send if store.is_live else None,
        ask=store_ask(store, now),
        warnings=warnings,
    )


Due = Sequence[tuple[Watch, Sequence[datetime]]]
"""Watches that run at the same time, each with its scheduled times."""
DependenciesOf = Callable[[Watch, datetime], RunDependencies]
"""Return what a run may use, given its watch and its scheduled time."""
PrepareRuns = Callable[[Due, datetime], DependenciesOf]
"""Prepare the runs of one time, which is the present or the tick of a backtest."""


def prepare_live_runs(store: Store, scripts: Scripts | None = None) -> PrepareRuns:
    """Return a function that prepares runs over a store and joins their searches over the same documents."""

    def prepare(due: Due, now: datetime) -> DependenciesOf:
        # If one watch has several runs, their searches have different windows.
        single = [(watch, scheduled[0]) for watch, scheduled in due if len(scheduled) == 1]
        announced = (
            search for watch, scheduled in single for search in _announce(watch, now=now, scheduled=scheduled)
        )
        joined = JoinedStore(store, now, announced)
        return lambda watch, scheduled: run_dependencies(joined, now=now, scripts=scripts)

    return prepare


def _announce(watch: Watch, *, now: datetime, scheduled: datetime) -> Iterator[Search]:
    """Yield the searches that a run of a watch will make, as far as they are known before the run."""
    context = new_context(watch, now=now, scheduled=scheduled)
    for _, _, search in watch.definition.input.searches((), ""):
        request = search.request
        if request.depends_on_run:
            continue
        try:
            body = _render_body(request, search.timeout, context)
        except TemplateError:
            continue  # the run itself reports the failure
        yield Search(request.indices, body, request.rest_total_hits_as_int)


def _render_body(
    request: SearchRequest, timeout: timedelta | None, context: Mapping[str, Any]
) -> dict[str, Any]:
    body = render_json(request.text, {**context, **request.params})
    if timeout is not None:
        body.setdefault("timeout", format_duration(timeout))
    return body


def _send(call: Call) -> HttpResponse:
    """Send a request with the logins of the environment, which is read only here since most runs send none."""
    return HttpClient.from_environ(os.environ)(call)


def store_search(store: Store, now: datetime, warn: Callable[[str], None] = lambda _: None) -> SearchFunction:
    """Return the search function of a live run, which sends one request to the store.

    Args:
        warn: called with each aggregation that omitted terms beyond the size that it states.
    """

    def search(
        request: SearchRequest, timeout: timedelta | None, context: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = _render_body(request, timeout, context)
        response = store.search(
            list(request.indices), body, now=now, rest_total_hits_as_int=request.rest_total_hits_as_int
        )
        for cut in find_cut_terms(body, response, sized=True):
            warn(cut)
        return require_complete(request, body, response)

    return search


def store_ask(store: Store, now: datetime) -> AskStore:
    """Return a function that asks a store; it does not wait for a slow one, because an alert waits for the
    answer."""

    def ask(indices: Sequence[str], body: Mapping[str, Any]) -> Mapping[str, Any]:
        response = store.search(list(indices), {**body, "timeout": "10s"}, now=now)
        for omission in _find_missing_parts(response):
            raise StoreError(omission)
        return response

    return ask


def require_complete(
    request: SearchRequest, body: Mapping[str, Any], response: dict[str, Any]
) -> dict[str, Any]:
    """Return the response if it is complete. Raises StoreError."""
    for omission in find_omissions(request, body, response):
        raise StoreError(omission)
    return response


def evaluate(
    watch: Watch, *, dependencies: RunDependencies, now: datetime, scheduled: datetime
) -> Evaluation:
    """Run a watch's input and evaluate its condition.

    Args:
        now: the value of ``ctx.execution_time``.
        scheduled: the scheduled time, to which windows should refer.

    Raises:
        RunError: a search, a script, a template or the condition failed, or a search's response is truncated.
    """
    context = new_context(watch, now=now, scheduled=scheduled)
    payload = run_input(watch.definition.input, context, dependencies=dependencies, where="input")
    context = with_payload(context, payload)
    met = evaluate_condition(
        watch.definition.condition, context, dependencies=dependencies, where="condition"
    )
    return Evaluation(context, met)


def evaluate_condition(
    condition: Condition, context: Mapping[str, Any], *, dependencies: RunDependencies, where: str
) -> bool:
    """Evaluate a condition. Raises RunError."""
    if condition.script is not None:
        result = _run_script(condition.script, context, dependencies, where)
        if not isinstance(result, bool):
            raise RunError(
                f"{where}: script {condition.script.name}: a condition gives true or false, not {result!r:.80}"
            )
        return result
    try:
        return is_met(condition, context)
    except (ConditionError, ValueError) as error:
        raise RunError(f"{where}: {error}") from error


def run_input(
    watch_input: Input, context: Mapping[str, Any], *, dependencies: RunDependencies, where: str
) -> Payload:
    """Return the payload of an input. In a chain each input sees the payloads of the ones before it."""
    if watch_input.simple is not None:
        return watch_input.simple
    if watch_input.search is not None:
        search_input = watch_input.search
        response = _search(
            search_input.request, search_input.timeout, context, dependencies, f"{where}.search"
        )
        return extract(response, search_input.extract) if search_input.extract else response
    if watch_input.http is not None:
        return _http(watch_input.http, context, dependencies, f"{where}.http")
    if watch_input.transform is not None:
        return run_transform(
            watch_input.transform, context, dependencies=dependencies, where=f"{where}.transform"
        )
    payload: dict[str, Any] = {}
    for name, step in watch_input.chain.items() if watch_input.chain else ():
        payload[name] = run_input(
            step, with_payload(context, dict(payload)), dependencies=dependencies, where=f"{where}.{name}"
        )
    return payload


def run_transform(
    transform: Transform, context: Mapping[str, Any], *, dependencies: RunDependencies, where: str
) -> Payload:
    """Return the payload into which a transform converts the context's payload."""
    if transform.script is not None:
        result = _run_script(transform.script, context, dependencies, where)
        # As in Watcher, a result that is not an object becomes one.
        return result if isinstance(result, Mapping) else {"_value": result}
    if transform.search is not None:
        return _search(
            transform.search.request, transform.search.timeout, context, dependencies, f"{where}.search"
        )
    payload: Payload = context["ctx"]["payload"]
    for step in transform.chain or ():
        payload = run_transform(step, with_payload(context, payload), dependencies=dependencies, where=where)
    return payload


def _run_script(script: Script, context: Mapping[str, Any], dependencies: RunDependencies, where: str) -> Any:
    ctx = context["ctx"]
    if script.source is not None:
        if dependencies.painless is None:
            raise RunError(
                f"{where}: script {script.name}: Painless is executed by Elasticsearch, and this run has an "
                "embedded store: run the watch with --elasticsearch URL"
            )
        try:
            result, variables = painless.run(script.source, script.params, ctx, dependencies.painless)
        except PainlessError as error:
            raise RunError(f"{where}: script {script.name}: {error}") from error
        ctx["vars"].update(variables)
        return result
    function = dependencies.scripts.get(script.id or "")
    if function is None:
        raise RunError(f"{where}: there is no script {script.id!r}")
    try:
        return function(ctx, script.params)
    except Exception as error:  # a script may fail in any way; the run names it and other runs continue
        raise RunError(f"{where}: script {script.id!r}: {type(error).__name__}: {error}") from error


def _search(
    request: SearchRequest,
    timeout: timedelta | None,
    context: Mapping[str, Any],
    dependencies: RunDependencies,
    where: str,
) -> Payload:
    try:
        return dependencies.search(request, timeout, context)
    except (TemplateError, StoreError) as error:
        raise RunError(f"{where}: {error}") from error


def _http(
    http_input: HttpInput, context: Mapping[str, Any], dependencies: RunDependencies, where: str
) -> Payload:
    if dependencies.http is None:
        raise RunError(f"{where}: a request over HTTP cannot be made for a time that is past")
    try:
        response = dependencies.http(render_call(http_input.request, context))
        payload = read_response(response, http_input.response_content_type)
    except (TemplateError, CallError, ResponseError) as error:
        raise RunError(f"{where}: {error}") from error
    extracted = extract(payload, http_input.extract) if http_input.extract else dict(payload)
    return {**extracted, "_status_code": response.status, "_headers": response_headers(response)}


def find_omissions(
    request: SearchRequest, body: Mapping[str, Any], response: Mapping[str, Any]
) -> Iterator[str]:
    """Yield descriptions of what is missing from a response, since evaluating it would be a silent error."""
    yield from _find_missing_parts(response)
    yield from find_cut_terms(body, response, sized=False)
    hits = response.get("hits", {})
    total = hits.get("total", 0)
    total = total["value"] if isinstance(total, Mapping) else total
    size = int(body.get("size", 10))
    if size and "ml-profiles" in request.indices and total > len(hits.get("hits", ())):
        yield f"{total} profiles match and only {len(hits['hits'])} were returned: raise the body's 'size'"


def find_cut_terms(body: Mapping[str, Any], response: Mapping[str, Any], *, sized: bool) -> Iterator[str]:
    """Yield the ``terms`` aggregations that omitted some terms, except those that want only the largest.

    Args:
        sized: yield those that state their size, by which authors of watches often mean "the ten largest" (the
            shipped scripts themselves refuse a truncated answer); otherwise those with Elasticsearch's default of
            ten.
    """
    return _find_cut_terms(_sub_aggregations(body), response.get("aggregations", {}), "", sized)


def _find_missing_parts(response: Mapping[str, Any]) -> Iterator[str]:
    if response.get("timed_out"):
        yield "the search timed out, its answer is partial"
    failed = response.get("_shards", {}).get("failed", 0)
    if failed:
        yield f"{failed} shards failed, the answer is partial"


def _sub_aggregations(node: Mapping[str, Any]) -> Mapping[str, Any]:
    aggs: Mapping[str, Any] = node.get("aggs") or node.get("aggregations") or {}
    return aggs


def _find_cut_terms(
    aggs: Mapping[str, Any], responses: Mapping[str, Any], path: str, sized: bool
) -> Iterator[str]:
    for name, agg in aggs.items():
        response = responses.get(name)
        if not isinstance(response, Mapping):
            continue
        cut = response.get("sum_other_doc_count", 0)
        states_size = "size" in (agg.get("terms") or {})
        if cut and states_size is sized and not (agg.get("meta") or {}).get("top"):
            yield (
                f"aggregation {path}{name} left out {cut} documents: raise its 'size', or say that only the "
                'largest are wanted with "meta": {"top": true}'
            )
        sub_aggregations = _sub_aggregations(agg)
        if not sub_aggregations:
            continue
        buckets = response.get("buckets")
        if buckets is None:
            yield from _find_cut_terms(sub_aggregations, response, f"{path}{name}>", sized)
            continue
        for bucket in buckets.values() if isinstance(buckets, Mapping) else buckets:
            yield from _find_cut_terms(sub_aggregations, bucket, f"{path}{name}>", sized)


def extract(value: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Keep only the parts at the dotted paths, also through lists (Watcher's ``extract``); ``*`` is any key."""
    extracted = _extract_paths(value, [path.split(".") for path in paths])
    return extracted if isinstance(extracted, dict) else {}


def _extract_paths(value: Any, paths: list[list[str]]) -> Any:
    if any(not path for path in paths):
        return value
    if isinstance(value, list):
        return [extracted for item in value if (extracted := _extract_paths(item, paths)) is not None]
    if not isinstance(value, Mapping):
        return None
    if isinstance(value, Placeholder):
        return value
    result = {}
    for key, item in value.items():
        remaining = [path[1:] for path in paths if path[0] in (key, "*")]
        if remaining and (extracted := _extract_paths(item, remaining)) is not None:
            result[key] = extracted
    return result or None
