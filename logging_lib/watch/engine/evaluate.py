"""One run of a watch: input, condition, transforms. Pure but for its dependencies, which are an argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from logging_lib.store.port import ExecutePainless, Store, StoreError
from logging_lib.watch.engine import answers, painless
from logging_lib.watch.engine.calls import Answer, Call, Caller, CallError, render_call
from logging_lib.watch.engine.conditions import ConditionError, is_met
from logging_lib.watch.engine.context import new_context, with_payload
from logging_lib.watch.engine.painless import PainlessError
from logging_lib.watch.errors import RunError
from logging_lib.watch.model import Condition, HttpInput, Input, Script, SearchRequest, Transform, Watch
from logging_lib.watch.templating import Sample, TemplateError, render_json
from logging_lib.watch.times import format_duration

Payload = Mapping[str, Any]
ScriptFunction = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
Scripts = Mapping[str, ScriptFunction]
SearchFunction = Callable[[SearchRequest, timedelta | None, Mapping[str, Any]], Mapping[str, Any]]
"""Answers a request, rendered in a run's context, in whole: ``search(request, timeout, context) -> response``."""
Http = Callable[[Call], Answer]
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
        http=Caller.from_environ(os.environ) if store.is_live else None,
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
        return whole(request, body, response)

    return search


def whole(request: SearchRequest, body: Mapping[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """The response, if nothing of it is missing. Raises StoreError."""
    for fault in faults(request, body, response):
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
        payload = answers.read(answer, given.response_content_type)
    except (TemplateError, CallError, answers.AnswerError) as error:
        raise RunError(f"{where}: {error}") from error
    found = extract(payload, given.extract) if given.extract else dict(payload)
    return {**found, "_status_code": answer.status, "_headers": answers.headers(answer)}


def faults(request: SearchRequest, body: Mapping[str, Any], response: Mapping[str, Any]) -> Iterator[str]:
    """Ways in which an answer is not whole; evaluated, it would be a quiet error."""
    if response.get("timed_out"):
        yield "the search timed out, its answer is partial"
    failed = response.get("_shards", {}).get("failed", 0)
    if failed:
        yield f"{failed} shards failed, the answer is partial"
    yield from _cut_terms(_below(body), response.get("aggregations", {}), "")
    hits = response.get("hits", {})
    total = hits.get("total", 0)
    total = total["value"] if isinstance(total, Mapping) else total
    size = int(body.get("size", 10))
    if size and "ml-profiles" in request.indices and total > len(hits.get("hits", ())):
        yield f"{total} profiles match and only {len(hits['hits'])} were returned: raise the body's 'size'"


def _below(node: Mapping[str, Any]) -> Mapping[str, Any]:
    aggs: Mapping[str, Any] = node.get("aggs") or node.get("aggregations") or {}
    return aggs


def _cut_terms(aggs: Mapping[str, Any], answers: Mapping[str, Any], path: str) -> Iterator[str]:
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
        below = _below(agg)
        if not below:
            continue
        buckets = answer.get("buckets")
        if buckets is None:
            yield from _cut_terms(below, answer, f"{path}{name}>")
            continue
        for bucket in buckets.values() if isinstance(buckets, Mapping) else buckets:
            yield from _cut_terms(below, bucket, f"{path}{name}>")


def extract(value: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """Only what the dotted paths reach, lists gone through (Watcher's ``extract``); ``*`` is any key."""
    kept = _extracted(value, [path.split(".") for path in paths])
    return kept if isinstance(kept, dict) else {}


def _extracted(value: Any, paths: list[list[str]]) -> Any:
    if any(not path for path in paths):
        return value
    if isinstance(value, list):
        return [kept for item in value if (kept := _extracted(item, paths)) is not None]
    if not isinstance(value, Mapping):
        return None
    if isinstance(value, Sample):
        return value
    result = {}
    for key, item in value.items():
        below = [path[1:] for path in paths if path[0] in (key, "*")]
        if below and (kept := _extracted(item, below)) is not None:
            result[key] = kept
    return result or None
