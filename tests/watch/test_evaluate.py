"""Search → script → condition: what goes in, what comes out, what is refused as incomplete."""

from __future__ import annotations

from typing import Any

import pytest

from logging_lib.watch.errors import RunError
from logging_lib.watch.evaluate import (
    Evaluation,
    evaluate,
    extract,
    find_omissions,
    run_dependencies,
)
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import SearchRequest
from tests.watch.conftest import NOW, SCRIPTS, FakeStore, document, finding, minutes, watch


def run(altered: dict[str, Any], store: FakeStore, **scripts: Any) -> Evaluation:
    all_scripts = {**SCRIPTS, **scripts}
    loaded = parse_watch(altered, id="test", scripts=all_scripts)
    dependencies = run_dependencies(store, now=NOW, scripts=all_scripts)
    return evaluate(loaded, dependencies=dependencies, now=NOW, scheduled=NOW - minutes(1))


def test_the_search_is_rendered_and_its_answer_evaluated() -> None:
    """Windows refer to the scheduled time; the payload holds each input under its name."""
    store = FakeStore(lambda now: [finding()])
    evaluation = run(document(), store)
    ((indices, body, now),) = store.searches
    assert indices == ["logs-ml.prediction-*"]
    assert body["query"]["range"]["event.ingested"]["gt"] == "2018-02-01T11:59:00.000Z||-15m"
    assert now == NOW
    assert evaluation.met
    assert evaluation.payload["result"]["count"] == 1
    assert evaluation.payload["window"]["findings"] == [finding()]


def test_a_timeout_goes_with_the_search() -> None:
    """What comes back partial because of it is a failed run."""
    altered = document()
    altered["input"]["chain"]["inputs"][0]["window"]["search"]["timeout"] = "30s"
    store = FakeStore()
    run(altered, store)
    assert store.searches[0][1]["timeout"] == "30s"
    store.extra = {"timed_out": True}
    with pytest.raises(RunError, match="the search timed out"):
        run(altered, store)


def test_the_context_of_templates_is_that_of_watcher() -> None:
    """Times are ISO strings with milliseconds; ids do not change when the same run is repeated."""
    ctx = run(document(), FakeStore()).context["ctx"]
    assert ctx["execution_time"] == "2018-02-01T12:00:00.000Z"
    assert ctx["trigger"] == {
        "triggered_time": "2018-02-01T12:00:00.000Z",
        "scheduled_time": "2018-02-01T11:59:00.000Z",
    }
    assert (ctx["watch_id"], ctx["id"]) == ("test", "test_2018-02-01T12:00:00.000Z")
    assert ctx["metadata"]["title"] == "Test"


def test_simple_none_and_nested_chain_inputs() -> None:
    """Each input of a chain sees what came before it."""
    seen = []

    def spy(ctx: Any, params: Any) -> dict[str, Any]:
        seen.append((dict(ctx["payload"]), params))
        return {"n": 1}

    altered = document()
    altered["input"] = {
        "chain": {
            "inputs": [
                {"a": {"simple": {"x": 1}}},
                {"b": {"none": {}}},
                {"c": {"chain": {"inputs": [{"d": {"transform": {"script": {"id": "spy"}}}}]}}},
                {"e": {"transform": {"chain": [{"script": {"id": "spy", "params": {"p": 2}}}]}}},
            ]
        }
    }
    altered["condition"] = {"compare": {"ctx.payload.e.n": {"eq": 1}}}
    altered["actions"] = {}
    evaluation = run(altered, FakeStore(), spy=spy)
    assert evaluation.met
    assert evaluation.payload == {"a": {"x": 1}, "b": {}, "c": {"d": {"n": 1}}, "e": {"n": 1}}
    assert seen[1] == ({"a": {"x": 1}, "b": {}, "c": {"d": {"n": 1}}}, {"p": 2})


def test_a_failing_search_or_script_names_itself() -> None:
    """The run's error says which input and why."""
    store = FakeStore()
    store.broken_at = "models"
    with pytest.raises(RunError, match=r"^input\.window\.search: \$\.query: the shard is gone$"):
        run(document(), store)

    def broken(ctx: Any, params: Any) -> dict[str, Any]:
        raise KeyError("expected")

    altered = document()
    altered["input"]["chain"]["inputs"][1]["result"]["transform"]["script"]["id"] = "broken"
    with pytest.raises(RunError, match=r"input\.result\.transform: script 'broken': KeyError: 'expected'"):
        run(altered, FakeStore(), broken=broken)
    with pytest.raises(RunError, match="there is no script 'pass-through'"):
        evaluate(
            watch(), dependencies=run_dependencies(FakeStore(), now=NOW, scripts={}), now=NOW, scheduled=NOW
        )


TERMS = {"terms": {"field": "ml.model.name"}}


@pytest.mark.parametrize(
    ("indices", "body", "response", "expected"),
    [
        ("a", {}, {"timed_out": True}, "timed out"),
        ("a", {}, {"_shards": {"failed": 1}}, "1 shards failed"),
        ("a", {"aggs": {"m": TERMS}}, {"aggregations": {"m": {"sum_other_doc_count": 7}}}, "m left out 7"),
        (
            "a",
            {"aggs": {"m": {**TERMS, "aggs": {"f": {"filter": {}, "aggs": {"v": TERMS}}}}}},
            {"aggregations": {"m": {"buckets": [{"f": {"v": {"sum_other_doc_count": 2}}}]}}},
            "m>f>v left out 2",
        ),
        (
            "a",
            {"aggs": {"w": {"filters": {"filters": {"1h": {}}}, "aggregations": {"v": TERMS}}}},
            {"aggregations": {"w": {"buckets": {"1h": {"v": {"sum_other_doc_count": 3}}}}}},
            "w>v left out 3",
        ),
        ("ml-profiles", {"size": 1}, {"hits": {"total": 2, "hits": [{}]}}, "2 profiles match and only 1"),
        ("ml-profiles", {}, {"hits": {"total": {"value": 11}, "hits": [{}] * 10}}, "raise the body's 'size'"),
    ],
)
def test_an_answer_that_is_cut_is_an_error(indices: str, body: Any, response: Any, expected: str) -> None:
    """Evaluated, it would be a silent error."""
    request = SearchRequest(indices=(indices,), body=body)
    (fault,) = find_omissions(request, body, response)
    assert expected in fault


def test_terms_that_are_cut_at_the_size_that_the_watch_states_are_a_warning() -> None:
    """Watcher's authors mean "the ten largest" by it: the run goes on, and says what it left out."""
    store = FakeStore()
    store.extra = {"aggregations": {"m": {"sum_other_doc_count": 7, "buckets": [{"key": "a"}]}}}
    body = {"size": 0, "aggs": {"m": {"terms": {"field": "ml.model.name", "size": 1}}}}
    search = {"search": {"request": {"indices": ["a"], "body": body}}}
    own = parse_watch({"trigger": {"schedule": {"interval": "5m"}}, "input": search}, id="own")
    dependencies = run_dependencies(store, now=NOW)
    assert evaluate(own, dependencies=dependencies, now=NOW, scheduled=NOW).met
    (warning,) = dependencies.warnings
    assert "aggregation m left out 7 documents" in warning


def test_a_search_for_the_largest_terms_may_be_cut() -> None:
    """``meta.top`` says so; hits of other indices are samples anyway."""
    body = {"aggs": {"m": {**TERMS, "meta": {"top": True}}}}
    request = SearchRequest(indices=("logs-x",), body=body)
    response = {
        "aggregations": {"m": {"sum_other_doc_count": 7, "buckets": []}},
        "hits": {"total": 50, "hits": []},
    }
    assert not list(find_omissions(request, body, response))


def test_extract_keeps_only_the_requested_paths() -> None:
    """Dotted paths, lists gone through, ``*`` for any key."""
    response = {
        "took": 3,
        "hits": {"total": 2, "hits": [{"_id": "a", "_source": {"x": 1}}, {"_id": "b"}]},
        "aggregations": {"m": {"buckets": [{"key": 1, "doc_count": 2}]}},
    }
    assert extract(response, ("hits.total",)) == {"hits": {"total": 2}}
    assert extract(response, ("hits.hits._id", "aggregations")) == {
        "hits": {"hits": [{"_id": "a"}, {"_id": "b"}]},
        "aggregations": response["aggregations"],
    }
    assert extract(response, ("aggregations.*.buckets.key",)) == {
        "aggregations": {"m": {"buckets": [{"key": 1}]}}
    }
    assert extract(response, ("nothing",)) == {}
