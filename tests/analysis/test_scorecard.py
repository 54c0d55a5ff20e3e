"""The scorecard knows every shipped watch, from the specs and not from a list of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from logging_lib._util import content
from logging_lib.analysis.scorecard import COVERED, MISSING, PARTLY, Evidence, Scorecard, score
from logging_lib.cli.scorecard import group_watches
from logging_lib.store.duckdb.file_table import COUNTED_FIELDS

NOW = datetime(2018, 3, 1, tzinfo=UTC)
SPECS = sorted(content.path("watchers").glob("*.yml"))
SEEN: dict[str, Any] = {
    "predictions": 100, "checked": 100, "timed": 100, "starts": 1, "health": 1, "labels": 9,
    "skew": {"ok": True, "at": NOW},
    "profile": {"trained_at": "2018-01-01", "training_seconds": 9.0, "quality": {"errors": {}}},
}  # fmt: skip


def card(*watches: str, **seen: Any) -> Scorecard:
    return score(Evidence("m", dict.fromkeys(watches, NOW), **seen), group_watches(), now=NOW)


@pytest.mark.parametrize("file", SPECS, ids=lambda file: file.stem)
def test_a_watch_names_its_test_and_counts_for_it(file: Any) -> None:
    """Without the watch its test is not covered; a proxy alone covers its test in part."""
    spec, every = yaml.safe_load(file.read_text("utf-8")), [other.stem for other in SPECS]
    assert "monitor" in spec, "say which of the seven tests the watch is needed for, or none"
    full, without = card(*every, **SEEN), card(*(name for name in every if name != file.stem), **SEEN)
    assert full.complete
    if spec.get("proxy"):
        alone = card(file.stem, predictions=9, checked=9)
        assert [monitor.score for monitor in alone.monitors if file.stem in str(monitor.evidence)] == [PARTLY]
    elif spec["monitor"] == "none":
        assert without.complete
    else:
        (lacking,) = [monitor for monitor in without.monitors if monitor.score < COVERED]
        assert lacking.todo[0].startswith(f"run the watch {file.stem}: ")


def test_without_anything_nothing_is_covered() -> None:
    assert {monitor.score for monitor in card().monitors} == {MISSING}


def test_the_embedded_store_reads_all_fields_that_shipped_watches_count_at_once() -> None:
    """Another field is read from large files once more."""
    fields: set[str] = set()
    for file in content.path("watchers").glob("*.json"):
        for search in _find(json.loads(file.read_text("utf-8"))["input"], "request"):
            if "logs-ml.prediction-*" in search["indices"]:
                fields.update(_find(search["body"], "field"))
                fields.update(name for query in _find(search["body"], "exists") for name in query.values())
    assert fields <= set(COUNTED_FIELDS)


def _find(value: Any, key: str) -> list[Any]:
    """Find all values of a key, however deep."""
    if isinstance(value, list):
        return [found for item in value for found in _find(item, key)]
    if not isinstance(value, dict):
        return []
    return [value[key] for name in value if name == key] + [
        found for item in value.values() for found in _find(item, key)
    ]
