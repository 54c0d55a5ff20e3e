"""Late labels, shadow models, export, samples and the scorecard's evidence, over both stores."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow.parquet
import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.analysis import export, joins, labels, quality, samples, scorecard, scorecard_data
from logging_lib.analysis.samples import Selection
from logging_lib.profile.io import with_content_hash
from logging_lib.store import Store, StoreError
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import publish
from tests.analysis import served as serving
from tests.analysis.served import EVENTS, KNOWN, START, Served
from tests.foreign_events import NOW
from tests.store import elastic

LATER = START + timedelta(days=10)


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def served(request: pytest.FixtureRequest, own: profiles.Profile, inputs: dict[str, Any]) -> Iterator[Served]:
    model, namespace = f"jobs-{uuid4().hex[:8]}", f"test{uuid4().hex[:12]}"
    own = with_content_hash(dataclasses.replace(own, model=model))
    if request.param == "memory":
        store: Store = EmbeddedStore(None)
    else:
        store = elastic.store(request.getfixturevalue("elasticsearch"))
    publish(store, own, now=NOW)
    yield serving.fill(store, model, namespace, own, inputs)
    if isinstance(store, EmbeddedStore):
        store.close()


def ingest(served: Served, rows: list[dict[str, Any]], **more: Any) -> labels.Done:
    options = {"now": LATER, "model": served.model, "namespace": served.namespace, **more}
    return labels.ingest(served.store, rows, **options)


def stored(served: Served) -> list[dict[str, Any]]:
    query = {"term": {"ml.model.name": served.model}}
    body = {"size": 1000, "query": query}
    return [hit["_source"] for hit in served.store.search("logs-ml.label-*", body)["hits"]["hits"]]


def test_a_label_has_the_prediction_copied_in(
    served: Served, valid: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """One event for the live and one for the shadow prediction, with version, role, error and delay; twice the same
    file is stored once."""
    done = ingest(served, served.rows)
    assert (done.rows, done.joined, done.known, done.waiting, done.refused) == (30, 60, 0, 0, [])
    events = stored(served)
    assert len(events) == 60
    for event in map(valid, events):
        label, prediction = event["ml"]["label"], event["ml"]["prediction"]
        assert label["error"] == pytest.approx(prediction["value"] - label["value"])
        assert label["delay"] == KNOWN.total_seconds()
        assert label["joined"]
    assert {(e["ml"]["model"]["version"], e["ml"]["model"]["role"]) for e in events} == {
        ("1", "live"),
        ("2", "shadow"),
    }
    again = ingest(served, served.rows)
    assert (again.joined, again.known) == (0, 60)
    assert len(stored(served)) == 60


def test_a_stopped_run_goes_on(served: Served) -> None:
    ingest(served, served.rows[:12])
    done = ingest(served, served.rows)
    assert (done.joined, done.known) == (36, 24)


def test_labels_before_their_predictions_are_joined_later(served: Served, inputs: dict[str, Any]) -> None:
    """The label is kept without its prediction; the join completes it, once."""
    early = [
        {"request_id": f"later-{i}", "actual": 3.0 + i, "timestamp": LATER.isoformat()} for i in range(3)
    ]
    done = ingest(served, early)
    assert (done.joined, done.waiting) == (0, 3)
    assert [event["ml"]["label"]["joined"] for event in stored(served)] == [False] * 3
    log = logging_lib.PredictionProcessor(model=served.model, version="1")
    events = [
        log(None, "info", {"event": "x", "inputs": inputs, "prediction": 2.0, "request_id": f"later-{i}"})
        for i in range(2)
    ]
    served.store.index(f"logs-ml.prediction-{served.namespace}", events)
    served.store.refresh()
    selection = Selection(model=served.model)
    options: dict[str, Any] = {"now": LATER, "selection": selection, "namespace": served.namespace}
    assert labels.join(served.store, **options).joined == 2
    again = labels.join(served.store, **options)
    assert (again.joined, again.known, again.waiting) == (0, 2, 1)


def test_a_corrected_label_counts_last(served: Served) -> None:
    ingest(served, served.rows)
    changed = [{**served.rows[0], "actual": 99.0, "timestamp": (START + 5 * KNOWN).isoformat()}]
    assert ingest(served, changed).joined == 2
    frame = joins.read(served.store, Selection(model=served.model))
    assert len(frame) == 60
    assert (frame["actual"] == 99.0).sum() == 2


def test_of_labels_of_the_same_time_the_last_row_counts_and_a_change_is_counted(served: Served) -> None:
    row = served.rows[0]
    twice = ingest(served, [row, {**row, "actual": 99.0}])
    assert [what for what, _ in twice.refused] == [row["request_id"]] * 2  # of the live and the shadow model
    assert {event["ml"]["label"]["value"] for event in stored(served)} == {99.0}
    selection = Selection(model=served.model)
    assert not joins.read(served.store, selection)["changed"].any()
    later = {**row, "actual": 98.0, "timestamp": LATER.isoformat()}
    assert not ingest(served, [later]).refused
    assert ingest(served, [{**row, "actual": 99.0}]).known == 2  # an old label again changes nothing
    frame = joins.read(served.store, selection)
    assert frame["actual"].tolist() == [98.0, 98.0]
    assert frame["changed"].tolist() == [True, True]


def test_classes_and_event_ids(served: Served, inputs: dict[str, Any]) -> None:
    """The class ``1`` is not the number 1; a label may name the event."""
    log = logging_lib.PredictionProcessor(model=served.model, version="3")
    event = log(
        None, "info", {"event": "x", "inputs": inputs, "prediction": "1", "score": 0.8, "event_id": "mine"}
    )
    served.store.index(f"logs-ml.prediction-{served.namespace}", [event])
    served.store.refresh()
    done = ingest(served, [{"event_id": event["event"]["id"], "actual": 1.0}], model=None)
    assert done.joined == 1
    (found,) = stored(served)
    assert found["ml"]["label"]["label"] == "1"
    assert found["ml"]["label"]["correct"] is True


def test_what_is_wrong_with_a_row_is_reported(served: Served) -> None:
    rows: list[dict[str, Any]] = [
        {"request_id": "r1", "actual": None}, {"request_id": "r1"}, {"actual": 1.0},
        {"request_id": "r1", "actual": 1.0, "timestamp": "yesterday"}, {"request_id": "r1", "actual": "N/A"},
    ]  # fmt: skip
    done = ingest(served, rows)
    assert [reason.partition(";")[0] for _, reason in done.refused] == [
        "actual is empty",
        "there is no column 'actual'",
        "has neither 'request_id' nor 'event_id'",
        "timestamp: 'yesterday' is not a time",
        "actual is empty",
    ]
    assert done.refused[0][0] == "row 1"
    assert ingest(served, [{"request_id": "nobody", "actual": 1.0}], model=None).refused[0][0] == "nobody"


def test_files_and_streams_have_the_same_rows(served: Served, tmp_path: Path) -> None:
    frame = pd.DataFrame(served.rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in served.rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write((tmp_path / "a.csv").read_bytes())
    assert ingest(served, served.rows).joined == 60
    for name in ("a.csv", "a.csv.gz", "a.parquet", "a.jsonl"):
        done = labels.ingest(
            served.store,
            labels.rows_of(tmp_path / name),
            now=LATER,
            model=served.model,
            namespace=served.namespace,
        )
        assert (done.rows, done.joined, done.known, done.refused) == (30, 0, 60, []), name
    streamed = [row for rows in labels.lines_of(io.BytesIO(lines)) for row in rows]
    assert streamed == served.rows
    with pytest.raises(ValueError, match="standard input: line 2: not JSON"):
        list(labels.lines_of(io.BytesIO(b'{"a": 1}\nx\n')))


def test_quality_by_segment(served: Served) -> None:
    ingest(served, served.rows)
    frame = joins.read(served.store, Selection(model=served.model, version="1"), by="home")
    found = quality.by_segment(frame)
    assert {one.segment: one.labels for one in found} == {"all": 30, "RENT": 20, "Castle": 10}
    errors = (frame["prediction"] - frame["actual"]).abs()
    assert found[0].metrics["mae"] == pytest.approx(errors.mean())
    by_version = joins.read(served.store, Selection(model=served.model), by="version")
    mae = {one.segment: one.metrics["mae"] for one in quality.by_segment(by_version)}
    assert mae["2"] < mae["all"] < mae["1"]
    share = joins.share(served.store, Selection(), served.model, "1")
    assert share == {"predictions": 60, "labelled": 30, "share": 0.5}
    with pytest.raises(StoreError, match=r"no joined labels found \(selection: model=nobody\); ingest some"):
        joins.read(served.store, Selection(model="nobody"))


def test_live_against_shadow(served: Served) -> None:
    """By the same request: agreement, difference, latency, and the better one once labels are there."""
    (before,) = joins.shadow(served.store, Selection(model=served.model))
    assert (before.requests, before.only_live, before.live, before.shadow) == (EVENTS, 0, "1", "2")
    assert before.latency["median_difference"] == pytest.approx(5.0)
    assert before.better == {}
    ingest(served, served.rows)
    (after,) = joins.shadow(served.store, Selection(model=served.model))
    assert (after.better["winner"], after.better["labels"]) == ("shadow", 30)
    json.dumps(after.document(), allow_nan=False)
    with pytest.raises(StoreError, match=r"no predictions found \(selection: model=nobody role=shadow"):
        joins.shadow(served.store, Selection(model="nobody"))


def test_what_was_served_is_training_data(served: Served, tmp_path: Path) -> None:
    """Typed columns, labels, checks and provenance; marks with their shares; rows left out on demand."""
    ingest(served, served.rows)
    selection = Selection(model=served.model)
    kinds = export.profile_kinds(served.store, selection)
    assert kinds["income"] == "numeric"
    done = export.export(served.store, selection, tmp_path / "all.parquet", now=NOW, kinds=kinds)
    assert (done.events, done.rows) == (120, 120)
    marks = done.document()["marks"]
    assert {name: found["events"] for name, found in marks.items()} == {
        "flagged": 20, "shadow": 60, "influenced": 12, "unlabelled": 60,
    }  # fmt: skip
    frame = pd.read_parquet(tmp_path / "all.parquet")
    live = frame[~frame["shadow"]].sort_values("@timestamp").reset_index(drop=True)
    assert live["income"].tolist() == [50000.0 + i for i in range(EVENTS)]
    assert live["ml.label.value"].notna().tolist() == [i % 2 == 1 for i in range(EVENTS)]
    assert list(live["ml.check"][0]) == ["unseen:home"]
    assert live["ml.model.version"].unique().tolist() == ["1"]
    about = json.loads(pyarrow.parquet.read_schema(tmp_path / "all.parquet").metadata[b"logging_lib"])
    assert about["selection"] == f"model={served.model}"
    fewer = export.export(
        served.store, selection, tmp_path / "some.csv", now=NOW, kinds=kinds,
        leave_out=("shadow", "flagged", "influenced", "unlabelled"),
    )  # fmt: skip
    assert fewer.rows == len(pd.read_csv(tmp_path / "some.csv")) == 20
    assert sum(fewer.left_out.values()) == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet", "some.csv"]


def test_an_export_without_a_profile_takes_the_kinds_of_the_events(served: Served, tmp_path: Path) -> None:
    selection = Selection(model=served.model, role="shadow")
    done = export.export(served.store, selection, tmp_path / "a.parquet", now=NOW)
    assert done.rows == EVENTS
    assert pd.read_parquet(tmp_path / "a.parquet")["income"].tolist()[0] == 50000.0
    with pytest.raises(StoreError, match=r"no predictions found \(selection: model=nobody"):
        export.export(served.store, Selection(model="nobody"), tmp_path / "b.parquet", now=NOW)
    with pytest.raises(ValueError, match="cannot leave out odd"):
        export.export(served.store, selection, tmp_path / "b.parquet", now=NOW, leave_out=["odd"])
    assert not (tmp_path / "b.parquet").exists()


def test_samples_are_selected_and_drawn(served: Served) -> None:
    base = Selection(model=served.model, role="live")
    chosen = Selection.parse("since=2018-02-02,until=2018-02-03,home=RENT", now=NOW, base=base)
    found = samples.read(served.store, chosen)
    hours = [i for i in range(EVENTS) if 15 <= i < 39 and i % 3]
    assert sorted(found.frame["income"]) == [50000.0 + i for i in hours]
    assert found.kinds["home"] == "category"
    drawn = samples.read(served.store, base, max_rows=10, seed=1)
    assert (len(drawn.frame), drawn.total) == (10, EVENTS)
    assert drawn.frame.equals(samples.read(served.store, base, max_rows=10, seed=1).frame)
    assert samples.values_of(served.store, base, "home") == ["RENT", "Castle"]
    with pytest.raises(ValueError, match="'soon': write name=value"):
        Selection.parse("soon", now=NOW)
    with pytest.raises(StoreError, match=r"no predictions found \(selection: model=nobody"):
        samples.read(served.store, Selection(model="nobody"))


def test_sampled_events_are_thinned_to_equal_weights(own: profiles.Profile, inputs: dict[str, Any]) -> None:
    """Of events that were all kept and of those of which a tenth was, the rows are in true proportion."""
    with EmbeddedStore(None) as store:
        log = logging_lib.PredictionProcessor(model=own.model, version="1", profile=own)
        events = [
            log(None, "info", {"event": "x", "inputs": inputs | {"count": i % 2}, "prediction": 1.0})
            for i in range(2000)
        ]
        for i, event in enumerate(events):
            event["ml"]["sample"] = {"weight": 10.0 if i % 2 else 1.0}
        store.index("logs-ml.prediction-default", events)
        found = samples.read(store, Selection(model=own.model))
    assert found.frame["count"].mean() == pytest.approx(10 / 11, abs=0.02)
    assert "thinned" in found.notes[0]


def test_the_evidence_of_a_scorecard(served: Served) -> None:
    ingest(served, served.rows)
    scorecard_data.write(
        served.store, "skew", model=served.model, version=None, summary={"ok": True, "skewed": []}, now=LATER
    )
    found = scorecard_data.gather(
        served.store, served.model, now=LATER, recent=timedelta(days=14), watches={}
    )
    assert (found.predictions, found.checked, found.timed, found.labels) == (60, 60, 60, 60)
    assert found.skew is not None
    assert found.skew["at"] == LATER
    assert found.profile is not None
    assert found.profile["version"] == "1"
    made = scorecard.score(found, scorecard.WatchGroups({}, {}), now=LATER, recent=timedelta(days=14))
    assert made.monitors[2].status == "covered"
    assert (
        scorecard_data.gather(
            served.store, "nobody", now=LATER, recent=timedelta(days=14), watches={}
        ).profile
        is None
    )
