"""What a real Elasticsearch does with hostile and with very many events under our templates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from logging_lib._util import content
from logging_lib.schema.templates import FIELD_LIMIT
from logging_lib.store.connection import Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.evaluate import RunDependencies, evaluate, store_search
from logging_lib.watch.loading import load_watches
from logging_lib.watch.scripts import SCRIPTS
from logging_lib.watch.validation.metadata import needs_profiles
from tests.store import elastic
from tests.store.events import event, iso

pytestmark = pytest.mark.elasticsearch


@pytest.fixture
def store(elasticsearch: Connection) -> ElasticsearchStore:
    return elastic.store(elasticsearch)


@pytest.fixture
def stream() -> str:
    return elastic.new_stream()


def inputs(number: int, **kinds: Any) -> dict[str, Any]:
    return event(number, ml__input=kinds)


def ignored(store: ElasticsearchStore, stream: str) -> dict[str, int]:
    """Field → documents in which it was ignored, as anybody can ask for it."""
    body = {"size": 0, "aggs": {"fields": {"terms": {"field": "_ignored", "size": 10_000}}}}
    buckets = store.search(stream, body)["aggregations"]["fields"]["buckets"]
    return {bucket["key"]: bucket["doc_count"] for bucket in buckets}


def count(store: ElasticsearchStore, stream: str, query: Mapping[str, Any]) -> int:
    body = {"size": 0, "track_total_hits": True, "query": query}
    total: int = store.search(stream, body)["hits"]["total"]["value"]
    return total


UGLY: list[tuple[dict[str, Any], set[str]]] = [
    ({"numeric": {"a": 1, "a.b": 2, "a.b.c": 3}}, set()),
    ({"numeric": {"a": {"b": 4}}}, set()),
    ({"numeric": {"a": "N/A"}}, {"ml.input.numeric.a"}),
    ({"numeric": {"a": True, "a.b": [1, "x"]}}, {"ml.input.numeric.a", "ml.input.numeric.a.b"}),
    ({"numeric": {"new": "first seen as a text"}}, {"ml.input.numeric.new"}),
    ({"category": {"a": 5, "b": True, "c": "x" * 1025}}, {"ml.input.category.c"}),
    ({"category": {"a": {"deep": {"er": "x"}}}}, set()),
    ({"boolean": {"a": "maybe"}, "date": {"a": "yesterday"}}, {"ml.input.boolean.a", "ml.input.date.a"}),
    ({"date": {"a": "2018-02-01"}, "boolean": {"a": "true"}}, set()),
    ({"text": {"a": "word " * 20_000}, "other": {"a": {"b": [1, {"c": None}]}, "a.b": "x"}}, set()),
    ({"numeric": {"": 1}}, None),  # type: ignore[list-item]
    ({"numeric": {"é ü/%*?": 1.5, "n" * 2000: 2.5}}, set()),
]


def test_no_value_of_an_input_makes_elasticsearch_refuse_the_event(
    store: ElasticsearchStore, stream: str
) -> None:
    """What a field's type does not take is in ``_ignored`` and in the source; a nameless input is refused."""
    taken = [(ugly, expected) for ugly, expected in UGLY if expected is not None]
    result = store.index(stream, [inputs(n, **ugly) for n, (ugly, _) in enumerate(taken)])
    assert (result.created, result.failed) == (len(taken), ())
    store.refresh()
    hits = store.search(stream, {"size": 100, "sort": ["@timestamp"]})["hits"]["hits"]
    for hit, (ugly, expected) in zip(hits, taken, strict=True):
        assert set(hit.get("_ignored", ())) == expected
        assert hit["_source"]["ml"]["input"] == ugly
    assert count(store, stream, {"term": {"ml.input.numeric.a.b": 4}}) == 1
    assert count(store, stream, {"term": {"ml.input.category.a.deep.er": "x"}}) == 1
    assert count(store, stream, {"term": {"ml.input.numeric.é ü/%*?": 1.5}}) == 1
    total = sum(len(expected) for _, expected in taken)
    assert sum(ignored(store, stream).values()) == total


def test_a_refusal_has_its_reason(store: ElasticsearchStore, stream: str) -> None:
    wrong = [
        event(1, ml__model={"name": {"first": "x"}}),
        event(2, **{"@timestamp": "yesterday"}),
        event(3, ml__input={"numeric": 5}),
        event(4, ml__input={"numeric": {"": 5}}),
    ]
    result = store.index(stream, [event(0), *wrong, event(5)])
    assert result.created == 2
    assert [identity for identity, _ in result.failed] == ["e1", "e2", "e3", "e4"]
    assert "ml.model.name" in result.failed[0][1]
    assert "@timestamp" in result.failed[1][1]


def test_arrival_and_id_are_added_if_the_sender_gave_none(
    store: ElasticsearchStore, stream: str, elasticsearch: Connection
) -> None:
    """So that a shipper which knows nothing of us does no harm: its second delivery is a duplicate, too."""
    bare = event(1)
    del bare["event"]["ingested"]
    complete = event(2)
    lines = "".join(
        json.dumps(line) + "\n" for document in (bare, complete, bare) for line in ({"create": {}}, document)
    )
    before = datetime.now(UTC)
    answer = elasticsearch.call("POST", f"/{stream}/_bulk", lines.encode(), params={"refresh": "true"})
    assert [item["create"]["status"] for item in answer["items"]] == [201, 201, 409]
    hits = store.search(stream, {"sort": ["@timestamp"]})["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["e1", "e2"]
    arrived = datetime.fromisoformat(hits[0]["_source"]["event"]["ingested"])
    assert abs((arrived - before).total_seconds()) < 60
    assert hits[1]["_source"]["event"]["ingested"] == complete["event"]["ingested"]


def test_the_stream_has_our_mode_and_pipeline(
    elasticsearch: Connection, store: ElasticsearchStore, stream: str
) -> None:
    store.index(stream, [event(1)])
    answer = elasticsearch.call("GET", f"/{quote(stream)}/_settings")
    (settings,) = [settings_body["settings"]["index"] for settings_body in answer.values()]
    assert settings["mode"] == "standard"
    assert settings["final_pipeline"] == "logs-ml@final"


MODELS, FEATURES = 500, 50


def clashing() -> Iterator[dict[str, Any]]:
    """Names that are shared, nested in each other or a model's own, with a type by turns."""
    kinds = {
        "numeric": [1.5, "N/A", True, 2**70],
        "category": ["x", 5, True, "y" * 2000],
        "boolean": [True, "no", 1, "false"],
        "date": ["2018-02-01", "soon", 5, "2018-02-01T00:00:00Z"],
        "text": ["a word", 5, True, ""],
    }
    for model in range(MODELS):
        values: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
        for feature in range(FEATURES):
            kind = list(kinds)[(model + feature) % len(kinds)]
            name = (f"shared{feature}", f"shared.{feature}.x", f"m{model}.f{feature}")[feature % 3]
            values[kind][name] = kinds[kind][(model * 7 + feature) % 4]
        checks = {"missing": [f"m{model}.f2"]}
        yield event(
            model, ml__model={"name": f"m{model}", "version": "1"}, ml__input=values, ml__check=checks
        )


@pytest.mark.slow
def test_many_models_with_clashing_names_neither_fail_nor_grow_the_mapping_past_its_limit(
    store: ElasticsearchStore, stream: str, elasticsearch: Connection
) -> None:
    """What is beyond the limit is stored and reported by ``_ignored``; checks are searchable for all."""
    result = store.index(stream, clashing())
    assert (result.created, result.failed) == (MODELS, ())
    store.refresh()
    (mapping,) = elasticsearch.call("GET", f"/{quote(stream)}/_mapping").values()
    assert FIELD_LIMIT * 0.9 < fields(mapping["mappings"]["properties"]) <= FIELD_LIMIT
    reported = ignored(store, stream)
    last = f"m{MODELS - 1}.f2"
    assert any(name.endswith(last) for name in reported)
    assert count(store, stream, {"term": {"ml.check.missing": last}}) == 1
    (hit,) = store.search(stream, {"query": {"term": {"ml.model.name": f"m{MODELS - 1}"}}})["hits"]["hits"]
    assert sum(map(len, hit["_source"]["ml"]["input"].values())) == FEATURES
    assert not any(name.endswith(".shared0") and reported[name] == MODELS for name in reported)


def fields(properties: Mapping[str, Any]) -> int:
    """As Elasticsearch counts them: objects, too."""
    return sum(1 + fields(node.get("properties", {})) for node in properties.values())


WATCHED, WIDE, BINS = 40, 100, 20
CHECKED = ("missing", "unseen", "oov", "out_of_range")
NOW = datetime(2018, 2, 1, 12, 0, tzinfo=UTC)


def busy() -> Iterator[dict[str, Any]]:
    """40 models, two versions each, 100 features that fail every check in all events but two and fill 20 bins.

    In all of them it would be a vanished feature, which is another watch's concern.
    """
    number = 0
    for model in range(WATCHED):
        for version in "12":
            for turn in range(BINS):
                number += 1
                failing = [f"feature_{number:03}" for number in range(WIDE)]
                moment = iso(NOW.replace(hour=11, minute=46, second=turn))
                bins = [f"{name}=bin{(turn + k) % BINS}" for k, name in enumerate(failing)]
                yield event(
                    number,
                    **{"@timestamp": moment},
                    event={"id": f"busy{number}", "dataset": "ml.prediction", "ingested": moment},
                    ml={
                        "model": {"name": f"model-{model:02}", "version": version, "role": "live"},
                        "profile": {"status": "matched"},
                        "sample": {"weight": 1.0},
                        "check": {
                            **dict.fromkeys(CHECKED, failing if turn > 1 else []),
                            "unseen_values": [f"{name}=new{turn % 5}" for name in failing],
                        },
                        "text": {"oov_words": [f"{name}=word{turn % 5}" for name in failing]},
                        "input": {"bins": bins},
                    },
                )


def profiles() -> Iterator[dict[str, Any]]:
    for model in range(WATCHED):
        for version in "12":
            name = f"model-{model:02}"
            expected = {
                f"feature_{number:03}": {"count": 1, "rows": 2000, "dispersion": 0.0}
                for number in range(WIDE)
            }
            checks = dict.fromkeys(CHECKED, expected)
            yield {
                "_id": f"{name}:{version}",
                "ml": {"model": {"name": name, "version": version}},
                "deployed": True,
                "expected": {"features": WIDE, "checks": checks},
            }


@pytest.mark.slow
def test_no_shipped_search_is_refused_or_cut_at_forty_models(
    store: ElasticsearchStore, elasticsearch: Connection, stream: str
) -> None:
    """Each watch runs as it is shipped; those of a check find each failing feature of each model version."""
    result = store.index(stream, busy())
    assert (result.created, result.failed) == (WATCHED * 2 * BINS, ())
    assert store.index("ml-profiles", profiles()).failed == ()
    store.refresh()
    try:
        for watch in load_watches(content.path("watchers")):
            evaluation = evaluate(
                watch,
                dependencies=RunDependencies(only(stream, store_search(store, NOW)), SCRIPTS),
                now=NOW,
                scheduled=NOW,
            )
            if watch.metadata.get("check") in CHECKED and needs_profiles(watch.definition):
                assert evaluation.payload["result"]["count"] == WATCHED * 2 * WIDE, watch.id
    finally:
        query = {"query": {"prefix": {"ml.model.name": "model-"}}}
        elasticsearch.call("POST", "/ml-profiles/_delete_by_query", query, params={"refresh": "true"})


def only(stream: str, search: Any) -> Any:
    """The events of this test, among those that others left in streams of the same pattern."""

    def found(request: Any, timeout: Any, context: Mapping[str, Any]) -> dict[str, Any]:
        namespace = stream.rpartition("-")[2]
        names = [name.replace("-*", f"-{namespace}") for name in request.indices]
        asked = request.model_copy(update={"indices": tuple(names)})
        answer: dict[str, Any] = search(asked, timeout, context)
        return answer

    return found


def test_an_index_beside_our_patterns_is_not_ours(elasticsearch: Connection) -> None:
    """Elastic's own integrations keep their templates: ours match the five datasets only."""
    simulated = elasticsearch.call("POST", "/_index_template/_simulate_index/logs-ml.other-default")
    assert "logs-ml@final" not in json.dumps(simulated)
