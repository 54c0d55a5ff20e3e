"""Add checks and bins from the published profiles to stored events of other loggers.

``ml.profile.status`` says whether an event has its checks, so an interrupted run continues where it stopped. Events
whose model has no profile are left unchanged; ``count_unchecked`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from logging_lib.logger.checks import Checker
from logging_lib.profile.model import Profile
from logging_lib.store.connection import BulkOutcome
from logging_lib.store.history import inputs_of
from logging_lib.store.port import Store

STREAMS = "logs-ml.prediction-*"
PAGE = 1000
MAX_MODELS = 1000
_WITHOUT_CHECKS = {"bool": {"must_not": {"terms": {"ml.profile.status": ["matched", "mismatch"]}}}}


class ReplaceableStore(Store, Protocol):
    """A store whose documents can be replaced one by one."""

    def replace(
        self, changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> Iterator[BulkOutcome]:
        """See ``ElasticsearchStore.replace``."""
        ...


@dataclass
class AnnotateResult:
    """The numbers of events: ``annotated`` now have their checks; ``conflicts`` were changed by others meanwhile,
    and the next run annotates them; ``failed`` holds (id, reason)."""

    annotated: int = 0
    conflicts: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def annotate(
    store: ReplaceableStore,
    profiles: Iterable[Profile],
    *,
    advance: Callable[[int], None] = lambda number: None,
) -> AnnotateResult:
    """Add checks to those stored events of these profiles' models that have none.

    Args:
        advance: called after each page with its number of events.
    """
    result = AnnotateResult()
    for profile in profiles:
        checker = Checker(profile, foreign=True)
        for page in _scan_unchecked(store, profile):
            changes = [(hit, add_checks(hit["_source"], checker)) for hit in page]
            for outcome in store.replace(changes):
                if not outcome.reason:
                    result.annotated += 1
                elif outcome.is_conflict:
                    result.conflicts += 1
                else:
                    result.failed.append((outcome.document_id, outcome.reason))
            advance(len(page))
    store.refresh()
    return result


def count_unchecked(store: Store) -> dict[tuple[str, str], int]:
    """Count the stored events without checks by (model, version), for the models with the most such events."""
    versions = {"terms": {"field": "ml.model.version", "size": 100}}
    models = {"terms": {"field": "ml.model.name", "size": MAX_MODELS}, "aggs": {"versions": versions}}
    answer = store.search(STREAMS, {"size": 0, "query": _WITHOUT_CHECKS, "aggs": {"models": models}})
    return {
        (model["key"], version["key"]): version["doc_count"]
        for model in answer.get("aggregations", {}).get("models", {}).get("buckets", ())
        for version in model["versions"]["buckets"]
    }


def add_checks(document: Mapping[str, Any], checker: Checker) -> dict[str, Any]:
    """Return a copy of a stored event with its checks. The inputs are converted to the types of the profile."""
    ml = document["ml"]
    checked = checker(inputs_of(ml.get("input") or {}))
    new_ml = {key: value for key, value in ml.items() if key not in ("check", "text")}
    new_ml["profile"] = {"id": checker.id, "status": "matched"}
    new_ml["input"] = checked.input_document()
    if checked.failed:
        new_ml["check"] = checked.check_document()
    if checked.tokens:
        new_ml["text"] = checked.text_document()
    if stored := ml.get("prediction"):
        new_ml["prediction"] = _encode_output_again(stored, checker)
    return {**document, "ml": new_ml}


def _encode_output_again(stored: Mapping[str, Any], checker: Checker) -> dict[str, Any]:
    """Encode a stored output as the profile defines it; values without a field of their own are left in place."""
    other = stored.get("other") or {}
    parts = {name: stored[name] for name in ("value", "label", "labels") if stored.get(name) is not None}
    output = parts if len(parts) > 1 else next(iter(parts.values()), other.get("prediction"))
    encoded = checker.output(output, stored.get("score"), stored.get("scores"))
    return encoded | ({"other": other} if other else {})


def _scan_unchecked(store: Store, profile: Profile) -> Iterator[list[dict[str, Any]]]:
    body: dict[str, Any] = {
        "size": PAGE,
        "query": _unchecked_query(profile),
        "sort": [{"@timestamp": "asc"}, {"event.id": "asc"}],
        "seq_no_primary_term": True,
        "track_total_hits": False,
    }
    while hits := store.search(STREAMS, body)["hits"]["hits"]:
        yield hits
        body["search_after"] = hits[-1]["sort"]


def _unchecked_query(profile: Profile) -> dict[str, Any]:
    model = [
        {"term": {"ml.model.name": profile.model}},
        {"term": {"ml.model.version": profile.version}},
    ]
    return {"bool": {"filter": [*model, _WITHOUT_CHECKS]}}
