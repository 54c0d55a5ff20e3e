"""``ml-quality``: whether the truth, where it has arrived, says that the model errs more than in training."""

from __future__ import annotations

from math import sqrt

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    buckets_in,
    chance,
    found,
    gamma_tail,
    judged,
    kept_share,
    line,
    number,
    percent,
    profiles_of,
    quoted,
    serving,
    setting,
    whole,
)
from logging_lib.watch.statistics import beta_binomial_tail, predictive


def quality(ctx: Given, params: Given) -> Document:
    """The label stream alone, against ``expected.quality`` of the profile.

    Numbers: the mean absolute error, with the error of both means, at least ``min_ratio`` times training's.
    Classes: the share of wrong answers, of all labels, of each true class (1 - recall) and of each predicted class
    (1 - precision), by the beta-binomial tail and at least ``min_drop`` above training's. The share of labels that
    have arrived is told, for what arrives first is seldom typical. A window with fewer labels than ``min_events``
    is not judged.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    profiles = profiles_of(ctx["payload"]["profiles"])
    served = _served(ctx["payload"]["served"])
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in buckets_in(ctx["payload"]["window"], "models"):
        for version in buckets(model["versions"], "versions"):
            key = model["key"] + ":" + version["key"]
            profile = profiles.get(key)
            # A profile without quality has, of all that is expected, nothing that the search asks for.
            expected = (profile.get("expected") or {}).get("quality") if profile is not None else None
            if profile is None or expected is None:
                reason = "no profile" if profile is None else "the profile does not know the model's quality"
                skipped.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            min_events = setting(ctx, profile, "min_events")
            told: set[str] = set()
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                if bucket["doc_count"] < min_events:
                    if window == windows[-1]:
                        reason = f"{bucket['doc_count']} labels in {window}, at least {min_events} are needed"
                        notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                    continue
                alpha = setting(ctx, profile, "false_alarms_per_model_month") / (
                    (1.0 + 2.0 * len(expected["confusion"])) * len(windows) * metadata["ticks_per_month"]
                )
                total = served.get(key + ":" + window, 0.0)
                arrived = whole(bucket["arrived"]["weight"]["value"])
                share = (
                    f"{arrived} of the {whole(total)} predictions of that time, {percent(arrived / total)} %"
                    if total > 0
                    else "unknown, the predictions of that time are not there"
                )
                for name, tail, what, lines in _verdicts(ctx, profile, expected, bucket):
                    if name in told or tail >= alpha:
                        continue
                    told.add(name)
                    since = bucket["first"]["value_as_string"]
                    told_of = [
                        *serving(version),
                        line("observed", f"{bucket['doc_count']} labels in the last {window}"),
                        *lines,
                        line("by chance, had nothing changed", chance(tail)),
                        line("labels that have arrived", share),
                        line("since", f"{since} at the latest"),
                    ]
                    query = (
                        f'event.dataset: "ml.label" and ml.model.name: {quoted(model["key"])}'
                        f" and ml.model.version: {quoted(version['key'])}"
                        f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
                    )
                    until = bucket["last"]["value_as_string"]
                    finding = found(
                        profile, model["key"], version["key"], name, what, told_of, query, since, until
                    )
                    finding["window"] = window
                    finding["observed"] = bucket["doc_count"]
                    findings.append(finding)
    return {**judged(findings, skipped), "notes": notes}


def _served(payload: Given) -> dict[str, float]:
    known = {}
    for model in buckets_in(payload, "models"):
        for version in buckets(model["versions"], "versions"):
            for window, bucket in version["windows"]["buckets"].items():
                known[model["key"] + ":" + version["key"] + ":" + window] = bucket["weight"]["value"]
    return known


_Verdict = tuple[str, float, str, list[Document]]


def _verdicts(ctx: Given, profile: Given, expected: Given, bucket: Given) -> list[_Verdict]:
    made: list[_Verdict] = []
    errors = bucket["errors"]
    usual = expected.get("errors")
    if usual is not None and errors["count"] > 0 and usual["std"] > 0:
        mae, n = errors["avg"], errors["count"]
        if mae >= setting(ctx, profile, "min_ratio") * usual["mean"]:
            z = (mae - usual["mean"]) / (
                usual["std"] * sqrt(1.0 / n + 1.0 / usual["count"] + setting(ctx, profile, "dispersion"))
            )
            what = f"mean absolute error {number(mae)}, expected {number(usual['mean'])}"
            lines = [
                line("root mean squared error", number(sqrt(bucket["squared"]["value"]))),
                line("mean error (prediction minus actual)", number(bucket["bias"]["value"])),
                line("expected from", f"{usual['count']} held-out training rows"),
            ]
            made.append(("error", gamma_tail(0.5, 0.5 * z * z), what, lines))
    confusion = expected["confusion"]
    observed: dict[str, dict[str, float]] = {}
    for truth in buckets(bucket["truth"], "truth"):
        observed[truth["key"]] = {
            guess["key"]: guess["weight"]["value"] * kept_share(guess)
            for guess in buckets(truth["predicted"], "predicted")
        }
    if len(confusion) > 0:
        asked = [("accuracy", "", "")]
        asked += [
            (f"{kind} of {name}", kind, name)
            for name in sorted(confusion)
            for kind in ("recall", "precision")
        ]
        rates = (
            _rate(ctx, profile, title, _wrong(observed, kind, name), _wrong(confusion, kind, name))
            for title, kind, name in asked
        )
        made.extend(rate for rate in rates if rate is not None)
    return made


def _wrong(confusion: Given, kind: str, name: str) -> tuple[float, float]:
    """How many were wrong, of how many: of all, of those that are ``name``, or of those taken for ``name``."""
    wrong = total = 0.0
    for truth in sorted(confusion):
        for guess in sorted(confusion[truth]):
            if (kind == "recall" and truth != name) or (kind == "precision" and guess != name):
                continue
            total += confusion[truth][guess]
            if truth != guess:
                wrong += confusion[truth][guess]
    return wrong, total


def _rate(
    ctx: Given, profile: Given, name: str, observed: tuple[float, float], usual: tuple[float, float]
) -> _Verdict | None:
    hits, total = whole(observed[0]), whole(observed[1])
    if total < setting(ctx, profile, "min_events") or usual[1] == 0:
        return None
    if hits / total - usual[0] / usual[1] < setting(ctx, profile, "min_drop"):
        return None
    a, b = predictive(usual[0], usual[1], setting(ctx, profile, "dispersion"))
    tail = beta_binomial_tail(hits, total, a, b)
    right, before = percent(1.0 - hits / total), percent(1.0 - usual[0] / usual[1])
    lines = [line("wrong", f"{hits} of {total}, in training {whole(usual[0])} of {whole(usual[1])}")]
    return name, tail, f"{name} {right} %, expected {before} %", lines
