"""Show panels without Kibana: read the available choices, and compute each panel's view, from a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import orjson

from logging_lib._util.datemath import from_millis
from logging_lib._util.errors import LoggingLibError
from logging_lib.dashboards import queries, tables, views
from logging_lib.dashboards.selection import PanelSelection, last
from logging_lib.dashboards.spec import Dashboard, Panel
from logging_lib.dashboards.tables import CutError
from logging_lib.dashboards.views import View
from logging_lib.schema.fields import load
from logging_lib.store.port import DelegatingStore, Store, StoreError

PERIODS = ("1h", "6h", "24h", "7d", "30d", "90d", "365d")
WHOLE = "all"
MAX_STATIC = 40
"""The maximum number of combinations of model, version, role and period in a static page."""
MAX_CACHED_ANSWERS = 100
_STREAMS = "logs-ml.prediction-*"


class PreviewError(LoggingLibError, ValueError):
    """A choice that cannot be shown; the message says what can be."""


def choices(store: Store, *, now: datetime) -> dict[str, Any]:
    """List the available choices: ``models`` → versions → roles, ``services``, ``features`` by model, ``first``
    and ``last`` (ISO 8601, of the predictions; None without any), and the ``periods`` shorter than that range.
    """
    roles = {"terms": {"field": "ml.model.role", "size": 10}}
    versions = {"terms": {"field": "ml.model.version", "size": 200}, "aggs": {"roles": roles}}
    body = {
        "size": 0,
        "track_total_hits": False,
        "aggs": {
            "models": {"terms": {"field": "ml.model.name", "size": 500}, "aggs": {"versions": versions}},
            "services": {"terms": {"field": "service.name", "size": 200}},
            "first": {"min": {"field": "@timestamp"}},
            "last": {"max": {"field": "@timestamp"}},
        },
    }
    aggregations = store.search(_STREAMS, body).get("aggregations")
    models: dict[str, dict[str, list[str]]] = {}
    services: list[str] = []
    first = latest = None
    if aggregations is not None and aggregations["first"]["value"] is not None:
        models = {
            model["key"]: {
                version["key"]: [role["key"] for role in version["roles"]["buckets"]]
                for version in model["versions"]["buckets"]
            }
            for model in aggregations["models"]["buckets"]
        }
        services = [bucket["key"] for bucket in aggregations["services"]["buckets"]]
        first, latest = (from_millis(aggregations[end]["value"]) for end in ("first", "last"))
    features: dict[str, list[str]] = {}
    profiles = store.search(queries.PROFILES, {"size": 1000, "_source": ["ml.model", "expected.bins"]})
    for hit in profiles["hits"]["hits"]:
        source = hit["_source"]
        names = features.setdefault(source["ml"]["model"]["name"], [])
        names += [name for name in source.get("expected", {}).get("bins", {}) if name not in names]
    span = latest - first if first is not None and latest is not None else timedelta(0)
    return {
        "models": models,
        "services": services,
        "features": features,
        "first": None if first is None else queries.instant(first),
        "last": None if latest is None else queries.instant(latest),
        "periods": [p for p in PERIODS if last(p, now).start > now - span],
    }


def selection(
    control_texts: Mapping[str, str], available: Mapping[str, Any], *, now: datetime
) -> PanelSelection:
    """Build the selection from the controls' values; ``period`` counts back from the last event.

    Raises:
        PreviewError: a period or a time is invalid.
    """
    names = ("model", "version", "role", "service", "feature")
    control_values = {name: control_texts[name] for name in names if control_texts.get(name)}
    end = _parse_time(available["last"]) + timedelta(milliseconds=1) if available["last"] else now
    start = _parse_time(available["first"]) if available["first"] else now - timedelta(days=1)
    period = control_texts.get("period") or WHOLE
    try:
        if control_texts.get("from") or control_texts.get("to"):
            start = _parse_time(control_texts["from"]) if control_texts.get("from") else start
            end = _parse_time(control_texts["to"]) if control_texts.get("to") else end
        elif period != WHOLE:
            start = last(period, end).start
        return PanelSelection(start, end, **control_values)
    except (ValueError, OverflowError) as error:
        raise PreviewError(f"no such time: {error}") from None


def prepare(store: Store, dashboards: Iterable[Dashboard]) -> None:
    """Name all fields of the panels in one search, without using its answer.

    The embedded store extracts a field from its documents when it is first named: one pass for all fields takes
    a fraction of the time of one pass per panel.
    """
    nowhere = PanelSelection(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC))
    fields_by_indices: dict[str, dict[str, None]] = {}
    for panel in (panel for dashboard in dashboards for panel in dashboard.panels if panel.chart != "text"):
        indices, body = queries.request(panel, nowhere)
        fields_by_indices.setdefault(indices, {}).update(dict.fromkeys(_find_fields(body)))
    for indices, fields in fields_by_indices.items():
        aggs = {str(i): {"value_count": {"field": name}} for i, name in enumerate(fields)}
        if aggs:
            store.search(indices, {"size": 0, "query": {"match_none": {}}, "aggs": aggs})


def _find_fields(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        if load().field(part) is not None:
            yield part
    elif isinstance(part, Mapping):
        for name, value in part.items():
            yield from _find_fields(name)
            yield from _find_fields(value)
    elif isinstance(part, list):
        for item in part:
            yield from _find_fields(item)


class CachingStore(DelegatingStore):
    """A store that gives the same answer to the same search until it is refreshed: the panels of a page show one
    moment, and panels with the same search ask it once."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._answers: dict[bytes, dict[str, Any]] = {}
        self._lock = Lock()
        self._round = 0

    def search(self, indices: str | list[str], body: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        search_key = orjson.dumps([indices, body, options], default=str)
        with self._lock:
            answer, round_ = self._answers.pop(search_key, None), self._round
        if answer is None:
            answer = super().search(indices, body, **options)
        with self._lock:
            if round_ != self._round:  # the store was refreshed in the meantime
                return answer
            self._answers[search_key] = answer  # the most recently used answer is evicted last
            if len(self._answers) > MAX_CACHED_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return answer

    def refresh(self) -> None:
        super().refresh()
        with self._lock:
            self._answers.clear()
            self._round += 1


def panel_view(store: Store, panel: Panel, panel_selection: PanelSelection) -> View:
    """Compute a panel's view; if the store cannot answer, the view says so."""
    if panel.chart == "text":
        return views.view(panel, [])
    try:
        needs_search = queries.needs_request(panel, panel_selection)
        if needs_search is not None and not store.search(*needs_search)["hits"]["total"]["value"]:
            return {"kind": "hidden"}
        expected_search = queries.expected_request(panel, panel_selection)
        expected = None if expected_search is None else store.search(*expected_search)
        try:
            rows = tables.rows(
                panel,
                panel_selection,
                store.search(*queries.shared_request(panel, panel_selection)),
                expected,
            )
        except CutError:
            rows = tables.rows(
                panel, panel_selection, store.search(*queries.request(panel, panel_selection)), expected
            )
    except (StoreError, CutError) as error:
        return {"kind": "error", "note": str(error)}
    return views.view(panel, rows, feature=panel_selection.feature)


def outline(dashboards: Iterable[Dashboard]) -> list[dict[str, Any]]:
    """Return the structure of the dashboards that the page needs, without data."""
    return [
        {
            "id": dashboard.id,
            "title": dashboard.title,
            "description": dashboard.description,
            "controls": list(dashboard.controls),
            "panels": [
                {"title": p.title, "description": p.description, "width": p.width, "chart": p.chart}
                for p in dashboard.panels
            ],
        }
        for dashboard in dashboards
    ]


def combinations(available: Mapping[str, Any], models: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield the choices of a static page: each model, all its versions and roles together and each by itself,
    over the whole time and its last day.

    Raises:
        PreviewError: one of ``models`` does not exist, or there are too many combinations for one page.
    """
    for name in models:
        if name not in available["models"]:
            raise PreviewError(
                f"no predictions of {name!r}; there are {', '.join(available['models']) or 'none'}"
            )
    model_names = list(models) or list(available["models"])
    combined = [{"model": "", "version": "", "role": ""}]
    for model in model_names:
        versions = available["models"][model]
        every = sorted({role for roles in versions.values() for role in roles})
        of_model = [("", "")]
        of_model += [("", role) for role in every if len(every) > 1]
        for version, roles in versions.items() if len(versions) > 1 else ():
            of_model += [(version, ""), *((version, role) for role in roles if len(roles) > 1)]
        combined += [{"model": model, "version": version, "role": role} for version, role in of_model]
    periods = [WHOLE, *([p] if (p := _find_short_period(available)) else [])]
    number = len(combined) * len(periods)
    if number > MAX_STATIC:
        raise PreviewError(
            f"{number} combinations of model, version, role and time are too many for one page; "
            "choose models with --model, or serve the page: logging-lib dashboards preview without --out"
        )
    for combination in combined:
        for period in periods:
            yield {**combination, "period": period}


def static_views(
    store: Store,
    dashboards: Sequence[Dashboard],
    available: Mapping[str, Any],
    chosen_combinations: Iterable[Mapping[str, str]],
    *,
    now: datetime,
) -> dict[str, list[list[View]]]:
    """Compute all views: key of a combination (``key``) → dashboard → panel → view."""
    views_by_key = {}
    for combination in chosen_combinations:
        panel_selection = selection(combination, available, now=now)
        views_by_key[key(combination)] = [
            [panel_view(store, panel, panel_selection) for panel in d.panels] for d in dashboards
        ]
    return views_by_key


def key(control_texts: Mapping[str, str]) -> str:
    """Build the same key as the page's script builds from the controls."""
    return "\n".join(control_texts.get(name, "") for name in ("model", "version", "role", "period"))


def _find_short_period(available: Mapping[str, Any]) -> str | None:
    return "24h" if "24h" in available["periods"] else None


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
