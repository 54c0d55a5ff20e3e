"""Publish profiles in a store and look them up there.

``ml-profiles`` holds the short form that watches compare with, and ``ml-profile-files`` the whole profile. A store
that must not be changed can be read together with profiles from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from logging_lib import profile
from logging_lib._util.times import format_instant
from logging_lib.profile.document import build_document
from logging_lib.profile.io import ProfileError, dumps, loads
from logging_lib.profile.model import Profile
from logging_lib.profile.words import OUTDATED
from logging_lib.schema.templates import PROFILE_FILES, PROFILES
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import DelegatingStore, IndexResult, Store, StoreError

MAX_PROFILES = 10_000
PREDICTIONS = "logs-ml.prediction-*"


def is_published(store: Store, profile: Profile) -> bool:
    """Return whether the same profile is published, and is the only deployed version of its model."""
    known = {hit["_id"]: hit["_source"] for hit in _find_documents(store, profile.model)}
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
    """Publish one profile and return the other versions of its model that were flagged as deployed.

    Args:
        deployed: flag this version as deployed.
        alone: remove the flag from the model's other versions, if this one is flagged.
        owners: the recipients of notifications; default: those published before.
        overrides: thresholds of this model; default: those published before.

    Raises:
        StoreError: the store refuses a document.
    """
    known = {hit["_id"]: hit["_source"] for hit in _find_documents(store, profile.model)}
    identity = f"{profile.model}:{profile.version}"
    before = known.get(identity, {})
    published = build_document(
        profile,
        deployed=deployed,
        owners=before.get("owners") if owners is None else owners,
        overrides=before.get("overrides") if overrides is None else overrides,
        published_at=format_instant(now),
    )
    keep_accepted(published, before)
    whole = file_document(profile)
    others = {
        other: source for other, source in known.items() if other != identity and source.get("deployed")
    }
    changed = [published]
    if deployed and alone:
        changed += [{**source, "deployed": False, "_id": other} for other, source in others.items()]
    # The whole profile comes first, because a reader who finds the short form may look for it.
    for target, documents in ((PROFILE_FILES, [whole]), (PROFILES, changed)):
        result = store.index(target, documents)
        if result.failed:
            raise StoreError(f"{target}: {result.failed[0][0]}: {result.failed[0][1]}")
    store.refresh()
    return sorted(source["ml"]["model"]["version"] for source in others.values())


def keep_accepted(document: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Keep the accepted and learned parts in the document of the same profile; a different profile starts anew."""
    has_changed = before.get("accepted") or before.get("learned")
    if has_changed and before["ml"].get("profile") == document["ml"]["profile"]:
        kept = ("accepted", "learned", "replaced", "expected")
        document |= {name: before[name] for name in kept if name in before}


def file_document(profile: Profile) -> dict[str, Any]:
    """Return the whole profile as a document of ``ml-profile-files``."""
    identity = f"{profile.model}:{profile.version}"
    return {"_id": identity, "ml": build_document(profile)["ml"], "content": dumps(profile).decode()}


def load_published(store: Store, versions: Iterable[tuple[str, str]]) -> Iterator[Profile]:
    """Yield the whole profiles of those of these (model, version) pairs that are published.

    Raises:
        StoreError: a profile is damaged; publish it again.
    """
    ids = [f"{model}:{version}" for model, version in versions]
    body = {"size": MAX_PROFILES, "query": {"ids": {"values": ids}}, "_source": ["content"]}
    for hit in store.search(PROFILE_FILES, body)["hits"]["hits"]:
        try:
            yield loads(hit["_source"]["content"].encode(), source=f"{PROFILE_FILES}/{hit['_id']}")
        except ProfileError as error:
            raise StoreError(f"{error}; publish it again: logging-lib profile publish") from error


def list_published_models(store: Store) -> dict[str, bool]:
    """Return, by model and sorted by name, whether one of its versions is flagged as deployed."""
    body = {"size": MAX_PROFILES, "_source": ["ml.model.name", "deployed"]}
    deployed_by_model: dict[str, bool] = {}
    for hit in store.search(PROFILES, body)["hits"]["hits"]:
        name = hit["_source"]["ml"]["model"]["name"]
        deployed_by_model[name] = deployed_by_model.get(name, False) or bool(hit["_source"].get("deployed"))
    return dict(sorted(deployed_by_model.items()))


def list_accepted(store: Store) -> list[dict[str, Any]]:
    """Return the accepted changes of all profiles, each with its model and version, the oldest first."""
    body = {"size": MAX_PROFILES, "_source": ["ml.model", "accepted"]}
    documents = [hit["_source"] for hit in store.search(PROFILES, body)["hits"]["hits"]]
    accepted = [
        {"model": source["ml"]["model"]["name"], "version": source["ml"]["model"]["version"], **entry}
        for source in documents
        for entry in source.get("accepted") or ()
    ]
    return sorted(accepted, key=lambda entry: str(entry["at"]))


def find_document(store: Store, model: str, version: str) -> dict[str, Any] | None:
    """Return the published document of a model version with its ``_id``; None if there is none."""
    for hit in _find_documents(store, model):
        if hit["_id"] == f"{model}:{version}":
            return {**hit["_source"], "_id": hit["_id"]}
    return None


def write_document(store: Store, document: Mapping[str, Any]) -> None:
    """Write the changed document of a profile. Raises StoreError."""
    result = store.index(PROFILES, [document])
    if result.failed:
        raise StoreError(f"{PROFILES}: {result.failed[0][0]}: {result.failed[0][1]}")
    store.refresh()


def list_careful(store: Store) -> list[str]:
    """List the deployed model versions whose natural variation is not known, so that a default is used."""
    return _list_deployed(store, "default")


def list_outdated(store: Store) -> list[str]:
    """List the deployed model versions whose profile is of an earlier version, without natural variation."""
    return _list_deployed(store, None)


def _list_deployed(store: Store, source: str | None) -> list[str]:
    """List the deployed model versions whose natural variation is from this source."""
    fields = ["ml.model", "deployed", "expected.variation.source"]
    hits = store.search(PROFILES, {"size": MAX_PROFILES, "_source": fields})["hits"]["hits"]
    return sorted(
        " ".join(hit["_source"]["ml"]["model"][part] for part in ("name", "version"))
        for hit in hits
        if hit["_source"].get("deployed")
        and hit["_source"].get("expected", {}).get("variation", {}).get("source") == source
    )


def explain_versions(store: Store, model: str | None = None) -> Iterator[str]:
    """Yield texts on profiles of an earlier version, and on events that were checked with different profiles.

    Args:
        model: only this model; default: all models.
    """
    for name in list_outdated(store):
        if model is None or name.startswith(f"{model} "):
            yield f"{name}: {OUTDATED}"
    ids = {"terms": {"field": "ml.profile.id", "size": 10}}
    versions = {"terms": {"field": "ml.model.version", "size": 1000}, "aggs": {"ids": ids}}
    models = {"terms": {"field": "ml.model.name", "size": 1000}, "aggs": {"versions": versions}}
    query: dict[str, Any] = {"match_all": {}} if model is None else {"term": {"ml.model.name": model}}
    answer = store.search(PREDICTIONS, {"size": 0, "query": query, "aggs": {"models": models}})
    for of_model in answer.get("aggregations", {"models": {"buckets": []}})["models"]["buckets"]:
        for of_version in of_model["versions"]["buckets"]:
            used = sorted(str(bucket["key"]) for bucket in of_version["ids"]["buckets"])
            if len(used) > 1:
                yield (
                    f"{of_model['key']} {of_version['key']}: events were checked with {len(used)} profiles "
                    f"({', '.join(used)}), as by loggers of two versions; bins that only one of them has are not "
                    "counted, all others and all rates are"
                )


def _find_documents(store: Store, model: str) -> list[dict[str, Any]]:
    body = {"size": MAX_PROFILES, "query": {"term": {"ml.model.name": model}}}
    hits: list[dict[str, Any]] = store.search(PROFILES, body)["hits"]["hits"]
    return hits


def index_profiles(store: Store, files: Iterable[Path]) -> None:
    """Index the short form of profiles, which watches compare with.

    Raises:
        ProfileError: a file is not a profile.
        StoreError: the store refuses a profile.
    """
    documents = [profile.build_document(profile.load(file)) for file in files]
    for document in documents:
        for hit in _find_documents(store, document["ml"]["model"]["name"]):
            if hit["_id"] == document["_id"]:
                keep_accepted(document, hit["_source"])
    if documents:
        result = store.index(PROFILES, documents)
        if result.failed:
            raise StoreError(f"ml-profiles: {result.failed[0][0]}: {result.failed[0][1]}")


def overlay_profiles(store: Store, files: Iterable[Path]) -> Store:
    """Return a view of a store as if these profiles were published; the store itself is not changed.

    Raises:
        ProfileError: a file is not a profile.
        StoreError: the store refuses a profile.
    """
    overlay = _ProfileOverlay(store)
    index_profiles(overlay, files)
    return overlay


class _ProfileOverlay(DelegatingStore):
    """A store that delegates to another one, but keeps ``ml-profiles`` as a copy in memory."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._profiles = EmbeddedStore(None)
        hits = store.search(PROFILES, {"size": 10_000})["hits"]["hits"]
        self._profiles.index(PROFILES, [{**hit["_source"], "_id": hit["_id"]} for hit in hits])

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        of_profiles = all(fnmatchcase(PROFILES, name.strip()) for name in names)
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
        store: Store = self._profiles if target == PROFILES else self._store
        return store.index(target, documents, now=now, create=create)

    def close(self) -> None:
        self._profiles.close()
        super().close()
