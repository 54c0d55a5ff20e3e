"""The profile's document in the index ``ml-profiles``, with which watches compare served traffic."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from logging_lib.profile.classifier import Calibration, Classifier
from logging_lib.profile.model import (
    CHECKS,
    NEW_WORDS,
    PREDICTION,
    Feature,
    Moments,
    NaturalVariation,
    Profile,
    Quality,
    Rhythm,
    Variation,
)
from logging_lib.schema import tokens


def build_document(
    profile: Profile,
    *,
    deployed: bool = True,
    owners: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    published_at: str | None = None,
) -> dict[str, Any]:
    """Build the document of a model version; ``_id`` is ``model:version``.

    ``expected`` is stored, but not indexed: ``checks`` maps check → feature → {count, rows, dispersion}, ``bins``
    maps feature → bin → training rows, ``order`` lists a number's bins from the lowest to the highest. ``rates``
    has the counts of ``checks`` as a list, for readers that cannot iterate over an object's keys (Vega in Kibana).
    The check ``prediction`` has the special bins of ``ml.prediction.bin`` in place of features; ``new_words`` has,
    for each text, the rows with the most frequent new word. The ``prediction`` of a model with several labels has
    ``rows``, because a row is in the bin of each of its labels.

    Args:
        profile: the profile, as ``fit`` returned it.
        deployed: whether the model version is served now.
        owners: recipients of this model's notifications, by channel.
        overrides: thresholds of watches for this model, by watch.
        published_at: the document's ``@timestamp``, ISO 8601.
    """
    document: dict[str, Any] = {
        "_id": f"{profile.model}:{profile.version}",
        "ml": {"model": {"name": profile.model, "version": profile.version}, "profile": {"id": profile.id}},
        "deployed": deployed,
        "owners": dict(owners or {}),
        "overrides": dict(overrides or {}),
        "libraries": [f"{name}={version}" for name, version in sorted(profile.libraries.items())],
        "expected": {
            "rows": profile.rows,
            "features": len(profile.features),
            "checks": {
                **{check: _expected_rates(profile, check) for check in CHECKS},
                "prediction": _expected_output_bins(profile),
                NEW_WORDS: _expected_new_words(profile),
            },
            "rates": [
                {"check": check, "feature": name, "count": expectation.count, "rows": expectation.rows}
                for name, feature in profile.features.items()
                for check, expectation in sorted(feature.expected.items())
            ],
            "bins": {name: feature.expected_bins() for name, feature in profile.features.items()},
            "order": {
                name: _bin_order(feature) for name, feature in profile.features.items() if _bin_order(feature)
            },
            "moments": {
                name: _feature_moments(feature)
                for name, feature in profile.features.items()
                if feature.moments
            },
        },
    }
    if profile.variation is not None:
        document["expected"]["variation"] = build_variation(profile, profile.variation)
    if profile.prediction is not None:
        document["expected"]["prediction"] = {
            "kind": profile.prediction.kind,
            "bins": profile.prediction.expected_bins(),
            "order": _bin_order(profile.prediction),
            "moments": _feature_moments(profile.prediction),
        }
        if profile.prediction.multiple:
            document["expected"]["prediction"]["rows"] = _count_labeled_rows(profile, profile.prediction)
    if profile.quality is not None:
        document["expected"]["quality"] = _expected_quality(profile.quality)
    if profile.classifier is not None:
        document["expected"]["classifier"] = build_classifier(profile.classifier)
    if profile.trained_at is not None:
        document["trained_at"] = profile.trained_at
    if published_at is not None:
        document["@timestamp"] = published_at
    return document


def _expected_rates(profile: Profile, check: str) -> dict[str, Any]:
    return {
        name: {"count": expectation.count, "rows": expectation.rows, "dispersion": expectation.dispersion}
        for name, feature in profile.features.items()
        if (expectation := feature.expected.get(check)) is not None
    }


def _expected_new_words(profile: Profile) -> dict[str, Any]:
    """Return the expected rate of the most frequent new word of each text, and its number of ``candidates``.

    In training and a window together, few more words than those of training's vocabulary occur in several texts.
    """
    return {
        name: {
            "count": feature.new_words.count,
            "rows": feature.new_words.rows,
            "dispersion": feature.new_words.dispersion,
            "candidates": max(1, len(feature.vocabulary)),
        }
        for name, feature in profile.features.items()
        if feature.new_words is not None
    }


def build_variation(profile: Profile | None, variation: Variation) -> dict[str, Any]:
    """Build the document of a variation as watches read it; without a profile, it has no rhythm."""
    document: dict[str, Any] = {
        "source": variation.source,
        "until": variation.until,
        "levels": dict(variation.levels),
        "measures": _list_numbers(variation.measures),
    }
    if variation.rhythm is not None and profile is not None:
        outputs = {PREDICTION: profile.prediction} if profile.prediction is not None else {}
        features = {**profile.features, **outputs}
        document["rhythm"] = {
            "timezone": variation.rhythm.timezone,
            "traffic": list(variation.rhythm.traffic),
            "longest_gap": variation.rhythm.longest_gap,
            "bins": {name: [list(part) for part in parts] for name, parts in variation.rhythm.bins.items()},
            "labels": {name: list_ordinary_bins(features[name]) for name in variation.rhythm.bins},
            "measures": _list_numbers(variation.rhythm.measures),
        }
    return document


def read_variation(document: Mapping[str, Any]) -> Variation:
    """Read a variation from the document that ``build_variation`` built; its beginning is not part of it."""
    rhythm = document.get("rhythm")
    return Variation(
        source=document["source"],
        since="",
        until=document["until"],
        levels=document["levels"],
        measures=_read_numbers(document["measures"]),
        rhythm=Rhythm(
            timezone=rhythm["timezone"],
            traffic=tuple(rhythm["traffic"]),
            longest_gap=rhythm["longest_gap"],
            bins={name: tuple(map(tuple, parts)) for name, parts in rhythm["bins"].items()},
            measures=_read_numbers(rhythm["measures"]),
        )
        if rhythm is not None
        else None,
    )


def _read_numbers(measures: Mapping[str, Any]) -> dict[str, dict[str, dict[str, NaturalVariation]]]:
    return {
        measure: {
            name: {window: NaturalVariation(*numbers) for window, numbers in windows.items()}
            for name, windows in features.items()
        }
        for measure, features in measures.items()
    }


def put_learned(
    document: Mapping[str, Any], profile: Profile, variation: Variation, *, at: str, by: str
) -> dict[str, Any]:
    """Return a profile's document with a learned variation; ``learned`` says who published it, and when.

    The previous variation is kept in ``replaced``, for an undo, and for a backtest of the time before.
    """
    entry = {
        "id": sha256(repr((document["_id"], at)).encode()).hexdigest()[:8],
        "at": at,
        "by": by,
        "since": variation.since,
        "until": variation.until,
    }
    expected = document["expected"]
    return {
        **document,
        "expected": {**expected, "variation": build_variation(profile, variation)},
        "learned": [*document.get("learned", ()), entry],
        "replaced": {**document.get("replaced", {}), entry["id"]: {"value": expected.get("variation")}},
    }


def undo_learned(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a document with the variation before the one learned last; return None if none was learned."""
    if not document.get("learned"):
        return None
    *earlier, undone = document["learned"]
    replaced = dict(document["replaced"])
    before = replaced.pop(undone["id"])["value"]
    expected = {name: part for name, part in document["expected"].items() if name != "variation"}
    if before is not None:
        expected["variation"] = before
    return {**document, "expected": expected, "learned": earlier, "replaced": replaced}


def _list_numbers(measures: Mapping[str, Mapping[str, Mapping[str, NaturalVariation]]]) -> dict[str, Any]:
    """Convert each variation to the list of its numbers, which any encoder accepts."""
    return {
        measure: {
            name: {window: list(numbers) for window, numbers in windows.items()}
            for name, windows in features.items()
        }
        for measure, features in measures.items()
    }


def list_ordinary_bins(feature: Feature) -> list[str]:
    """List a feature's ordinary bins in the order in which fitting counts them."""
    if feature.kind in ("category", "boolean"):
        labels = [tokens.escape(value) for value in list(feature.values)[: feature.binned]]
        return [*labels, tokens.OTHER] if len(feature.values) > feature.binned else labels
    return list(feature.bin_labels())


def _expected_quality(quality: Quality) -> dict[str, Any]:
    expected: dict[str, Any] = {"confusion": {label: dict(row) for label, row in quality.confusion.items()}}
    for name, moments in (
        ("errors", quality.errors),
        ("brier", quality.brier),
        ("log_loss", quality.log_loss),
    ):
        if moments is not None:
            expected[name] = _moment_values(moments)
    return expected


def build_classifier(classifier: Classifier) -> dict[str, Any]:
    """Build the part of the document that watches and reports read about a classifier."""
    document: dict[str, Any] = {
        "classes": list(classifier.classes),
        "source": classifier.source,
        "positive": classifier.positive,
        "threshold": classifier.threshold,
        "metrics": dict(classifier.metrics),
        "rows": classifier.rows,
        "evaluated": classifier.evaluated,
        # This is a list, because a class may have any name, but a field may not.
        "calibration": [
            {"class": name, "scores": list(curve.scores), "rates": list(curve.rates)}
            for name, curve in classifier.calibration.items()
        ],
    }
    if classifier.expected_error is not None:
        document["expected_error"] = _moment_values(classifier.expected_error)
    return document


def read_classifier(document: Mapping[str, Any]) -> Classifier:
    """Read a classifier from the document that ``build_classifier`` built."""
    error = document.get("expected_error")
    return Classifier(
        classes=tuple(document["classes"]),
        source=document["source"],
        positive=document["positive"],
        threshold=document["threshold"],
        calibration={
            entry["class"]: Calibration(tuple(entry["scores"]), tuple(entry["rates"]))
            for entry in document["calibration"]
        },
        expected_error=Moments(**error) if error else None,
        metrics=document["metrics"],
        rows=document["rows"],
        evaluated=document["evaluated"],
    )


def _feature_moments(feature: Feature) -> dict[str, float]:
    return {} if feature.moments is None else _moment_values(feature.moments)


def _moment_values(m: Moments) -> dict[str, float]:
    return {"count": m.count, "mean": m.mean, "std": m.std, "min": m.min, "max": m.max}


def _bin_order(feature: Feature) -> list[str]:
    is_ordered = feature.kind == "numeric" or (feature.kind == "text" and len(feature.edges) > 0)
    return list(feature.bin_labels()) if is_ordered and not feature.hidden else []


def _count_labeled_rows(profile: Profile, output: Feature) -> int:
    """Count the rows with a list of labels, which is the denominator of each label's share."""
    return profile.rows - output.special.get(tokens.MISSING, 0) - output.special.get(tokens.TYPE, 0)


def _expected_output_bins(profile: Profile) -> dict[str, Any]:
    """Compute the expected counts of the special bins of the model's outputs.

    The range ends at training's extremes, so one of m + 1 outputs is expected beyond each end, although training
    has none there.
    """
    output = profile.prediction
    if output is None:
        return {}
    rows = profile.rows if output.multiple else sum(output.expected_bins().values())
    beyond = 1 if output.kind == "numeric" else 0
    return {
        name: {
            "count": output.special.get(name, 0) + (beyond if name in (tokens.BELOW, tokens.ABOVE) else 0),
            "rows": rows,
            "dispersion": 0.0,
        }
        for name in (
            tokens.BELOW,
            tokens.ABOVE,
            tokens.UNSEEN,
            tokens.TYPE,
            tokens.NONFINITE,
            tokens.MISSING,
        )
    }
