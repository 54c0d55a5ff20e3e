"""Collect everything known about one event: its checks, profile, origin, labels, and the alerts it was part of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.logger.checks import VALUE_FIELDS
from logging_lib.schema import tokens
from logging_lib.schema.templates import PROFILES, WATCH_STATE
from logging_lib.store.history import inputs_of
from logging_lib.store.port import Store

EVENTS = "logs-ml.prediction-*,logs-ml.label-*,logs-ml.deadletter-*"
_DEFAULT_WINDOW = timedelta(hours=24)
_MAX_HITS = 1000

Involvement = Literal["failed", "counted"]


@dataclass(frozen=True)
class RecordedAlert:
    """A past alert that the event was part of.

    ``part`` is ``failed`` if the event has the fault that the watch found, ``counted`` if it was only in the
    evaluated window.
    """

    part: Involvement
    feature: str
    alert: Mapping[str, Any]


@dataclass
class Audit:
    """Everything known about an event.

    Attributes:
        event: the stored event.
        index: the index that holds it.
        profile: the published document of its model version, or None.
        same_profile: whether the event was checked with that profile; None if either id is unknown.
        start: the latest start of its process before it, with the versions of libraries and code.
        labels: the labels about it.
        siblings: other models' and roles' predictions for the same request.
        alerts: the alerts that it was part of.
    """

    event: Mapping[str, Any]
    index: str
    profile: Mapping[str, Any] | None = None
    same_profile: bool | None = None
    start: Mapping[str, Any] | None = None
    labels: list[Mapping[str, Any]] = field(default_factory=list)
    siblings: list[Mapping[str, Any]] = field(default_factory=list)
    alerts: list[RecordedAlert] = field(default_factory=list)

    @property
    def checks(self) -> dict[str, list[dict[str, Any]]]:
        """Return, by failed check, its features, each with the original value and its bin."""
        ml = self.event["ml"]
        inputs = inputs_of(ml.get("input") or {})
        bins = dict(tokens.split(token) for token in (ml.get("input") or {}).get("bins") or ())
        return {
            check: [{"feature": name, "value": inputs.get(name), "bin": bins.get(name)} for name in names]
            for check, names in (ml.get("check") or {}).items()
            if check not in VALUE_FIELDS
        }

    def document(self) -> dict[str, Any]:
        """Return the audit as a JSON object."""
        return {
            "index": self.index,
            "event": self.event,
            "checks": self.checks,
            "profile": self.profile,
            "same_profile": self.same_profile,
            "start": self.start,
            "labels": self.labels,
            "siblings": self.siblings,
            "alerts": [{"part": a.part, "feature": a.feature, **a.alert} for a in self.alerts],
        }


def audit(store: Store, event_id: str, alerts: Iterable[Mapping[str, Any]] = ()) -> Audit | None:
    """Collect what is known about the event with this id; return None if there is no such event.

    Args:
        alerts: past alerts, as the watch runner records them; those of its history in the store are added.
    """
    hit = _first_hit(store, EVENTS, {"term": {"event.id": event_id}})
    if hit is None:
        return None
    event: Mapping[str, Any] = hit["_source"]
    ml = event["ml"]
    result = Audit(event, hit["_index"])
    model = ml.get("model") or {}
    of_model = [
        {"term": {"ml.model.name": model.get("name", "")}},
        {"term": {"ml.model.version": model.get("version", "")}},
    ]
    if (profile := _first_hit(store, PROFILES, {"bool": {"filter": of_model}})) is not None:
        result.profile = profile["_source"]
        published = (result.profile["ml"].get("profile") or {}).get("id")
        checked = (ml.get("profile") or {}).get("id")
        result.same_profile = published == checked if published and checked else None
    if event["event"]["dataset"] != "ml.prediction":
        return result
    result.start = _find_start(store, event, of_model)
    request = (ml.get("request") or {}).get("id")
    about = [{"term": {"ml.prediction.id": event_id}}]
    if request is not None:
        about.append({"term": {"ml.request.id": request}})
        result.siblings = [
            sibling
            for sibling in _all_sources(store, "logs-ml.prediction-*", {"term": {"ml.request.id": request}})
            if sibling["event"]["id"] != event_id
        ]
    labels_query = {"bool": {"should": about, "minimum_should_match": 1}}
    result.labels = [
        label
        for label in _all_sources(store, "logs-ml.label-*", labels_query)
        if (label["ml"].get("prediction") or {}).get("id", event_id) == event_id
        and (label["ml"].get("model") or model) == {**model, **(label["ml"].get("model") or {})}
    ]
    unique_alerts: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for alert in (*alerts, *_recorded_alerts(store, str(model.get("name", "")))):
        if alert.get("kind", "alert") == "alert":
            unique_alerts.setdefault(
                tuple(alert.get(key) for key in ("time", "watch", "model", "version")), alert
            )
    result.alerts = [
        part for alert in unique_alerts.values() if (part := match_alert(event, alert)) is not None
    ]
    return result


def match_alert(event: Mapping[str, Any], alert: Mapping[str, Any]) -> RecordedAlert | None:
    """Return the part that an event had in an alert, or None. Pure.

    Windows are over ``event.ingested`` and end at the alert's time; a finding without a window counts as one over
    24 hours. If an alert has no findings, its features take their place.
    """
    ml = event["ml"]
    model = ml["model"]
    failed = {name: set(features) for name, features in (ml.get("check") or {}).items()}
    try:
        alert_time = parse_instant(alert["time"])
        arrived = parse_instant(event["event"].get("ingested") or event["@timestamp"])
    except (KeyError, TypeError, ValueError):
        return None
    best: RecordedAlert | None = None
    features = [{"feature": name} for name in alert.get("features") or ("",)]
    findings: Iterable[Mapping[str, Any]] = alert.get("findings") or features
    for finding in findings:
        about = {key: finding.get(key) or alert.get(key) for key in ("model", "version")}
        if about["model"] not in (None, "", model["name"]) or about["version"] not in (
            None,
            "",
            model["version"],
        ):
            continue
        if not alert_time - _finding_window(finding) < arrived <= alert_time:
            continue
        feature, check = finding.get("feature") or "", finding.get("check")
        faults = [failed.get(str(check), set())] if check else list(failed.values())
        if feature and any(feature in names for names in faults):
            return RecordedAlert("failed", feature, alert)
        if check is None:
            best = best or RecordedAlert("counted", feature, alert)
    return best


def _recorded_alerts(store: Store, model: str) -> list[Mapping[str, Any]]:
    """Read a model's alerts from the watch runner's history, which has their features, not their findings."""
    of_model = [{"term": {"record": "alert"}}, {"term": {"model": model}}]
    body = {"size": _MAX_HITS, "query": {"bool": {"filter": of_model}}, "_source": ["entry"]}
    hits = store.search(WATCH_STATE, body)["hits"]["hits"]
    return [hit["_source"]["entry"] for hit in hits if "entry" in hit["_source"]]


def _finding_window(finding: Mapping[str, Any]) -> timedelta:
    try:
        return parse_duration(str(finding["window"]))
    except (KeyError, ValueError):
        return _DEFAULT_WINDOW


def _find_start(
    store: Store, event: Mapping[str, Any], of_model: list[dict[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the latest start before the event, of its own process if known, else of its model version."""
    # A process logs its start together with its first event, whose time is a little earlier.
    before = {"range": {"@timestamp": {"lte": f"{event['@timestamp']}||+1m"}}}
    of_process = [
        {"term": {name: value}}
        for name, value in (
            ("host.name", (event.get("host") or {}).get("name")),
            ("process.pid", (event.get("process") or {}).get("pid")),
        )
        if value is not None
    ]
    for query in ([*of_model, before, *of_process], [*of_model, before]):
        if hit := _first_hit(
            store, "logs-ml.start-*", {"bool": {"filter": query}}, sort=[{"@timestamp": "desc"}]
        ):
            start: Mapping[str, Any] = hit["_source"]
            return start
    return None


def _first_hit(store: Store, indices: str, query: Mapping[str, Any], **more: Any) -> dict[str, Any] | None:
    hits = store.search(indices, {"size": 1, "query": query, **more})["hits"]["hits"]
    first: dict[str, Any] | None = hits[0] if hits else None
    return first


def _all_sources(store: Store, indices: str, query: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    body = {"size": _MAX_HITS, "query": query, "sort": [{"@timestamp": "asc"}]}
    return [hit["_source"] for hit in store.search(indices, body)["hits"]["hits"]]
