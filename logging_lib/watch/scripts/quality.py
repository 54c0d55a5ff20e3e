"""``ml-quality``: find labels that show larger errors than in training."""

from __future__ import annotations

from math import sqrt

from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    beta_binomial_tail,
    build_result,
    find_setting,
    gamma_tail,
    get_answer_buckets,
    get_buckets,
    get_sampled_share,
    index_profiles,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    predictive,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    clip,
    format_amount,
    format_chance,
    format_count,
    format_number,
    format_percent,
    format_time,
    format_window,
    round_half_up,
    show_value,
)


def quality(ctx: JsonObject, params: JsonObject) -> Document:
    """Compare the labels with ``expected.quality`` of the profile.

    Numbers: the mean absolute error, with the error of both means, at least ``min_ratio`` times training's.
    Probabilities of classes: Brier's score in the same way, by a gamma distribution with its mean and variance.
    Classes: the share of wrong answers, of all labels, of each actual class (1 - recall) and of each predicted
    class (1 - precision), by the beta-binomial tail and at least ``min_drop`` above training's. If no label is a
    class that training had, only that is reported: it is a different spelling, not an accuracy of 0. Findings name
    the share of labels that have arrived, because the first ones are seldom typical. A window with fewer labels
    than ``min_events`` is not evaluated.
    """
    windows = ctx["metadata"]["windows"]
    profiles = index_profiles(ctx["payload"]["profiles"])
    served = _index_served(ctx["payload"]["served"])
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            # A profile without quality has nothing in ``expected`` that the search asks for.
            expected = (profile.get("expected") or {}).get("quality") if profile is not None else None
            if profile is None or expected is None:
                reason = "no profile" if profile is None else "the profile does not know the model's quality"
                skipped.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            min_events = find_setting(ctx, profile, "min_events")
            labels = version["windows"]["buckets"][windows[-1]]["doc_count"]
            if labels < min_events:
                arrived = format_amount(labels, "label")
                reason = f"{arrived} in {format_window(windows[-1])}, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
            findings += _flag_quality(ctx, profile, expected, model["key"], version, served)
    return {**build_result(findings, skipped), "notes": notes}


def _index_served(answer: JsonObject) -> dict[str, float]:
    """Index the number of predictions by ``model:version:window``."""
    served = {}
    for model in get_answer_buckets(answer, "models"):
        for version in get_buckets(model["versions"], "versions"):
            for window, bucket in version["windows"]["buckets"].items():
                served[model["key"] + ":" + version["key"] + ":" + window] = bucket["weight"]["value"]
    return served


def _flag_quality(
    ctx: JsonObject,
    profile: JsonObject,
    expected: JsonObject,
    model: str,
    version: JsonObject,
    served: JsonObject,
) -> list[Document]:
    """Find the measures that became worse, each in the shortest window that flags it."""
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    measures = 1.0 + 2.0 * len(expected["confusion"]) + (0.0 if expected.get("brier") is None else 1.0)
    tests = measures * len(windows) * metadata["ticks_per_month"]
    alpha = find_setting(ctx, profile, "false_alarms_per_model_month") / tests
    min_events = find_setting(ctx, profile, "min_events")
    findings: list[Document] = []
    flagged: set[str] = set()
    for window in windows:
        bucket = version["windows"]["buckets"][window]
        if bucket["doc_count"] < min_events:
            continue
        for name, tail, what, facts, effect, share in _find_regressions(ctx, profile, expected, bucket):
            if name in flagged or tail >= alpha:
                continue
            flagged.add(name)
            since = bucket["first"]["value_as_string"]
            total = served.get(model + ":" + version["key"] + ":" + window, 0.0)
            labels = format_amount(bucket["doc_count"], "label")
            lines = [
                *name_services(version),
                new_line("Observed", f"{labels} in the last {format_window(window)}"),
                *facts,
                new_line("Probability", format_chance(tail) + " if nothing had changed"),
                new_line("Labels so far", _describe_arrived(bucket, total)),
                new_line("Since", format_time(since) + " or earlier"),
            ]
            query = (
                f'event.dataset: "ml.label" and ml.model.name: {quote(model)}'
                f" and ml.model.version: {quote(version['key'])}"
                f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
            )
            until = bucket["last"]["value_as_string"]
            finding = new_finding(ctx, profile, model, version["key"], name, what, lines, query, since, until)
            finding["window"] = window
            finding["observed"] = bucket["doc_count"]
            add_severity(finding, ctx, effect, share, "")
            findings.append(finding)
    return findings


def _describe_arrived(bucket: JsonObject, total: float) -> str:
    """Say how many of ``total`` predictions have a label."""
    arrived = round_half_up(bucket["arrived"]["weight"]["value"])
    if total > 0:
        predictions = format_amount(round_half_up(total), "prediction")
        return f"{format_count(arrived)} of {predictions} of that time ({format_percent(arrived / total)})"
    return "unknown, as the predictions of that time are not stored"


_Regression = tuple[str, float, str, list[Document], float, float | None]
"""A measure that became worse: its name, its chance, the line about it, further lines, its effect and its share."""


def _find_regressions(
    ctx: JsonObject, profile: JsonObject, expected: JsonObject, bucket: JsonObject
) -> list[_Regression]:
    """Compare the errors and the confusions of a window with training's."""
    regressions: list[_Regression] = []
    errors = bucket["errors"]
    usual = expected.get("errors")
    if usual is not None and errors["count"] > 0 and usual["std"] > 0:
        mae, n = errors["avg"], errors["count"]
        least = find_setting(ctx, profile, "min_ratio") * usual["mean"]
        if mae >= least:
            z = (mae - usual["mean"]) / (
                usual["std"] * sqrt(1.0 / n + 1.0 / usual["count"] + find_setting(ctx, profile, "dispersion"))
            )
            what = f"mean absolute error {format_number(mae)} (expected {format_number(usual['mean'])})"
            rows = format_amount(round_half_up(usual["count"]), "held-out training row")
            lines = [
                new_line("Root mean squared error", format_number(sqrt(bucket["squared"]["value"]))),
                new_line("Mean error (prediction minus actual)", format_number(bucket["bias"]["value"])),
                new_line("Compared with", rows),
            ]
            chance, effect = gamma_tail(0.5, 0.5 * z * z), measure_effect(mae, least)
            regressions.append(("error", chance, what, lines, effect, None))
    confusion = expected["confusion"]
    observed: dict[str, dict[str, float]] = {}
    for actual in get_buckets(bucket["actual"], "actual"):
        observed[actual["key"]] = {
            predicted["key"]: predicted["weight"]["value"] * get_sampled_share(predicted)
            for predicted in get_buckets(actual["predicted"], "predicted")
        }
    strange = _find_strange_classes(ctx, profile, confusion, observed)
    if strange is not None:
        return [strange]
    brier, usual = bucket.get("brier"), expected.get("brier")
    if usual is not None and brier is not None and brier["count"] > 0 and usual["std"] > 0:
        mean, n = brier["avg"], brier["count"]
        least = find_setting(ctx, profile, "min_ratio") * usual["mean"]
        if mean >= least:
            variance = (
                usual["std"]
                * usual["std"]
                * (1.0 / n + 1.0 / usual["count"] + find_setting(ctx, profile, "dispersion"))
            )
            shape = usual["mean"] * usual["mean"] / variance
            what = f"Brier score {format_number(mean)} (expected {format_number(usual['mean'])})"
            rows = format_amount(round_half_up(usual["count"]), "row")
            lines = [
                new_line("Log loss", format_number(bucket["log_loss"]["value"])),
                new_line("Compared with", f"{rows} of the profile"),
            ]
            chance, effect = gamma_tail(shape, shape * mean / usual["mean"]), measure_effect(mean, least)
            regressions.append(("Brier score", chance, what, lines, effect, None))
    if len(confusion) > 0:
        rates = [("accuracy", "", "")]
        rates += [
            (f"{kind} of {name}", kind, name)
            for name in sorted(confusion)
            for kind in ("recall", "precision")
        ]
        for title, kind, name in rates:
            wrong, usually_wrong = _count_wrong(observed, kind, name), _count_wrong(confusion, kind, name)
            regression = _compare_rate(ctx, profile, title, wrong, usually_wrong)
            if regression is not None:
                regressions.append(regression)
    return regressions


def _find_strange_classes(
    ctx: JsonObject, profile: JsonObject, confusion: JsonObject, observed: JsonObject
) -> _Regression | None:
    """Find labels none of which is a class that training had; None if some are."""
    known = set(confusion)
    for actual in sorted(confusion):
        known.update(confusion[actual])
    total = 0.0
    names = []
    for actual in sorted(observed):
        if actual in known:
            return None
        total += sum(observed[actual].values())
        names.append(actual)
    if len(known) == 0 or total < find_setting(ctx, profile, "min_events"):
        return None
    what = f"no label is a class of the model: {_name_classes(names)}"
    lines = [
        new_line("Classes of the model", _name_classes(sorted(known))),
        new_line("Remedy", "write labels as the model writes its classes"),
    ]
    effect = measure_effect(1.0, find_setting(ctx, profile, "min_drop"))
    return "classes of labels", 0.0, what, lines, effect, 1.0


def _name_classes(names: list[str]) -> str:
    """Name the first classes."""
    text = ", ".join(clip(show_value(name)) for name in names[:5])
    return f"{text} and {len(names) - 5} more" if len(names) > 5 else text


def _count_wrong(confusion: JsonObject, kind: str, name: str) -> tuple[float, float]:
    """Count the wrong answers and all: of all labels, of those that are ``name``, or of those predicted so."""
    wrong = total = 0.0
    for actual in sorted(confusion):
        for predicted in sorted(confusion[actual]):
            if (kind == "recall" and actual != name) or (kind == "precision" and predicted != name):
                continue
            total += confusion[actual][predicted]
            if actual != predicted:
                wrong += confusion[actual][predicted]
    return wrong, total


def _compare_rate(
    ctx: JsonObject, profile: JsonObject, name: str, observed: tuple[float, float], usual: tuple[float, float]
) -> _Regression | None:
    """Compare a rate of wrong answers, given as (wrong, all), with training's; None if it is not worse."""
    hits, total = round_half_up(observed[0]), round_half_up(observed[1])
    if total < find_setting(ctx, profile, "min_events") or usual[1] == 0:
        return None
    drop, least = hits / total - usual[0] / usual[1], find_setting(ctx, profile, "min_drop")
    if drop < least:
        return None
    a, b = predictive(usual[0], usual[1], find_setting(ctx, profile, "dispersion"))
    tail = beta_binomial_tail(hits, total, a, b)
    right, before = format_percent(1.0 - hits / total), format_percent(1.0 - usual[0] / usual[1])
    trained = f"{format_count(round_half_up(usual[0]))} of {format_count(round_half_up(usual[1]))}"
    lines = [new_line("Wrong", f"{format_count(hits)} of {format_count(total)}, in training {trained}")]
    what = f"{clip(show_value(name))} {right} (expected {before})"
    return name, tail, what, lines, measure_effect(drop, least), hits / total
