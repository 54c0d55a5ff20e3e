"""Watcher and data stream lifecycle, against a server that answers as documented: the test server lacks them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from logging_lib._util import content
from logging_lib.cli.app import app
from logging_lib.store.connection import PREFIX
from tests.stack.conftest import Call
from tests.stack.platinum import STREAM, Cluster, serving

SHIPPED = sorted(file.stem for file in content.path("watchers").glob("*.json"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with serving() as new_cluster:
        yield new_cluster


@pytest.fixture
def run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    for name in ("USER", "PASSWORD", "API_KEY"):
        monkeypatch.delenv(PREFIX + name, raising=False)
    monkeypatch.setenv(f"{PREFIX}URL", cluster.url)
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org")
    monkeypatch.setenv("LOGGING_LIB_RUNBOOK_BASE_URL", "https://docs.example.org")

    def invoke(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_watches_are_deployed_once_per_model_and_then_unchanged(run: Call, cluster: Cluster) -> None:
    cluster.models = {"loans": True, "Chürn 2": True}
    run("stack", "deploy")
    watches = cluster.watches()
    assert len(watches) == 2 * len(SHIPPED)
    assert {f"logging-lib-{name}--loans" for name in SHIPPED} < watches.keys()
    assert {body["metadata"]["model"] for body in watches.values()} == {"loans", "Chürn 2"}
    metadata = watches["logging-lib-na-spike--loans"]["metadata"]
    assert metadata["watch"] == "na-spike"  # as profiles name it
    assert metadata["email_to"] == "team@example.org"
    assert metadata["runbook_base_url"] == "https://docs.example.org"
    again = json.loads(run("stack", "deploy", "--json").stdout)
    assert {change["did"] for change in again["changes"]} == {"unchanged"}
    run("stack", "status")


def test_watches_that_would_notify_nobody_are_refused_before_anything_is_put(
    run: Call, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOGGING_LIB_EMAIL_TO")
    cluster.models = {}
    run("stack", "deploy")  # no model, no watch
    cluster.models = {"loans": True}
    assert "set LOGGING_LIB_EMAIL_TO" in run("stack", "deploy", code=2).stderr
    assert cluster.watches() == {}
    run("stack", "deploy", "--dry-run")


def test_watches_of_a_retired_model_are_removed(run: Call, cluster: Cluster) -> None:
    """Except those that somebody tuned."""
    cluster.models = {"loans": True, "churn": True}
    run("stack", "deploy")
    cluster.models["churn"] = False
    tuned = "logging-lib-na-spike--churn"
    cluster.objects["watch", tuned]["metadata"]["min_hits"] = 50
    said = run("stack", "deploy").stdout
    assert f"watch {tuned}: left as it is (somebody edited it" in said
    assert {name for name in cluster.watches() if name.endswith("--churn")} == {tuned}
    assert len(cluster.watches()) == len(SHIPPED) + 1
    run("stack", "status")


def test_a_tuned_watch_is_not_overwritten(run: Call, cluster: Cluster) -> None:
    run("stack", "deploy")
    name = "logging-lib-na-spike--loans"
    cluster.objects["watch", name]["metadata"]["min_hits"] = 50
    refused = run("stack", "deploy", "--diff", code=1)
    assert f"watch {name}: refused (somebody edited it" in refused.stdout
    assert '-    "min_hits": 50,' in refused.stdout
    assert cluster.watches()[name]["metadata"]["min_hits"] == 50
    run("stack", "deploy", "--force")
    assert cluster.watches()[name]["metadata"]["min_hits"] == 5


def test_without_a_watcher_license_watches_are_skipped_with_a_note(run: Call, cluster: Cluster) -> None:
    cluster.license = "basic"
    said = run("stack", "deploy").stdout
    assert "skipped: Watcher: the basic license leaves it out; `logging-lib watch run` does its work" in said
    assert cluster.watches() == {}
    assert "match_only_text" in json.dumps(cluster.objects["_component_template", "logs-ml.label@mappings"])


@pytest.mark.parametrize("license_type", ["trial", "gold", "platinum", "enterprise"])
def test_watches_are_deployed_with_each_license_that_has_watcher(
    run: Call, cluster: Cluster, license_type: str
) -> None:
    cluster.license = license_type
    assert "left out" not in run("stack", "deploy").stdout
    assert len(cluster.watches()) == len(SHIPPED)


def test_a_new_retention_reaches_streams_that_exist(run: Call, cluster: Cluster) -> None:
    run("stack", "deploy")
    said = run("stack", "deploy", "--retention", "ml.prediction=7d", "--dry-run").stdout
    assert f"data stream {STREAM}: would be updated (events are kept for 7d, before 90d)" in said
    assert cluster.retention == "90d"
    run("stack", "deploy", "--retention", "ml.prediction=7d")
    assert cluster.retention == "7d"
    assert cluster.rolled_over == []
    cluster.retention = None
    assert "before for ever" in run("stack", "deploy").stdout


def test_destroy_takes_the_watches_away(run: Call, cluster: Cluster) -> None:
    run("stack", "deploy")
    run("stack", "destroy", "--yes")
    assert cluster.watches() == {}
    assert {name for _, name in cluster.objects} == {
        "logs-ml@final", "logs-ml@settings", "logs-ml.prediction", "logs-ml.prediction@mappings",
        "logs-ml.prediction@lifecycle",
    }  # fmt: skip


def test_too_old_and_too_new_servers_are_refused(
    run: Call, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cluster.answer
    for number in ("8.14.3", "7.17.0", "10.0.0"):
        root = (200, {"version": {"number": number}})
        monkeypatch.setattr(cluster, "answer", lambda m, p, b, r=root: r if p == "/" else original(m, p, b))
        refused = run("stack", "deploy", code=2)
        assert f"is Elasticsearch {number}; 8.15 to 9.x are supported" in refused.stderr
    assert cluster.objects == {}
