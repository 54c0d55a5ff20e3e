"""Build dashboards as Kibana's saved objects, and their NDJSON. Pure; the same specs give the same bytes.

For Kibana 8.15 to 9.x: objects carry the versions below, so that no newer Kibana refuses them and no older
migration runs. Ids are fixed, so that importing a newer version updates the older one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from logging_lib.dashboards import spec as sources
from logging_lib.dashboards import vega
from logging_lib.dashboards.kibana import kql, lens
from logging_lib.dashboards.queries import check_fields
from logging_lib.dashboards.spec import CONTROL_FIELDS, Control, Dashboard, Dataset, Panel

Json = dict[str, Any]

PREFIX: Final = "logging-lib"
TAG: Final = PREFIX
TAG_DESCRIPTION: Final = "Machine-learning models, watched by logging_lib"
FAILED: Final = "ml.feature.failed"
"""A runtime field of the predictions' data view: the features that failed any check."""
WIDTH: Final = 48

CORE_VERSION: Final = "8.8.0"
TYPE_VERSIONS: Final = {
    "index-pattern": "8.0.0",
    "tag": "8.0.0",
    "search": "8.0.0",
    "dashboard": "10.2.0",
}
PANEL_VERSIONS: Final = {"lens": "8.9.0", "visualization": "8.5.0"}
"""The version of panels by value: Kibana up to 8.15 runs every old migration over a panel without one."""

_CONTROL_TITLES: Final[dict[Control, str]] = {
    "model": "Model",
    "version": "Version",
    "role": "Live or shadow",
    "service": "Service",
    "feature": "Feature that failed a check",
}
_DATASETS: Final[dict[Dataset, str]] = {
    "prediction": "Predictions",
    "label": "Labels",
    "deadletter": "Dead letters",
    "health": "Health of loggers and shippers",
    "start": "Starts of services",
    "alert": "Alerts sent",
}


def saved_objects(dashboards: Iterable[Dashboard]) -> list[Json]:
    """Build all objects of these dashboards: data views and the tag, then saved searches, then the dashboards."""
    documents = list(dashboards)
    datasets: dict[Dataset, None] = {"prediction": None}
    for board in documents:
        datasets.update((panel.dataset, None) for panel in board.panels if panel.chart != "text")
    views = [data_view(dataset) for dataset in _DATASETS if dataset in datasets]
    searches = [
        saved_search(board, panel) for board in documents for panel in board.panels if panel.chart == "events"
    ]
    return [_tag(), *views, *searches, *(dashboard(board) for board in documents)]


def ndjson(objects: Iterable[Json]) -> str:
    """Render the file that Kibana imports: one object per line, and the number of objects."""
    documents = list(objects)
    summary = {
        "excludedObjects": [],
        "excludedObjectsCount": 0,
        "exportedCount": len(documents),
        "missingRefCount": 0,
        "missingReferences": [],
    }
    return "".join(_encode_line(document) + "\n" for document in (*documents, summary))


def dashboard_id(name: str) -> str:
    """Return the id of a dashboard's saved object, from the dashboard's own."""
    return f"{PREFIX}-{name}"


def data_view_id(dataset: str) -> str:
    return f"{PREFIX}-data-{dataset}"


def search_id(board: Dashboard, panel: Panel) -> str:
    """Return the id of a search; a hash distinguishes two titles with the same words."""
    slug = re.sub(r"[^a-z0-9]+", "-", panel.title.lower()).strip("-")[:40]
    return f"{PREFIX}-{board.id}-{slug}-{sha256(panel.title.encode()).hexdigest()[:6]}"


def panel_id(board: Dashboard, panel: Panel) -> str:
    """Return the index of a panel: the same for the same dashboard and title."""
    return str(uuid5(NAMESPACE_URL, f"{PREFIX}/{board.id}/{panel.title}"))


def data_view(dataset: Dataset) -> Json:
    """Build the data view of one dataset; usable before any index exists."""
    runtime: Json = {}
    formats: Json = {}
    for name in sources.names(dataset):
        field = sources.field(name, dataset)
        if field is not None and field.unit in ("ns", "byte"):
            formats[name] = _format(field.unit)
    if dataset == "prediction":
        runtime[FAILED] = {"type": "keyword", "script": {"source": failed_script()}}
    if dataset == "alert":  # so that the control for models finds it
        source = "if (doc.containsKey('model') && !doc['model'].empty) { emit(doc['model'].value); }"
        runtime[CONTROL_FIELDS["model"]] = {"type": "keyword", "script": {"source": source}}
    attributes = {
        "allowHidden": False,
        "allowNoIndex": True,
        "fieldAttrs": "{}",
        "fieldFormatMap": _encode_json(formats),
        "fields": "[]",
        "name": f"ML {_DATASETS[dataset].lower()}",
        "runtimeFieldMap": _encode_json(runtime),
        "sourceFilters": "[]",
        "timeFieldName": "@timestamp",
        "title": sources.indices(dataset),
        "typeMeta": "{}",
    }
    return _object("index-pattern", data_view_id(dataset), attributes, [])


def failed_script() -> str:
    """Write Painless that emits the names of the features that failed a check; a runtime field holds up to 100."""
    names = ", ".join(f"'{name}'" for name in check_fields())
    return (
        f"Set found = new HashSet(); for (String name : new String[] {{{names}}}) {{ "
        "if (doc.containsKey(name)) { for (def value : doc[name]) { "
        "if (found.size() < 100 && found.add(value)) { emit(value); } } } }"
    )


def saved_search(board: Dashboard, panel: Panel) -> Json:
    """Build a search of single events, to be read in full: it is a panel, and a page of Discover."""
    source = {
        "filter": [],
        "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
        "query": {"language": "kuery", "query": kql.kql(panel.filter)},
    }
    attributes = {
        "columns": [name for name in panel.columns if name != "@timestamp"],
        "description": panel.description,
        "grid": {},
        "hideChart": True,
        "isTextBasedQuery": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": _encode_json(source)},
        "sort": [["@timestamp", "desc"]],
        "timeRestore": False,
        "title": f"{board.title.partition(':')[0]}: {panel.title}",
    }
    references = [
        {
            "id": data_view_id(panel.dataset),
            "name": "kibanaSavedObjectMeta.searchSourceJSON.index",
            "type": "index-pattern",
        },
        _tag_reference(),
    ]
    return _object("search", search_id(board, panel), attributes, references)


def dashboard(board: Dashboard) -> Json:
    """Build the dashboard with its panels by value, laid out from left to right."""
    references: list[Json] = [_tag_reference()]
    panels = []
    for panel, (x, y) in zip(board.panels, layout(board.panels), strict=True):
        panel_state, panel_references = _panel(board, panel)
        panel_state["gridData"] = {
            "x": x,
            "y": y,
            "w": panel.width,
            "h": panel.height,
            "i": panel_state["panelIndex"],
        }
        panels.append(panel_state)
        references += panel_references
    controls, panel_references = _controls(board)
    source = {"filter": [], "query": {"language": "kuery", "query": ""}}
    attributes: Json = {
        "title": board.title,
        "description": board.description,
        "version": 3,
        "timeRestore": True,
        "timeFrom": f"now-{board.period}",
        "timeTo": "now",
        "refreshInterval": {"pause": True, "value": 60_000},
        "optionsJSON": _encode_json(
            {
                "useMargins": True,
                "syncColors": True,
                "syncCursor": True,
                "syncTooltips": False,
                "hidePanelTitles": False,
            }
        ),
        "panelsJSON": _encode_json(panels),
        "kibanaSavedObjectMeta": {"searchSourceJSON": _encode_json(source)},
    }
    if controls:
        attributes["controlGroupInput"] = controls
    return _object("dashboard", dashboard_id(board.id), attributes, [*references, *panel_references])


def layout(panels: Iterable[Panel]) -> list[tuple[int, int]]:
    """Place the upper left corner of each panel: rows are filled from the left, as high as their highest panel."""
    corners = []
    x = y = height = 0
    for panel in panels:
        if x + panel.width > WIDTH:
            x, y, height = 0, y + height, 0
        corners.append((x, y))
        x, height = x + panel.width, max(height, panel.height)
    return corners


def _panel(board: Dashboard, panel: Panel) -> tuple[Json, list[Json]]:
    identity = panel_id(board, panel)
    panel_state: Json = {"panelIndex": identity, "title": panel.title}
    enhancements, references = _drilldown(panel, identity)
    embedded: Json = {"enhancements": enhancements}
    if panel.description:
        embedded["description"] = panel.description
    if panel.chart == "events":
        panel_state |= {"type": "search", "panelRefName": f"panel_{identity}"}
        name = f"{identity}:panel_{identity}"
        references.append({"id": search_id(board, panel), "name": name, "type": "search"})
    elif panel.chart in lens.CHARTS:
        attributes = lens.attributes(panel, data_view_id(panel.dataset))
        references += [{**ref, "name": f"{identity}:{ref['name']}"} for ref in attributes["references"]]
        panel_state["type"] = "lens"
        embedded |= {"attributes": attributes, "hidePanelTitles": panel.chart == "metric"}
        if panel.chart == "metric":
            _name_metric(attributes, panel)
    else:
        panel_state["type"] = "visualization"
        embedded |= {"savedVis": _visualization(panel), "hidePanelTitles": panel.chart == "text"}
    if panel_state["type"] in PANEL_VERSIONS:
        panel_state["version"] = embedded["version"] = PANEL_VERSIONS[panel_state["type"]]
    return {**panel_state, "embeddableConfig": embedded}, references


def _name_metric(attributes: Json, panel: Panel) -> None:
    """Name a metric's column; Kibana shows the column's label, but the panel's title says more."""
    state = attributes["state"]
    accessor = state["visualization"]["metricAccessor"]
    state["datasourceStates"]["formBased"]["layers"][lens.LAYER]["columns"][accessor]["label"] = panel.title


def _visualization(panel: Panel) -> Json:
    params: Json = {"markdown": panel.text, "fontSize": 12, "openLinksInNewTab": False}
    if panel.chart != "text":
        params = {"spec": vega.spec(panel)}
    return {
        "id": "",
        "title": "",
        "description": panel.description,
        "type": "markdown" if panel.chart == "text" else "vega",
        "params": params,
        "uiState": {},
        "data": {
            "aggs": [],
            "searchSource": {"query": {"query": "", "language": "kuery"}, "filter": []},
        },
    }


def _drilldown(panel: Panel, identity: str) -> tuple[Json, list[Json]]:
    if panel.drilldown is None:
        return {}, []
    event = str(uuid5(NAMESPACE_URL, f"{identity}/{panel.drilldown}"))
    factory = "DASHBOARD_TO_DASHBOARD_DRILLDOWN"
    action = {
        "factoryId": factory,
        "name": f"Open {panel.drilldown}",
        "config": {"useCurrentFilters": True, "useCurrentDateRange": True, "openInNewTab": False},
    }
    events = [{"eventId": event, "triggers": ["FILTER_TRIGGER"], "action": action}]
    name = f"{identity}:drilldown:{factory}:{event}:dashboardId"
    return {"dynamicActions": {"events": events}}, [
        {"id": dashboard_id(panel.drilldown), "name": name, "type": "dashboard"}
    ]


def _controls(board: Dashboard) -> tuple[Json, list[Json]]:
    if not board.controls:
        return {}, []
    panels, references = {}, []
    for place, control in enumerate(board.controls):
        identity = str(uuid5(NAMESPACE_URL, f"{PREFIX}/{board.id}/control/{control}"))
        panels[identity] = {
            "type": "optionsListControl",
            "order": place,
            "grow": True,
            "width": "medium",
            "explicitInput": {
                "id": identity,
                "fieldName": FAILED if control == "feature" else CONTROL_FIELDS[control],
                "title": _CONTROL_TITLES[control],
                "searchTechnique": "prefix",
                "selectedOptions": [],
                "singleSelect": False,
                "enhancements": {},
            },
        }
        references.append(
            {
                "id": data_view_id("prediction"),
                "name": f"controlGroup_{identity}:optionsListDataView",
                "type": "index-pattern",
            }
        )
    ignore = {
        "ignoreFilters": False,
        "ignoreQuery": False,
        "ignoreTimerange": False,
        "ignoreValidations": False,
    }
    group = {
        "chainingSystem": "HIERARCHICAL",
        "controlStyle": "oneLine",
        "ignoreParentSettingsJSON": _encode_json(ignore),
        "panelsJSON": _encode_json(panels),
        "showApplySelections": False,
    }
    return group, references


def _format(unit: str) -> Json:
    if unit == "byte":
        return {"id": "bytes"}
    return {
        "id": "duration",
        "params": {"inputFormat": "nanoseconds", "outputFormat": "asMilliseconds", "outputPrecision": 1},
    }


def _tag() -> Json:
    attributes = {
        "color": "#6092C0",
        "description": TAG_DESCRIPTION,
        "name": "ML monitoring",
    }
    return _object("tag", TAG, attributes, [])


def _tag_reference() -> Json:
    return {"id": TAG, "name": f"tag-ref-{TAG}", "type": "tag"}


def _object(kind: str, identity: str, attributes: Json, references: list[Json]) -> Json:
    return {
        "id": identity,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": TYPE_VERSIONS[kind],
    }


def _encode_line(value: Any) -> str:
    """Encode a line as valid UTF-8: a feature's name may contain half of a surrogate pair."""
    text = _encode_json(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def _encode_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
