"""Evaluate one watch: its input, transforms and condition, over ``ctx`` as Watcher gives it to them.

Pure but for its dependencies, which are an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_duration, format_instant
from logging_lib.store.port import ExecutePainless, Store, StoreError
from logging_lib.watch import painless
from logging_lib.watch.conditions import ConditionError, is_met
from logging_lib.watch.errors import RunError
from logging_lib.watch.http import Call, CallError, HttpClient, HttpResponse, render_call
from logging_lib.watch.model import Condition, HttpInput, Input, Script, SearchRequest, Transform, Watch
from logging_lib.watch.painless import PainlessError
from logging_lib.watch.templating import Placeholder, TemplateError, render_json

# Watcher's variables beside metadata and payload; what is not here is an unknown variable.
TRIGGER_KEYS = frozenset({"triggered_time", "scheduled_time"})
KEYS = frozenset({"watch_id", "id", "execution_time", "trigger", "metadata", "payload", "vars"})


def new_context(watch: Watch, *, now: datetime, scheduled: datetime) -> dict[str, Any]:
    """The context of one run, before its input: ``{"ctx": {...}}`` with an empty payload.

    Instants are ISO strings in UTC with milliseconds. ``ctx.id`` is the same for the same watch and time, so
    that what is repeated after a crash can be told from what is new.
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
    """The same context with another payload."""
    return {"ctx": {**context["ctx"], "payload": payload}}


class ResponseError(ValueError):
    """An answer that is not what its kind says."""


def read_response(answer: HttpResponse, kind: str | None) -> Mapping[str, Any]:
    """The payload of an answer, as Watcher makes it: an object as it is, a list as ``data``, a text as ``_value``.

    Args:
        kind: ``json``, ``yaml`` or ``text``; None goes by the answer's own header.

    Raises:
        AnswerError: it cannot be read as that.
    """
    if not answer.content.strip():
        return {}
    if kind is None:
        given = ",".join(answer.headers.get("content-type", ())).lower()
        kind = "json" if "json" in given else "yaml" if "yaml" in given else "text"
    if kind == "text":
        return {"_value": answer.text}
    found = _parse_content(answer, kind)
    if isinstance(found, Mapping):
        return found
    return {"data": found} if isinstance(found, list) else {"_value": found}


def response_headers(answer: HttpResponse) -> dict[str, list[str]]:
    """Dots in a name would make a path of it."""
    return {name.replace(".", "_"): list(values) for name, values in answer.headers.items()}


def _parse_content(answer: HttpResponse, kind: str) -> Any:
    try:
        if kind == "json":
            return json.loads(answer.content)
        import yaml

        # JSON has what a payload may hold: dates and the like become texts.
        return json.loads(json.dumps(yaml.safe_load(answer.content), default=str))
    except (ValueError, RecursionError) as error:
        raise ResponseError(f"the answer is not {kind.upper()}: {error}") from None
    except Exception as error:  # noqa: BLE001 - PyYAML has errors of its own and lets others through
        raise ResponseError(f"the answer is not {kind.upper()}: {str(error)[:200]}") from None


Payload = Mapping[str, Any]
ScriptFunction = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
Scripts = Mapping[str, ScriptFunction]
SearchFunction = Callable[[SearchRequest, timedelta | None, Mapping[str, Any]], Mapping[str, Any]]
"""Answers a request, rendered in a run's context, in whole: ``search(request, timeout, context) -> response``."""
Http = Callable[[Call], HttpResponse]
"""Sends one request; raises CallError."""


def default_scripts() -> Scripts:
    """The shipped scripts; imported here so that the engine can be used without them."""
    from logging_lib.watch.scripts import SCRIPTS

    return SCRIPTS


@dataclass(frozen=True)
class Evaluation:
    """``context`` holds the payload that the condition was evaluated on."""

    context: dict[str, Any]
    met: bool

    @property
    def payload(self) -> Payload:
        payload: Payload = self.context["ctx"]["payload"]
        return payload


@dataclass(frozen=True)
class RunDependencies:
    """What a watch's run may use of the world outside its context.

    Args:
        search: answers its searches (``store_search``, or answers computed for many ticks at once).
        scripts: the shipped scripts by id.
        painless: executes users' own scripts; None where the store cannot.
        http: sends its requests over HTTP; None where nothing may be asked that cannot be asked again, as in a
            backtest.
    """

    search: SearchFunction
    scripts: Scripts
    painless: ExecutePainless | None = None
    http: Http | None = None


def run_dependencies(store: Store, *, now: datetime, scripts: Scripts | None = None) -> RunDependencies:
    """What a run over a store uses: its searches, its Painless if it has one, and the shipped scripts unless
    others are given. From a store of the past no request over HTTP is made."""
    return RunDependencies(
        search=store_search(store, now),
        scripts=default_scripts() if scripts is None else scripts,
        painless=store.execute_painless,
        http=HttpClient.from_environ(os.environ) if store.is_live else None,
    )


def store_search(store: Store, now: datetime) -> SearchFunction:
    """The search of a live run: one question to the store."""

    def search(
        request: SearchRequest, timeout: timedelta | None, context: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = render_json(request.text, {**context, **request.params})
        if timeout is not None:
            body.setdefault("timeout", format_duration(timeout))
        response = store.search(
            list(request.indices), body, now=now, rest_total_hits_as_int=request.rest_total_hits_as_int
        )
        return require_complete(request, body, response)

    return search


def require_complete(
    request: SearchRequest, body: Mapping[str, Any], response: dict[str, Any]
) -> dict[str, Any]:
    """The response, if nothing of it is missing. Raises StoreError."""
    for fault in find_omissions(request, body, response):
        raise StoreError(fault)
    return response


def evaluate(
    watch: Watch, *, dependencies: RunDependencies, now: datetime, scheduled: datetime
) -> Evaluation:
    """Run a watch's input and evaluate its condition.

    Args:
        now: ``ctx.execution_time``; ``scheduled``: the schedule's slot, to which windows should refer.

    Raises:
        RunError: when a search, a script, a template or the condition fails, or a search's answer is cut.
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
    """Whether a condition holds, failing as a run fails."""
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
    given: Input, context: Mapping[str, Any], *, dependencies: RunDependencies, where: str
) -> Payload:
    """The payload that an input gives. In a chain each input sees what the ones before it gave."""
    if given.simple is not None:
        return given.simple
    if given.search is not None:
        asked = given.search
        response = _search(asked.request, asked.timeout, context, dependencies, f"{where}.search")
        return extract(response, asked.extract) if asked.extract else response
    if given.http is not None:
        return _http(given.http, context, dependencies, f"{where}.http")
    if given.transform is not None:
        return run_transform(given.transform, context, dependencies=dependencies, where=f"{where}.transform")
    payload: dict[str, Any] = {}
    for name, step in given.chain.items() if given.chain else ():
        payload[name] = run_input(
            step, with_payload(context, dict(payload)), dependencies=dependencies, where=f"{where}.{name}"
        )
    return payload


def run_transform(
    transform: Transform, context: Mapping[str, Any], *, dependencies: RunDependencies, where: str
) -> Payload:
    """The payload that a transform makes of the context's."""
    if transform.script is not None:
        result = _run_script(transform.script, context, dependencies, where)
        # As Watcher: what is no object becomes one.
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
    except Exception as error:  # a script may fail in any way; the run names it and others go on
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


def _http(given: HttpInput, context: Mapping[str, Any], dependencies: RunDependencies, where: str) -> Payload:
    if dependencies.http is None:
        raise RunError(f"{where}: a request over HTTP cannot be made for a time that is past")
    try:
        answer = dependencies.http(render_call(given.request, context))
        payload = read_response(answer, given.response_content_type)
    except (TemplateError, CallError, ResponseError) as error:
        raise RunError(f"{where}: {error}") from error
    found = extract(payload, given.extract) if given.extract else dict(payload)
    return {**found, "_status_code": answer.status, "_headers": response_headers(answer)}


def find_omissions(
    request: SearchRequest, body: Mapping[str, Any], response: Mapping[str, Any]
) -> Iterator[str]:
    """List the ways in which an answer is not complete: evaluated, it would be a quiet error."""
    if response.get("timed_out"):
        yield "the search timed out, its answer is partial"
    failed = response.get("_shards", {}).get("failed", 0)
    if failed:
        yield f"{failed} shards failed, the answer is partial"
    yield from _find_cut_terms(_sub_aggregations(body), response.get("aggregations", {}), "")
    hits = response.get("hits", {})
    total = hits.get("total", 0)
    total = total["value"] if isinstance(total, Mapping) else total
    size = int(body.get("size", 10))
    if size and "ml-profiles" in request.indices and total > len(hits.get("hits", ())):
        yield f"{total} profiles match and only {len(hits['hits'])} were returned: raise the body's 'size'"


def _sub_aggregations(node: Mapping[str, Any]) -> Mapping[str, Any]:
    aggs: Mapping[str, Any] = node.get("aggs") or node.get("aggregations") or {}
    return aggs


def _find_cut_terms(aggs: Mapping[str, Any], answers: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, agg in aggs.items():
        answer = answers.get(name)
        if not isinstance(answer, Mapping):
            continue
        cut = answer.get("sum_other_doc_count", 0)
        if cut and not (agg.get("meta") or {}).get("top"):
            yield (
                f"aggregation {path}{name} left out {cut} documents: raise its 'size', or say that only the "
                'largest are wanted with "meta": {"top": true}'
            )
        below = _sub_aggregations(agg)
        if not below:
            continue
        buckets = answer.get("buckets")
        if buckets is None:
            yield from _find_cut_terms(below, answer, f"{path}{name}>")
            continue
        for bucket in buckets.values() if isinstance(buckets, Mapping) else buckets:
            yield from _find_cut_terms(below, bucket, f"{path}{name}>")


def extract(value: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Only what the dotted paths reach, lists gone through (Watcher's ``extract``); ``*`` is any key."""
    kept = _extract_paths(value, [path.split(".") for path in paths])
    return kept if isinstance(kept, dict) else {}


def _extract_paths(value: Any, paths: list[list[str]]) -> Any:
    if any(not path for path in paths):
        return value
    if isinstance(value, list):
        return [kept for item in value if (kept := _extract_paths(item, paths)) is not None]
    if not isinstance(value, Mapping):
        return None
    if isinstance(value, Placeholder):
        return value
    result = {}
    for key, item in value.items():
        below = [path[1:] for path in paths if path[0] in (key, "*")]
        if below and (kept := _extract_paths(item, below)) is not None:
            result[key] = kept
    return result or None
