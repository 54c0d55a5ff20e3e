"""Sentences about how much a feature varies by itself, and from which change a watch detects it. No pandas."""

from __future__ import annotations

from math import sqrt

from logging_lib.profile.coerce import to_epoch
from logging_lib.profile.model import DEFAULT_FEATURE, Feature, NaturalVariation, Profile, Variation
from logging_lib.schema import tokens

DAY = "24h"
MAX_SHIFT = sqrt(3.0)
"""The shift of ranks, in their standard deviations, if all values are higher than any in training."""


OUTDATED = (
    "the profile was fitted by an earlier version: how much traffic varies by itself is not known, and only chance "
    "and the watches' least effects count, as before; fit it again"
)


def describe_age(profile: Profile) -> str:
    """Describe what a profile of an earlier version lacks; return an empty text for one of this version."""
    if profile.variation is None:
        return OUTDATED
    texts = [f.name for f in profile.features.values() if f.kind == "text" and not f.hidden and not f.edges]
    if texts:
        return (
            "the profile was fitted by an earlier version: it has neither new words nor numbers of words of "
            f"{', '.join(texts)}, whose bins are shares of unknown words, as before; fit it again"
        )
    return ""


def describe_variation(profile: Profile, feature: str) -> str:
    """Describe a feature's natural variation from day to day, at training's number of events.

    Args:
        profile: a profile, as ``fit`` returned it.
        feature: the feature's name, or ``PREDICTION``.

    Returns:
        One sentence, such as "moves by 0.4 sd from day to day; a shift is seen from 1.1"; empty if nothing is
        known.
    """
    variation = profile.variation
    if variation is None:
        return ""
    is_default = variation.source == "default"
    of_feature = profile.features.get(feature, profile.prediction)
    bins = _count_bins(of_feature) if of_feature is not None else 0
    if bins < 2:
        return ""
    has_ranks = of_feature is not None and of_feature.kind in ("numeric", "text") and bins >= 4
    by_part = variation.rhythm is not None and feature in variation.rhythm.bins
    for measure in ("shift", "psi") if has_ranks else ("psi",):
        numbers = find_natural_variation(variation, measure, feature, DAY, by_part=by_part)
        if numbers is None:
            continue
        if is_default and feature in variation.measures[measure]:
            return "changes along the rows of training; without times only a week is compared with it"
        natural = sqrt(numbers.variance + numbers.growth)
        noise = 1 / max(_count_daily_rows(profile), 1.0) + 1 / max(profile.rows, 1)
        limit = variation.compute_limit(numbers, DAY, 1.0, noise)
        how = " beside the hour of the week" if by_part else ""
        if measure == "shift":
            moves = "is taken to move" if is_default else "moves"
            seen_from = (
                f"a shift is seen from {limit:.2g}" if limit < MAX_SHIFT else "no shift of a day is seen"
            )
            return f"{moves} by {natural:.2g} sd from day to day{how}; {seen_from}"
        index, seen = (bins - 1) * natural**2, (bins - 1) * limit**2
        move = "are taken to move" if is_default else "move"
        return f"its shares {move} by a PSI of {index:.2g} from day to day{how}; a change is seen from {seen:.2g}"
    return ""


METRIC_NAMES = {
    "accuracy": "accuracy",
    "exact_match": "all labels right",
    "micro_f1": "F1 over all labels",
    "roc_auc": "ROC AUC",
    "average_precision": "PR AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error",
}
"""The usual names of a classifier's metrics."""


def describe_classifier(profile: Profile) -> list[str]:
    """Describe what a profile says about a classifier: what was recognized, its quality, and how that was measured.

    Args:
        profile: a profile, as ``fit`` returned it.

    Returns:
        Lines that begin with ``classifier:``, ``quality:`` or ``note:``; an empty list for a regression.
    """
    classifier = profile.classifier
    if classifier is None:
        target = profile.target
        if (
            target is not None
            and target.kind == "numeric"
            and target.range == (0.0, 1.0)
            and len(target.counts) == 2
        ):
            return ["note: the target has only 0 and 1; of a classifier, give --prediction or --score, too"]
        return []
    lines = [f"classifier: {note}" for note in classifier.notes]
    if classifier.metrics:
        numbers = ", ".join(
            f"{name} {classifier.metrics[metric]:.4g}"
            for metric, name in METRIC_NAMES.items()
            if metric in classifier.metrics
        )
        whose = "that the model was not trained on" if classifier.evaluated else "of training"
        lines.append(f"quality: {numbers}, on {classifier.rows:,} rows {whose}")
    if classifier.metrics and not classifier.evaluated:
        lines.append(
            "note: quality on training's own rows is optimistic, and no watch estimates it before labels arrive; "
            "give rows that the model was not trained on with --evaluation"
        )
    if classifier.source != "label" and not classifier.calibration:
        lines.append(f"note: {classifier.rows:,} rows are too few to calibrate probabilities")
    return lines


def find_natural_variation(
    variation: Variation, measure: str, feature: str, window: str, *, by_part: bool = False
) -> NaturalVariation | None:
    """Find the variation of a feature, or else that of any feature; return None if neither is known."""
    rhythm = variation.rhythm
    measures = rhythm.measures if by_part and rhythm is not None else variation.measures
    features = measures.get(measure, {})
    return features.get(feature, features.get(DEFAULT_FEATURE, {})).get(window)


def _count_daily_rows(profile: Profile) -> float:
    variation = profile.variation
    if variation is None or not variation.since:
        return 1000.0
    first, last = to_epoch(variation.since), to_epoch(variation.until)
    return profile.rows / max(((last or 0.0) - (first or 0.0)) / 86400.0, 1.0)


def _count_bins(feature: Feature) -> int:
    """Count the ordinary bins."""
    special = {*tokens.SPECIAL_BINS} - {tokens.OTHER}
    return len(
        [name for name in feature.expected_bins() if name not in special and not name.startswith("oov:")]
    )
