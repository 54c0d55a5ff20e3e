"""The profile as one document of the index ``ml-profiles``: what watches compare served traffic with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logging_lib.profile.model import CHECKS, Feature, Profile


def document(
    profile: Profile,
    *,
    deployed: bool = True,
    owners: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    published_at: str | None = None,
) -> dict[str, Any]:
    """One document a model version; ``_id`` is ``model:version``.

    ``expected`` is stored, not indexed: ``checks`` maps check → feature → {count, rows, dispersion}, ``bins``
    feature → bin → training rows.
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
            "checks": {check: _expected(profile, check) for check in CHECKS},
            "bins": {name: feature.expected_bins() for name, feature in profile.features.items()},
            "moments": {
                name: _moments(feature) for name, feature in profile.features.items() if feature.moments
            },
        },
    }
    if profile.prediction is not None:
        made["expected"]["prediction"] = {
            "kind": profile.prediction.kind,
            "bins": profile.prediction.expected_bins(),
            "moments": _moments(profile.prediction),
        }
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


def _moments(feature: Feature) -> dict[str, float]:
    if feature.moments is None:
        return {}
    m = feature.moments
    return {"count": m.count, "mean": m.mean, "std": m.std, "min": m.min, "max": m.max}
