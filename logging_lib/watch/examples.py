"""Complete the examples of values in findings about failed checks: a few of each feature.

A watch's search returns the most frequent failing values of all features together, so one feature with many values
hides the others'. The runner therefore asks for the values of each feature that somebody will be notified of. Only
the runner does this: Watcher cannot search after its script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from logging_lib._util.text import shorten
from logging_lib._util.times import format_instant
from logging_lib.watch.evaluate import AskStore, new_context
from logging_lib.watch.findings import Finding, by_model_version
from logging_lib.watch.model import Watch
from logging_lib.watch.scripts.check_rate import MAX_VALUES_SHOWN
from logging_lib.watch.scripts.common import decode_value, encode_prefix, new_line
from logging_lib.watch.scripts.formatting import format_example, round_half_up
from logging_lib.watch.templating import render_json

Json = dict[str, Any]

LINE: Final = "Values"
_BEFORE: Final = "First seen"
MAX_VERSIONS, MAX_FINDINGS = 5, 50
"""The largest numbers of model versions that a run asks about, and of findings of each."""
_LUCENE: Final = re.compile(r'[.?+*|{}\[\]()"\\#@&<>~^$-]')


def complete_values(
    watch: Watch, findings: Iterable[Finding], ask: AskStore, *, now: datetime, scheduled: datetime
) -> None:
    """Fill in ``values`` and the line ``LINE`` of findings that list fewer values than failed.

    There is one search for each model version. If it fails, a finding keeps what it has, or the line says why.

    Args:
        findings: findings of one run of the watch for which ``lists_too_few_values`` is true.
    """
    chain = watch.definition.input.chain
    step = dict(chain.items()).get("window") if chain is not None else None
    if step is None or step.search is None:
        return
    request = step.search.request
    body = render_json(request.text, {**new_context(watch, now=now, scheduled=scheduled), **request.params})
    field = _find_field(body)
    if field is None:
        return
    for (model, version), group in list(by_model_version(findings).items())[:MAX_VERSIONS]:
        asked = group[:MAX_FINDINGS]
        filters = [
            body.get("query", {"match_all": {}}),
            {"term": {"ml.model.name": model}},
            {"term": {"ml.model.version": version}},
        ]
        aggs = {
            str(place): _count_values(field, finding, format_instant(scheduled))
            for place, finding in enumerate(asked)
        }
        try:
            answer = ask(request.indices, {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": aggs})
            counted = answer.get("aggregations") or {}
        except Exception as error:  # noqa: BLE001 - an alert is sent with fewer examples rather than not at all
            counted = {}
            for finding in asked:
                if not finding["values"]:
                    _put_line(finding, f"unknown: {shorten(error, 200)}")
        for place, finding in enumerate(asked):
            if buckets := counted.get(str(place), {}).get("values", {}).get("buckets"):
                _put_values(finding, buckets)


def _find_field(body: Mapping[str, Any]) -> str | None:
    """Return the field of the failing values that the watch's search counts; None if it counts none."""
    for name, aggregation in (body.get("aggs") or {}).items():
        if name == "failing":
            return str(aggregation["aggs"]["values"]["terms"]["field"])
        if field := _find_field(aggregation):
            return field
    return None


def _count_values(field: str, finding: Finding, until: str) -> Json:
    window = {"range": {"event.ingested": {"gt": f"{until}||-{finding['window']}", "lte": until}}}
    failed = {"term": {f"ml.check.{finding['check']}": finding["feature"]}}
    prefix = _LUCENE.sub(r"\\\g<0>", encode_prefix(str(finding["feature"])))
    terms = {"field": field, "size": MAX_VALUES_SHOWN, "include": f"{prefix}.*"}
    weight = {"weight": {"sum": {"field": "ml.sample.weight"}}}
    return {
        "filter": {"bool": {"filter": [window, failed]}},
        "aggs": {"values": {"terms": terms, "aggs": weight}},
    }


def _put_values(finding: Finding, buckets: Iterable[Mapping[str, Any]]) -> None:
    prefix = encode_prefix(str(finding["feature"]))
    values: list[Json] = [
        {
            "value": decode_value(bucket["key"][len(prefix) :]),
            "count": round_half_up(bucket["weight"]["value"]),
        }
        for bucket in buckets
    ]
    finding["values"] = values
    _put_line(finding, ", ".join(format_example(value["value"], value["count"]) for value in values))


def _put_line(finding: Finding, text: str) -> None:
    lines = [line for line in finding["lines"] if line["name"] != LINE]
    names = [line["name"] for line in lines]
    place = names.index(_BEFORE) if _BEFORE in names else len(lines)
    finding["lines"][:] = [*lines[:place], new_line(LINE, text), *lines[place:]]
