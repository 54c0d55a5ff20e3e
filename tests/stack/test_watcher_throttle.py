"""What a watch gets when it is deployed into Watcher: each finding is notified of by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.stack.watcher_throttle import throttle_by_finding
from tests.watch import on_6_8
from tests.watcher_server import WatcherServer

WATCHERS = sorted(content.path("watchers").glob("*.json"))


@pytest.mark.parametrize("file", WATCHERS, ids=lambda file: file.stem)
def test_a_deployed_watch_continues_only_with_unknown_findings(file: Any) -> None:
    """Its searches and its messages are the shipped ones, and no action is held back as a whole."""
    shipped = json.loads(file.read_text("utf-8"))
    deployed = throttle_by_finding(shipped)
    names = [next(iter(step)) for step in deployed["input"]["chain"]["inputs"]]
    searches = [next(iter(step)) for step in shipped["input"]["chain"]["inputs"][:-1]]
    assert names == [*searches, "found", "known", "result"]
    assert deployed["actions"].keys() == {*shipped["actions"], "remember"}
    assert not any("throttle_period" in action for action in deployed["actions"].values())
    assert deployed["actions"]["email"]["email"] == shipped["actions"]["email"]["email"]


def test_a_watch_of_another_shape_stays_as_it_is() -> None:
    own = {"input": {"simple": {}}, "actions": {"mail": {"throttle_period": "1h"}}}
    assert throttle_by_finding(own) is own


@pytest.mark.slow
def test_watcher_notifies_of_a_second_fault_at_once(watcher: WatcherServer) -> None:
    """In a real Watcher, of 6.8: the first finding once, the second with the next run, and neither again."""
    mapping = {"properties": {"@timestamp": {"type": "date"}, "watch": {"type": "keyword"}}}
    watcher.call("DELETE", "/ml-watch-notified*")
    watcher.call("PUT", "/ml-watch-notified", {"mappings": {"_doc": mapping}})
    source = (
        "return ['count': ctx.metadata.findings.size(), 'findings': ctx.metadata.findings, 'skipped': []];"
    )
    seen = []
    for features in (["income"], ["income"], ["income", "amount"], ["income", "amount"]):
        deployed = throttle_by_finding(
            {
                "metadata": {
                    "findings": [{"model": "loans", "version": "1", "feature": name} for name in features]
                },
                "trigger": {"schedule": {"interval": "1d"}},
                "input": {
                    "chain": {
                        "inputs": [
                            {"result": {"transform": {"script": {"lang": "painless", "source": source}}}}
                        ]
                    }
                },
                "condition": {"compare": {"ctx.payload.result.count": {"gt": 0}}},
                "actions": {
                    "note": {
                        "throttle_period": "24h",
                        "logging": {
                            "text": "{{#ctx.payload.result.findings}}{{feature}} {{/ctx.payload.result.findings}}"
                        },
                    }
                },
            }
        )
        on_6_8.put_watch(watcher, "notified-test", deployed)
        run = watcher.call("POST", "/_xpack/watcher/watch/notified-test/_execute", {"record_execution": True})
        actions = run["watch_record"]["result"]["actions"]
        assert all(action["status"] == "success" for action in actions), actions
        seen.append([action["logging"]["logged_text"].split() for action in actions if "logging" in action])
    assert seen == [[["income"]], [], [["amount"]], []]
    watcher.call("DELETE", "/ml-watch-notified*")
