"""What is particular to the embedded store: files, ids, several processes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logging_lib.store import IndexResult, QueryNotSupported, SearchError, StoreError
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store.events import NOW, STREAM, event

COUNT = {"size": 0, "track_total_hits": True}


def total(store: EmbeddedStore, indices: str | list[str] = "*", **query: Any) -> int:
    body = {**COUNT, "query": query} if query else COUNT
    value: int = store.search(indices, body, now=NOW)["hits"]["total"]["value"]
    return value


def path_of(tmp_path: Path) -> Path:
    return tmp_path / STREAM / "documents.jsonl"


# -- indexing ----------------------------------------------------------------------------------------------


def test_a_duplicate_id_is_counted_and_not_stored(store: EmbeddedStore) -> None:
    first, again = event(1, ml__model__name="first"), event(1, ml__model__name="second")
    assert store.index(STREAM, [first, again, event(2)], now=NOW) == IndexResult(created=2, duplicates=1)
    assert store.index(STREAM, [again], now=NOW) == IndexResult(duplicates=1)
    assert total(store) == 2
    assert total(store, term={"ml.model.name": "second"}) == 0


def test_ingested_is_set_unless_the_document_has_it(store: EmbeddedStore) -> None:
    document = event(1)
    absent = event(2)
    del absent["event"]["ingested"]
    store.index(STREAM, [document, absent], now=NOW)
    hits = store.search(STREAM, {"sort": ["@timestamp"], "_source": ["event.ingested"]})["hits"]["hits"]
    assert [hit["_source"]["event"]["ingested"] for hit in hits] == [
        document["event"]["ingested"],
        "2018-02-03T15:41:27.123456Z",
    ]
    assert "ingested" not in absent["event"], "the caller's document is not touched"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"@timestamp": "2018-02-01T00:00:00Z"}, "event.id"),
        (event(1, event__duration="soon"), "event.duration"),
        (event(1, ml__text={"tokens": 2**31}), "ml.text.tokens"),
        (event(1, **{"@timestamp": "yesterday"}), "@timestamp"),
        (event(1, ml__input={"numeric": {"a.b": "N/A"}}), "ml.input.numeric.a.b"),
        (event(1, ml__input={"boolean": {"x": 1}}), "ml.input.boolean.x"),
        (event(1, ml__model={"name": {"first": "x"}}), "ml.model.name"),
        (event(1, labels={"x": object()}), "not JSON"),
        (event(1, message="\ud800"), "not JSON"),
    ],
)
def test_a_document_that_the_mapping_does_not_take_fails_alone(
    document: dict[str, Any], reason: str, store: EmbeddedStore
) -> None:
    result = store.index(STREAM, [event(0), document, event(2)], now=NOW)
    assert (result.created, len(result.failed)) == (2, 1)
    assert reason in result.failed[0][1]


def test_an_index_replaces_by_id(store: EmbeddedStore) -> None:
    store.index("ml-profiles", [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    store.index("ml-profiles", [{"_id": "a", "n": 3}])
    hits = store.search("ml-profiles", {"sort": ["n"]})["hits"]["hits"]
    assert [(hit["_id"], hit["_source"]) for hit in hits] == [("b", {"n": 2}), ("a", {"n": 3})]


@pytest.mark.parametrize("target", ["", "../x", "a/b", "Upper", ".hidden", "a b", "a*", "-x", "a,b", "x\x00"])
def test_hostile_names_of_targets(target: str, tmp_path: Path) -> None:
    with (
        EmbeddedStore(tmp_path / "store") as store,
        pytest.raises(StoreError, match="is not a name for an index"),
    ):
        store.index(target, [event(1)])
    assert [path.name for path in tmp_path.rglob("*")] == ["store"]


def test_threads_share_a_store(store: EmbeddedStore) -> None:
    def work(number: int) -> None:
        for step in range(10):
            store.index(STREAM, [event(100 * number + step)], now=NOW)
            total(store)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total(store) == 40


# -- files -------------------------------------------------------------------------------------------------


def test_a_second_store_sees_what_was_indexed(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as writer, EmbeddedStore(tmp_path, read_only=True) as reader:
        writer.index(STREAM, [event(1)], now=NOW)
        assert total(reader) == 1
        writer.index(STREAM, [event(2)], now=NOW)
        reader.refresh()
        assert total(reader) == 2
    with EmbeddedStore(tmp_path) as again:
        assert again.index(STREAM, [event(1), event(3)], now=NOW) == IndexResult(created=1, duplicates=1)
        assert total(again) == 3


def test_two_writers(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as first, EmbeddedStore(tmp_path) as other:
        for number in range(6):
            (first, other)[number % 2].index(STREAM, [event(number)], now=NOW)
        first.refresh()
        other.refresh()
        assert (total(first), total(other)) == (6, 6)
        assert len(path_of(tmp_path).read_bytes().splitlines()) == 6


def test_read_only_writes_nothing(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "none", read_only=True) as store:
        with pytest.raises(StoreError, match="read-only"):
            store.index(STREAM, [event(1)])
        assert total(store) == 0
    assert not (tmp_path / "none").exists()


def test_a_torn_last_line_is_skipped_and_counted(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.index(STREAM, [event(1), event(2)], now=NOW)
    file = path_of(tmp_path)
    file.write_bytes(file.read_bytes()[:-40])
    with EmbeddedStore(tmp_path) as store:
        assert total(store) == 1
        assert store.torn_lines == 1
        store.index(STREAM, [event(3)], now=NOW)
        assert total(store) == 2
    with EmbeddedStore(tmp_path) as store:
        assert total(store) == 2
        assert store.torn_lines == 1
        assert store.index(STREAM, [event(2)], now=NOW).created == 1


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_is_read_once_it_is_whole(cut: int, tmp_path: Path) -> None:
    line = json.dumps(event(1)).encode() + b"\n"
    file = path_of(tmp_path)
    file.parent.mkdir()
    file.write_bytes(line + line.replace(b"e1", b"e2")[:-cut])
    with EmbeddedStore(tmp_path) as store:
        assert total(store) == (2 if cut == 1 else 1)
        with file.open("ab") as opened:
            opened.write(line[-cut:])
        store.refresh()
        assert (total(store), store.torn_lines) == (2, 0)


def test_lines_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    (tmp_path / STREAM).mkdir()
    (tmp_path / STREAM / "a.jsonl").write_text("5\n" + json.dumps(event(1)) + "\n[1]\n")
    with EmbeddedStore(tmp_path) as store:
        assert (total(store), store.torn_lines) == (1, 2)


def test_what_could_not_be_written_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with EmbeddedStore(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr("logging_lib.store.duckdb.files.os.write", full)
            with pytest.raises(OSError, match="No space"):
                store.index(STREAM, [event(1)], now=NOW)
        assert store.index(STREAM, [event(1)], now=NOW) == IndexResult(created=1)
        assert total(store) == 1


def test_damaged_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / STREAM
    folder.mkdir()
    good = json.dumps(event(1)).encode()
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    lines = [
        b"{",
        b"5",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"",
        b"   ",
        b'{"event": {"id": "nan"}, "x": NaN}',
        deep,
        good,
    ]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with EmbeddedStore(tmp_path) as store:
        assert total(store, term={"event.id": "e1"}) == 1
        assert total(store, exists={"field": "ml.model.name"}) == 1
        assert store.torn_lines >= 5
        assert all("_source" in hit for hit in store.search("*", {})["hits"]["hits"])


def test_files_added_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / STREAM
    folder.mkdir()
    (folder / "some.jsonl").write_text(json.dumps(event(1)) + "\n" + json.dumps(event(1)) + "\n")
    rows = [
        {
            "@timestamp": datetime(2018, 2, 1, 9, 5, tzinfo=UTC),
            "event": {"id": "p1"},
            "ml": {"input": {"numeric": {"x": 2.5}}, "check": {"missing": ["a"]}, "model": {"name": None}},
        },
        {
            "@timestamp": datetime(2018, 2, 1, 9, 6, tzinfo=UTC),
            "event": {"id": "p2"},
            "ml": {
                "input": {"numeric": {"x": float("nan")}},
                "check": {"missing": []},
                "model": {"name": "m"},
            },
        },
    ]
    with EmbeddedStore(tmp_path) as store:
        assert total(store) == 1
        pq.write_table(pa.Table.from_pylist(rows), folder / "more.parquet")
        store.refresh()
        assert total(store) == 3
        assert total(store, range={"@timestamp": {"gte": "2018-02-01T09:05:00Z"}}) == 2
        assert total(store, exists={"field": "ml.input.numeric.x"}) == 1
        assert total(store, term={"ml.check.missing": "a"}) == 1
        assert total(store, exists={"field": "ml.model.name"}) == 2


def test_flat_columns_in_parquet(tmp_path: Path) -> None:
    (tmp_path / STREAM).mkdir()
    table = pa.table({"event.id": ["x"], "ml.model.name": ["loans"], "ml.input.numeric.a.b": [1.5]})
    pq.write_table(table, tmp_path / STREAM / "flat.parquet")
    with EmbeddedStore(tmp_path) as store:
        assert total(store, term={"ml.model.name": "loans"}) == 1
        assert total(store, term={"ml.input.numeric.a.b": 1.5}) == 1
        assert total(store, ids={"values": ["x"]}) == 1


def test_values_in_files_that_no_field_takes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / STREAM).mkdir()
    odd = [
        event(0, event__duration="soon", ml__model__name=["a", "b"]),
        event(1, **{"@timestamp": 1517475600000}, ml__check__missing="x", event__duration="7"),
        event(2, ml__prediction__bin="[10,12)", event__duration=5.9),
    ]
    (tmp_path / STREAM / "a.jsonl").write_text("".join(json.dumps(odd_event) + "\n" for odd_event in odd))
    with EmbeddedStore(tmp_path) as store:
        assert total(store, exists={"field": "event.duration"}) == 2
        assert total(store, term={"event.duration": 5}) == 1
        assert total(store, term={"ml.model.name": "b"}) == 1
        assert total(store, term={"ml.check.missing": "x"}) == 1
        assert total(store, term={"ml.prediction.bin": "[10,12)"}) == 1
        assert total(store, term={"@timestamp": "2018-02-01T09:00:00Z"}) == 2


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as writer:
        writer.index(STREAM, [event(1), event(2)], now=NOW)
    with EmbeddedStore(tmp_path, read_only=True) as reader:
        assert total(reader) == 2
        file = path_of(tmp_path)
        lines = file.read_bytes().splitlines(keepends=True)
        file.unlink()
        file.write_bytes(lines[0])
        reader.refresh()
        assert total(reader) == 1
        file.unlink()
        reader.refresh()
        assert total(reader) == 0


def test_replaced_documents_are_cleared_away(tmp_path: Path) -> None:
    state = {"_id": "watch", "text": "x" * 300_000}
    with EmbeddedStore(tmp_path) as store:
        for number in range(6):
            store.index("ml-watch-state", [{**state, "n": number}])
    assert (tmp_path / "ml-watch-state" / "documents.jsonl").stat().st_size < 400_000
    with EmbeddedStore(tmp_path) as store:
        assert store.search("ml-watch-state", {"_source": "n"})["hits"]["hits"][0]["_source"] == {"n": 5}


# -- targets and free documents ----------------------------------------------------------------------------


def test_names_patterns_and_lists_of_indices(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.index("logs-ml.prediction-default", [event(1)], now=NOW)
        store.index("logs-ml.prediction-eu", [event(1), event(2)], now=NOW)
        store.index("ml-profiles", [{"_id": "p"}])
    with EmbeddedStore(tmp_path) as store:
        assert total(store, "logs-ml.prediction-*") == 3
        assert total(store, "logs-*,ml-profiles") == 4
        assert total(store, ["logs-*", "-*-eu"]) == 1
        assert total(store, "_all") == 4
        assert total(store, "no-such,nor-*") == 0
        assert (
            store.search("nothing", {"aggs": {"a": {"terms": {"field": "x"}}}})["aggregations"]["a"][
                "buckets"
            ]
            == []
        )
        answer = store.search("logs-*", {"size": 0, "aggs": {"i": {"terms": {"field": "_index"}}}})
        assert [bucket["key"] for bucket in answer["aggregations"]["i"]["buckets"]] == [
            "logs-ml.prediction-eu",
            "logs-ml.prediction-default",
        ]


def test_profiles_have_any_structure(store: EmbeddedStore) -> None:
    profile = {
        "ml": {"model": {"name": "loans", "version": "1"}},
        "trained_at": "2018-01-31T12:00:00Z",
        "deployed": True,
        "expected": {"rows": 10, "features": [{"name": "a", "rate": 0.5}, {"name": "b.c", "rate": 1}]},
        "owners": ["x@example.org", "it's"],
    }
    store.index("ml-profiles", [{"_id": "1", **profile}, {"_id": "2", "ml": {"model": {"name": "churn"}}}])
    assert total(store, wildcard={"ml.model.name": {"value": "*"}}) == 2
    assert total(store, term={"deployed": True}) == 1
    assert total(store, term={"expected.features.name": "b.c"}) == 1
    assert total(store, range={"trained_at": {"gte": "now-1M", "lt": "now"}}) == 1
    assert total(store, exists={"field": "expected"}) == 1
    assert total(store, term={"owners": "it's"}) == 1
    assert total(store, ids={"values": ["2"]}) == 1
    body = {
        "size": 0,
        "aggs": {
            "a": {"terms": {"field": "owners"}, "aggs": {"s": {"sum": {"field": "expected.features.rate"}}}}
        },
    }
    buckets = store.search("ml-profiles", body)["aggregations"]["a"]["buckets"]
    assert [(bucket["key"], bucket["s"]) for bucket in buckets] == [
        ("it's", {"value": 1.5}),
        ("x@example.org", {"value": 1.5}),
    ]
    body = {"size": 0, "aggs": {"a": {"max": {"field": "trained_at"}}}}
    assert (
        store.search("ml-profiles", body)["aggregations"]["a"]["value_as_string"]
        == "2018-01-31T12:00:00.000Z"
    )


def test_events_and_free_documents_in_one_search(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    store.index("ml-profiles", [{"_id": "p", "ml": {"model": {"name": ["loans", "x"]}}}])
    body = {"size": 0, "aggs": {"a": {"terms": {"field": "ml.model.name"}}}}
    buckets = store.search("*", body)["aggregations"]["a"]["buckets"]
    assert buckets == [{"key": "loans", "doc_count": 2}, {"key": "x", "doc_count": 1}]
    hits = store.search("*", {"sort": [{"_doc": "asc"}]})["hits"]["hits"]
    assert {hit["_index"]: hit["_id"] for hit in hits} == {STREAM: "e1", "ml-profiles": "p"}


def test_unknown_fields_of_events_stay_in_the_source(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1, extra={"x": 1})], now=NOW)
    assert total(store, term={"extra.x": 1}) == 0
    assert store.search(STREAM, {})["hits"]["hits"][0]["_source"]["extra"] == {"x": 1}


# -- answers -----------------------------------------------------------------------------------------------


def test_now_is_an_argument(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(n) for n in range(10)], now=NOW)
    body = {"size": 0, "query": {"range": {"event.ingested": {"gt": "now-5m", "lte": "now"}}}}
    at = datetime(2018, 2, 1, 9, 7, 30, tzinfo=UTC)
    assert store.search(STREAM, body, now=at)["hits"]["total"]["value"] == 5


def test_total_hits_as_a_number(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    assert store.search(STREAM, {}, rest_total_hits_as_int=True)["hits"]["total"] == 1
    assert store.search("no", {}, rest_total_hits_as_int=True)["hits"]["total"] == 0
    with pytest.raises(SearchError, match="track_total_hits"):
        store.search(STREAM, {"track_total_hits": 5}, rest_total_hits_as_int=True)


def test_total_hits_are_counted_up_to_ten_thousand(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(n) for n in range(10_001)], now=NOW)
    assert store.search(STREAM, {"size": 0})["hits"]["total"] == {"value": 10_000, "relation": "gte"}
    assert store.search(STREAM, {"size": 0}, rest_total_hits_as_int=True)["hits"]["total"] == 10_001


def test_many_groups_are_cut_in_sql(store: EmbeddedStore) -> None:
    """Above 20,000 groups a terms aggregation fetches only its first buckets; the answer is the same."""
    documents = [event(n, ml__request={"id": f"r{n // 2:06}"}) for n in range(50_500)]
    store.index(STREAM, documents, now=NOW)
    body = {
        "size": 0,
        "aggs": {
            "a": {
                "terms": {
                    "field": "ml.request.id",
                    "size": 2,
                    "order": [{"_count": "desc"}, {"_key": "desc"}],
                },
                "aggs": {"e": {"terms": {"field": "event.id"}}, "w": {"sum": {"field": "ml.sample.weight"}}},
            }
        },
    }
    answer = store.search(STREAM, body)["aggregations"]["a"]
    assert answer["sum_other_doc_count"] == 50_496
    assert [(bucket["key"], bucket["doc_count"], bucket["w"]["value"]) for bucket in answer["buckets"]] == [
        ("r025249", 2, 2.0),
        ("r025248", 2, 2.0),
    ]
    assert [bucket["key"] for bucket in answer["buckets"][0]["e"]["buckets"]] == ["e50498", "e50499"]


def test_values_turn_up_as_arrays_later(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1, ml__input={"category": {"x": "[a]"}})], now=NOW)
    assert total(store, term={"ml.input.category.x": "[a]"}) == 1
    store.index(STREAM, [event(2, ml__input={"category": {"x": ["[a]", "b"]}})], now=NOW)
    assert total(store, term={"ml.input.category.x": "[a]"}) == 2
    assert total(store, term={"ml.input.category.x": "b"}) == 1


UNSUPPORTED = [
    ({"aggs": {"models": {"terms": {"script": "x", "field": "y"}}}}, "$.aggs.models.terms.script"),
    ({"aggs": {"a": {"significant_terms": {"field": "x"}}}}, "$.aggs.a.significant_terms"),
    (
        {"aggs": {"a": {"filter": {"match_all": {}}, "aggs": {"b": {"geo_bounds": {}}}}}},
        "$.aggs.a.aggs.b.geo_bounds",
    ),
    ({"query": {"bool": {"filter": [{"match_all": {}}, {"script": {}}]}}}, "$.query.bool.filter[1].script"),
    (
        {"query": {"term": {"ml.model.name": {"value": "x", "boost": 2}}}},
        "$.query.term['ml.model.name'].boost",
    ),
    ({"query": {"match": {"message": "x"}}}, "$.query.match.message"),
    ({"query": {"query_string": {"query": "x"}}}, "$.query.query_string"),
    ({"script_fields": {}}, "$.script_fields"),
    ({"sort": [{"_score": "desc"}]}, "$.sort[0]._score"),
    ({"query": {"match_all": {"boost": 1}}}, "$.query.match_all.boost"),
    (
        {"aggs": {"a": {"terms": {"field": "ml.model.name", "min_doc_count": 0}}}},
        "$.aggs.a.terms.min_doc_count",
    ),
    ({"aggs": {"a": {"terms": {"field": "ml.model.name", "include": "a~b"}}}}, "$.aggs.a.terms.include"),
]


@pytest.mark.parametrize(("body", "path"), UNSUPPORTED, ids=[path for _, path in UNSUPPORTED])
def test_what_is_not_answered_is_named(body: dict[str, Any], path: str, store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    with pytest.raises(QueryNotSupported) as refused:
        store.search(STREAM, body)
    assert refused.value.path == path


def test_wrong_values_are_named(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    with pytest.raises(SearchError) as refused:
        store.search(STREAM, {"query": {"range": {"event.duration": {"gt": "x"}}}})
    assert refused.value.path == "$.query.range['event.duration'].gt"


def test_half_characters_are_named(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    with pytest.raises(SearchError, match="half of a surrogate pair") as refused:
        store.search(STREAM, {"query": {"term": {"ml.model.name": "\ud800"}}})
    assert refused.value.path == "$.query.term['ml.model.name']"


HOSTILE = [
    "'; DROP TABLE raw_1; --",
    "$p0",
    "' OR 1=1 --",
    '"',
    "''",
    "\\",
    "\x00",
    "%",
    "_",
    "?",
    "$1",
    "{",
    "}}",
    "/",
    "~1",
    "raw_1",
    "k0",
    "c0",
    "@",
    "🦆",
    "a\nb",
    "v",
    "\u2028",
    "]",
    "$.x",
    "#",
    "*",
]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_hostile_texts(text: str, store: EmbeddedStore) -> None:
    """As a feature's name, as a value, in a body, as the name of an aggregation and of a filter."""
    documents = [
        event(1, ml__input={"category": {text: text}}, ml__check={"missing": [text]}, labels={text: text}),
        event(2, ml__input={"category": {text + "x": text, "y": text}}),
    ]
    store.index(STREAM, documents, now=NOW)
    field = f"ml.input.category.{text}"
    assert total(store, term={field: text}) == 1
    assert total(store, terms={field: [text] * 70}) == 1
    assert total(store, prefix={field: text}) == 1
    assert total(store, range={field: {"gte": text, "lte": text}}) == 1
    assert total(store, exists={"field": "labels"}) == 1
    assert total(store, ids={"values": [text]}) == 0
    escaped = "".join(f"\\{letter}" if letter in "*?\\" else letter for letter in text)
    assert total(store, wildcard={"ml.check.missing": {"value": escaped}}) == 1
    assert total(store, wildcard={"ml.check.missing": {"value": escaped, "case_insensitive": True}}) == 1
    name = "".join(letter for letter in text if letter not in "[]>") or "x"
    body = {
        "size": 1,
        "sort": [{field: {"order": "asc", "missing": text}}],
        "aggs": {
            name: {
                "terms": {"field": field, "missing": text, "include": [text]},
                "aggs": {"f": {"filters": {"filters": {text: {"term": {field: text}}}}}},
            }
        },
    }
    buckets = store.search(STREAM, body)["aggregations"][name]["buckets"]
    assert [
        (bucket["key"], bucket["doc_count"], bucket["f"]["buckets"][text]["doc_count"]) for bucket in buckets
    ] == [(text, 2, 1)]
    assert total(store) == 2


def test_a_search_ends_at_its_timeout() -> None:
    """By the body's own time; the store answers the next one."""
    with EmbeddedStore(None) as store:
        store.index("things", [{"_id": str(number), "n": number} for number in range(20_000)])
        slow = {f"a{number}": {"cardinality": {"field": "n"}} for number in range(200)}
        with pytest.raises(SearchError, match=r"longer than its timeout, 0\.001 s"):
            store.search("things", {"size": 0, "timeout": "1ms", "aggs": slow})
        assert store.search("things", {"size": 0, "timeout": "30s"})["hits"]["total"]["value"] == 10_000


def test_ids_in_an_index_that_is_not_there_are_not_found() -> None:
    with EmbeddedStore(None) as store:
        answer = store.search("ml-profiles", {"query": {"ids": {"values": ["loans:1"]}}, "size": 1})
    assert answer["hits"]["hits"] == []


def test_a_long_search_draws_no_bar_on_standard_output() -> None:
    """DuckDB would, wherever the program is not a file: in ``python -c``, in a session, in a notebook."""
    program = (
        "from logging_lib.store.duckdb.store import EmbeddedStore\n"
        "with EmbeddedStore(None) as store:\n"
        "    setting = store._connection.execute(\"SELECT current_setting('enable_progress_bar')\")\n"
        "    print(setting.fetchone())\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=True)
    assert ran.stdout == b"(False,)\n"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"query": {"term": {"ml.sample.weight": 1e308}}}, "$.query.term['ml.sample.weight'].value"),
        ({"query": {"range": {"ml.sample.weight": {"lt": 1e308}}}}, "$.query.range['ml.sample.weight'].lt"),
        ({"query": {"term": {"event.duration": 1e999}}}, "$.query.term['event.duration'].value"),
        (
            {"aggs": {"a": {"terms": {"field": "event.duration", "missing": 1 << 63}}}},
            "$.aggs.a.terms.missing",
        ),
        ({"aggs": {"a": {"terms": {"field": "unknown", "missing": 1 << 63}}}}, "$.aggs.a.terms.missing"),
        (
            {"aggs": {"a": {"histogram": {"field": "event.duration", "interval": 1, "offset": 1e999}}}},
            "$.aggs.a.histogram.offset",
        ),
    ],
)
def test_a_number_too_large_for_its_type_is_refused_with_its_path(
    store: EmbeddedStore, body: dict[str, Any], path: str
) -> None:
    store.index(STREAM, [event(1)], now=NOW)
    with pytest.raises(SearchError) as refused:
        store.search(STREAM, body)
    assert refused.value.path == path


def test_whole_numbers_are_included_by_value_and_never_rounded(store: EmbeddedStore) -> None:
    store.index(STREAM, [event(1, event__duration=7)], now=NOW)
    for include, expected in (([7], 1), ([7.5], 0), ([1 << 63, 7], 1)):
        aggs = {"a": {"terms": {"field": "event.duration", "include": include}}}
        buckets = store.search(STREAM, {"size": 0, "aggs": aggs})["aggregations"]["a"]["buckets"]
        assert len(buckets) == expected
