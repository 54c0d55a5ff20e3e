"""The templates that are made from ``fields.yml``, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.schema import DATASETS, data_stream, generate, templates
from logging_lib.schema.fields import load


def leaves(mapping: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in mapping.get("properties", {}).items():
        here = f"{path}{name}"
        if "type" in node:
            yield here, node
        yield from leaves(node, here + ".")


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_field_has_a_place_in_the_mapping_of_its_datasets(dataset: str) -> None:
    schema = load()
    mapping = templates.mappings(schema, dataset)
    mapped = dict(leaves(mapping))
    by_path = {
        rule["path_match"]: rule["mapping"]
        for template in mapping["dynamic_templates"]
        for rule in template.values()
    }
    for field in schema.fields:
        if dataset not in field.datasets:
            assert field.name not in mapped
            continue
        if field.dynamic:
            parent = mapped[field.name.removesuffix(".*")]
            assert (parent["dynamic"], parent["subobjects"]) == (True, False)
            assert by_path[field.name]["type"] == field.type
        elif field.indexed:
            assert mapped[field.name]["type"] == field.type
        else:
            assert mapped[field.name].get("enabled", mapped[field.name].get("index")) is False
    assert mapping["dynamic"] is False, "no other field may come in by itself"


def test_a_stream_is_composed_of_parts_that_exist_and_the_teams_own_come_last() -> None:
    schema = load()
    parts = templates.component_templates(schema)
    for dataset in DATASETS:
        body = templates.index_templates(schema)[f"logs-{dataset}"]
        optional = body["ignore_missing_component_templates"]
        assert body["composed_of"][-len(optional) :] == optional
        assert set(body["composed_of"]) - set(optional) <= set(parts)
        assert body["priority"] > 200
        assert body["index_patterns"] == [f"logs-{dataset}-*"]
        assert parts[f"logs-{dataset}@lifecycle"]["template"]["lifecycle"]["data_retention"].endswith("d")
    assert parts["logs-ml@settings"]["template"]["settings"]["index"]["mode"] == "standard"


def test_a_file_that_is_not_made_any_more_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([str(tmp_path)]) == 0
    assert generate.main(["--check", str(tmp_path)]) == 0
    folder = tmp_path / "pipelines" / "elasticsearch" / "component_templates"
    (folder / "logs-ml.gone@mappings.json").write_text("{}")
    edited = folder / "logs-ml@settings.json"
    edited.write_text(json.dumps({"template": {}}))
    capsys.readouterr()
    assert generate.main(["--check", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "logs-ml.gone@mappings.json" in output
    assert "logs-ml@settings.json" in output
    generate.main([str(tmp_path)])
    assert generate.main(["--check", str(tmp_path)]) == 0


@given(st.text(alphabet='aZ9._-\\/*?"<>| ,#:\n\x00é', max_size=105))
def test_a_namespace_is_one_that_elasticsearch_accepts(text: str) -> None:
    wrong = not 1 <= len(text.encode()) <= 100 or any(c in 'Z-\\/*?"<>| ,#:\n\x00' for c in text)
    if wrong:
        with pytest.raises(ValueError, match="namespace: "):
            data_stream("ml.label", text)
    else:
        assert data_stream("ml.label", text).endswith("-" + text)
