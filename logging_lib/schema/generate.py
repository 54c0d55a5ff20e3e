"""The generator of ``docs/fields.md``, ``event.schema.json`` and ``pipelines/elasticsearch/`` from ``fields.yml``.

``python -m logging_lib.schema.generate [--check] [ROOT]``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from logging_lib.schema import templates
from logging_lib.schema.fields import NUMERIC_TYPES, Field, Schema, load

_ELASTICSEARCH = "pipelines/elasticsearch"


def build_json_schema(schema: Schema) -> dict[str, Any]:
    """Build a JSON Schema (2020-12) of all datasets: one branch per dataset, chosen by ``event.dataset``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "logging_lib event",
        "description": f"Generated from fields.yml, schema version {schema.schema_version}. Do not edit.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in schema.datasets],
        "$defs": {name: _build_dataset_schema(schema, name) for name in schema.datasets},
    }


def _build_dataset_schema(schema: Schema, dataset: str) -> dict[str, Any]:
    root: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for field in schema.fields:
        if dataset not in field.datasets:
            continue
        *parents, leaf = field.name.split(".")
        node = root
        for parent in parents:
            if dataset in field.required and parent not in node["required"]:
                node["required"].append(parent)
            node = node["properties"].setdefault(
                parent, {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
            )
        if leaf == "*":
            node["additionalProperties"] = _build_value_schema(field)
            continue
        value = _build_value_schema(field)
        if field.name == "event.dataset":
            value = {"const": dataset}
        elif field.name == "ml.schema_version":
            value = {"const": schema.schema_version}
        node["properties"][leaf] = value
        if dataset in field.required:
            node["required"].append(leaf)
    return root


def _build_value_schema(field: Field) -> dict[str, Any]:
    if field.values:
        single: dict[str, Any] = {"enum": list(field.values)}
    elif field.type in NUMERIC_TYPES:
        is_whole = field.type in {"long", "integer", "short"}
        single = {"type": "integer" if is_whole else ["number", "null"]}
    elif field.type == "boolean":
        single = {"type": ["boolean", "null"]}
    elif field.type == "object":
        single = {"type": "object"}
    elif field.type == "date":
        single = (
            {"type": ["string", "null"], "format": "date-time"}
            if field.dynamic
            else {
                "type": "string",
                "format": "date-time",
            }
        )
    else:
        single = {"type": ["string", "null"]} if field.dynamic else {"type": "string"}
    several = {"type": "array", "items": single}
    return several if field.array else {"anyOf": [single, several]} if field.several else single


def render_reference(schema: Schema) -> str:
    """Render the field reference as Markdown."""
    lines = [
        "# Field reference",
        "",
        "<!-- Generated from logging_lib/schema/fields.yml by `make generate`. Do not edit. -->",
        "",
        f"These are the fields of schema version {schema.schema_version}, with the names of ECS "
        f"{schema.ecs_version} and `ml.*`. **Required** fields are in bold; a trailing `*` stands for any key.",
        "",
    ]
    for dataset, description in schema.datasets.items():
        lines += [
            f"## `{dataset}`",
            "",
            description,
            "",
            "| field | type | meaning | example |",
            "|---|---|---|---|",
        ]
        for field in schema.fields:
            if dataset in field.datasets:
                lines.append(_render_row(field, dataset))
        lines.append("")
    return "\n".join(lines)


def _render_row(field: Field, dataset: str) -> str:
    name = f"**`{field.name}`**" if dataset in field.required else f"`{field.name}`"
    kind = (
        field.type
        + ("[]" if field.array else " or []" if field.several else "")
        + (f", {field.unit}" if field.unit else "")
    )
    kind += "" if field.indexed else ", not indexed"
    notes = field.description
    if field.values and field.name != "event.dataset":
        notes += " One of " + ", ".join(f"`{value}`" for value in field.values) + "."
    example = dataset if field.name == "event.dataset" else field.example
    example_text = example if isinstance(example, str) else json.dumps(example)
    return f"| {name} | {kind} | {notes} | `{example_text}` |".replace(
        "|prediction - actual|", "abs(prediction - actual)"
    )


def build_outputs(schema: Schema) -> dict[str, str]:
    """Build the content of each generated file, by its path below the project's root."""
    outputs = {
        "docs/fields.md": render_reference(schema),
        "logging_lib/schema/event.schema.json": json.dumps(build_json_schema(schema), indent=1) + "\n",
    }
    for folder, bodies in (
        ("component_templates", templates.component_templates(schema)),
        ("index_templates", templates.index_templates(schema)),
        ("ingest_pipelines", templates.ingest_pipelines()),
    ):
        for name, body in bodies.items():
            outputs[f"{_ELASTICSEARCH}/{folder}/{name}.json"] = json.dumps(body, indent=2) + "\n"
    return outputs


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    root = Path(next((a for a in arguments if not a.startswith("-")), "."))
    stale = []
    outputs = build_outputs(load())
    for folder in sorted({str(Path(name).parent) for name in outputs if name.startswith(_ELASTICSEARCH)}):
        for path in sorted((root / folder).glob("*.json")):
            if f"{folder}/{path.name}" not in outputs:
                stale.append(f"{folder}/{path.name}")
                if not check:
                    path.unlink()
    for name, content in outputs.items():
        path = root / name
        if path.exists() and path.read_text("utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
    for name in stale:
        print(f"{name}: {'differs from fields.yml; run `make generate`' if check else 'brought up to date'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
