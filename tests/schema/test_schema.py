"""The schema file, what is generated from it, and the tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given

from logging_lib import schema
from logging_lib.schema import data_stream, fields, generate, tokens
from tests.strategies import names

ROOT = Path(__file__).parents[2]


def test_the_constants_of_the_service_are_those_of_the_file() -> None:
    loaded = fields.load()
    assert loaded.schema_version == schema.SCHEMA_VERSION
    assert loaded.ecs_version == schema.ECS_VERSION
    assert tuple(loaded.datasets) == schema.DATASETS


def test_generated_files_are_up_to_date() -> None:
    for name, content in generate.build_outputs(fields.load()).items():
        assert (ROOT / name).read_text("utf-8") == content, f"run `make generate`: {name}"


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(generate.build_json_schema(fields.load()))


def test_a_starred_field_is_found_for_any_key() -> None:
    field = fields.load().field("ml.input.numeric.a.b")
    assert field is not None
    assert field.type == "double"
    assert fields.load().field("ml.input.unheard") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "number"}, "fields.yml: @timestamp: type: 'number'"),
        ({"datasets": ["ml.other"]}, "@timestamp: datasets: unknown dataset"),
        ({"typo": 1}, "@timestamp: unknown key ['typo']"),
        ({"name": "message"}, "message: defined twice"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    document = yaml.safe_load((ROOT / "logging_lib/schema/fields.yml").read_text("utf-8"))
    document["fields"][0] |= change
    with pytest.raises(fields.SchemaError, match=says.replace("[", r"\[").replace("]", r"\]")):
        fields.parse(document)


def test_every_field_has_an_example_that_its_own_schema_accepts() -> None:
    for field in fields.load().fields:
        value = field.example
        assert value is not None, field.name
        if field.dynamic:
            value = next(iter(value.values()))
        jsonschema.validate(value, generate._build_value_schema(field))


def test_the_schema_refuses_fields_that_the_contract_does_not_have(
    valid: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    event = {
        "@timestamp": "2018-01-01T00:00:00Z",
        "ecs": {"version": "9.2.0"},
        "event": {"id": "1", "kind": "event", "dataset": "ml.start"},
        "ml": {"schema_version": 1, "model": {"name": "m"}, "start": {"libraries": ["a=1"]}},
    }
    valid(event)
    with pytest.raises(jsonschema.ValidationError):
        valid(json.loads(json.dumps(event).replace('"libraries"', '"librarys"')))


def test_a_data_stream_is_named_by_dataset_and_namespace() -> None:
    assert data_stream("ml.prediction") == "logs-ml.prediction-default"
    assert data_stream("ml.deadletter", "team_ä.1") == "logs-ml.deadletter-team_ä.1"
    assert data_stream("ml.label", "n" * 100) == "logs-ml.label-" + "n" * 100
    with pytest.raises(ValueError, match=r"expected one of ml\.prediction, .*found 'logs'"):
        data_stream("logs")


@pytest.mark.parametrize(
    ("namespace", "says"),
    [("", "not empty"), ("Prod", "lower case"), ("n" * 101, "100 bytes"), ("ä" * 51, "100 bytes")]
    + [(f"a{letter}b", "not allowed") for letter in '-\\/*?"<>|,#: \t\n\x00\u200b'],
)
def test_a_namespace_that_elasticsearch_would_refuse(namespace: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^namespace: .*{says}"):
        data_stream("ml.health", namespace)


@given(names, names, names, names)
@example("a", "=b", "a=", "b")
@example("a%3D", "b", "a=", "b")
@example("a", "!missing", "a", "missing")
@example("x" * 200, "", "x" * 201, "")
def test_two_different_pairs_never_share_a_token(a: str, b: str, c: str, d: str) -> None:
    assert (tokens.token(a, b) == tokens.token(c, d)) == ((a, b) == (c, d))


@given(names, names)
def test_a_value_is_never_taken_for_a_special_bin(feature: str, value: str) -> None:
    text = tokens.token(feature, value)
    assert all(text != tokens.special(feature, name) for name in tokens.SPECIAL_BINS)
    text.encode("utf-8")
    assert len(text) <= 2 * tokens.MAX_PART + 1


@given(names, names)
def test_an_uncut_token_splits_into_its_parts(feature: str, value: str) -> None:
    text = tokens.token(feature, value)
    if "%~" not in text:
        assert tokens.split(text) == (feature, value)
