"""Conditions and templates in a real Watcher and in the runner: the same answers, the same texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from logging_lib.watch.conditions import is_met
from logging_lib.watch.model import OPERATORS, Condition
from logging_lib.watch.templating import Medium, render
from tests.watch import on_6_8
from tests.watcher_server import WatcherServer

pytestmark = pytest.mark.slow

ACTION = {"logging": {"text": "met"}}

texts = st.sampled_from(
    ["", "5", " 5 ", "5.0", "5d", "10", "-1", "1e3", "1_0", "NaN", "true", "false", "null", "abc", "Z", "é", "😀",
     "\uffff", "2018-02-01T12:00:00.000Z", "1517486400000", "[1, 2]", "{a=1}"]
)  # fmt: skip
numbers = st.sampled_from(
    [0, 1, 5, 5.0, 10, -1, 0.001, 0.0001, 1e7, 12345678.9, 1e21, 2.5e-10, 12345678901, 1517486400000, 2**53]
)
scalars = st.none() | st.booleans() | texts | numbers
structures = st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from("abc"), scalars, max_size=1)
values = scalars | structures
comparisons = st.tuples(values, scalars, st.sampled_from(OPERATORS)) | st.tuples(
    values, structures, st.sampled_from(["eq", "not_eq"])
)


@settings(max_examples=12, phases=[Phase.generate], deadline=None)
@given(st.lists(comparisons, min_size=60, max_size=80))
def test_comparisons_give_the_same(watcher: WatcherServer, tried: list[tuple[Any, Any, str]]) -> None:
    """By the type of the right side; each comparison is an action's condition, so that a run tries many."""
    payload = {str(number): left for number, (left, _, _) in enumerate(tried)}
    conditions = {
        str(number): {"compare": {f"ctx.payload.{number}": {operator: right}}}
        for number, (_, right, operator) in enumerate(tried)
    }
    compare_conditions(watcher, payload, conditions)


lists = st.none() | st.lists(st.fixed_dictionaries({}, optional={"x": values}), max_size=4)


@settings(max_examples=12, phases=[Phase.generate], deadline=None)
@given(
    st.lists(
        st.tuples(lists, scalars, st.sampled_from(OPERATORS), st.sampled_from(["some", "all"])),
        min_size=60,
        max_size=80,
    )
)
def test_comparisons_of_lists_give_the_same(
    watcher: WatcherServer, tried: list[tuple[Any, Any, str, str]]
) -> None:
    payload = {str(number): entry[0] for number, entry in enumerate(tried)}
    conditions = {
        str(number): {
            "array_compare": {
                f"ctx.payload.{number}": {"path": "x", operator: {"value": right, "quantifier": quantifier}}
            }
        }
        for number, (_, right, operator, quantifier) in enumerate(tried)
    }
    compare_conditions(watcher, payload, conditions)


def compare_conditions(
    watcher: WatcherServer, payload: dict[str, Any], conditions: dict[str, dict[str, Any]]
) -> None:
    actions = {name: {"condition": condition, **ACTION} for name, condition in conditions.items()}
    record = on_6_8.run_once(watcher, {"input": {"simple": payload}, "actions": actions})
    statuses = {action["id"]: action["status"] for action in record["result"]["actions"]}
    assert set(statuses.values()) <= {"success", "condition_failed"}, record
    context = {"ctx": {"payload": payload, "execution_time": "2018-02-01T12:00:00.000Z"}}
    for name, condition in conditions.items():
        ours = is_met(Condition.model_validate(condition), context)
        assert (statuses[name] == "success") is ours, (payload[name], condition)


@settings(max_examples=12, phases=[Phase.generate], deadline=None)
@given(st.lists(values, min_size=60, max_size=80))
def test_values_are_printed_the_same(watcher: WatcherServer, printed: list[Any]) -> None:
    payload = {str(number): value for number, value in enumerate(printed)}
    templates = {name: f"<{{{{ctx.payload.{name}}}}}>" for name in payload}
    templates |= {f"json-{name}": f"<{{{{#toJson}}}}ctx.payload.{name}{{{{/toJson}}}}>" for name in payload}
    actions = {name: {"logging": {"text": template}} for name, template in templates.items()}
    record = on_6_8.run_once(watcher, {"input": {"simple": payload}, "actions": actions})
    theirs = {action["id"]: action["logging"]["logged_text"] for action in record["result"]["actions"]}
    context = {"ctx": {"payload": payload}}
    assert theirs.keys() == templates.keys()
    for name, template in templates.items():
        ours = render(template, context, Medium.TEXT)
        if name.startswith("json-") and isinstance(payload[name.removeprefix("json-")], list | dict):
            assert json.loads(theirs[name][1:-1]) == json.loads(ours[1:-1])
        else:
            assert theirs[name] == ours
