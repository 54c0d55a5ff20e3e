"""What a watch gets when it is deployed into Watcher: each finding is notified of by itself."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.stack.watcher_throttle import throttle_by_finding

WATCHERS = sorted(content.path("watchers").glob("*.json"))


@pytest.mark.parametrize("file", WATCHERS, ids=lambda file: file.stem)
def test_a_deployed_watch_goes_on_with_what_is_not_known(file: Any) -> None:
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
@pytest.mark.skipif(
    "LOGGING_LIB_TEST_WATCHER" not in os.environ,
    reason="NO REAL WATCHER WAS ASKED: LOGGING_LIB_TEST_WATCHER names no Elasticsearch 6.8 with a trial license",
)
def test_watcher_notifies_of_a_second_fault_at_once() -> None:
    """In a real Watcher, of 6.8: the first finding once, the second with the next run, and neither again."""
    url = os.environ["LOGGING_LIB_TEST_WATCHER"]

    def call(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(url + path, data, headers, method=method)
        ) as answer:
            return json.load(answer)

    call("DELETE", "/ml-watch-notified*")
    mapping = {"properties": {"@timestamp": {"type": "date"}, "watch": {"type": "keyword"}}}
    call("PUT", "/ml-watch-notified", {"mappings": {"_doc": mapping}})
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
        deployed["actions"]["remember"]["index"]["doc_type"] = "_doc"  # what 6.8 alone wants
        call("PUT", "/_xpack/watcher/watch/notified-test", deployed)
        run = call("POST", "/_xpack/watcher/watch/notified-test/_execute", {"record_execution": True})
        actions = run["watch_record"]["result"]["actions"]
        assert all(action["status"] == "success" for action in actions), actions
        seen.append([action["logging"]["logged_text"].split() for action in actions if "logging" in action])
    assert seen == [[["income"]], [], [["amount"]], []]
