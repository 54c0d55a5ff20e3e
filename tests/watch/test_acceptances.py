"""Accepted changes: expected from now on, undone, and no cover for a further change."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logging_lib._util.times import parse_instant
from logging_lib.watch import acceptances
from logging_lib.watch.acceptances import AcceptanceError, accept, find_finding, undo
from logging_lib.watch.findings import key_of, leave_out_accepted
from logging_lib.watch.scripts import SCRIPTS
from tests.watch import payloads

NOW = datetime(2018, 1, 1, 12, tzinfo=UTC)
EXPECTED = [
    watch_id
    for watch_id, watch in payloads.WATCHES.items()
    if "measures" in watch.metadata
    or (({"check", "checks"} & watch.metadata.keys()) and "usual_rate" not in watch.metadata)
]


def evaluate(script: str, ctx: dict[str, Any]) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = SCRIPTS[script](ctx, {})["findings"]
    return findings


def source_of(ctx: dict[str, Any], finding: dict[str, Any]) -> dict[str, Any]:
    """The profile's document of a finding's model version."""
    for hit in ctx["payload"]["profiles"]["hits"]["hits"]:
        model = hit["_source"]["ml"]["model"]
        if (model["name"], model["version"]) == (finding["model"], finding["version"]):
            return hit  # type: ignore[no-any-return]
    raise AssertionError(finding)


def accepted(
    ctx: dict[str, Any], finding: dict[str, Any], **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    hit = source_of(ctx, finding)
    options = {"opened_at": NOW, "now": NOW, "by": "ada", "comment": "a new branch", **more}
    changed, entry = accept(
        hit["_source"], ctx["watch_id"], ctx["metadata"], ctx["payload"], finding, **options
    )
    hit["_source"] = changed
    return changed, entry


@pytest.mark.parametrize("watch_id", EXPECTED)
def test_an_accepted_change_is_silent_until_it_is_undone(watch_id: str) -> None:
    """In the script itself, so in any runner of it."""
    script, ctx = payloads.of_watch(watch_id)
    before = deepcopy(ctx["payload"]["profiles"])
    found = evaluate(script, ctx)
    ids = []
    for finding in found:
        _, entry = accepted(ctx, finding)
        assert (entry["feature"], entry["by"], entry["comment"]) == (
            finding["feature"],
            "ada",
            "a new branch",
        )
        assert entry["part"] == ("bins" if "measures" in ctx["metadata"] else finding["check"])
        ids.append((finding, entry["id"]))
    assert evaluate(script, ctx) == []
    json.dumps(ctx["payload"]["profiles"])  # it goes into a store
    for finding, identity in ids:
        hit = source_of(ctx, finding)
        undone = undo(hit["_source"], identity)
        assert undone is not None
        hit["_source"] = undone
    assert evaluate(script, ctx) == found
    for hit, old in zip(ctx["payload"]["profiles"]["hits"]["hits"], before["hits"]["hits"], strict=True):
        assert hit["_source"]["expected"] == old["_source"]["expected"]


def test_a_further_change_of_a_distribution_is_found() -> None:
    """In windows that begin after the accepted change; longer ones hold events of before."""
    script, ctx = payloads.of_watch("input-drift")
    (finding,) = evaluate(script, ctx)
    now = parse_instant(ctx["trigger"]["scheduled_time"])
    changed, _ = accepted(ctx, finding, now=now, opened_at=now - timedelta(days=2))
    (version,) = ctx["payload"]["window"]["aggregations"]["models"]["buckets"][0]["versions"]["buckets"]
    for bucket in version["windows"]["buckets"].values():
        for token in bucket["inputs"]["buckets"]:
            name, _, label = token["key"].partition("=")
            if name == finding["feature"]:
                is_leading = label == finding["leading"]
                token["weight"]["value"] = float(bucket["doc_count"]) if is_leading else 1.0
    (further,) = evaluate(script, ctx)
    assert further["feature"] == finding["feature"]
    changed["accepted"][0]["since"] = ctx["trigger"]["scheduled_time"]
    assert evaluate(script, ctx) == []


def test_a_further_change_is_found() -> None:
    """Of a category with a new value that was accepted: another one that is as frequent."""
    script, ctx = payloads.of_watch("unseen-categories")
    (finding,) = evaluate(script, ctx)
    accepted(ctx, finding)
    assert evaluate(script, ctx) == []
    for model in ctx["payload"]["window"]["aggregations"]["models"]["buckets"]:
        for version in model["versions"]["buckets"]:
            for bucket in version["windows"]["buckets"].values():
                for feature in bucket["features"]["buckets"]:
                    feature["weight"]["value"] *= 6
    (further,) = evaluate(script, ctx)
    assert further["expected_percent"] == finding["observed_percent"]


def test_of_two_acceptances_of_one_feature_the_first_can_be_undone() -> None:
    """The second then stands on what was expected before both."""
    script, ctx = payloads.of_watch("na-spike")
    (finding,) = evaluate(script, ctx)
    original = deepcopy(source_of(ctx, finding)["_source"]["expected"])
    _, first = accepted(ctx, finding)
    changed, second = accepted(ctx, finding, now=NOW + timedelta(hours=1))
    after = undo(changed, first["id"])
    assert after is not None
    assert after["expected"] == changed["expected"]
    assert [entry["id"] for entry in after["accepted"]] == [second["id"]]
    last = undo(after, second["id"])
    assert last is not None
    assert (last["expected"], last["accepted"], last["replaced"]) == (original, [], {})
    assert undo(last, first["id"]) is None


def test_the_longest_window_since_the_incident_opened_becomes_expected() -> None:
    script, ctx = payloads.of_watch("na-spike")
    (finding,) = evaluate(script, ctx)
    rows = []
    for hours in (0, 2, 30):
        _, fresh = payloads.of_watch("na-spike")
        changed, _ = accepted(fresh, finding, opened_at=NOW - timedelta(hours=hours))
        rows.append(changed["expected"]["checks"]["missing"][finding["feature"]]["rows"])
    (version,) = ctx["payload"]["window"]["aggregations"]["models"]["buckets"][0]["versions"]["buckets"]
    windows = version["windows"]["buckets"]
    flagged, ladder = finding["window"], ctx["metadata"]["windows"]
    chosen = [flagged, max(flagged, "1h", key=ladder.index), "24h"]
    assert rows == [windows[window]["weight"]["value"] for window in chosen]


def test_the_runner_skips_findings_that_no_profile_can_expect() -> None:
    """Until its effect has doubled; from the acceptance on; and of this watch only."""
    script, ctx = payloads.of_watch("latency-regression")
    (finding,) = evaluate(script, ctx)
    source = {"ml": {"model": {"name": finding["model"], "version": finding["version"]}}}
    ctx["payload"]["profiles"] = {"hits": {"hits": [{"_id": "loans:1", "_source": source}]}}
    finding |= {"model": "loans", "version": "1"}
    source["ml"]["model"] = {"name": "loans", "version": "1"}
    _, entry = accepted(ctx, finding)
    assert entry["part"] == ""

    def left(watch: str = "latency-regression", now: datetime = NOW, **more: Any) -> int:
        return len(leave_out_accepted([{**finding, **more}], watch, ctx["payload"], now))

    assert left() == 0
    assert left(effect=2 * finding["effect"]) == 1
    assert left(feature="other") == left(version="2") == left("quality-regression") == 1
    assert left(now=NOW - timedelta(minutes=1)) == 1
    assert len(leave_out_accepted([finding], "latency-regression", {"window": {}}, NOW)) == 1


@pytest.mark.parametrize("watch_id", ["resources", "prediction-failures", "no-traffic"])
def test_a_finding_that_is_not_compared_with_a_profile_cannot_be_accepted(watch_id: str) -> None:
    script, ctx = payloads.of_watch(watch_id)
    finding = evaluate(script, ctx)[0]
    ctx["payload"].get("profiles", {"hits": {}})["hits"]["hits"] = []
    with pytest.raises(AcceptanceError, match="mute it, or change its limit"):
        accept(
            {}, watch_id, ctx["metadata"], ctx["payload"], finding, opened_at=NOW, now=NOW, by="", comment=""
        )


def test_a_change_that_is_not_found_cannot_be_accepted() -> None:
    script, ctx = payloads.of_watch("na-spike")
    (finding,) = evaluate(script, ctx)
    assert find_finding([finding], key_of(finding)) is finding
    with pytest.raises(AcceptanceError, match="give --now"):
        find_finding([finding], key_of(finding)._replace(feature="other"))
    assert acceptances.BINS == "bins"
