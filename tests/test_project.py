"""The project's own files agree: make targets, hooks, the workflow, the version, the changelog."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.check_words import read_files

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def recipe(target: str) -> list[str]:
    """A make target's commands, with the environment's folder for ``$(BIN)``."""
    match = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert match is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in match[1].splitlines()]


def run(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def requirements(extra: str) -> list[str]:
    lines = SETUP["options.extras_require"][extra].splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def test_the_hooks_are_the_commands_of_make_check() -> None:
    (local,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == recipe("check")
    assert not any(hook["pass_filenames"] for hook in local["hooks"])


def test_the_workflow_calls_make_targets_on_every_supported_python() -> None:
    job = load(WORKFLOW)["jobs"]["make"]
    matrix = job["strategy"]["matrix"]
    called = {*matrix["target"], *(entry["target"] for entry in matrix["include"])}
    assert called <= TARGETS
    assert called >= {"check", "test", "dist", "docs", "coverage"}
    classifiers = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    assert matrix["python"] == classifiers
    assert SETUP["options"]["python_requires"] == f">={classifiers[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make ${{ matrix.target }} PYTHON=python"
    ]
    for step in job["steps"]:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1"))


SCHEMAS = [
    ("vendor.github-workflows", WORKFLOW),
    *(("vendor.github-issue-forms", form) for form in FORMS if form.name != "config.yml"),
    ("vendor.github-issue-config", WORKFLOW.parents[1] / "ISSUE_TEMPLATE" / "config.yml"),
]


@pytest.mark.parametrize(("schema", "path"), SCHEMAS, ids=lambda value: getattr(value, "name", None))
def test_the_code_host_accepts_the_file(schema: str, path: Path) -> None:
    run("check_jsonschema", "--builtin-schema", schema, str(path))


def test_pre_commit_accepts_the_hooks() -> None:
    run("pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml"))


def test_no_library_is_named_twice() -> None:
    names = [
        re.split(r"[\[<>=; ]", requirement)[0]
        for extra in SETUP["options.extras_require"]
        for requirement in requirements(extra)
        if not requirement.startswith("logging-lib[")
    ]
    assert sorted(names) == sorted(set(names))


def closure(extra: str) -> set[str]:
    """The libraries of an extra and of those that it includes."""
    libraries = set()
    for requirement in requirements(extra):
        ours = re.fullmatch(r"logging-lib\[(.*)\]", requirement)
        libraries |= (
            set().union(*map(closure, ours[1].split(",")))
            if ours
            else {re.split(r"[\[<>=; ]", requirement)[0]}
        )
    return libraries


def test_a_check_installs_no_browser_and_no_server() -> None:
    heavy = {"playwright", "celery", "mlflow-skinny", "fastapi", "mkdocs"}
    assert heavy <= closure("dev")
    assert not heavy & closure("check")
    assert closure("check") < closure("dev")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "RELEASING.md", ".github/pull_request_template.md"])
def test_a_page_names_make_targets_that_there_are(page: str) -> None:
    named = re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text("utf-8"))
    assert named
    assert set(named) <= TARGETS


def test_the_changelog_has_the_version_and_the_groups_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version = SETUP["metadata"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
    groups = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    series = version.rpartition(".")[0]
    assert f"{series}.x" in (ROOT / "SECURITY.md").read_text("utf-8")


def test_one_repository_is_named_everywhere() -> None:
    url = SETUP["metadata"]["url"]
    links = dict(line.split(" = ") for line in SETUP["metadata"]["project_urls"].split("\n") if line)
    assert set(links) >= {"Documentation", "Source", "Issues", "Changelog"}
    assert all(link.startswith(url) for link in links.values())
    config = load(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")
    assert config["contact_links"][0]["url"].startswith(url + "/security/")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", changelog)) <= {url}


def test_no_file_has_the_marks_of_an_unfinished_merge() -> None:
    marks = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    assert [path for path, text in read_files(ROOT) if marks.search(text)] == []
