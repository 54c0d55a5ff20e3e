"""The check-rate script: what it flags, what it lets pass, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from logging_lib.watch.scripts import SCRIPTS, ScriptError, build_result
from logging_lib.watch.scripts.common import rate_severity
from tests.watch import payloads

WINDOWS = ["15m", "1h", "6h", "24h"]
METADATA = {
    "check": "unseen",
    "windows": WINDOWS,
    "false_alarms_per_model_month": 0.05,
    "ticks_per_month": 8640,
    "min_effect": 0.005,
    "min_hits": 3,
}


def terms(buckets: list[dict[str, Any]], cut: int = 0) -> dict[str, Any]:
    return {"sum_other_doc_count": cut, "buckets": buckets}


def window(total: float, hits: dict[str, float], values: dict[str, int] | None = None) -> dict[str, Any]:
    at = {"value": 0, "value_as_string": "2018-02-01T10:00:00.000Z"}
    return {
        "doc_count": total,
        "weight": {"value": total},
        "features": terms(
            [
                {"key": k, "doc_count": n, "weight": {"value": float(n)}, "first": at, "last": at}
                for k, n in hits.items()
            ]
        ),
        "failing": {
            "values": {
                "buckets": [{"key": k, "weight": {"value": float(n)}} for k, n in (values or {}).items()]
            }
        },
    }


def ctx(
    windows: list[dict[str, Any]], *, expected: dict[str, Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    version = {"key": "1", "windows": {"buckets": dict(zip(WINDOWS, windows, strict=True))}}
    source = {
        "ml": {"model": {"name": "m", "version": "1"}},
        "expected": {
            "features": 10,
            "checks": {"unseen": expected or {"home": {"count": 0, "rows": 680, "dispersion": 0.0}}},
        },
    }
    return {
        "watch_id": "watch",
        "trigger": {"scheduled_time": "2018-02-01T10:05:00.000Z"},
        "metadata": METADATA | metadata,
        "payload": {
            "window": {"aggregations": {"models": terms([{"key": "m", "versions": terms([version])}])}},
            "profiles": {"hits": {"hits": [{"_source": source}]}},
        },
    }


def run(context: dict[str, Any]) -> dict[str, Any]:
    return SCRIPTS["ml-check-rate"](context, {})


def same(total: float, hits: float, **values: int) -> list[dict[str, Any]]:
    return [window(total, {"home": hits}, values)] * 4


def test_a_clear_rise_is_found_with_counts_rates_values_and_a_query() -> None:
    (finding,) = run(ctx(same(100, 30, **{"home=Rent%3D": 20, "other=x": 9, "home=OWN!": 10})))["findings"]
    assert finding["feature"] == "home"
    assert finding["window"] == "15m"
    assert (finding["observed"], finding["total"], finding["observed_percent"]) == (30, 100, "30.0 %")
    assert finding["expected_percent"] == "0 %"
    assert {"name": "Expected", "value": "0 of 680 held-out training rows"} in finding["lines"]
    assert {"name": "Values", "value": "Rent= (20), OWN! (10)"} in finding["lines"]
    assert (finding["since"], finding["until"]) == ("2018-02-01T10:00:00.000Z",) * 2
    assert finding["query"].startswith(
        'ml.model.name: "m" and ml.model.version: "1" and ml.check.unseen: "home"'
    )


@pytest.mark.parametrize(("total", "hits"), [(0, 0), (100, 0), (100, 2), (150, 2), (20, 3), (5000, 10)])
def test_a_few_hits_are_not_flagged(total: float, hits: float) -> None:
    assert run(ctx(same(total, hits)))["count"] == 0


def test_the_rate_of_training_is_not_flagged_but_twice_the_rate_is() -> None:
    usual = {"home": {"count": 68, "rows": 680, "dispersion": 0.001}}
    assert run(ctx(same(1000, 110), expected=usual))["count"] == 0
    assert run(ctx(same(1000, 220), expected=usual))["count"] == 1


def test_dispersion_between_blocks_makes_a_rise_ordinary() -> None:
    steady = {"home": {"count": 68, "rows": 680, "dispersion": 0.0}}
    restless = {"home": {"count": 68, "rows": 680, "dispersion": 0.05}}
    assert run(ctx(same(400, 100), expected=steady))["count"] == 1
    assert run(ctx(same(400, 100), expected=restless))["count"] == 0


def test_a_slow_leak_is_found_by_the_longer_window() -> None:
    leak = [
        window(20, {"home": 1}),
        window(80, {"home": 2}),
        window(480, {"home": 12}),
        window(2000, {"home": 40}),
    ]
    well_known = {"home": {"count": 0, "rows": 20_000, "dispersion": 0.0}}
    (finding,) = run(ctx(leak, expected=well_known))["findings"]
    assert finding["window"] == "6h"


def test_a_past_fault_is_not_reported_by_the_longer_window() -> None:
    over = [window(20, {}), window(80, {}), window(480, {"home": 25}), window(2000, {"home": 25})]
    assert run(ctx(over))["count"] == 0
    night = [window(0, {}), window(0, {}), window(480, {"home": 40}), window(2000, {"home": 90})]
    assert run(ctx(night))["findings"][0]["window"] == "24h"
    late_at_night = [window(0, {}), window(0, {}), window(0, {}), window(2000, {"home": 90})]
    assert run(ctx(late_at_night))["count"] == 0


def test_with_little_traffic_the_run_after_an_event_flags_it() -> None:
    sparse = [window(1, {"home": 1}), window(1, {"home": 1}), window(3, {"home": 3}), window(9, {"home": 9})]
    (finding,) = run(ctx(sparse))["findings"]
    assert (finding["window"], finding["observed"]) == ("6h", 3)


def test_sampled_events_count_by_their_weight() -> None:
    assert run(ctx(same(100000, 30)))["count"] == 0


def test_a_feature_that_the_profile_does_not_have_is_not_evaluated() -> None:
    assert run(ctx([window(100, {"new": 90})] * 4))["count"] == 0


def test_a_version_without_a_profile_is_reported() -> None:
    context = ctx(same(100, 90))
    context["payload"]["profiles"]["hits"]["hits"] = []
    assert run(context)["skipped"] == [{"model": "m", "version": "1", "reason": "no profile"}]


def test_a_cut_answer_is_an_error_and_never_a_quiet_one() -> None:
    context = ctx(same(100, 30))
    context["payload"]["window"]["aggregations"]["models"]["sum_other_doc_count"] = 7
    with pytest.raises(ScriptError, match="models left out 7 documents; raise its size"):
        run(context)


def test_a_result_counts_its_findings() -> None:
    assert build_result([])["count"] == 0
    assert build_result([{}])["more"] is None
    assert build_result([{}, {}, {}])["more"] == 2


def test_quotes_in_names_cannot_leave_the_query() -> None:
    context = ctx(
        [window(100, {'a" or *': 50})] * 4, expected={'a" or *': {"count": 0, "rows": 680, "dispersion": 0}}
    )
    assert r'ml.check.unseen: "a\" or *"' in run(context)["findings"][0]["query"]


@pytest.mark.parametrize("watch_id", payloads.WATCHES)
def test_a_search_without_any_index_has_no_buckets(watch_id: str) -> None:
    """On a fresh cluster Elasticsearch answers without aggregations; nothing is found then, and nothing fails."""
    script, ctx = payloads.of_watch(watch_id)
    assert SCRIPTS[script](ctx, {})["count"] > 0
    for name, script, ctx in payloads.without_indices(watch_id):
        result = SCRIPTS[script](ctx, {})
        assert result["count"] == len(result["findings"])
        if name in ("window", "all"):
            assert result["count"] == 0
        # The answer of an index without matching events is as good.
        for answer in ctx["payload"].values():
            if "aggregations" not in answer and answer is not ctx["payload"].get("profiles"):
                answer["aggregations"] = {
                    "models": terms([]),
                    **{group["by"]: terms([]) for group in ctx["metadata"].get("groups", ())},
                }
        assert SCRIPTS[script](ctx, {}) == result


def test_every_finding_has_a_severity() -> None:
    """One firing case of each shipped watch: the severity, with the effect and the share that it follows from."""
    severities = {}
    for watch_id in payloads.WATCHES:
        script, ctx = payloads.of_watch(watch_id)
        for finding in SCRIPTS[script](ctx, {})["findings"]:
            effect, share = finding["effect"], finding["share"]
            assert effect >= 1
            assert share is None or 0 <= share <= 1
            assert finding["severity"] == rate_severity(ctx["metadata"]["min_severity"], effect, share)
            severities[watch_id, finding["feature"]] = finding["severity"]
            if finding.get("values"):
                assert finding["leading"] == finding["values"][0]["value"]
    assert severities["stale-model", "age"] == "low"
    assert severities["quality-regression", "error"] == "medium"
    assert severities["na-spike", "income"] == "high"
    assert severities["no-traffic", "predictions"] == "critical"
    assert severities["uptime", "api time without a heartbeat"] == "high"


def new_words(total: float, words: dict[str, float], **trained: Any) -> dict[str, Any]:
    """The context of new-words: the most frequent unknown words of each window, of the texts title and a=b."""
    context = ctx([window(total, words)] * 4, check="new_words", min_effect=0.01, min_hits=5)
    known = {"count": 4, "rows": 2000, "dispersion": 0.0, "candidates": 20_000} | trained
    (hit,) = context["payload"]["profiles"]["hits"]["hits"]
    hit["_source"]["expected"]["checks"] = {"new_words": {"title": known, "a=b": known}}
    return context


def test_a_new_word_that_became_common_is_named_once_for_its_text() -> None:
    words = {"title=enfermera": 40, "title=titulada%21": 30, "a%3Db=x": 5, "title=rare": 5}
    (finding,) = run(new_words(400, words))["findings"]
    assert finding["feature"] == "title"
    assert finding["what"] == 'title 10.0 % of texts contain "enfermera" (expected 0.2 %)'
    expected = {"name": "Expected", "value": "4 of 2,000 held-out training rows, the most frequent new word"}
    assert expected in finding["lines"]
    assert {"name": "Values", "value": "enfermera (40), titulada! (30), rare (5)"} in finding["lines"]
    assert ' and ml.text.oov_words: "title=enfermera"' in finding["query"]


def test_each_text_has_its_own_new_words() -> None:
    result = run(new_words(400, {"title=enfermera": 40, "a%3Db=enfermera": 41, "other=enfermera": 42}))
    assert {finding["feature"] for finding in result["findings"]} == {"title", "a=b"}


def test_new_words_as_common_as_in_training_are_not_flagged() -> None:
    assert run(new_words(400, {"title=enfermera": 40}, count=100))["count"] == 0
    assert run(new_words(400, {"title=enfermera": 10}))["count"] == 0
    assert run(new_words(400, {f"title=w{i}": 4 for i in range(50)}))["count"] == 0


def test_the_chance_of_new_words_is_corrected_for_the_candidates() -> None:
    assert run(new_words(400, {"title=enfermera": 16}, candidates=1))["count"] == 1
    assert run(new_words(400, {"title=enfermera": 16}, candidates=10**9))["count"] == 0


def test_a_profile_of_an_earlier_version_expects_no_new_words() -> None:
    context = new_words(400, {"title=enfermera": 40})
    (hit,) = context["payload"]["profiles"]["hits"]["hits"]
    del hit["_source"]["expected"]["checks"]["new_words"]
    assert run(context)["count"] == 0
