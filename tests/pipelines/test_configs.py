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
from tests.pipelines.cases import alias_cases, cases
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


@pytest.mark.parametrize(
    ("choice", "stages"),
    [
        ({}, ["inputs/tls-false/10-input-beats", "inputs/tls-false/11-input-tcp", "inputs/tls-false/12-input-http",
              "30-normalize", "90-output-elasticsearch"]),
        ({"ML_TLS": "true", "ML_HTTP_INPUT": "http-user", "ML_OUTPUT": "elasticsearch-open"},
         ["inputs/tls-true/10-input-beats", "inputs/tls-true/11-input-tcp", "inputs/tls-true/12-input-http-user",
          "30-normalize", "90-output-elasticsearch-open"]),
    ],
    ids=["default", "chosen"],
)  # fmt: skip
def test_the_variables_choose_the_stages(
    jruby_command: list[str], choice: dict[str, str], stages: list[str]
) -> None:
    values = choice | {"ML_PIPELINES": str(PIPELINES)}
    live, dead = yaml.safe_load((PIPELINES / "pipelines.yml").read_text())
    for pipeline, expected in ((live, stages), (dead, ["dead-letters/10-input-dead-letter-queue",
                                                       "dead-letters/30-dead-letter", stages[-1]])):  # fmt: skip
        pattern = VARIABLE.sub(lambda match: values.get(match[1], match[2]), pipeline["path.config"])
        # As Logstash does.
        process = subprocess.run(
            [*jruby_command, "-e", "puts Dir.glob(ARGV[0])", pattern],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        files = [Path(line) for line in process.stdout.splitlines()]
        assert sorted(files) == sorted(PIPELINES / f"{stage}.conf" for stage in expected)
        ids = [settings["id"] for file in files for _, settings in parsed(file)]
        assert len(set(ids)) == len(ids)


def test_inputs_with_tls_are_those_without_and_settings_of_tls() -> None:
    for file in (PIPELINES / "inputs/tls-false").iterdir():
        ((name, plain), *codec) = parsed(file)
        ((_, with_tls), *codec_with_tls) = parsed(PIPELINES / "inputs/tls-true" / file.name)
        tls = {key: value for key, value in with_tls.items() if key.startswith("ssl_")}
        assert tls.pop("ssl_enabled") is True
        assert tls.keys() == {
            "ssl_certificate", "ssl_key", "ssl_client_authentication", "ssl_certificate_authorities",
        }, name  # fmt: skip
        # Logstash warns of settings of TLS that are not used.
        assert plain == {key: value for key, value in with_tls.items() if not key.startswith("ssl_")}
        assert codec == codec_with_tls


def test_each_input_marks_its_events() -> None:
    """The filter trusts the mark alone: a sender of fields may have such metadata of its own."""
    marks = {"beats": "fields", "tcp": "lines", "http": "body"}
    for file in (PIPELINES / "inputs").rglob("*.conf"):
        name, settings = parsed(file)[0]
        assert f'add_field => {{ "[@metadata][ml_input]" => "{marks[name]}" }}' in file.read_text()
        if (
            name == "beats"
        ):  # a shipper keeps its connection while its service is quiet; see its own test, too
            assert settings["client_inactivity_timeout"] >= 600


@pytest.mark.parametrize("file", sorted(PIPELINES.glob("90-output-*.conf")), ids=lambda file: file.name)
def test_an_output_creates_documents_by_event_id(file: Path) -> None:
    ((name, settings),) = parsed(file)
    assert name == "elasticsearch"
    assert settings["document_id"] == "%{[event][id]}"
    assert settings["action"] == "create"
    silenced = {
        "version_conflict_engine_exception",
        "cluster_block_exception",
        "es_rejected_execution_exception",
    }
    assert silenced <= set(re.findall(r'"(\w+_exception)"', file.read_text()))  # they would log whole events
    assert settings["index"] == "logs-%{[event][dataset]}-${ML_NAMESPACE:default}"


def test_the_settings_are_yaml_and_name_stages_that_are_there() -> None:
    # Appended to the file of Logstash's package, which sets the first two; by default a node has its host's name.
    settings = yaml.safe_load((PIPELINES / "logstash.yml").read_text())
    assert not settings.keys() & {"path.data", "path.logs", "node.name"}
    pipelines = yaml.safe_load((PIPELINES / "pipelines.yml").read_text())
    assert [pipeline["pipeline.id"] for pipeline in pipelines] == ["ml", "ml-dead-letters"]
    assert all(pipeline["dead_letter_queue.enable"] for pipeline in pipelines)
    assert all(
        pipeline["queue.type"] == "persisted" for pipeline in pipelines
    )  # both inputs forget what they gave
    assert all(pipeline["pipeline.ordered"] is False for pipeline in pipelines)
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
    expected = [json.loads(case.expected_file.read_bytes()) for case in cases() + alias_cases()]
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
