"""``ml-estimate``: find calibrated probabilities that imply more wrong answers than in the evaluation."""

from __future__ import annotations

from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    build_result,
    find_setting,
    gamma_tail,
    get_answer_buckets,
    get_buckets,
    index_profiles,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    format_amount,
    format_chance,
    format_number,
    format_percent,
    format_time,
    format_window,
    round_half_up,
)

NOT_EVALUATED = (
    "the profile has no evaluation: fit it with --evaluation, rows that the model was not trained on"
)
HOLDS = "that equal inputs still have equal outcomes, and that calibration is as good as in the evaluation"


def estimate(ctx: JsonObject, params: JsonObject) -> Document:
    """Compare the mean expected error of each window with that of the profile's evaluation.

    The expected error of a prediction is the calibrated probability that its class is wrong. It is compared by a
    gamma distribution with the evaluation's mean and the variance of both means, ``dispersion`` included, and from
    ``min_drop`` of accuracy on. A profile that was fitted without an evaluation is skipped: every model
    looks too good if it is calibrated on rows that it knows.
    """
    profiles = index_profiles(ctx["payload"]["profiles"])
    findings: list[Document] = []
    skipped: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            known = profile.get("expected") if profile is not None else None
            classifier = known.get("classifier") if known is not None else None
            usual = classifier.get("expected_error") if classifier is not None else None
            if profile is None or classifier is None or usual is None or not classifier["evaluated"]:
                reason = "no profile" if profile is None else NOT_EVALUATED
                skipped.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            finding = _flag_estimate(ctx, profile, usual, model["key"], version)
            if finding is not None:
                findings.append(finding)
    return build_result(findings, skipped)


def _flag_estimate(
    ctx: JsonObject, profile: JsonObject, usual: JsonObject, model: str, version: JsonObject
) -> Document | None:
    """Find a lower estimated accuracy, in the shortest window that flags it."""
    metadata = ctx["metadata"]
    tests = 1.0 * len(metadata["windows"]) * metadata["ticks_per_month"]
    alpha = find_setting(ctx, profile, "false_alarms_per_model_month") / tests
    min_events, min_drop = (find_setting(ctx, profile, name) for name in ("min_events", "min_drop"))
    for window in metadata["windows"]:
        bucket = version["windows"]["buckets"][window]
        weight = squares = total = 0.0
        for stratum in get_buckets(bucket["errors"], "errors"):  # one per sampling weight
            numbers = stratum["error"]
            if numbers["count"] > 0:
                weight += stratum["key"] * numbers["count"]
                squares += stratum["key"] * stratum["key"] * numbers["count"]
                total += stratum["key"] * numbers["sum"]
        size = weight * weight / squares if squares > 0 else 0.0
        if size < min_events or usual["mean"] <= 0 or usual["std"] <= 0:
            continue
        mean = total / weight
        drop = mean - usual["mean"]
        if drop < min_drop:
            continue
        spread = 1.0 / size + 1.0 / usual["count"] + find_setting(ctx, profile, "dispersion")
        shape = usual["mean"] * usual["mean"] / (usual["std"] * usual["std"] * spread)
        chance = gamma_tail(shape, shape * mean / usual["mean"])
        if chance >= alpha:
            continue
        return _build_finding(ctx, profile, usual, model, version, window, mean, chance)
    return None


def _build_finding(
    ctx: JsonObject,
    profile: JsonObject,
    usual: JsonObject,
    model: str,
    version: JsonObject,
    window: str,
    mean: float,
    chance: float,
) -> Document:
    """Build the finding of a window; ``mean`` is its mean expected error, ``chance`` its tail."""
    bucket = version["windows"]["buckets"][window]
    since = bucket["first"]["value_as_string"]
    predictions = format_amount(round_half_up(bucket["doc_count"]), "prediction")
    rows = format_amount(round_half_up(usual["count"]), "row")
    lines = [
        *name_services(version),
        new_line("Observed", f"{predictions} in the last {format_window(window)}; no labels are needed"),
        new_line("Compared with", rows + " that the model was not trained on"),
        new_line(
            "Expected error", f"{format_number(mean)}, in the evaluation {format_number(usual['mean'])}"
        ),
        new_line("Probability", format_chance(chance) + " if nothing had changed"),
        new_line("Assumes", HOLDS),
        new_line("Since", format_time(since) + " or earlier"),
    ]
    before, now = format_percent(1.0 - usual["mean"]), format_percent(1.0 - mean)
    query = (
        f"ml.model.name: {quote(model)} and ml.model.version: {quote(version['key'])}"
        f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
    )
    finding = new_finding(
        ctx,
        profile,
        model,
        version["key"],
        "estimated accuracy",
        f"estimated accuracy {now} (expected {before})",
        lines,
        query,
        since,
        bucket["last"]["value_as_string"],
    )
    finding["window"] = window
    finding["observed"] = round_half_up(bucket["doc_count"])
    effect = measure_effect(mean - usual["mean"], find_setting(ctx, profile, "min_drop"))
    add_severity(finding, ctx, effect, None, "")
    return finding
