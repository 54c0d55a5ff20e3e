"""The Painless scripts against their Python twins, on random payloads, run by a real Elasticsearch."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from logging_lib._util import content
from logging_lib.store.connection import Connection
from logging_lib.watch.scripts import SCRIPTS
from tests.strategies import examples
from tests.watch import payloads
from tests.watch.test_scripts import WINDOWS, ctx, window

pytestmark = pytest.mark.elasticsearch

PAYLOADS_OF_EACH = 1_500
"""Of each strategy, of which there are seven."""

# The API answers with text only: a small wrapper around the script writes its result as JSON.
WRITE = r"""
String json(def v) {
  if (v == null) { return 'null'; }
  if (v instanceof String) {
    return '"' + v.replace('\\', '\\\\').replace('"', '\\"') + '"';
  }
  if (v instanceof Map) {
    StringBuilder b = new StringBuilder('{');
    for (def e : v.entrySet()) {
      if (b.length() > 1) { b.append(','); }
      b.append(json(e.getKey())).append(':').append(json(e.getValue()));
    }
    return b.append('}').toString();
  }
  if (v instanceof List) {
    StringBuilder b = new StringBuilder('[');
    for (def e : v) { if (b.length() > 1) { b.append(','); } b.append(json(e)); }
    return b.append(']').toString();
  }
  return v.toString();
}
"""


MAIN = "\ndef metadata ="
"""Where a script's functions end."""


def execute_all(url: str, script: str, contexts: list[dict[str, Any]]) -> list[Any]:
    """Return the results of a script in several contexts, by one request."""
    source = (content.path("watchers") / "scripts" / f"{script}.painless").read_text("utf-8")
    functions, _, main = source.partition(MAIN)
    body, _, result = main.rpartition("return [")
    wrapped = (
        f"{WRITE}{functions}\nString evaluate(def ctx) {{"
        f"{MAIN}{body}return json([{result.rstrip().rstrip(';')});}}\n"
        "List results = new ArrayList(); for (def ctx : params.contexts) { results.add(evaluate(ctx)); }"
        "return '[' + String.join(',', results) + ']';"
    )
    request = {"script": {"source": wrapped, "params": {"contexts": contexts}}}
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/_scripts/painless/_execute", json.dumps(request).encode(), headers)
    ) as answer:
        results: list[Any] = json.loads(json.load(answer)["result"])
    return results


def execute(url: str, script: str, context: dict[str, Any]) -> Any:
    (result,) = execute_all(url, script, [context])
    return result


names = st.sampled_from(["home", 'a"b', "c\\d", "e=f", "!g", "h%i", "ü", "n" * 128, "n" * 129, "=" * 43])
counts = st.integers(0, 400)


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    def ladder() -> list[dict[str, Any]]:
        windows, total = [], 0
        for _ in WINDOWS:
            total += draw(st.integers(0, 3000))
            hits = draw(st.dictionaries(names, st.floats(0, 1), max_size=4))
            values = draw(
                st.dictionaries(st.sampled_from(["home=x", "e%3Df=y%25", "%21g=z", "ü=%21"]), counts)
            )
            windows.append(window(total, {k: round(v * total, 2) for k, v in hits.items()}, values))
            if draw(st.booleans()):
                for bucket in (windows[-1], *windows[-1]["features"]["buckets"]):
                    weight = draw(st.sampled_from([1.0, 7.5, 100.0]))
                    total_weight = bucket["weight"]["value"]
                    squares = total_weight * weight if total_weight else None
                    bucket["sampling"] = {"sum": total_weight, "sum_of_squares": squares}
        return windows

    expected = {
        name: {"count": count, "rows": count + more, "dispersion": dispersion}
        for name, (count, more, dispersion) in draw(
            st.dictionaries(names, st.tuples(counts, counts, st.sampled_from([0.0, 0.001, 0.2])))
        ).items()
    }
    made = ctx(ladder(), expected=expected or None)
    for hit in made["payload"]["profiles"]["hits"]["hits"]:
        if draw(st.integers(0, 5)) == 0:  # a search leaves out what is empty
            hit["_source"]["expected"].pop("checks", None)
        if draw(st.booleans()):
            hit["_source"]["accepted"] = [{"feature": draw(names), "part": "unseen"}]
    (version,) = made["payload"]["window"]["aggregations"]["models"]["buckets"][0]["versions"]["buckets"]
    version |= payloads.services(draw)
    if draw(st.booleans()):
        earlier = ctx(ladder())["payload"]["window"]
        made["payload"]["week1"] = draw(st.sampled_from([payloads.EMPTY, payloads.NO_INDEX, earlier]))
        made["metadata"] = {**made["metadata"], "references": ["week1"]}
    if draw(st.booleans()):
        (before,) = ctx(ladder())["payload"]["window"]["aggregations"]["models"]["buckets"]
        (past,) = before["versions"]["buckets"]
        past |= past["windows"]["buckets"][draw(st.sampled_from(WINDOWS))]
        past["key"] = draw(st.sampled_from(["1", "2"]))
        answer = {"aggregations": {"models": payloads.terms([before])}}
        made["payload"]["baseline"] = draw(st.sampled_from([answer, payloads.NO_INDEX]))
        made["metadata"] = {**made["metadata"], "baseline": "8d"}
    if draw(st.booleans()):
        made["metadata"] = {**made["metadata"], "max_rates": {"unseen": 0.5}}
    if draw(st.booleans()):
        made["metadata"] = {**made["metadata"], "two_sided": ["unseen"]}
    made["trigger"] = {"scheduled_time": payloads.TIME}
    for hit in made["payload"]["profiles"]["hits"]["hits"]:
        hit["_source"]["expected"] |= draw(payloads.variation(["unseen"], draw(names), ["A"]))
    return made


@st.composite
def contexts_of_words(draw: st.DrawFn) -> dict[str, Any]:
    texts = ["title", "e=f", "!g"]
    words = st.sampled_from(["title=enfermera", 'title="%21', "e%3Df=x", "%21g=ü%25", "other=y", "none"])
    windows, total = [], 0
    for _ in WINDOWS:
        total += draw(st.integers(0, 1000))
        hits = draw(st.dictionaries(words, st.floats(0, 0.5), max_size=4))
        windows.append(window(total, {word: round(share * total, 2) for word, share in hits.items()}))
    made = ctx(windows, check="new_words")
    made["trigger"] = {"scheduled_time": payloads.TIME}
    known = st.fixed_dictionaries(
        {"count": st.integers(0, 20), "rows": st.integers(20, 4000), "dispersion": st.just(0.0)},
        optional={"candidates": st.integers(1, 50_000)},
    )
    (hit,) = made["payload"]["profiles"]["hits"]["hits"]
    hit["_source"]["expected"]["checks"] = {"new_words": draw(st.dictionaries(st.sampled_from(texts), known))}
    if draw(st.booleans()):
        numbers = {"1h": [draw(st.sampled_from([0.0, 0.02])), 0.0, 1.0]}
        hit["_source"]["expected"]["variation"] = {
            "source": draw(st.sampled_from(["default", "training"])),
            "until": "",
            "levels": {"1h": 3.0},
            "measures": {"new_words": {draw(st.sampled_from(["*", "title"])): numbers}},
        }
    return made


@pytest.mark.parametrize("script", payloads.PAYLOADS)
def test_both_versions_of_a_script_give_the_same(elasticsearch_url: str, script: str) -> None:
    """Random payloads; some must have findings, so that not only silence is compared."""
    with_findings = 0

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(payloads.PAYLOADS[script])
    def alike(context: dict[str, Any]) -> None:
        nonlocal with_findings
        expected = SCRIPTS[script](context, {})
        with_findings += expected["count"] > 0
        assert execute(elasticsearch_url, script, context) == expected

    alike()
    assert with_findings > 0


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contexts())
def test_painless_and_python_give_the_same(elasticsearch_url: str, context: dict[str, Any]) -> None:
    assert execute(elasticsearch_url, "ml-check-rate", context) == SCRIPTS["ml-check-rate"](context, {})


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contexts_of_words())
def test_painless_and_python_find_the_same_new_words(elasticsearch_url: str, context: dict[str, Any]) -> None:
    assert execute(elasticsearch_url, "ml-check-rate", context) == SCRIPTS["ml-check-rate"](context, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "strategy"),
    [*payloads.PAYLOADS.items(), ("ml-check-rate", contexts()), ("ml-check-rate", contexts_of_words())],
    ids=[*payloads.PAYLOADS, "ml-check-rate", "ml-check-rate-words"],
)
def test_both_versions_give_the_same_on_ten_thousand_payloads(
    elasticsearch_url: str, script: str, strategy: st.SearchStrategy[dict[str, Any]]
) -> None:
    """Over all scripts; in batches, since a request of its own for each would take most of the time."""
    batch: list[dict[str, Any]] = []
    compared = with_findings = 0

    def compare() -> None:
        nonlocal compared, with_findings
        expected = [SCRIPTS[script](context, {}) for context in batch]
        for context, ours, theirs in zip(
            batch, expected, execute_all(elasticsearch_url, script, batch), strict=True
        ):
            assert theirs == ours, json.dumps(context)
        compared += len(batch)
        with_findings += sum(result["count"] > 0 for result in expected)
        batch.clear()

    @settings(max_examples=PAYLOADS_OF_EACH, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(context: dict[str, Any]) -> None:
        batch.append(context)
        if len(batch) == 100:
            compare()

    collect()
    compare()
    assert compared >= PAYLOADS_OF_EACH
    assert with_findings > 0


def test_painless_refuses_a_cut_answer_too(elasticsearch_url: str) -> None:
    context = ctx([window(100, {"home": 30})] * 4)
    context["payload"]["window"]["aggregations"]["models"]["sum_other_doc_count"] = 7
    with pytest.raises(urllib.error.HTTPError) as caught:
        execute(elasticsearch_url, "ml-check-rate", context)
    with caught.value as answer:
        assert "models left out 7 documents" in answer.read().decode()


@pytest.mark.parametrize("watch_id", payloads.WATCHES)
def test_a_shipped_watch_gives_the_same_while_indices_are_lacking(
    elasticsearch_url: str, watch_id: str
) -> None:
    """With all streams, with each of them lacking, and on a fresh cluster that has none."""
    script, context = payloads.of_watch(watch_id)
    assert execute(elasticsearch_url, script, context) == SCRIPTS[script](context, {})
    for _, script, context in payloads.without_indices(watch_id):
        assert execute(elasticsearch_url, script, context) == SCRIPTS[script](context, {})


def test_elasticsearch_answers_without_aggregations_if_no_index_matches(
    elasticsearch: Connection,
) -> None:
    """Which is what the payloads above imitate."""
    body = {"size": 0, "aggs": {"models": {"terms": {"field": "ml.model.name"}}}}
    answer = elasticsearch.call("POST", "/logs-ml.nowhere-*/_search?rest_total_hits_as_int=true", body)
    assert answer.keys() == payloads.NO_INDEX.keys()
    assert (answer["_shards"], answer["hits"]) == (payloads.NO_INDEX["_shards"], payloads.NO_INDEX["hits"])
