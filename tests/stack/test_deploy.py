"""Deploying on a real Elasticsearch: idempotent, says what changed, respects what people edited."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from logging_lib.stack.marks import with_mark
from logging_lib.stack.resources import COMPONENT, Resource
from logging_lib.store.connection import PREFIX, Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from tests.stack.conftest import Call
from tests.store import elastic
from tests.store.events import event

pytestmark = pytest.mark.elasticsearch
SETTINGS = "/_component_template/logs-ml@settings"


def done(result: Any) -> dict[str, str]:
    return {change["about"]: change["did"] for change in json.loads(result.stdout)["changes"]}


def edit(root: Connection, **settings: Any) -> dict[str, Any]:
    (template,) = root.call("GET", SETTINGS)["component_templates"]
    body: dict[str, Any] = template["component_template"]
    body = {key: value for key, value in body.items() if key in ("template", "_meta")}
    body["template"]["settings"]["index"] |= settings
    root.call("PUT", SETTINGS, body)
    return body


def test_a_second_deploy_changes_nothing(call: Call) -> None:
    call("stack", "destroy", "--yes", "--force")
    first = done(call("stack", "deploy", "--roles", "--json", "--dry-run"))
    assert set(first.values()) <= {"created", "unchanged"}
    second = done(call("stack", "deploy", "--roles", "--json"))
    assert first == second
    third = done(call("stack", "deploy", "--roles", "--json"))
    assert set(third.values()) == {"unchanged"}
    assert third.keys() == first.keys()
    assert re.search(
        r"^0 parts changed, \d+ unchanged$", call("stack", "deploy", "--roles").stdout, re.MULTILINE
    )
    call("stack", "status", "--roles")


def test_an_edited_object_stops_the_deployment_before_anything_changes(
    deployed: Call, root: Connection
) -> None:
    """Until it is forced; the difference is shown line by line."""
    edit(root, refresh_interval="77s")
    root.call("DELETE", "/_index_template/ml-watch-state")
    refused = deployed("stack", "deploy", "--diff", code=1)
    assert "logs-ml@settings: refused (somebody edited it" in refused.stdout
    assert '-      "index.refresh_interval": "77s"' in refused.stdout
    assert '+      "index.refresh_interval": "5s"' in refused.stdout
    assert "nothing was changed" in refused.stderr
    states = json.loads(deployed("stack", "status", "--json", code=1).stdout)["parts"]
    assert {state["name"]: state["state"] for state in states if state["state"] != "current"} == {
        "logs-ml@settings": "edited",
        "ml-watch-state": "missing",
    }
    forced = done(deployed("stack", "deploy", "--force", "--json"))
    assert forced["component template logs-ml@settings"] == "overwritten"
    assert forced["index template ml-watch-state"] == "created"
    deployed("stack", "status")


def test_somebody_elses_object_under_our_name_is_refused(deployed: Call, root: Connection) -> None:
    root.call("PUT", "/_scripts/ml-check-rate", {"script": {"lang": "painless", "source": "return 1"}})
    refused = deployed("stack", "deploy", code=1)
    assert "stored script ml-check-rate: refused (it is somebody else's" in refused.stdout
    deployed("stack", "deploy", "--force")


def test_an_earlier_versions_template_is_updated_and_its_streams_roll_over(
    deployed: Call, root: Connection
) -> None:
    stream = elastic.new_stream("ml.label")
    store = ElasticsearchStore(root)
    older = edit(root, refresh_interval="9s")
    older.pop("_meta")
    root.call("PUT", SETTINGS, with_mark(Resource(COMPONENT, "logs-ml@settings", older), "0.0.1"))
    store.index(stream, [event(1)])
    changes = done(deployed("stack", "deploy", "--json"))
    assert changes["component template logs-ml@settings"] == "updated"
    assert changes[f"data stream {stream}"] == "updated"
    store.index(stream, [event(2)])
    settings = root.call(
        "GET", f"/{stream}/_settings/index.refresh_interval", params={"flat_settings": "true"}
    )
    intervals = [settings[name]["settings"]["index.refresh_interval"] for name in sorted(settings)]
    assert intervals == ["9s", "5s"]


def test_our_own_settings_go_into_custom_and_win(deployed: Call, root: Connection) -> None:
    custom = {"template": {"settings": {"index": {"refresh_interval": "33s"}}}}
    root.call("PUT", "/_component_template/logs-ml.health@custom", custom)
    try:
        deployed("stack", "status")
        simulated = root.call("POST", "/_index_template/_simulate_index/logs-ml.health-x")
        assert simulated["template"]["settings"]["index"]["refresh_interval"] == "33s"
    finally:
        root.call("DELETE", "/_component_template/logs-ml.health@custom")


def test_retention_is_an_option(deployed: Call, root: Connection) -> None:
    deployed("stack", "deploy", "--retention", "ml.deadletter=7d")
    try:
        deployed("stack", "status", "--retention", "ml.deadletter=7d")
        simulated = root.call("POST", "/_index_template/_simulate/logs-ml.deadletter")
        assert simulated["template"]["lifecycle"]["data_retention"] == "7d"
    finally:
        deployed("stack", "deploy")
    wrong = deployed("stack", "deploy", "--retention", "deadletter=7d", code=2)
    assert "'deadletter' is not a dataset" in wrong.stderr
    assert (
        "not DATASET=DURATION, such as ml.prediction=30d"
        in deployed("stack", "deploy", "--retention", "7d", code=2).stderr
    )


def test_destroy_keeps_the_resources_that_data_needs_and_those_of_others(
    deployed: Call, root: Connection
) -> None:
    ElasticsearchStore(root).index(elastic.new_stream("ml.start"), [event(1)])
    root.call("PUT", "/_scripts/not-ours", {"script": {"lang": "painless", "source": "return 1"}})
    edit(root, refresh_interval="77s")
    said = deployed("stack", "destroy")
    assert "nothing was removed; give --yes" in said.stdout
    removed = done(deployed("stack", "destroy", "--yes", "--json"))
    assert removed["index template logs-ml.start"] == "left as it is"
    assert removed["ingest pipeline logs-ml@final"] == "left as it is"
    assert removed["component template logs-ml@settings"] == "left as it is"
    assert removed["stored script ml-check-rate"] == "removed"
    root.call("GET", "/_scripts/not-ours")
    root.call("DELETE", "/_scripts/not-ours")
    deployed("stack", "deploy", "--force")


def test_wrong_settings_end_with_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PASSWORD", "wrong")
    for command in (["stack", "deploy"], ["stack", "status"], ["stack", "destroy"]):
        assert f"set {PREFIX}API_KEY" in call(*command, code=2).stderr
    monkeypatch.delenv(f"{PREFIX}URL")
    assert f"set {PREFIX}URL" in call("doctor", code=2).stderr
