"""The stack with a Kibana: a real Elasticsearch, and a server that answers as Kibana does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from logging_lib.dashboards.kibana.client import PREFIX
from tests.dashboards import fake_kibana
from tests.stack.conftest import Call

pytestmark = pytest.mark.elasticsearch


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_kibana.Server]:
    with fake_kibana.running(fake_kibana.Server()) as new_server:
        monkeypatch.setenv(f"{PREFIX}URL", new_server.url)
        yield new_server


def done(result: Any) -> dict[str, str]:
    changes = json.loads(result.stdout)["changes"]
    return {change["about"]: change["did"] for change in changes if change["about"].startswith("Kibana")}


def test_dashboards_are_a_part_of_the_stack(deployed: Call, server: fake_kibana.Server) -> None:
    """Put there once, brought up to date, not touched where somebody edited, and taken away again."""
    fleet = "Kibana dashboard logging-lib-fleet"
    server.spaces["default"].clear()
    planned = done(deployed("stack", "deploy", "--json", "--dry-run"))
    assert set(planned.values()) == {"created"}
    assert not server.spaces["default"]
    assert done(deployed("stack", "deploy", "--json")) == planned
    assert set(done(deployed("stack", "deploy", "--json")).values()) == {"unchanged"}
    states = json.loads(deployed("stack", "status", "--json").stdout)["parts"]
    assert {"kind": "saved object", "name": fleet, "state": "current"} in states

    server.spaces["default"]["dashboard", "logging-lib-fleet"]["attributes"]["title"] = "Mine"
    refused = deployed("stack", "deploy", "--diff", code=1).stdout
    assert (
        f"{fleet}: refused (somebody edited it; see the difference with --diff; --force overwrites it)"
        in refused
    )
    assert '-  "title": "Mine",' in refused
    assert f"{fleet}: left as it is" in deployed("stack", "destroy").stdout
    assert done(deployed("stack", "deploy", "--force", "--json"))[fleet] == "overwritten"

    findings = {finding["check"]: finding for finding in json.loads(deployed("doctor", "--json").stdout)}
    assert findings["Kibana"]["message"] == f"{server.url}: Kibana 9.1.2"
    assert findings["dashboards"]["level"] == "ok"

    assert len(server.spaces["default"]) == len(planned)
    assert "Kibana tag logging-lib: removed" in deployed("stack", "destroy", "--yes").stdout
    assert not server.spaces["default"]
    missing = json.loads(deployed("doctor", "--json", code=1).stdout)
    assert {finding["remedy"] for finding in missing if finding["check"] == "dashboards"} == {
        "logging-lib stack deploy --kibana URL"
    }


def test_a_kibana_that_does_not_answer_stops_the_deploy_before_anything_changes(
    deployed: Call, server: fake_kibana.Server
) -> None:
    server.failures["/status"] = (503, {}, b"Kibana server is not ready yet")
    assert "Kibana is not ready yet" in deployed("stack", "deploy", code=2).stderr
    findings = json.loads(deployed("doctor", "--json", code=1).stdout)
    assert "503" in next(finding for finding in findings if finding["check"] == "Kibana")["message"]


def test_objects_that_another_dashboard_needs_stay(deployed: Call, server: fake_kibana.Server) -> None:
    deployed("stack", "deploy", "--force")
    my_dashboard = json.loads(json.dumps(server.spaces["default"]["dashboard", "logging-lib-fleet"])) | {
        "id": "mine"
    }
    server.spaces["default"]["dashboard", "mine"] = my_dashboard
    said = deployed("stack", "destroy", "--yes").stdout
    assert "Kibana tag logging-lib: left as it is (something that stays needs it)" in said
    assert ("dashboard", "mine") in server.spaces["default"]
    assert ("index-pattern", "logging-lib-data-prediction") in server.spaces["default"]
    assert ("dashboard", "logging-lib-inputs") not in server.spaces["default"]
