"""``normalize.py`` and ``ml_normalize.rb`` do the same, to the byte of canonical JSON."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given

from logging_lib.normalize import (
    ALIASES,
    MAX_AHEAD,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_INPUTS,
    MAX_TEXT,
    DeadLetter,
    normalize,
)
from logging_lib.normalize.foreign import FAILED, STATUSES
from logging_lib.profile.coerce import NA_VALUES
from logging_lib.schema import DATASETS, ECS_VERSION, SCHEMA_VERSION
from tests.pipelines import strategies
from tests.pipelines.cases import FOLDER, NOW, Case, alias_cases, canonical, cases, expectation
from tests.pipelines.conftest import Ruby

CASES = cases() + alias_cases()
HOSTILE = 2000

by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_case
def test_python_turns_each_case_into_its_expected_document(case: Case) -> None:
    document = normalize(case.raw, now=NOW, aliases=case.aliases).document
    assert expectation(document) == orjson.loads(case.expected_file.read_bytes())


def test_ruby_turns_each_case_into_its_expected_document(ruby: Ruby) -> None:
    files = [case.aliases_file and case.aliases_file.read_bytes() for case in CASES]
    for case, document in zip(CASES, ruby([case.raw for case in CASES], files), strict=True):
        assert expectation(document) == orjson.loads(case.expected_file.read_bytes()), case.name


@by_case
def test_every_expected_document_is_valid_by_the_schema(
    case: Case, valid: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    result = normalize(case.raw, now=NOW, aliases=case.aliases)
    if (
        isinstance(result, DeadLetter) or "-ours-" not in case.name
    ):  # ours are not altered, so may be anything
        valid(orjson.loads(canonical(result.document)))


def test_every_case_has_an_expected_file_and_a_unique_name() -> None:
    assert len(CASES) >= 60
    assert len({re.sub(r"^\d+-", "", case.name) for case in CASES}) == len(CASES)
    assert {*FOLDER.rglob("*.expected.json")} == {case.expected_file for case in CASES}


def test_only_cases_named_refused_are_refused() -> None:
    for case in CASES:
        result = normalize(case.raw, now=NOW, aliases=case.aliases)
        assert isinstance(result, DeadLetter) == ("refused" in case.name), case.name


@pytest.mark.parametrize("number", [100, pytest.param(HOSTILE, marks=pytest.mark.slow)])
def test_ruby_and_python_agree_on_hostile_lines(ruby: Ruby, number: int) -> None:
    lines = hostile_lines(number)
    assert len(lines) >= number
    results = [normalize(line, now=NOW) for line in lines]
    reasons = Counter(result.reason if isinstance(result, DeadLetter) else "event" for result in results)
    assert min(reasons["event"], reasons["not_json"]) > number // 100, reasons
    for line, of_python, of_ruby in zip(lines, results, ruby(lines), strict=True):
        assert canonical(of_ruby) == canonical(of_python.document), line


def hostile_lines(number: int) -> list[bytes]:
    """Draw lines, which depend on Hypothesis's version and, as it collects constants, on the modules loaded."""
    lines: list[bytes] = []

    @strategies.draw_only(number)
    @given(strategies.lines())
    def collect(line: bytes) -> None:
        lines.append(line)

    collect()
    return lines


_CONSTANTS = """
require "./pipelines/ruby/ml_normalize"
module MlNormalize
  puts Text.json(
    "schema" => SCHEMA_VERSION, "ecs" => ECS_VERSION, "datasets" => DATASETS, "na" => NA_VALUES.to_a,
    "aliases" => Foreign::ALIASES, "statuses" => Foreign::STATUSES, "failed" => Foreign::FAILED,
    "inputs" => Foreign::MAX_INPUTS, "text" => Text::MAX_TEXT,
    "bytes" => Parsing::MAX_BYTES, "depth" => Parsing::MAX_DEPTH, "ahead" => Times::MAX_AHEAD
  )
end
"""


def test_the_twins_have_the_same_constants(jruby_command: list[str]) -> None:
    process = subprocess.run(
        [*jruby_command, "-e", _CONSTANTS], capture_output=True, check=True, cwd=FOLDER.parents[1]
    )
    assert orjson.loads(process.stdout) == {
        "schema": SCHEMA_VERSION,
        "ecs": ECS_VERSION,
        "datasets": list(DATASETS),
        "na": list(NA_VALUES),
        "aliases": {name: list(keys) for name, keys in ALIASES.items()},
        "statuses": list(STATUSES),
        "failed": list(FAILED),
        "inputs": MAX_INPUTS,
        "text": MAX_TEXT,
        "bytes": MAX_BYTES,
        "depth": MAX_DEPTH,
        "ahead": MAX_AHEAD.total_seconds() * 1e6,
    }
