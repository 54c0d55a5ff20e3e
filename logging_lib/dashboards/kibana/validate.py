"""Validate saved objects before Kibana gets them. Pure.

Kibana imports a dashboard with a broken panel without an error; the panel shows one when somebody views it. These
checks find it earlier, without a Kibana. The allowed keys were taken from dashboards exported by Kibana 8 and 9.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from logging_lib.dashboards import spec
from logging_lib.dashboards.kibana.objects import (
    CORE_VERSION,
    FAILED,
    PANEL_VERSIONS,
    PREFIX,
    TYPE_VERSIONS,
    WIDTH,
)

Json = Mapping[str, Any]

STRINGS: Final = {
    "dashboard": ("panelsJSON", "optionsJSON", "kibanaSavedObjectMeta.searchSourceJSON"),
    "search": ("kibanaSavedObjectMeta.searchSourceJSON",),
    "index-pattern": (
        "fieldAttrs",
        "fieldFormatMap",
        "fields",
        "runtimeFieldMap",
        "sourceFilters",
        "typeMeta",
    ),
    "tag": (),
}
"""Attributes whose value is JSON as a string."""

_CONTROL_STRINGS: Final = ("panelsJSON", "ignoreParentSettingsJSON")
_RECORDS: Final = "___records___"
_COLUMN_KEYS: Final = frozenset(
    {"label", "customLabel", "dataType", "operationType", "isBucketed", "scale", "params"}
    | {"sourceField", "references", "filter", "timeScale", "isStaticValue"}
)
_PARAMS: Final = {
    "terms": {
        *("size", "orderBy", "orderDirection", "orderAgg", "otherBucket", "missingBucket", "parentFormat"),
        *("include", "exclude", "includeIsRegex", "excludeIsRegex", "secondaryFields", "accuracyMode"),
    },
    "date_histogram": {"interval", "includeEmptyRows", "dropPartials"},
    "formula": {"formula", "isFormulaBroken", "format"},
    "math": {"tinymathAst"},
    "static_value": {"value", "format", "emptyAsNull"},
    "percentile": {"percentile", "format"},
    **{
        name: {"emptyAsNull", "format"}
        for name in (
            *("average", "sum", "min", "max", "median", "standard_deviation", "unique_count", "count"),
        )
    },
}
_ACCESSORS: Final = {
    "lnsMetric": ("metricAccessor", "breakdownByAccessor"),
    "lnsHeatmap": ("xAccessor", "yAccessor", "valueAccessor"),
}
_BUCKETED: Final = ("breakdownByAccessor", "xAccessor", "yAccessor", "splitAccessor")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: the object that has it, and what is wrong."""

    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


def check_ndjson(text: str, *, elsewhere: Iterable[str] = ()) -> list[Fault]:
    """Find all faults of a file. ``elsewhere``: ids of dashboards that come from other files."""
    objects: list[Any] = []
    for number, line in enumerate(
        text.removesuffix("\n").split("\n"), 1
    ):  # other line separators do not end it
        try:
            objects.append(json.loads(line))
        except ValueError as error:
            return [Fault(f"line {number}", f"is not JSON: {error}")]
    if not objects or "exportedCount" not in objects[-1]:
        return [Fault("the last line", "is not a summary with exportedCount")]
    summary = objects.pop()
    faults = list(check(objects, elsewhere=elsewhere))
    if summary["exportedCount"] != len(objects):
        faults.append(Fault("the last line", f"says {summary['exportedCount']}, there are {len(objects)}"))
    return faults


def check(objects: Iterable[Json], *, elsewhere: Iterable[str] = ()) -> Iterator[Fault]:
    """Yield all faults of saved objects that are imported together."""
    documents = list(objects)
    counts = Counter((document["type"], document["id"]) for document in documents)
    for (kind, identity), number in counts.items():
        if number > 1:
            yield Fault(f"{kind} {identity}", "the id is given twice")
    for document in documents:
        about = f"{document['type']} {document['id']}"
        for message in _check_object(document, counts.keys() | {("dashboard", name) for name in elsewhere}):
            yield Fault(about, message)


def _check_object(document: Json, identities: set[tuple[str, str]]) -> Iterator[str]:
    kind, attributes = document["type"], document["attributes"]
    if not re.fullmatch(rf"{PREFIX}(-[a-z0-9-]+)?", document["id"]):
        yield f"an id of ours begins with {PREFIX}"
    if document.get("coreMigrationVersion") != CORE_VERSION:
        yield f"coreMigrationVersion is not {CORE_VERSION}"
    if document.get("typeMigrationVersion") != TYPE_VERSIONS.get(kind):
        yield f"typeMigrationVersion is not {TYPE_VERSIONS.get(kind)}: a Kibana refuses it, or migrates it anew"
    broken = [name for name in STRINGS.get(kind, ()) if not _is_json_text(_get_at_path(attributes, name))]
    group = attributes.get("controlGroupInput", {})
    broken += [
        f"controlGroupInput.{name}" for name in _CONTROL_STRINGS if group and not _is_json_text(group[name])
    ]
    yield from (f"{name} is not JSON in a string" for name in broken)
    names = Counter(reference["name"] for reference in document["references"])
    yield from (f"the reference {name} is given twice" for name, number in names.items() if number > 1)
    for reference in document["references"]:
        if (reference["type"], reference["id"]) not in identities:
            target = f"{reference['type']} {reference['id']}"
            yield f"the reference {reference['name']} leads to {target}, which does not exist"
    if broken:
        return
    used = {name for name in names if name.startswith("tag-ref-")}
    if kind == "dashboard":
        yield from _check_dashboard(attributes, dict.fromkeys(names), identities, used)
    elif kind == "search":
        used.add(json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["indexRefName"])
        yield from _check_fields(
            attributes["columns"], _read_dataset(document["references"]), only_displayed=True
        )
    yield from (f"nothing has the reference {name}, which is used" for name in sorted(used - set(names)))
    yield from (f"the reference {name} is used by nothing" for name in sorted(set(names) - used))


def _check_dashboard(
    attributes: Json, names: Mapping[str, None], identities: set[tuple[str, str]], used: set[str]
) -> Iterator[str]:
    panels = json.loads(attributes["panelsJSON"])
    yield from _check_grid(panels)
    for panel in panels:
        identity, embedded = panel["panelIndex"], panel["embeddableConfig"]
        about = f"panel {panel['title']!r}"
        if "panelRefName" in panel:
            used.add(f"{identity}:{panel['panelRefName']}")
        events = embedded["enhancements"].get("dynamicActions", {}).get("events", [])
        for event in events:
            used.add(f"{identity}:drilldown:{event['action']['factoryId']}:{event['eventId']}:dashboardId")
        expected = PANEL_VERSIONS.get(panel["type"])
        if (panel.get("version"), embedded.get("version")) != (expected, expected):
            yield f"{about}: version is not {expected}: a Kibana of 8.15 migrates the panel anew"
        if panel["type"] == "lens":
            embedded_attributes = embedded["attributes"]
            used.update(f"{identity}:{reference['name']}" for reference in embedded_attributes["references"])
            yield from (f"{about}: {message}" for message in check_lens(embedded_attributes))
        elif panel["type"] == "visualization":
            yield from (
                f"{about}: {message}" for message in _check_visualization(embedded["savedVis"], identities)
            )
    group = attributes.get("controlGroupInput")
    for identity, control in json.loads(group["panelsJSON"]).items() if group else ():
        used.add(f"controlGroup_{identity}:optionsListDataView")
        if control["explicitInput"]["id"] != identity:
            yield f"the control {identity} has another id inside"
        if control["explicitInput"]["fieldName"] != FAILED:
            yield from _check_fields([control["explicitInput"]["fieldName"]], "prediction")


def _check_grid(panels: list[Any]) -> Iterator[str]:
    occupied: dict[tuple[int, int], str] = {}
    seen: set[str] = set()
    for panel in panels:
        grid, title = panel["gridData"], panel["title"]
        if grid["i"] != panel["panelIndex"]:
            yield f"panel {title!r}: gridData.i is not panelIndex"
        if panel["panelIndex"] in seen:
            yield f"panel {title!r}: panelIndex is given twice"
        seen.add(panel["panelIndex"])
        if grid["x"] < 0 or grid["y"] < 0 or grid["w"] < 1 or grid["h"] < 1 or grid["x"] + grid["w"] > WIDTH:
            yield f"panel {title!r}: does not fit into {WIDTH} columns"
        overlapped = set()
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                occupant = occupied.setdefault((x, y), title)
                if occupant != title:
                    overlapped.add(occupant)
        yield from (f"panel {title!r}: lies over {occupant!r}" for occupant in sorted(overlapped))


def check_lens(attributes: Json) -> Iterator[str]:
    """Yield the faults of one Lens panel's attributes."""
    state, kind = attributes["state"], attributes["visualizationType"]
    layers = state["datasourceStates"]["formBased"]["layers"]
    names = {reference["name"]: reference["id"] for reference in attributes["references"]}
    expected_references = {f"indexpattern-datasource-layer-{name}": name for name in layers}
    yield from (
        f"the layer {expected_references[name]} has no data view"
        for name in expected_references.keys() - names.keys()
    )
    yield from (f"the reference {name} has no layer" for name in names.keys() - expected_references.keys())
    accessors = _collect_accessors(kind, state["visualization"])
    if accessors is None:
        yield f"{kind} is not a visualization that is known here"
        return
    yield from (f"the layer {name} is not drawn" for name in layers.keys() - accessors.keys())
    yield from (f"the layer {name} has no columns" for name in accessors.keys() - layers.keys())
    for name in layers.keys() & accessors.keys():
        dataset = names.get(f"indexpattern-datasource-layer-{name}", "").removeprefix(f"{PREFIX}-data-")
        yield from _check_layer(layers[name], accessors[name], dataset)


def _collect_accessors(kind: str, visualization: Json) -> dict[str, list[tuple[str, str]]] | None:
    """Return layer → the columns that the visualization names, each with the place that names it."""
    by_layer: dict[str, list[tuple[str, str]]] = {}
    if kind == "lnsXY":
        for layer in visualization["layers"]:
            layer_accessors = by_layer.setdefault(layer["layerId"], [])
            layer_accessors += [
                (place, layer[place]) for place in ("xAccessor", "splitAccessor") if place in layer
            ]
            layer_accessors += [("accessors", name) for name in layer["accessors"]]
            layer_accessors += [("yConfig", config["forAccessor"]) for config in layer.get("yConfig", ())]
    elif kind == "lnsPie":
        for layer in visualization["layers"]:
            by_layer[layer["layerId"]] = [("splitAccessor", name) for name in layer["primaryGroups"]]
            by_layer[layer["layerId"]] += [("metrics", name) for name in layer["metrics"]]
    elif kind == "lnsDatatable":
        by_layer[visualization["layerId"]] = [
            ("metrics" if config["isMetric"] else "splitAccessor", config["columnId"])
            for config in visualization["columns"]
        ]
    elif kind in _ACCESSORS:
        by_layer[visualization["layerId"]] = [
            (place, visualization[place]) for place in _ACCESSORS[kind] if place in visualization
        ]
    else:
        return None
    return by_layer


def _check_layer(layer: Json, accessors: list[tuple[str, str]], dataset: str) -> Iterator[str]:
    columns, order = layer["columns"], layer["columnOrder"]
    if sorted(order) != sorted(columns):
        yield f"columnOrder {order} is not the columns {list(columns)}"
    bucketed = [name for name in order if columns.get(name, {}).get("isBucketed")]
    if order[: len(bucketed)] != bucketed:
        yield "columnOrder has a metric before a bucket"
    for place, name in accessors:
        if name not in columns:
            yield f"{place} names the column {name}, which does not exist"
        elif columns[name]["isBucketed"] != (place in _BUCKETED):
            yield f"{place} names the column {name}, which is of the other kind"
    used = {name for _, name in accessors}
    for name, column in columns.items():
        for reference in column.get("references", ()):
            used.add(reference)
            if reference not in columns:
                yield f"the column {name} refers to {reference}, which does not exist"
        yield from (f"the column {name}: {message}" for message in _check_column(column, columns, dataset))
    yield from (f"the column {name} is used by nothing" for name in columns if name not in used)


def _check_column(column: Json, columns: Json, dataset: str) -> Iterator[str]:
    operation, params = column["operationType"], column.get("params", {})
    if unknown := set(column) - _COLUMN_KEYS:
        yield f"unknown key {min(unknown)}"
    if operation not in _PARAMS:
        yield f"unknown operation {operation}"
    elif unknown := set(params) - _PARAMS[operation]:
        yield f"unknown parameter {min(unknown)} of {operation}"
    order = params.get("orderBy", {})
    if order.get("type") == "column" and order.get("columnId") not in columns:
        yield f"is ordered by {order.get('columnId')}, which does not exist"
    if order.get("type") == "custom" and "orderAgg" not in params:
        yield "is ordered by an aggregation that does not exist"
    if operation == "formula" and not column.get("references"):
        yield "is a formula without its parts"
    if operation == "math":
        yield from (
            f"calculates with {name}, which does not exist" for name in _find_leaves(params) - columns.keys()
        )
    source = column.get("sourceField")
    if source is not None and source != _RECORDS:
        yield from _check_fields([source], dataset)


def _find_leaves(node: Any) -> set[str]:
    tree = node["tinymathAst"] if isinstance(node, Mapping) and "tinymathAst" in node else node
    if isinstance(tree, Mapping):
        return {leaf for argument in tree["args"] for leaf in _find_leaves(argument)}
    return {tree} if isinstance(tree, str) else set()


def _check_visualization(visualization: Json, identities: set[tuple[str, str]]) -> Iterator[str]:
    if visualization["type"] == "markdown":
        for target in re.findall(r"\(#/view/([^)]*)\)", visualization["params"]["markdown"]):
            if ("dashboard", target) not in identities:
                yield f"leads to the dashboard {target}, which does not exist"
    elif visualization["type"] != "vega":
        yield f"{visualization['type']} is not a visualization that is known here"
    elif not _is_json_text(visualization["params"]["spec"]):
        yield "the specification is not JSON in a string"


def _check_fields(names: Iterable[str], dataset: str, *, only_displayed: bool = False) -> Iterator[str]:
    for name in names:
        if name == FAILED and dataset == "prediction":
            continue
        field = spec.field(name, dataset)
        if field is None:
            yield f"{dataset} has no field {name}"
        elif not field.indexed and not only_displayed:
            yield f"{name} is not indexed"


def _read_dataset(references: Iterable[Json]) -> str:
    views = [reference["id"] for reference in references if reference["type"] == "index-pattern"]
    return str(views[0]).removeprefix(f"{PREFIX}-data-") if views else ""


def _get_at_path(node: Any, path: str) -> Any:
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _is_json_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and json.loads(value) is not None
    except ValueError:
        return False
