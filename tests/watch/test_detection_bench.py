"""The detection benchmark's short cut: its counted answers lead to what real searches of a store lead to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks.detection import replay
from benchmarks.detection.counting import CELL, WATCHES, Counts, Judge
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.streams import MONDAY, WEEK, claims_stream
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib._util.times import format_instant
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.evaluate import evaluate, run_dependencies
from logging_lib.watch.loading import load_watches

START = 4 * WEEK + 9 * 3600.0


@pytest.fixture(scope="module")
def prepared() -> replay.Prepared:
    return replay.prepare(claims_stream())


@pytest.mark.parametrize(
    "fault",
    [
        "category swap",
        pytest.param("NA +30 points", marks=pytest.mark.slow),
        pytest.param("unit change x 1000", marks=pytest.mark.slow),
    ],
)
def test_counted_answers_lead_to_the_same_findings(prepared: replay.Prepared, fault: str) -> None:
    """All watches, before the onset and after it; features, windows and texts but the times and the services."""
    stream = prepared.stream
    (described,) = [each for each in FAULTS if each.name == fault]
    chance = np.random.default_rng(1)
    found = replay.events(
        prepared, [(START - WEEK - 14400.0, START - WEEK + 9000.0), (START - 9000.0, START + 9000.0)], chance
    )
    found.failed[:] = False
    replay.strike(prepared, described, found, START, chance)
    rows = stream.rows
    documents = list(stream.documents(rows))
    for one in FAULTS:
        if one.alter is not None:
            documents += stream.documents(one.alter(stream, rows.iloc[prepared.altered[one.name][0]]))
    store = EmbeddedStore(None)
    store.index("ml-profiles", [profiles.build_document(stream.profile)])
    store.index("logs-ml.prediction-default", [_event(documents, found, i) for i in range(len(found.at))])
    counts, judge = Counts(prepared.tokens, found, START - WEEK - 14400.0, START + 9000.0), Judge(stream)
    watches = {watch.id: watch for watch in load_watches(content.path("watchers"))}
    alerted = set()
    for now in (START - 6 * CELL, START + 6 * CELL, START + 24 * CELL):
        at = MONDAY + timedelta(seconds=now)
        for name in WATCHES:
            if name in (
                "latency-regression",
                "no-traffic",
            ):  # percentiles are estimates there; the past is longer
                continue
            done = evaluate(watches[name], dependencies=run_dependencies(store, now=at), now=at, scheduled=at)
            wanted = sorted(
                (f["feature"], f.get("window"), f["what"]) for f in done.payload["result"]["findings"]
            )
            counted = judge.findings(name, counts, now)
            assert sorted((f["feature"], f.get("window"), f["what"]) for f in counted) == wanted, name
            alerted |= {(name, now > START)} if wanted else set()
    store.close()
    assert any(after for _, after in alerted)
    assert not any(not after for _, after in alerted)


def _event(documents: list[dict[str, Any]], found: replay.Events, i: int) -> dict[str, Any]:
    document = documents[found.documents[i]]
    arrived = format_instant(MONDAY + timedelta(seconds=float(found.at[i])))
    event = {**document["event"], "id": f"e{i}", "ingested": arrived, "duration": int(found.durations[i])}
    made = {**document, "@timestamp": arrived, "event": event}
    if found.failed[i]:
        made["event"]["outcome"] = "failure"
    return made
