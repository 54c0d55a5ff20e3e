"""The pipelines' files without Logstash: syntax, ids, secrets, documentation, and the scripts' own test blocks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from logging_lib.normalize import ALIASES
from logging_lib.normalize import foreign as foreign_module
from tests.logstash_server import PIPELINES
from tests.pipelines.cases import cases
from tests.pipelines.conftest import HERE

CONFIGS = sorted(PIPELINES.rglob("*.conf"))
README = (PIPELINES / "README.md").read_text()
SECRET = re.compile(r"password|api_key|passphrase|token|secret|cloud_auth")
VARIABLE = re.compile(r"\$\{(\w+)(?::([^}]*))?\}")

each_config = pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(PIPELINES)))


def plugins(tree: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and settings of each plugin and codec."""
    for _section, plugins_of_section in tree:
        for name, settings in plugins_of_section:
            options = {key: value[0] for key, value in settings}
            yield name, options
            codec = options.get("codec")
            if isinstance(codec, list):
                yield codec[0], {key: value[0] for key, value in codec[1]}


def parsed(file: Path) -> list[tuple[str, dict[str, Any]]]:
    parser = pytest.importorskip(
        "logstash_pipeline_parser",
        reason="THE PIPELINES ARE NOT PARSED: no release of logstash-pipeline-parser for this Python",
    )
    return list(plugins(parser.Pipeline(file.read_text()).parse()))


@each_config
def test_a_stage_parses_and_each_plugin_has_an_id_of_its_own(file: Path) -> None:
    ids = [settings.get("id") for _, settings in parsed(file)]
    assert ids
    assert all(isinstance(plugin_id, str) and plugin_id.startswith("ml_") for plugin_id in ids), ids
    assert len(set(ids)) == len(ids)
    assert re.match(r"\d\d-(input|output)?", file.name)


@each_config
def test_no_secret_stands_in_a_stage(file: Path) -> None:
    for name, settings in parsed(file):
        for key, value in settings.items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{\w+\}", value), f"{name}: {key} must come from the keystore"


def test_ids_are_unique_within_each_pipeline() -> None:
    for pipeline in (PIPELINES, PIPELINES / "dead-letters"):
        for output in PIPELINES.glob("90-output-*.conf"):
            stages = [file for file in pipeline.glob("*.conf") if not file.name.startswith("90-")]
            ids = [settings["id"] for file in (*stages, output) for _, settings in parsed(file)]
            assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("file", sorted(PIPELINES.glob("90-output-*.conf")), ids=lambda file: file.name)
def test_an_output_creates_documents_by_event_id(file: Path) -> None:
    ((name, settings),) = parsed(file)
    assert name == "elasticsearch"
    assert settings["document_id"] == "%{[event][id]}"
    assert settings["action"] == "create"
    assert settings["index"] == "logs-%{[event][dataset]}-${ML_NAMESPACE:default}"


def test_the_settings_are_yaml_and_name_stages_that_are_there() -> None:
    assert yaml.safe_load((PIPELINES / "logstash.yml").read_text())["path.data"]
    pipelines = yaml.safe_load((PIPELINES / "pipelines.yml").read_text())
    assert [pipeline["pipeline.id"] for pipeline in pipelines] == ["ml", "ml-dead-letters"]
    assert all(pipeline["dead_letter_queue.enable"] for pipeline in pipelines)
    (queue,) = parsed(PIPELINES / "dead-letters" / "10-input-dead-letter-queue.conf")
    assert queue[1]["pipeline_id"] == "ml"


def test_each_variable_is_documented_with_its_default() -> None:
    files = [*CONFIGS, PIPELINES / "pipelines.yml", PIPELINES / "logstash.yml"]
    used: dict[str, set[str | None]] = {}
    for file in files:
        for name, default in VARIABLE.findall(file.read_text()):
            if name.startswith("ML_"):
                used.setdefault(name, set()).add(default)
    assert used
    for name, defaults in used.items():
        if name == "ML_ELASTICSEARCH_URL":  # https, but for the laptop
            defaults = defaults - {"http://localhost:9200"}
        (default,) = defaults
        row = re.search(rf"^\| (?:`ML_\w+`, )?`{name}`(?:, `ML_\w+`)? \| (.*?) \|", README, re.MULTILINE)
        assert row is not None, f"pipelines/README.md does not document {name}"
        assert default in ("", row[1].strip("`")), f"{name}: {default} is documented as {row[1]}"


def test_the_aliases_are_documented() -> None:
    for name, aliases in ALIASES.items():
        assert ", ".join(f"`{alias}`" for alias in aliases) in README, name


def test_each_reason_of_a_refusal_is_documented_and_has_a_case() -> None:
    sources = [*Path(foreign_module.__file__).parent.glob("*.py")]
    reasons = {
        reason
        for source in sources
        for reason in re.findall(r'(?:NormalizeError|_parse_error)\(\s*"(\w+)"', source.read_text())
    }
    documented = set(
        re.findall(r"^\| `(\w+)` \|", README.split("## What is refused")[1].split("\n## ")[0], re.M)
    )
    assert reasons <= documented
    expected = [json.loads(case.expected_file.read_bytes()) for case in cases()]
    refused = {document.get("error", {}).get("type") for document in expected}
    assert reasons - {"no_timestamp"} <= refused  # without an arrival only, which Logstash always has


@pytest.mark.parametrize("script", ["normalize.rb", "dead_letter.rb"])
def test_the_test_blocks_of_a_script_pass(jruby_command: list[str], script: str) -> None:
    process = subprocess.run(
        [*jruby_command, str(HERE / "run_script_tests.rb"), str(PIPELINES / "ruby" / script)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    blocks = (PIPELINES / "ruby" / script).read_text().count("\n  expect(")
    assert f"{blocks} passed, 0 failed" in process.stdout
