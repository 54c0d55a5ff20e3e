"""Documentation that cannot go stale: its code runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile
from logging_lib.cli.app import app
from logging_lib.dashboards.kibana import PREFIX as KIBANA_PREFIX
from logging_lib.profile.config import parse
from logging_lib.store.connection import PREFIX, Settings
from logging_lib.watch.cases import CaseFile
from tests.dashboards import fake_kibana

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "benchmarks", "examples")
PAGES = sorted([ROOT / "README.md", *(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/**/*.md"))])
WALKED = {ROOT / "docs" / "first-alert.md", ROOT / "docs" / "fastapi.md", ROOT / "examples" / "README.md"}
"""Pages whose code and commands belong together: ``tests/examples`` runs them as a whole, and
``tests/watch/test_runbooks.py`` the runbooks."""
SERVER = f"export {PREFIX}URL="
KIBANA = f"export {KIBANA_PREFIX}URL="
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[Any]:
    found = []
    for page in PAGES:
        if page in WALKED or page.parent.name == "runbooks":
            continue
        for number, (kind, text) in enumerate(BLOCK.findall(page.read_text("utf-8"))):
            if kind == language:
                marks = [pytest.mark.elasticsearch] if SERVER in text else []
                found.append(pytest.param(text, id=f"{page.relative_to(ROOT)}#{number}", marks=marks))
    return found


@pytest.fixture
def kibana() -> Iterator[fake_kibana.Server]:
    with fake_kibana.running(fake_kibana.Server()) as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the reader has it: training data, a profile, a spool with an event, cases of a watch."""
    monkeypatch.chdir(tmp_path)
    rows = 200
    frame = pd.DataFrame(
        {
            "annual_income": [30000.0 + i * 500 for i in range(rows)],
            "homeownership": ["RENT", "OWN"] * (rows // 2),
            "interest_rate": [8.0 + i / 20 for i in range(rows)],
            "issued_at": pd.date_range("2018-01-01", periods=rows, freq="h").astype(str),
        }
    )
    frame.to_csv("train.csv", index=False)
    frame.to_parquet("train.parquet")
    fitted = profile.fit(frame, model="loans", version="3", target="interest_rate")
    profile.save(fitted, "profile.json")
    log = logging_lib.configure(model="loans", version="3", profile=fitted, spool="spool")
    event = {"event_id": "0195d3b2-7c1e-7a44-9b1a-3f0c2d5e6f70", "subject": "customer-7"}
    for i in range(3):
        inputs = {"annual_income": 50000.0 + i, "homeownership": "RENT"}
        log.prediction(inputs, prediction=9.5, request_id=f"r{i}", **({} if i else event))
    served = pd.DataFrame({"request_id": ["r0", "r1", "r2"]})
    served.assign(annual_income=[50000.0, 50001.0, 50002.0], homeownership="RENT").to_csv(
        "features.csv", index=False
    )
    served.assign(actual=[9.0, 10.0, 9.5]).to_csv("labels.csv", index=False)
    stored = CliRunner().invoke(app, ["index", "spool", "--store", "build/store"])
    assert stored.exit_code == 0, stored.output
    Path("alerts.jsonl").touch()
    cases = ROOT / "watchers" / "cases"
    shutil.copytree(cases / "profiles", "watchers/cases/profiles")
    shutil.copy(cases / "dead-letters.yml", "watchers/cases")
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
def test_python_code_runs(code: str, desk: Path) -> None:
    class Model:
        def predict(self, inputs: Any) -> float:
            return 9.5

    names: dict[str, Any] = {"model": Model()}
    exec(compile(code, "documentation", "exec"), names)
    if "price" in names:
        assert names["price"]({"annual_income": 50000.0, "homeownership": "RENT"}) == 9.5


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_run(
    text: str, desk: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a block names an Elasticsearch, a real one stands for it, with our stack in it; where one names a
    Kibana, a server that answers as Kibana does."""
    if SERVER in text:
        server: Settings = request.getfixturevalue("secured")
        for name, value in (("URL", server.url), ("USER", server.user), ("PASSWORD", server.password)):
            monkeypatch.setenv(PREFIX + name, str(value))
        ready = CliRunner().invoke(app, ["stack", "deploy", "--force"])
        assert ready.exit_code == 0, ready.output
    if KIBANA in text:
        monkeypatch.setenv(f"{KIBANA_PREFIX}URL", request.getfixturevalue("kibana").url)
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            assert words[1].startswith((PREFIX, KIBANA_PREFIX)), line
        elif words[:1] == ["logging-lib"]:
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}"
        elif words[:1] == ["promtool"]:
            if shutil.which("promtool") is None:
                pytest.skip("NO PROMTOOL COMMAND WAS RUN: it is not on PATH")
            done = subprocess.run(
                [*words[:-1], ROOT / words[-1]], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        elif words[:1] == ["make"]:
            targets = (ROOT / "Makefile").read_text("utf-8")
            assert all(re.search(rf"^{target}:", targets, re.MULTILINE) for target in words[1:]), line
        else:
            assert words[:2] in ([], ["pip", "install"]), f"unknown command in the documentation: {line}"


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations_are_accepted(text: str) -> None:
    document = yaml.safe_load(text)
    if "cases" in document:
        CaseFile.model_validate(document)
    else:
        parse(document)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_watch_has_a_runbook_and_a_row() -> None:
    listed = (ROOT / "docs" / "watches.md").read_text("utf-8")
    rows = (ROOT / "watchers" / "README.md").read_text("utf-8")
    for watch in (ROOT / "watchers").glob("*.json"):
        assert (ROOT / "docs" / "runbooks" / f"{watch.stem}.md").exists()
        assert f"[{watch.stem}]" in listed
        assert f"| `{watch.stem}` |" in rows
