"""The profile as one document of the index ``ml-profiles``: what watches compare served traffic with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logging_lib.profile.model import CHECKS, Feature, Moments, Profile, Quality
from logging_lib.schema import tokens


def document(
    profile: Profile,
    *,
    deployed: bool = True,
    owners: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    published_at: str | None = None,
) -> dict[str, Any]:
    """Build the document of the index ``ml-profiles`` for a profile; its ``_id`` is ``model:version``.

    ``expected`` is stored, not indexed: ``checks`` maps check → feature → {count, rows, dispersion}, ``bins``
    feature → bin → training rows, ``order`` a number's bins from the lowest to the highest, ``rates`` the counts of
    ``checks`` as a list, for a reader that cannot go over an object's keys (Vega in Kibana). The check
    ``prediction`` has the special bins of ``ml.prediction.bin`` in the place of features.

    Args:
        profile: what ``fit`` returned.
        deployed: whether the model version is served now.
        owners: recipients of this model's notifications, by channel.
        overrides: thresholds of watches for this model, by watch.
        published_at: the document's ``@timestamp``, ISO 8601.
    """
    made: dict[str, Any] = {
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
                **{check: _expected(profile, check) for check in CHECKS},
                "prediction": _expected_of_output(profile.prediction),
            },
            "rates": [
                {"check": check, "feature": name, "count": found.count, "rows": found.rows}
                for name, feature in profile.features.items()
                for check, found in sorted(feature.expected.items())
            ],
            "bins": {name: feature.expected_bins() for name, feature in profile.features.items()},
            "order": {name: _order(feature) for name, feature in profile.features.items() if _order(feature)},
            "moments": {
                name: _moments(feature) for name, feature in profile.features.items() if feature.moments
            },
        },
    }
    if profile.prediction is not None:
        made["expected"]["prediction"] = {
            "kind": profile.prediction.kind,
            "bins": profile.prediction.expected_bins(),
            "order": _order(profile.prediction),
            "moments": _moments(profile.prediction),
        }
    if profile.quality is not None:
        made["expected"]["quality"] = _quality(profile.quality)
    if profile.trained_at is not None:
        made["trained_at"] = profile.trained_at
    if published_at is not None:
        made["@timestamp"] = published_at
    return made


def _expected(profile: Profile, check: str) -> dict[str, Any]:
    return {
        name: {"count": found.count, "rows": found.rows, "dispersion": found.dispersion}
        for name, feature in profile.features.items()
        if (found := feature.expected.get(check)) is not None
    }


def _quality(quality: Quality) -> dict[str, Any]:
    found: dict[str, Any] = {"confusion": {truth: dict(row) for truth, row in quality.confusion.items()}}
    if quality.errors is not None:
        found["errors"] = _of(quality.errors)
    return found


def _moments(feature: Feature) -> dict[str, float]:
    return {} if feature.moments is None else _of(feature.moments)


def _of(m: Moments) -> dict[str, float]:
    return {"count": m.count, "mean": m.mean, "std": m.std, "min": m.min, "max": m.max}


def _order(feature: Feature) -> list[str]:
    return list(feature.bin_labels()) if feature.kind == "numeric" and not feature.hidden else []


def _expected_of_output(output: Feature | None) -> dict[str, Any]:
    """Special bins of the model's outputs. The range ends at training's extremes, so of m + 1 outputs one is
    expected beyond either end, though training has none there."""
    if output is None:
        return {}
    rows = sum(output.expected_bins().values())
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
