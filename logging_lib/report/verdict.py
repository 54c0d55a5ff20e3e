"""Write the report's first sentence: what is wrong, or that all is well, and how much was seen. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from logging_lib._util.formatting import format_count, format_time, join_names
from logging_lib._util.text import shorten
from logging_lib.report.merging import PREDICTION
from logging_lib.report.model import FeatureReport, Output, ReportedAlert, Subject, Training, Variant, Verdict

NAMED = 3


def verdict(
    subject: Subject,
    main: Variant | None,
    training: Training | None,
    alerts: Sequence[ReportedAlert],
    features: Sequence[FeatureReport],
    output: Output | None,
    output_moved: bool,
    searched_by: str,
    elsewhere: tuple[datetime, datetime] | None,
) -> Verdict:
    """Return the verdict.

    Args:
        main: the observed version and role; None without a prediction.
        searched_by: the source of the alerts, in words; empty if no watch was run.
        elsewhere: the first and last time at which the store has predictions of this model, if the period has none.
    """
    seen = _describe_seen(subject, main, training)
    feature_names = {feature.name for feature in features}
    if main is None:
        where = (
            f"The store has its predictions from {format_time(elsewhere[0])} to {format_time(elsewhere[1])}."
            if elsewhere
            else "The store has no predictions of this model."
        )
        if alerts:
            return Verdict(
                "alert",
                f"{_describe_alerts(alerts, feature_names)} There was no prediction in this period. {where}",
                seen,
            )
        return Verdict("unknown", f"No prediction in this period, so nothing was evaluated. {where}", seen)
    if alerts:
        return Verdict("alert", _describe_alerts(alerts, feature_names), seen)
    moved = [feature for feature in features if feature.status == "moved"]
    if moved or output_moved:
        names = [shorten(feature.name) for feature in moved]
        parts = (
            [f"{join_names(names, NAMED)} {'differs' if len(names) == 1 else 'differ'} from training"]
            if names
            else []
        )
        if output_moved:
            parts.append("the distribution of the predictions differs from training")
        return Verdict("notice", f"No alert, but worth a look: {', and '.join(parts)}.", seen)
    if training is None:
        searched = f"no alert in {searched_by}, but " if searched_by else ""
        return Verdict(
            "unknown",
            f"Inputs were not compared with training: {searched}"
            "no profile of this model version was given or published.",
            seen,
        )
    if main.checked == 0:
        return Verdict("unknown", "Inputs were not compared with training: the events carry no checks.", seen)
    searched = f"no alert in {searched_by}, and " if searched_by else ""
    return Verdict(
        "well",
        f"All is well: {searched}all {format_count(training.features, 'input')} as in training.",
        seen,
    )


def _describe_alerts(alerts: Sequence[ReportedAlert], feature_names: Collection[str]) -> str:
    """Name the gravest causes, ``NAMED`` at most, and count the others."""
    several = len({(alert.title, alert.features) for alert in alerts}) > 1
    described = [_describe_cause(alert, feature_names, 1 if several else NAMED) for alert in alerts]
    causes = list(dict.fromkeys(described))
    going_on = {cause for cause, alert in zip(described, alerts, strict=True) if alert.going_on}
    if len(causes) > NAMED:
        text = f"{', '.join(causes[:NAMED])}; {format_count(len(causes) - NAMED, 'more cause')}"
    else:
        text = join_names(causes, NAMED)
    if len(going_on) == len(causes):
        state = ", still open" if len(causes) == 1 else ", all still open"
    else:
        state = f"; {len(going_on)} of {len(causes)} still open" if going_on else ""
    return f"{text[:1].upper()}{text[1:]}{state}."


def _describe_cause(alert: ReportedAlert, feature_names: Collection[str], named: int) -> str:
    """Describe a cause; a watch of a service or of the pipeline names the exceeded limit instead of a feature."""
    names = [shorten(name, 60) for name in alert.features if name != PREDICTION]
    title = alert.title[:1].lower() + alert.title[1:] if alert.title[1:2].islower() else alert.title
    if not names:
        return title
    more = len(names) - named
    listed = f"{', '.join(names[:named])} and {more} more" if more > 0 else join_names(names, named)
    known = all(name in feature_names for name in alert.features)
    return f"{title} in {listed}" if known else f"{title} ({listed})"


def _describe_seen(subject: Subject, main: Variant | None, training: Training | None) -> str:
    span = f"{format_time(subject.start)} to {format_time(subject.end)} UTC"
    if main is None:
        return f"0 predictions seen, {span}."
    compared = ""
    if training is not None and main.checked:
        part = "" if main.checked >= main.predictions * 0.9995 else f" {main.checked:,.0f} of them"
        compared = f",{part} compared with {training.rows:,} training rows"
    failed = f", {main.failures:,.0f} of them failed" if main.failures else ""
    return f"{format_count(main.predictions, 'prediction')} seen{failed}{compared}, {span}."
