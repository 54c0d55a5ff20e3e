"""Publish profiles in a store and look them up there.

What watches compare with goes into ``ml-profiles``, the whole profile into ``ml-profile-files``. A store that must
stay as it is can be read together with profiles from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from logging_lib import profile
from logging_lib.profile.io import ProfileError, dumps, loads
from logging_lib.profile.model import CHECKS, Feature, Moments, Profile, Quality
from logging_lib.schema import tokens
from logging_lib.schema.templates import PROFILE_FILES, PROFILES
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import IndexResult, Store, StoreError, Wrapper


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
    feature → bin → training rows, ``order`` a number's bins from the lowest to the highest, ``rates`` the counts of
    ``checks`` as a list, for a reader that cannot go over an object's keys (Vega in Kibana). The check
    ``prediction`` has the special bins of ``ml.prediction.bin`` in the place of features.
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


MAX_PROFILES = 10_000


def is_published(store: Store, profile: Profile) -> bool:
    """Whether ``publish`` with its defaults would change nothing: the same profile is there, and alone deployed."""
    known = {hit["_id"]: hit["_source"] for hit in _published(store, profile.model)}
    before = known.pop(f"{profile.model}:{profile.version}", None)
    if before is None or not before.get("deployed") or any(other.get("deployed") for other in known.values()):
        return False
    same: bool = before["ml"].get("profile", {}).get("id") == profile.id
    return same


def publish(
    store: Store,
    profile: Profile,
    *,
    now: datetime,
    deployed: bool = True,
    alone: bool = True,
    owners: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[str]:
    """Publish one profile; the versions of its model that were flagged as deployed until now.

    Args:
        deployed: flag this version as deployed.
        alone: then take the flag from the model's other versions.
        owners: who is told; default: as they were published before.
        overrides: thresholds of this model; default: as they were published before.

    Raises:
        StoreError: the store refuses a document.
    """
    known = {hit["_id"]: hit["_source"] for hit in _published(store, profile.model)}
    identity = f"{profile.model}:{profile.version}"
    before = known.get(identity, {})
    made = document(
        profile,
        deployed=deployed,
        owners=before.get("owners") if owners is None else owners,
        overrides=before.get("overrides") if overrides is None else overrides,
        published_at=now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    whole = file_document(profile)
    others = {
        other: source for other, source in known.items() if other != identity and source.get("deployed")
    }
    changed = [made]
    if deployed and alone:
        changed += [{**source, "deployed": False, "_id": other} for other, source in others.items()]
    # The whole profile first: who finds the short form may look for it.
    for target, documents in ((PROFILE_FILES, [whole]), (PROFILES, changed)):
        result = store.index(target, documents)
        if result.failed:
            raise StoreError(f"{target}: {result.failed[0][0]}: {result.failed[0][1]}")
    store.refresh()
    return sorted(source["ml"]["model"]["version"] for source in others.values())


def file_document(profile: Profile) -> dict[str, Any]:
    """The whole profile as a document of ``ml-profile-files``."""
    identity = f"{profile.model}:{profile.version}"
    return {"_id": identity, "ml": document(profile)["ml"], "content": dumps(profile).decode()}


def published(store: Store, versions: Iterable[tuple[str, str]]) -> Iterator[Profile]:
    """The whole profiles of these (model, version), of those that are published.

    Raises:
        StoreError: one of them is damaged; publish it again.
    """
    ids = [f"{model}:{version}" for model, version in versions]
    body = {"size": MAX_PROFILES, "query": {"ids": {"values": ids}}, "_source": ["content"]}
    for hit in store.search(PROFILE_FILES, body)["hits"]["hits"]:
        try:
            yield loads(hit["_source"]["content"].encode(), source=f"{PROFILE_FILES}/{hit['_id']}")
        except ProfileError as error:
            raise StoreError(f"{error}; publish it again: logging-lib profile publish") from error


def published_models(store: Store) -> dict[str, bool]:
    """Model → whether a version of it is flagged as deployed; sorted."""
    body = {"size": MAX_PROFILES, "_source": ["ml.model.name", "deployed"]}
    found: dict[str, bool] = {}
    for hit in store.search(PROFILES, body)["hits"]["hits"]:
        name = hit["_source"]["ml"]["model"]["name"]
        found[name] = found.get(name, False) or bool(hit["_source"].get("deployed"))
    return dict(sorted(found.items()))


def _published(store: Store, model: str) -> list[dict[str, Any]]:
    body = {"size": MAX_PROFILES, "query": {"term": {"ml.model.name": model}}}
    hits: list[dict[str, Any]] = store.search(PROFILES, body)["hits"]["hits"]
    return hits


_PROFILES = "ml-profiles"


def index_profiles(store: Store, files: Iterable[Path]) -> None:
    """Put profiles where watches look for them.

    Raises:
        ProfileError: when a file is no profile.
        StoreError: when the store refuses one.
    """
    documents = [profile.document(profile.load(file)) for file in files]
    if documents:
        result = store.index(_PROFILES, documents)
        if result.failed:
            raise StoreError(f"ml-profiles: {result.failed[0][0]}: {result.failed[0][1]}")


def with_profiles(store: Store, files: Iterable[Path]) -> Store:
    """A store as it would be with these profiles published; nothing is written into it.

    Raises:
        ProfileError: when a file is no profile.
        StoreError: when the store refuses one.
    """
    overlay = _Overlay(store)
    index_profiles(overlay, files)
    return overlay


class _Overlay(Wrapper):
    """A store whose ``ml-profiles`` are a copy in memory."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._profiles = EmbeddedStore(None)
        hits = store.search(_PROFILES, {"size": 10_000})["hits"]["hits"]
        self._profiles.index(_PROFILES, [{**hit["_source"], "_id": hit["_id"]} for hit in hits])

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        of_profiles = all(fnmatchcase(_PROFILES, name.strip()) for name in names)
        store: Store = self._profiles if of_profiles else self._store
        return store.search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        store: Store = self._profiles if target == _PROFILES else self._store
        return store.index(target, documents, now=now, create=create)

    def close(self) -> None:
        self._profiles.close()
        super().close()
