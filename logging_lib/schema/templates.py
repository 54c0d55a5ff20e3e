"""The component and index templates of Elasticsearch, built from ``fields.yml``. There is no I/O.

Each data stream's template is composed of small parts, like Elastic's own ``logs@settings``: ``logs-ml@settings``,
``logs-ml.<dataset>@mappings``, ``logs-ml.<dataset>@lifecycle`` and, last, so that they take precedence, the team's
``logs-ml@custom`` and ``logs-ml.<dataset>@custom``, which may be missing and which this library never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from logging_lib.schema import data_stream
from logging_lib.schema.fields import Field, Schema

PRIORITY = 500
"""Higher than the built-in template of ``logs-*-*`` (100) and those of Elastic's integrations (200)."""

FIELD_LIMIT = 2000
"""The maximum number of fields of a stream; others are stored and listed in ``_ignored``, but not searchable."""

MAX_KEYWORD = 1024
"""The maximum length of a keyword, as in ECS; longer ones are stored, listed in ``_ignored``, and not indexed."""

RETENTION = {
    "ml.prediction": "90d",
    "ml.label": "365d",
    "ml.deadletter": "30d",
    "ml.health": "30d",
    "ml.start": "365d",
}
"""How long each stream's events are kept, unless the deployment says otherwise."""

FINAL_PIPELINE = "logs-ml@final"
SETTINGS, CUSTOM = "logs-ml@settings", "logs-ml@custom"
PROFILES, PROFILE_FILES, WATCH_STATE = "ml-profiles", "ml-profile-files", "ml-watch-state"
ANALYSIS, WATCH_NOTIFIED = "ml-analysis", "ml-watch-notified"

_MALFORMED = frozenset({"long", "integer", "short", "double", "float", "date", "boolean"})
_KEYWORD = {"type": "keyword", "ignore_above": MAX_KEYWORD}
_STORED_TEXT = {"type": "keyword", "index": False, "doc_values": False}
_STORED_OBJECT = {"type": "object", "enabled": False}

Body = dict[str, Any]


def component_templates(schema: Schema) -> dict[str, Body]:
    """Build the bodies of ``PUT _component_template/<name>``, by name."""
    templates = {SETTINGS: _settings_template(schema)}
    for dataset in schema.datasets:
        templates[f"logs-{dataset}@mappings"] = {
            "template": {"mappings": mappings(schema, dataset)},
            "_meta": {"description": schema.datasets[dataset], "schema_version": schema.schema_version},
        }
        templates[f"logs-{dataset}@lifecycle"] = {
            "template": {"lifecycle": {"data_retention": RETENTION[dataset]}},
            "_meta": {"description": f"How long events of {dataset} are kept."},
        }
    return templates


def index_templates(schema: Schema) -> dict[str, Body]:
    """Build the bodies of ``PUT _index_template/<name>``, by name: the data streams, then the indices."""
    streams = {f"logs-{dataset}": _stream_template(schema, dataset) for dataset in schema.datasets}
    return streams | {
        PROFILES: _index_template(
            PROFILES, "One document a model version: what watches compare with.", _PROFILES
        ),
        PROFILE_FILES: _index_template(
            PROFILE_FILES, "The whole profile of a model version.", _PROFILE_FILES
        ),
        WATCH_STATE: _index_template(WATCH_STATE, "What the watch runner remembers.", _WATCH_STATE),
        WATCH_NOTIFIED: _index_template(
            WATCH_NOTIFIED, "Which findings Watcher notified of, by watch.", _WATCH_NOTIFIED
        ),
        ANALYSIS: _index_template(
            ANALYSIS, "The last result of an analysis, such as a model's skew.", _ANALYSIS
        ),
    }


def ingest_pipelines() -> dict[str, Body]:
    """Build the bodies of ``PUT _ingest/pipeline/<name>``, by name."""
    return {
        FINAL_PIPELINE: {
            "description": "Gives an event its time of arrival and its id where the sender did not.",
            "processors": [
                {
                    "set": {
                        "tag": "event.ingested",
                        "field": "event.ingested",
                        "copy_from": "_ingest.timestamp",
                        "override": False,
                        "ignore_failure": True,  # an `event` that is not an object: the mapping refuses it
                    }
                },
                {
                    "set": {
                        "tag": "_id",
                        "field": "_id",
                        "copy_from": "event.id",
                        "override": False,
                        "ignore_empty_value": True,
                        "ignore_failure": True,
                    }
                },
            ],
        }
    }


def mappings(schema: Schema, dataset: str) -> Body:
    """Build the mapping of one dataset: known fields only, with free keys below the starred ones, by path."""
    root: Body = {"dynamic": False, "dynamic_templates": [], "properties": {}}
    for field in schema.fields:
        if dataset not in field.datasets:
            continue
        *parents, leaf = field.name.split(".")
        node = root
        for parent in parents:
            node = node["properties"].setdefault(parent, {})
            if leaf != "*" or parent != parents[-1]:
                node.setdefault("properties", {})
        if leaf == "*":
            # Without sub-objects, `a` and `a.b` are two fields that do not conflict.
            node |= {"type": "object", "dynamic": True, "subobjects": False}
            template = {"path_match": field.name, "mapping": _field_mapping(field)}
            root["dynamic_templates"].append({field.name.removesuffix(".*"): template})
        else:
            node["properties"][leaf] = _field_mapping(field)
    return root


def _field_mapping(field: Field) -> Body:
    if field.type == "object":
        return dict(_STORED_OBJECT)
    if not field.indexed:
        return dict(_STORED_TEXT)
    if field.type == "keyword":
        return dict(_KEYWORD)
    if field.type == "text":
        return {"type": "text", "norms": False}  # no search ranks by relevance
    if field.type not in _MALFORMED:
        return {"type": field.type}
    # A data stream needs the time, so an event with a malformed time is refused.
    mapping: Body = {"type": field.type, "ignore_malformed": field.name != "@timestamp"}
    if field.type != "date" or field.dynamic:
        mapping["index"] = False  # doc values suffice: measures are summed and rarely searched
    return mapping


def _settings_template(schema: Schema) -> Body:
    index = {
        "mode": "standard",
        "codec": "best_compression",
        "number_of_shards": 1,
        "auto_expand_replicas": "0-1",
        "refresh_interval": "5s",
        "final_pipeline": FINAL_PIPELINE,
        "mapping": {
            "total_fields": {"limit": FIELD_LIMIT, "ignore_dynamic_beyond_limit": True},
            "ignore_malformed": True,
        },
        "query": {"default_field": ["message", "error.message"]},
    }
    return {
        "template": {"settings": {"index": index}},
        "_meta": {"description": "Settings of all streams of logging_lib."},
    }


def _stream_template(schema: Schema, dataset: str) -> Body:
    custom = [CUSTOM, f"logs-{dataset}@custom"]
    return {
        "index_patterns": [data_stream(dataset, "x").removesuffix("x") + "*"],
        "data_stream": {},
        "priority": PRIORITY,
        "composed_of": [SETTINGS, f"logs-{dataset}@mappings", f"logs-{dataset}@lifecycle", *custom],
        "ignore_missing_component_templates": custom,
        "_meta": {"description": schema.datasets[dataset], "schema_version": schema.schema_version},
    }


def _index_template(name: str, description: str, mapping: Body) -> Body:
    settings = {"mode": "standard", "number_of_shards": 1, "auto_expand_replicas": "0-1"}
    return {
        "index_patterns": [name],
        "priority": PRIORITY,
        "template": {"settings": {"index": settings}, "mappings": mapping},
        "_meta": {"description": description},
    }


_MODEL: Body = {
    "properties": {
        "model": {"properties": {"name": dict(_KEYWORD), "version": dict(_KEYWORD)}},
        "profile": {"properties": {"id": dict(_KEYWORD)}},
    }
}
_PROFILES: Body = {
    "dynamic": False,
    "properties": {
        "@timestamp": {"type": "date"},
        "ml": _MODEL,
        "deployed": {"type": "boolean"},
        "trained_at": {"type": "date"},
        "libraries": dict(_KEYWORD),
        "owners": dict(_STORED_OBJECT),
        "overrides": dict(_STORED_OBJECT),
        "accepted": dict(_STORED_OBJECT),
        "learned": dict(_STORED_OBJECT),
        "replaced": dict(_STORED_OBJECT),
        "expected": dict(_STORED_OBJECT),
    },
}


def profile_fields() -> frozenset[str]:
    """List the fields of ``ml-profiles`` that can be searched."""

    def names(properties: Body, prefix: str) -> Iterator[str]:
        for name, field in properties.items():
            if "properties" in field:
                yield from names(field["properties"], f"{prefix}{name}.")
            elif field.get("enabled", True) and field.get("index", True):
                yield prefix + name

    return frozenset(names(_PROFILES["properties"], ""))


_PROFILE_FILES: Body = {
    "dynamic": False,
    "properties": {"ml": _MODEL, "content": dict(_STORED_TEXT)},
}
_WATCH_STATE: Body = {
    "dynamic": False,
    "properties": {
        "@timestamp": {"type": "date"},
        "kind": dict(_KEYWORD),
        "record": dict(_KEYWORD),
        "watch": dict(_KEYWORD),
        "model": dict(_KEYWORD),
        "state": dict(_STORED_OBJECT),
        "entry": dict(_STORED_OBJECT),
    },
}
_WATCH_NOTIFIED: Body = {
    "dynamic": False,
    "properties": {"@timestamp": {"type": "date"}, "watch": dict(_KEYWORD), "key": dict(_STORED_TEXT)},
}
_ANALYSIS: Body = {
    "dynamic": False,
    "properties": {
        "@timestamp": {"type": "date"},
        "kind": dict(_KEYWORD),
        "ml": _MODEL,
        "summary": dict(_STORED_OBJECT),
    },
}
