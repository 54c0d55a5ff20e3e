"""The alerting rules by promtool's own unit tests; the dashboard's queries parse and ask for what is exposed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import logging_lib
from logging_lib import profile as profiles
from tests.logger.test_metrics import scrape

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "prometheus"
NAME = re.compile(r"\bml_[a-z_]+\b")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("NO ALERTING RULE WAS TESTED: no promtool on PATH (Debian: apt install prometheus)")
    return found


def run(*command: str, cwd: Path = FOLDER) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_pass_their_unit_tests(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yml")
    run(promtool, "test", "rules", "rules.test.yml")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_rule_has_a_runbook_and_tests_of_noise_and_silence() -> None:
    tests = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in rules():
        assert (ROOT / rule["annotations"]["runbook"]).exists()
        fires = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]]
        assert {True, False} == set(fires), rule["alert"]


def queries() -> list[str]:
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_s_queries_parse(promtool: str, tmp_path: Path) -> None:
    asked = [query.replace("$__rate_interval", "5m").replace("$", "") for query in queries()]
    made = [{"record": f"q{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "q.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": made}]}))
    run(promtool, "check", "rules", "q.yml", cwd=tmp_path)


def test_all_metrics_of_queries_and_rules_are_exposed(
    profile: profiles.Profile, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = logging_lib.configure(model="asked", version="1", profile=profile, spool=tmp_path, metrics=True)
    for value in (9.0, 10.0):
        log.prediction({**inputs, "home": "CASTLE"}, prediction=value, duration=0.1)
    exposed = set(scrape(tmp_path)) | {"ml_spool_dropped_total", "ml_prediction_classes_total"}
    asked = {
        name for text in (*queries(), *(rule["expr"] for rule in rules())) for name in NAME.findall(text)
    }
    assert asked <= exposed


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(panels)))
    assert used - {"__rate_interval"} <= names
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert panel["type"] == "row" or panel["description"]
