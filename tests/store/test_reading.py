"""A stream that is only read: columns straight from the files, and everything else as the other table has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logging_lib.store.duckdb import patterns
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store.events import NOW, STREAM, event, randomly

BY_NAME = {"names": {"terms": {"field": "ml.model.name"}}, "mean": {"avg": {"field": "event.duration"}}}


def lines(*events: Any) -> str:
    return "".join(json.dumps(event) + "\n" if isinstance(event, dict) else event for event in events)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / STREAM).mkdir()
    return tmp_path / STREAM / "a.jsonl"


def names(store: EmbeddedStore) -> dict[str, int]:
    buckets = store.search(STREAM, {"size": 0, "aggs": BY_NAME})["aggregations"]["names"]["buckets"]
    return {bucket["key"]: bucket["doc_count"] for bucket in buckets}


def test_both_tables_answer_alike(file: Path, tmp_path: Path) -> None:
    """Damaged lines, doubles, dotted keys, no id, lists: whatever files may hold."""
    odd = {"@timestamp": "2018-02-01T09:00:00Z", "ml.model.name": "flat", "event": {"duration": "7"}}
    listed = event(999, ml__check__missing="x", ml__prediction__value=[1.5, 2.5])
    file.write_text(
        lines(*randomly(400, 3), "torn {\n", "\n", event(1), event(1), odd, odd, "[1]\n", listed, event(1000))
    )
    bodies: list[dict[str, Any]] = [
        {"size": 0, "track_total_hits": True, "aggs": BY_NAME},
        {"query": {"exists": {"field": "ml.check.missing"}}, "size": 500, "sort": [{"@timestamp": "asc"}]},
        {"query": {"exists": {"field": "ml.check"}}, "size": 0},
        {"query": {"exists": {"field": "ml.input"}}, "size": 0},
        {"query": {"term": {'ml.input.category.quo"te': "RENT"}}, "size": 0},
        {"query": {"ids": {"values": ["e1", "id-7"]}}},
        {"size": 0, "aggs": {"values": {"stats": {"field": "ml.prediction.value"}}}},
        {"query": {"term": {"ml.model.name": "flat"}}, "_source": ["event"]},
    ]
    for body in bodies:
        with EmbeddedStore(tmp_path) as whole, EmbeddedStore(tmp_path, read_only=True) as reader:
            ours, theirs = reader.search(STREAM, body, now=NOW), whole.search(STREAM, body, now=NOW)
        for answer in (ours, theirs):
            answer.pop("took")
            for hit in answer["hits"]["hits"]:
                hit.pop("_id") if "id" not in hit["_source"].get("event", {}) else None
        assert ours == theirs, body


def test_appended_lines_are_read_once(file: Path, tmp_path: Path) -> None:
    """The last line may lack its end, or be half there; doubles of what was read before do not count."""
    said: list[tuple[int, int]] = []
    file.write_text(lines(event(1), event(2)).rstrip("\n"))
    with EmbeddedStore(tmp_path, read_only=True, progress=lambda *so_far: said.append(so_far)) as store:
        assert names(store) == {"loans": 2}
        assert said[-1] == (file.stat().st_size, file.stat().st_size)
        with file.open("a") as opened:
            opened.write("\n" + lines(event(2), event(3), event(4, ml__model__name="other"))[:-9])
        store.refresh()
        assert names(store) == {"loans": 3}
        with file.open("a") as opened:
            opened.write(lines(event(4, ml__model__name="other"))[-9:])
        (tmp_path / STREAM / "b.jsonl").write_text(lines(event(5), event(1)))
        store.refresh()
        assert names(store) == {"loans": 4, "other": 1}
        hits = store.search(STREAM, {"sort": [{"event.id": "desc"}], "size": 5})["hits"]["hits"]
        assert [hit["_id"] for hit in hits] == ["e5", "e4", "e3", "e2", "e1"]
        assert [hit["_source"]["event"]["id"] for hit in hits] == [hit["_id"] for hit in hits]


def test_a_file_that_changed_under_it_is_read_anew(file: Path, tmp_path: Path) -> None:
    file.write_text(lines(event(1), event(2)))
    with EmbeddedStore(tmp_path, read_only=True) as store:
        assert store.search(STREAM, {"size": 0})["hits"]["total"]["value"] == 2
        file.unlink()
        file.write_text(lines(event(7, ml__model__name="new"), event(8, ml__model__name="new")))
        assert names(store) == {"new": 2}  # a field that was not read before: the old rows would not fit


def test_parquet_is_read_as_a_whole(file: Path, tmp_path: Path) -> None:
    file.write_text(lines(event(1)))
    with EmbeddedStore(tmp_path, read_only=True) as store:
        assert names(store) == {"loans": 1}
        pq.write_table(
            pa.table({"event.id": ["x"], "ml.model.name": ["flat"]}), tmp_path / STREAM / "more.parquet"
        )
        store.refresh()
        assert names(store) == {"flat": 1, "loans": 1}
        file.write_text(file.read_text() + lines(event(2)))
        store.refresh()
        assert names(store) == {"flat": 1, "loans": 2}


def test_torn_lines_are_counted(file: Path, tmp_path: Path) -> None:
    file.write_text("5\n" + lines(event(1)) + "[1]\n" + lines(event(2))[:-20])
    with EmbeddedStore(tmp_path, read_only=True) as store:
        assert names(store) == {"loans": 1}
        assert store.torn_lines == 3


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("income=.*", "income="),
        (r"a\.b\"=.*", 'a.b"='),
        (".*", ""),
        ("a|b.*", None),
        (r"\d.*", None),
        ("a.*b", None),
    ],
)
def test_an_expression_for_a_prefix_is_known(pattern: str, prefix: str | None) -> None:
    assert patterns.lucene_prefix(pattern) == prefix
