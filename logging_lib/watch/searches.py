"""Build the searches of the shipped watches from their specs, with one function for each kind of watch.

Each kind has one stored script, which depends on the shape of the kind's searches. Every search counts the events
that arrived (``event.ingested``) up to the scheduled time, for all models at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from logging_lib._util.times import parse_duration
from logging_lib.profile.model import NEW_WORDS
from logging_lib.watch.scripts.limits import COMPARED_DAYS
from logging_lib.watch.spec import (
    Counter,
    Counters,
    Distributions,
    EstimateSpec,
    Latency,
    QualitySpec,
    Rates,
    Spec,
    Starts,
    Versions,
)

Json = dict[str, Any]
Searches = dict[str, Json]
"""The inputs of a watch's chain by name, in their order."""

NOW = "{{ctx.trigger.scheduled_time}}"
MODEL_PATTERN = "{{ctx.metadata.model}}"

# -- conditions: which events a search counts --------------------------------------------------------------

CHECKED: Json = {"terms": {"ml.profile.status": ["matched", "mismatch"]}}
SUCCEEDED: Json = {"term": {"event.outcome": "success"}}
LIVE: Json = {"term": {"ml.model.role": "live"}}
JOINED: Json = {"term": {"ml.label.joined": True}}
CONDITIONS: Mapping[str, Json] = {
    "live": LIVE,
    "without_model": {"bool": {"must_not": [{"exists": {"field": "ml.model.name"}}]}},
}
"""The conditions that a spec of counters can name."""


def of_models(pattern: str = MODEL_PATTERN) -> Json:
    return {"wildcard": {"ml.model.name": {"value": pattern}}}


def since(span: str, back: str = "") -> Json:
    """Match events that arrived in the last ``span`` or later, seen from now or from ``back`` (``-1w``)."""
    return {"range": {"event.ingested": {"gt": f"{NOW}||{back}-{span}"}}}


def within(span: str, back: str = "") -> Json:
    """Match events that arrived in the last ``span``, seen from now or from ``back`` (``-1w``)."""
    until = f"{NOW}||{back}" if back else NOW
    return {"range": {"event.ingested": {"gt": f"{NOW}||{back}-{span}", "lte": until}}}


def between(span: str, until: str) -> Json:
    """Match events that arrived from ``span`` ago until ``until`` ago."""
    return {"range": {"event.ingested": {"gt": f"{NOW}||-{span}", "lte": f"{NOW}||-{until}"}}}


def setting(name: str) -> str:
    """Return a setting of the watch, as a template."""
    return f"{{{{ctx.metadata.{name}}}}}"


def window(index: int) -> str:
    return setting(f"windows.{index}")


# -- aggregations: what is counted -------------------------------------------------------------------------

WEIGHT: Json = {"sum": {"field": "ml.sample.weight"}}
SAMPLING: Json = {"extended_stats": {"field": "ml.sample.weight"}}
"""The sum of the weights' squares says how much uncertainty sampling adds to the counts."""
FIRST: Json = {"min": {"field": "@timestamp"}}
LAST: Json = {"max": {"field": "@timestamp"}}


def terms(field: str, size: int, aggs: Json | None = None, **options: Any) -> Json:
    """Return the buckets of a field's values; with ``top=True`` only the most frequent are wanted."""
    top = options.pop("top", False)
    return {
        "terms": {"field": field, "size": size, **options},
        **({"meta": {"top": True}} if top else {}),
        **({"aggs": aggs} if aggs else {}),
    }


SERVICES = terms("service.name", 10, top=True)


def by_model(aggs: Json) -> Json:
    return {"models": terms("ml.model.name", 500, aggs)}


def by_version(aggs: Json) -> Json:
    return by_model({"versions": terms("ml.model.version", 200, aggs)})


def by_window(windows: int, aggs: Json, back: str = "") -> Json:
    """Return the buckets of all windows, the shortest first."""
    filters = {window(index): since(window(index), back) for index in range(windows)}
    return {"windows": {"filters": {"filters": filters}, "aggs": aggs}}


# -- searches ----------------------------------------------------------------------------------------------


def build_search(datasets: Iterable[str], conditions: list[Json], aggs: Json) -> Json:
    """Build a search that counts the events of some datasets that meet all conditions."""
    body = {"size": 0, "query": {"bool": {"filter": conditions}}, "aggs": aggs}
    return _build_request([f"logs-ml.{dataset}-*" for dataset in datasets], body)


def search_profiles(*fields: str, pattern: str = MODEL_PATTERN) -> Json:
    """Ask for the published profiles: the model, its settings by people, and the other fields that the script
    reads."""
    source = ["ml.model", "owners", "overrides", "accepted", *fields]
    return _build_request(["ml-profiles"], {"size": 1000, "query": of_models(pattern), "_source": source})


def _build_request(indices: list[str], body: Json) -> Json:
    return {"search": {"request": {"indices": indices, "body": body}}}


def weeks_back(reference: str) -> str:
    """Convert ``week2`` to ``-2w``."""
    return f"-{reference.removeprefix('week')}w"


# -- the kinds of watches ----------------------------------------------------------------------------------


def search_rates(spec: Rates) -> Searches:
    """Count how many events failed each check, by feature or value, in each window.

    The features that fail a check are in ``ml.check.<name>``; ``settings.fields`` names another field, whose values
    in ``settings.words`` are counted; ``new_words`` are the most frequent unknown words. With ``usual_rate``
    the watch needs no profile and counts all events.
    """
    settings = spec.settings
    windows = len(settings["windows"])
    checks = settings.get("checks") or [settings["check"]]
    by_profile = "usual_rate" not in settings
    conditions = [CHECKED] if by_profile else []

    def count_failures(extra: Json) -> Json:
        counted = {"weight": WEIGHT, **extra}
        return {
            check if "checks" in settings else "features": _count_failures(settings, check, counted)
            for check in checks
        }

    between_events = {"first": FIRST, "last": LAST}
    if by_profile:  # usual failures are sampled: see logging_lib.logger.privacy.Sampler
        between_events["sampling"] = SAMPLING
    counts = {"weight": WEIGHT, "sampling": SAMPLING, **count_failures(between_events)}
    if spec.values is not None:
        named = spec.values.model_dump(exclude_none=True)
        values = terms(**named, size=50, aggs={"weight": WEIGHT}, top=True)
        failed = {"exists": {"field": f"ml.check.{checks[0]}"}}
        counts["failing"] = {"filter": failed, "aggs": {"values": values}}
    searches = {
        "window": build_search(
            ["prediction"],
            [of_models(), *conditions, within(window(windows - 1))],
            by_version({**by_window(windows, counts), "services": SERVICES}),
        )
    }
    past = {"weight": WEIGHT, **count_failures({})}
    if "baseline" in settings:
        before = between(setting("baseline"), window(windows - 1))
        searches["baseline"] = build_search(
            ["prediction"], [of_models(), *conditions, before], by_version(past)
        )
    searches |= _search_same_hours(settings, conditions, past)
    fields: list[str] = []
    if by_profile:
        # The profile knows nothing about unexpected features, because no held-out row has one.
        expected = [f"expected.checks.{check}" for check in checks if check != "unexpected"]
        rows = ["expected.rows"] if "checks" in settings else []
        varies = ["source", "until", "levels", *(f"measures.{check}" for check in checks)]
        variation = [f"expected.variation.{part}" for part in varies]
        fields = ["ml.profile.id", "expected.features", *rows, *expected, *variation]
    return {**searches, "profiles": search_profiles(*fields)}


CANDIDATES = 50
"""The number of a window's most frequent unknown words that are examined."""


def _count_failures(settings: Mapping[str, Any], check: str, aggs: Json) -> Json:
    if check == NEW_WORDS:
        return terms("ml.text.oov_words", CANDIDATES, aggs, top=True)
    field = settings.get("fields", {}).get(check)
    if field is None:
        return terms(f"ml.check.{check}", 10_000, aggs, top=True)
    values = [word for word in settings["words"] if word not in settings["checks"]]
    return terms(field, 10, aggs, include=values)


def _search_same_hours(settings: Mapping[str, Any], conditions: list[Json], counts: Json) -> Searches:
    """Count the same hours of earlier weeks for the models in ``settings.seasonal``, in windows below a day."""
    windows = sum(parse_duration(length) < timedelta(days=1) for length in settings["windows"])
    searches = {}
    for name in settings.get("references", ()):
        back = weeks_back(name)
        searches[name] = build_search(
            ["prediction"],
            [of_models(setting("seasonal")), *conditions, within(window(windows - 1), back)],
            by_version(by_window(windows, counts, back)),
        )
    return searches


SPECIAL_VALUES = ".*=!(missing|absent|unseen|below|above|nonfinite|type)"


def search_distributions(spec: Distributions) -> Searches:
    """Count how many events fell into each bin of the inputs, of the prediction, or of both, in each window."""
    settings = spec.settings
    windows = len(settings["windows"])
    conditions = [CHECKED, SUCCEEDED]
    counts: Json = {"weight": WEIGHT}
    fields = ["expected.features"]
    if "inputs" in spec.bins_of:
        counts["inputs"] = terms("ml.input.bins", 20_000, {"weight": WEIGHT})
        fields += ["expected.bins", "expected.order"]
    if "prediction" in spec.bins_of:
        counts["prediction"] = terms("ml.prediction.bin", 1000, {"weight": WEIGHT})
        fields.append("expected.prediction")
    if "mean" in settings["measures"]:
        stats = {"stats": {"field": "ml.prediction.value"}}
        counts["values"] = terms("ml.sample.weight", 100, {"value": stats})
    varies = [
        "source",
        "until",
        "levels",
        *(f"measures.{measure}" for measure in settings["measures"]),
        "rhythm",
    ]
    fields += [f"expected.variation.{part}" for part in varies]
    window_counts = {**counts, "sampling": SAMPLING, "first": FIRST, "last": LAST}
    if spec.hold_back:
        weight = {"weight": WEIGHT}
        window_counts["special"] = terms("ml.input.bins", 1000, weight, top=True, include=SPECIAL_VALUES)
        fields.append("expected.bins")
    return {
        "window": build_search(
            ["prediction"],
            [of_models(), *conditions, within(window(windows - 1))],
            by_version({**by_window(windows, window_counts), "services": SERVICES}),
        ),
        **_search_same_hours(settings, conditions, counts),
        "profiles": search_profiles(*fields),
    }


PERCENTS = [50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 99]


def search_latency(spec: Latency) -> Searches:
    """Ask for percentiles of the duration in each window, and in the model's days before."""
    windows = len(spec.settings["windows"])
    timed = {
        "timed": {"value_count": {"field": "event.duration"}},
        "duration": {"percentiles": {"field": "event.duration", "percents": PERCENTS}},
    }
    longest = window(windows - 1)
    before = between(setting("baseline"), longest)
    counts = by_window(windows, {**timed, "first": FIRST, "last": LAST})
    return {
        "window": build_search(
            ["prediction"],
            [of_models(), SUCCEEDED, within(longest)],
            by_version({**counts, "services": SERVICES}),
        ),
        "baseline": build_search(["prediction"], [of_models(), SUCCEEDED, before], by_model(timed)),
        "profiles": search_profiles(),
    }


def search_quality(spec: QualitySpec) -> Searches:
    """Ask for errors and confusions of the labels that arrived, and count the predictions that could have one."""
    windows = len(spec.settings["windows"])
    longest = window(windows - 1)
    weight = {"sum": {"field": "ml.sample.weight", "missing": 1}}
    made_then = {"range": {"ml.prediction.timestamp": {"gt": f"{NOW}||-{longest}"}}}
    predicted = terms("ml.prediction.label", 1000, {"weight": weight})
    counts = {
        "weight": weight,
        "errors": {"stats": {"field": "ml.label.absolute_error"}},
        "squared": {"avg": {"field": "ml.label.squared_error"}},
        "bias": {"avg": {"field": "ml.label.error"}},
        "brier": {"stats": {"field": "ml.label.brier"}},
        "log_loss": {"avg": {"field": "ml.label.log_loss"}},
        "actual": terms("ml.label.label", 1000, {"predicted": predicted}),
        "arrived": {"filter": made_then, "aggs": {"weight": weight}},
        "first": FIRST,
        "last": LAST,
    }
    # Labels arrive late: those in each window may belong to any prediction of the longest window.
    predicted_then = {"range": {"@timestamp": {"gt": f"{NOW}||-{longest}"}}}
    served = {
        "filters": {"filters": {window(index): predicted_then for index in range(windows)}},
        "aggs": {"weight": WEIGHT},
    }
    made_until_now = {"range": {"@timestamp": {"gt": f"{NOW}||-{longest}", "lte": NOW}}}
    return {
        "window": build_search(
            ["label"],
            [of_models(), JOINED, within(longest)],
            by_version({**by_window(windows, counts), "services": SERVICES}),
        ),
        "served": build_search(
            ["prediction"], [of_models(), made_until_now], by_version({"windows": served})
        ),
        "profiles": search_profiles("expected.quality"),
    }


def search_estimate(spec: EstimateSpec) -> Searches:
    """Ask for the expected errors of live predictions in each window."""
    windows = len(spec.settings["windows"])
    errors = {"error": {"stats": {"field": "ml.prediction.expected_error"}}}
    counts = {"errors": terms("ml.sample.weight", 100, errors), "first": FIRST, "last": LAST}
    has_error = {"exists": {"field": "ml.prediction.expected_error"}}
    return {
        "window": build_search(
            ["prediction"],
            [of_models(), LIVE, has_error, within(window(windows - 1))],
            by_version({**by_window(windows, counts), "services": SERVICES}),
        ),
        "profiles": search_profiles("expected.classifier.evaluated", "expected.classifier.expected_error"),
    }


def search_versions(spec: Versions) -> Searches:
    """Ask which versions are live and, with the rule ``live``, since when and checked against which profile."""

    def weight_of(condition: Json) -> Json:
        return {"filter": condition, "aggs": {"weight": WEIGHT}}

    live_now = {"now": weight_of(since(setting("live")))}
    counts, fields = live_now, ["deployed", "trained_at"]
    if spec.settings["rule"] == "live":
        an_hour_ago = {"range": {"event.ingested": {"lte": f"{NOW}||-1h"}}}
        mismatch = weight_of({"term": {"ml.profile.status": "mismatch"}})
        counts = {"weight": WEIGHT, **live_now, "before": weight_of(an_hour_ago), "mismatch": mismatch}
        fields = ["deployed"]
    return {
        "window": build_search(
            ["prediction"],
            [of_models(), LIVE, within(setting("window"))],
            by_version({**counts, "services": SERVICES}),
        ),
        "profiles": search_profiles(*fields),
    }


def search_starts(spec: Starts) -> Searches:
    """Ask for the newest start of each service in the window, and the newest before it."""
    hits = {
        "size": 1,
        "sort": [{"@timestamp": "desc"}],
        "_source": ["@timestamp", "service.version", "ml.model", "ml.start"],
    }
    newest = {"newest": {"top_hits": hits}}
    counts = by_model({"services": terms("service.name", 500, newest, missing="(none)")})
    before = between(setting("baseline"), setting("window"))
    return {
        "window": build_search(["start"], [of_models(), within(setting("window"))], counts),
        "baseline": build_search(["start"], [of_models(), before], counts),
    }


_GROUP_OPTIONS: Mapping[str, Json] = {"service.name": {"missing": "(none)"}}
_GROUP_SIZES: Mapping[str, int] = {"ml.deadletter.stage": 10}


def search_counters(spec: Counters) -> Searches:
    """Ask for the numbers of each group of ``settings.groups``, now and in the same hours of earlier weeks."""
    settings = spec.settings
    conditions = [CONDITIONS[name] for name in spec.only]
    if spec.of_models:
        conditions.insert(0, of_models())
    # Of an earlier week, only the hours that are compared are searched.
    compared = "recent" if "recent" in settings else "window"
    searches = {
        "window": build_search(
            spec.datasets, [*conditions, within(setting("window"))], _count_groups(spec, searched=None)
        )
    }
    for name in settings.get("references", ()):
        hours = within(setting(compared), weeks_back(name))
        searches[name] = build_search(
            spec.datasets, [*conditions, hours], _count_groups(spec, searched=compared)
        )
    if any(group["fields"][0] == "ml.model.name" for group in settings["groups"]):
        pattern = MODEL_PATTERN if spec.of_models else "*"
        parts = ("timezone", "traffic", "longest_gap") if _list_spans(settings["groups"]) else ()
        rhythm = [f"expected.variation.rhythm.{part}" for part in parts]
        searches["profiles"] = search_profiles("deployed", *rhythm, pattern=pattern)
    return searches


def _list_spans(groups: list[Json]) -> list[str]:
    return [span for group in groups for limit in group["limits"] for span in limit.get("spans", ())]


def _count_spans(spans: list[str]) -> Json:
    """Count the traffic that is compared with training's: the spans now and on earlier days, all events, the
    first."""
    filters = {}
    for span in spans:
        for days in (0, *COMPARED_DAYS):
            filters[f"{span}-{days}"] = within(span, f"-{days}d" if days else "")
    return {
        "spans": {"filters": {"filters": filters}, "aggs": {"weight": WEIGHT}},
        "total": WEIGHT,
        "first": {"min": {"field": "event.ingested"}},
    }


def _count_groups(spec: Counters, searched: str | None) -> Json:
    """Build the buckets of each group.

    Args:
        searched: the setting with the span of an earlier week to which the search is limited.
    """
    aggs = {}
    for group in spec.settings["groups"]:
        counts: Json = {"last": LAST}
        for name, counter in spec.counts[group["by"]].items():
            if isinstance(counter, Counter):
                numbers = {number: _number(text) for number, text in counter.numbers.items()}
                whole = searched is not None and counter.since == searched
                condition = {"match_all": {}} if whole else _condition(counter, spec.settings)
                counts[name] = {"filter": condition, "aggs": numbers}
            elif searched is None or not counter.startswith("top "):  # messages name the present values
                counts[name] = _number(counter)
        spans = _list_spans([group]) if searched is None else []
        if spans:
            counts |= _count_spans(spans)
        field, *members = group["fields"]
        for member in members:
            counts = {"members": terms(member, _GROUP_SIZES.get(member, 500), counts)}
        aggs[group["by"]] = terms(field, 500, counts, **_GROUP_OPTIONS.get(field, {}))
    return aggs


def _condition(counter: Counter, settings: Mapping[str, Any]) -> Json:
    """Return the condition of the events that a counter counts."""
    conditions: list[Json] = []
    names = [f"ml.{dataset}" for dataset in counter.datasets]
    if len(names) == 1:
        conditions.append({"term": {"event.dataset": names[0]}})
    elif names:
        conditions.append({"terms": {"event.dataset": names}})
    if counter.since is not None:
        conditions.append(since(setting(counter.since) if counter.since in settings else counter.since))
    return conditions[0] if len(conditions) == 1 else {"bool": {"filter": conditions}}


def _number(text: str) -> Json:
    """Parse ``sum ml.health.logged`` to an aggregation; ``top service.name`` gives the most frequent values."""
    operation, field = text.split()
    return terms(field, 10, top=True) if operation == "top" else {operation: {"field": field}}


_KINDS: Mapping[type[Spec], Callable[[Any], Searches]] = {
    Rates: search_rates,
    Distributions: search_distributions,
    Latency: search_latency,
    QualitySpec: search_quality,
    EstimateSpec: search_estimate,
    Versions: search_versions,
    Starts: search_starts,
    Counters: search_counters,
}


def build_searches(spec: Spec) -> Searches:
    """Build the searches of a watch by their names in its chain, in their order."""
    return _KINDS[type(spec)](spec)
