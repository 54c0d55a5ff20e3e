"""Collect everything that a report says from a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.datemath import from_millis
from logging_lib._util.formatting import format_count, format_percent, join_names
from logging_lib._util.text import shorten
from logging_lib.analysis import joins
from logging_lib.analysis.samples import Selection
from logging_lib.report import alerts as alerting
from logging_lib.report import classifiers, drift, estimates, merging, queries, responses
from logging_lib.report.model import (
    FeatureReport,
    ModelReport,
    Moment,
    Output,
    QualityReport,
    ReportedAlert,
    Share,
    Subject,
    Training,
    Variant,
    find_variant,
)
from logging_lib.report.verdict import verdict
from logging_lib.schema import tokens
from logging_lib.store.port import Store, StoreError
from logging_lib.store.profiles import explain_versions
from logging_lib.watch.model import Watch

INTERVALS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 28 * 1440)
)
MAX_MOMENTS = 72
MAX_SHADOWED = 50_000
HISTOGRAM_BINS = 20
EARLY = timedelta(seconds=1)


class NothingToReport(StoreError):  # noqa: N818 - the program is not at fault
    """The store has nothing that the report could be about; the message says what it has."""


def subject_of(
    store: Store,
    *,
    model: str | None,
    version: str | None,
    role: str | None,
    start: datetime | None,
    end: datetime | None,
) -> Subject:
    """Determine what the report is about; arguments that are None are found in the store.

    The role is ``live`` if the version has live predictions. The version is the one that predicted most. The
    period is from the first to the last prediction.

    Raises:
        NothingToReport: there are no predictions, or several models; the message names them.
    """
    in_period = _find_variants(store, start, end)
    everything = in_period if start is None and end is None else _find_variants(store, None, None)
    if model is None:
        names = sorted({variant[0] for variant in in_period or everything})
        if not names:
            raise NothingToReport(
                "the store holds no predictions; index some with: logging-lib index SPOOL --store …"
            )
        if len(names) > 1:
            listed = join_names([shorten(name) for name in names], 20)
            raise NothingToReport(f"the store holds predictions of {listed}; choose one with --model")
        (model,) = names
    of_model = {key: value for key, value in (in_period or everything).items() if key[0] == model} or {
        key: value for key, value in everything.items() if key[0] == model
    }
    if version is None:
        if not of_model:
            available = join_names(
                [shorten(name) for name in sorted({variant[0] for variant in everything})], 20
            )
            raise NothingToReport(
                f"the store holds no predictions of {shorten(model)!r}; "
                f"there are predictions of {available or 'no model'}"
            )
        version = max(of_model, key=lambda key: (key[2] == "live", of_model[key][2]))[1]
    if role is None:
        roles = {key[2] for key in of_model if key[1] == version}
        role = "live" if "live" in roles or not roles else sorted(roles)[0]
    ends = of_model.get((model, version, role)) or next(iter(of_model.values()), None)
    if start is None or end is None:
        if ends is None:
            ends = next(iter(everything.values()), None)
        if ends is None:
            raise NothingToReport(
                f"the store holds no predictions, so there is no period to report on for {shorten(model)!r}; "
                "give one with --since and --until"
            )
        # The answer rounds milliseconds down, but the last event must be included.
        start, end = start or ends[0], end or ends[1] + EARLY
    return Subject(model, version, role, start, end)


def find_times(store: Store, model: str | None) -> tuple[datetime, datetime] | None:
    """Return the times of the first and the last prediction, of a model or of all; None without predictions."""
    times = [ends for key, ends in _find_variants(store, None, None).items() if model in (None, key[0])]
    return (min(ends[0] for ends in times), max(ends[1] for ends in times)) if times else None


def _find_variants(
    store: Store, start: datetime | None, end: datetime | None
) -> dict[tuple[str, str, str], tuple[datetime, datetime, float]]:
    """Return (model, version, role) → first, last and weight of its predictions."""
    answer = store.search(queries.PREDICTIONS, queries.models(start, end))
    return {
        (model["key"], version["key"], role["key"]): (
            from_millis(role["first"]["value"]),
            from_millis(role["last"]["value"]),
            responses.weight(role),
        )
        for model in responses.buckets(
            answer.get("aggregations", {}).get("models", {"buckets": []}), "models"
        )
        for version in responses.buckets(model["versions"], "versions")
        for role in responses.buckets(version["roles"], "roles")
    }


def profile_document(store: Store, model: str, version: str) -> Mapping[str, Any] | None:
    """Return the published profile of the model version's training, or None."""
    body = {"size": 1, "query": {"ids": {"values": [f"{model}:{version}"]}}}
    hits = store.search("ml-profiles", body)["hits"]["hits"]
    return hits[0]["_source"] if hits else None


def collect(
    store: Store,
    subject: Subject,
    *,
    now: datetime,
    found: alerting.FoundAlerts,
    watches: Iterable[Watch] = (),
    runbooks: Mapping[str, str] | None = None,
    by: str | None = None,
) -> ModelReport:
    """Search for everything that the report says.

    Args:
        store: contains the events and, in ``ml-profiles``, the training data's profiles.
        found: the alerts.
        watches: the alerts' watches with their titles, concerns and runbooks.
        runbooks: a runbook's name in the watch → its Markdown.
        by: what a classifier's quality is sliced by: a feature, or ``labels.KEY``.
    """
    profile = profile_document(store, subject.model, subject.version)
    variants = sorted(
        responses.variants(store.search(queries.PREDICTIONS, queries.variants(subject))),
        key=lambda v: ((v.version, v.role) != (subject.version, subject.role), -v.predictions),
    )
    main = find_variant(variants, subject)
    watch_by_id = {watch.id: watch for watch in watches}
    interval = _choose_interval(store, subject) if variants else INTERVALS[0]
    training = _read_training(profile)
    features, unknown = read_features(store, subject, profile, main)
    alerts = merging.merge(found.documents, watch_by_id, {feature.name for feature in features})
    followed = drift.choose_followed(features, alerting.name_checks(alerts))
    moments = _read_moments(store, subject, interval, followed) if main else ()
    features = [_add_courses(feature, moments) for feature in features]
    rates = {(rate.check, feature.name): rate for feature in features for rate in feature.rates}
    alerts = merging.rank(alerting.add_state(alert, rates, moments, interval) for alert in alerts)
    features = [_add_alerts(feature, alerts) for feature in features]
    output = _read_output(store, subject, profile) if main else None
    output_moved = _has_output_moved(profile, output)
    shadow = subject if main is None else _choose_other(subject, variants)
    elsewhere = None
    if main is None:
        span = [value for key, value in _find_variants(store, None, None).items() if key[0] == subject.model]
        elsewhere = (min(v[0] for v in span), max(v[1] for v in span)) if span else None
    names = {alert.runbook for alert in alerts}
    quality = _read_quality(store, subject, profile, interval)
    is_classifier = any(entry.measure == responses.ACCURACY for entry in quality)
    classifier = classifiers.read_quality(store, subject, profile, by) if is_classifier else None
    if classifier is not None and classifier.problem:  # an accuracy of 0 would not be a finding
        identity = (subject.version, subject.role)
        quality = tuple(entry for entry in quality if (entry.version, entry.role) != identity)
    return ModelReport(
        made_at=now,
        subject=subject,
        verdict=verdict(
            subject, main, training, alerts, features, output, output_moved, found.searched_by, elsewhere
        ),
        training=training,
        alert_source=found.source,
        interval=interval,
        alerts=alerts,
        variants=tuple(variants),
        moments=moments,
        features=tuple(features),
        output=output,
        quality=quality,
        shadow_moments=_read_moments(store, shadow, interval, ()) if shadow and shadow != subject else (),
        notes=tuple(_write_notes(store, subject, main, profile, unknown)),
        runbooks={name: text for name, text in (runbooks or {}).items() if name in names},
        shadows=_compare_shadows(store, subject) if any(v.role == "shadow" for v in variants) else (),
        sent=len(found.documents),
        classifier=classifier,
        estimate=estimates.read_estimate(store, subject, profile, interval) if main else None,
    )


def _compare_shadows(store: Store, subject: Subject) -> tuple[tuple[str, ...], ...]:
    """Compare answers to the latest requests; empty if no request was answered by both."""
    selection = Selection(model=subject.model, since=subject.start, until=subject.end)
    try:
        return tuple(
            tuple(comparison.lines()) for comparison in joins.shadow(store, selection, max_rows=MAX_SHADOWED)
        )
    except StoreError:
        return ()


def _choose_interval(store: Store, subject: Subject) -> timedelta:
    """Return the shortest interval for which at most ``MAX_MOMENTS`` have predictions."""
    hourly = subject.end - subject.start < timedelta(days=1000)
    unit = timedelta(hours=1) if hourly else timedelta(days=1)
    answer = store.search(queries.PREDICTIONS, queries.hours(subject, "1h" if hourly else "1d"))
    starts = [bucket["key"] / 1000 for bucket in answer["aggregations"]["hours"]["buckets"]]
    span = max((subject.end - subject.start).total_seconds(), 1.0)
    for interval in INTERVALS:
        seconds = interval.total_seconds()
        if interval < unit:
            inside = min(len(starts) * unit.total_seconds(), span)
            number = inside / seconds
        else:
            number = len({start // seconds for start in starts})
        if number <= MAX_MOMENTS:
            return interval
    return INTERVALS[-1]


def _read_training(profile: Mapping[str, Any] | None) -> Training | None:
    if profile is None:
        return None
    expected = profile["expected"]
    return Training(
        profile_id=str(profile["ml"].get("profile", {}).get("id", "")),
        rows=int(expected["rows"]),
        features=int(expected["features"]),
        trained_at=profile.get("trained_at"),
    )


def read_features(
    store: Store, subject: Subject, profile: Mapping[str, Any] | None, main: Variant | None
) -> tuple[list[FeatureReport], dict[str, float]]:
    """Return the compared features of the profile, and the weights of inputs that are not in the profile."""
    if main is None and profile is None:
        return [], {}
    aggregations = store.search(queries.PREDICTIONS, queries.checks(subject)).get("aggregations", {})
    failed = {
        check: responses.weights(aggregations[check], check)
        for check in queries.RATED
        if check in aggregations
    }
    unknown = failed.pop("unexpected", {})
    if profile is None:
        return [], unknown
    expected = profile["expected"]
    answer = store.search(queries.PREDICTIONS, queries.bins(subject)).get("aggregations", {})
    served = responses.group_by_feature(answer["inputs"], "inputs", expected["bins"]) if answer else {}
    shares = {name: responses.shares(bins, served.get(name, {})) for name, bins in expected["bins"].items()}
    named: dict[str, dict[str, dict[str, float]]] = {}
    for check in queries.VALUES_OF:
        if (name := f"{check}_values") in aggregations:
            by_feature = responses.group_by_feature(aggregations[name], name, expected["bins"])
            named[check] = {
                feature: {tokens.split(f"={value}")[1]: count for value, count in values.items()}
                for feature, values in by_feature.items()
            }
    checked = main.checked if main else 0.0
    return drift.compare_features(expected, served, failed, named, checked, shares), unknown


def _read_moments(
    store: Store, subject: Subject, interval: timedelta, followed: Sequence[tuple[str, str]]
) -> tuple[Moment, ...]:
    answer = store.search(queries.PREDICTIONS, queries.over_time(subject, interval, followed))
    return tuple(responses.moments(answer, followed))


def _add_courses(feature: FeatureReport, moments: Sequence[Moment]) -> FeatureReport:
    rates = tuple(drift.add_course(rate, feature.name, moments) for rate in feature.rates)
    return replace(feature, rates=rates)


def _add_alerts(feature: FeatureReport, alerts: Sequence[ReportedAlert]) -> FeatureReport:
    numbers = tuple(alert.number for alert in alerts if feature.name in alert.features)
    return replace(feature, alerts=numbers, status="alerted" if numbers else feature.status)


def _read_output(store: Store, subject: Subject, profile: Mapping[str, Any] | None) -> Output | None:
    """Return the prediction's distribution: by the profile's bins, else as a histogram, or by label."""
    expected = profile["expected"].get("prediction") if profile else None
    aggregations = store.search(queries.PREDICTIONS, queries.outputs(subject)).get("aggregations")
    if aggregations is None:
        return None
    if expected is not None:
        served = responses.weights(aggregations["prediction"], "prediction")
        moments = expected.get("moments") or {}
        rows = None
        if "rows" in expected:
            labeled = aggregations["weight"]["value"] - served.get("!missing", 0.0) - served.get("!type", 0.0)
            rows = (float(expected["rows"]), float(labeled))
        psi = _compare_output(expected["bins"], served, rows)
        return Output(
            kind=str(expected["kind"]),
            shares=responses.shares(expected["bins"], served),
            psi=psi[0] if psi else None,
            psi_by_chance=psi[1] if psi else None,
            trained_mean=moments.get("mean"),
            trained_std=moments.get("std"),
            rows=rows,
        )
    by_label = responses.weights(aggregations["labels"], "labels")
    if by_label:
        shares = tuple(Share(name, 0.0, seen, special=False) for name, seen in by_label.items())
        return Output("category", shares, None, None, None, None)
    low, high = aggregations["range"]["min"], aggregations["range"]["max"]
    if low is None:
        return None
    width = (high - low) / HISTOGRAM_BINS
    if not width or low + width == low:
        only = Share(f"[{low!r},{high!r}]", 0.0, float(aggregations["range"]["count"]), special=False)
        return Output("numeric", (only,), None, None, None, None)
    answer = store.search(queries.PREDICTIONS, queries.histogram(subject, width, low % width))
    bins = responses.buckets(answer["aggregations"]["prediction"], "prediction")
    shares = tuple(
        Share(f"[{b['key']!r},{b['key'] + width!r})", 0.0, responses.weight(b), special=False) for b in bins
    )
    return Output("numeric", shares, None, None, None, None)


def _has_output_moved(profile: Mapping[str, Any] | None, output: Output | None) -> bool:
    if profile is None or output is None or not profile["expected"].get("prediction"):
        return False
    bins = profile["expected"]["prediction"]["bins"]
    served = _count_served(output, bins)
    return drift.has_moved(_compare_output(bins, served, output.rows), 1)


def _compare_output(
    bins: Mapping[str, float], served: Mapping[str, float], rows: tuple[float, float] | None
) -> tuple[float, float, float] | None:
    if rows is None:
        return drift.population_stability(bins, served)
    return drift.labels_stability(bins, served, rows)


def _count_served(output: Output, bins: Mapping[str, Any]) -> dict[str, float]:
    plain = {name if name.startswith("!") else tokens.split(f"={name}")[1]: name for name in bins}
    return {plain[share.name]: share.served for share in output.shares if share.name in plain}


def _choose_other(subject: Subject, variants: Sequence[Variant]) -> Subject | None:
    """Return the variant to show beside the main one: the shadow that predicted most, or another version."""
    candidates = [v for v in variants if (v.version, v.role) != (subject.version, subject.role)]
    if not candidates:
        return None
    best = max(candidates, key=lambda v: (v.role != subject.role, v.predictions))
    return replace(subject, version=best.version, role=best.role)


def _read_quality(
    store: Store, subject: Subject, profile: Mapping[str, Any] | None, interval: timedelta
) -> tuple[QualityReport, ...]:
    answer = store.search(queries.LABELS, queries.labels(subject, interval))
    trained: dict[str, float] = {}
    expected = (profile or {}).get("expected", {}).get("quality") or {}
    if expected.get("errors"):
        trained[responses.ABSOLUTE_ERROR] = expected["errors"]["mean"]
    confusion = expected.get("confusion") or {}
    rows = sum(count for row in confusion.values() for count in row.values())
    if rows:
        trained[responses.ACCURACY] = sum(row.get(actual, 0) for actual, row in confusion.items()) / rows
    return tuple(
        report if report.version == subject.version else replace(report, trained=None)
        for report in responses.quality(answer, trained)
    )


def _write_notes(
    store: Store,
    subject: Subject,
    main: Variant | None,
    profile: Mapping[str, Any] | None,
    unknown: Mapping[str, float],
) -> Iterable[str]:
    """Return what a reader must know to trust the numbers."""
    if profile is None:
        yield (
            f"No profile of version {shorten(subject.version)} was given or published, so nothing was "
            "compared with training. Pass it with --profile, or publish it; logging-lib profile fit creates one."
        )
    if main is not None:
        if main.predictions > main.documents * 1.0005:
            yield (
                f"The events were sampled: {main.documents:,} stand for "
                f"{format_count(main.predictions, 'prediction')}. Percentiles are of the stored events."
            )
        if main.mismatched:
            yield (
                f"{_describe_part(main.mismatched, main)} were checked against the profile of another "
                "model or version."
            )
        yield from explain_versions(store, subject.model)
        unchecked = main.predictions - main.checked
        if profile is not None and unchecked > main.predictions * 0.0005:
            yield (
                f"{_describe_part(unchecked, main)} carry no checks and no bins; "
                "they count only in traffic, latency and predictions."
            )
        if unknown and main.checked:
            ranked = sorted(unknown.items(), key=lambda item: -item[1])
            items = [f"{shorten(name)} ({format_percent(hits / main.checked)})" for name, hits in ranked]
            yield f"Inputs that are not in the profile: {join_names(items, 10)}."
    for stream, body in queries.losses(subject).items():
        answer = store.search(stream, body)
        aggregations = answer.get("aggregations", {})
        if stream == queries.DEAD_LETTERS and answer["hits"]["total"]["value"]:
            reasons = ", ".join(
                f"{bucket['doc_count']:,} {shorten(str(bucket['key']))}"
                for bucket in aggregations["reasons"]["buckets"]
            )
            yield (
                f"{format_count(answer['hits']['total']['value'], 'event')} of any model became dead letters in "
                f"this period, so they are not in this report: {reasons}."
            )
        if stream == queries.HEALTH and aggregations and aggregations["dropped"]["value"]:
            dropped = format_count(aggregations["dropped"]["value"], "event")
            yield f"{dropped} of this model were dropped before they could be shipped."
        if stream == queries.STARTS and aggregations and aggregations["differ"]["buckets"]:
            versions = [shorten(str(bucket["key"])) for bucket in aggregations["differ"]["buckets"]]
            yield (
                "The service ran with other library versions than those in training: "
                f"{join_names(versions, 10)}."
            )


def _describe_part(predictions: float, main: Variant) -> str:
    return f"{format_count(predictions, 'prediction')} ({format_percent(predictions / main.predictions)})"
