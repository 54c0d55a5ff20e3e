"""Users' own Painless: how it is wrapped, and what a real Elasticsearch makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch import painless
from logging_lib.watch.errors import RunError
from logging_lib.watch.evaluate import (
    Evaluation,
    RunDependencies,
    evaluate,
    run_dependencies,
)
from logging_lib.watch.loading import load_watch, parse_watch
from logging_lib.watch.painless import PainlessError, wrap
from tests.watch.conftest import NOW

PAYLOAD = {"n": 7, "rows": [{"k": 'a"b\\c\nd', "v": 1.5}, {"k": "ü", "v": None}], "on": True, "none": None}


@pytest.fixture(scope="module")
def store(elasticsearch_url: str) -> Iterator[ElasticsearchStore]:
    with ElasticsearchStore(Connection(ConnectionSettings(elasticsearch_url))) as opened:
        yield opened


def run(store: Any, **watch: Any) -> Evaluation:
    document = {"trigger": {"schedule": {"interval": "1m"}}, "input": {"simple": PAYLOAD}, **watch}
    loaded = parse_watch(document, id="own", scripts={})
    return evaluate(loaded, dependencies=run_dependencies(store, now=NOW, scripts={}), now=NOW, scheduled=NOW)


def result(store: Any, script: Any) -> Any:
    chain = {"inputs": [{"a": {"simple": PAYLOAD}}, {"b": {"transform": {"script": script}}}]}
    return run(store, input={"chain": chain}).payload["b"]


@pytest.mark.elasticsearch
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("return ctx.payload.a.n > 5", {"_value": True}),
        ("ctx.payload.a.n > 5", {"_value": True}),
        ("ctx.payload.a.n + 1;", {"_value": 8}),
        ("def x = ctx.payload.a.n; x * 1.5", {"_value": 10.5}),
        ("return ['x': 1, 'y': ['z': null]]", {"x": 1, "y": {"z": None}}),
        ("return [1, 'two', 3.0, true, null]", {"_value": [1, "two", 3.0, True, None]}),
        ("return ctx.payload.a", PAYLOAD),
        ("def x = 5", {"_value": None}),
        ("if (ctx.payload.a.on) { return 'yes' } return 'no'", {"_value": "yes"}),
        ("if (ctx.payload.a.on) { return 'yes' } else { return 'no' }", {"_value": "yes"}),
        ("if (!ctx.payload.a.on) { return 'yes' } else { return 'no' }", {"_value": "no"}),
        ("int s = 0; for (def r : ctx.payload.a.rows) { s += 1; } s", {"_value": 2}),
        ("int twice(int x) { return 2 * x; } return twice(params.of)", {"_value": 42}),
        (
            "// adds; really { \nint twice(int x) { return 2 * x; }\nint four(int x) {return twice(twice(x));}"
            "\n/* now */ ['four': four(params.of), 'text': 'a;b}']",
            {"four": 84, "text": "a;b}"},
        ),
        ("return ctx.execution_time.getYear()", {"_value": 2018}),
        ("return ctx.trigger.scheduled_time", {"_value": "2018-02-01T12:00:00Z"}),
        (
            "return ctx.trigger.scheduled_time.minusMinutes(5).toInstant().toEpochMilli()",
            {"_value": 1517486100000},
        ),
        ("return ctx.watch_id + ' ' + ctx.payload.a.rows.stream().filter(r -> r.v != null).count()", "own 1"),
        ("ctx.payload.a.rows.stream().map(r -> { return r.k; }).collect(Collectors.toList())", None),
        ("return new int[] {1, 2}", {"_value": [1, 2]}),
        ("return (char) 120", {"_value": "x"}),
        ("return 0.0 / 0.0 > 1", {"_value": False}),
        ("return ['s': new HashSet([1])]", {"s": [1]}),
    ],
)
def test_results_of_users_painless_are_those_of_watcher(
    store: ElasticsearchStore, script: str, expected: Any
) -> None:
    """Any type, functions, early returns, and a last expression without return; dates are dates."""
    value = result(store, {"source": script, "params": {"of": 21}})
    if expected is None:
        expected = {"_value": [row["k"] for row in PAYLOAD["rows"]]}  # type: ignore[attr-defined]
    elif isinstance(expected, str):
        expected = {"_value": expected}
    assert value == expected


@pytest.mark.elasticsearch
def test_users_painless_conditions_and_transforms_run(store: ElasticsearchStore) -> None:
    """A condition gives true or false; what it puts into ctx.vars is there for the transform after it."""
    assert run(store, condition={"script": "ctx.payload.n == 7"}).met
    assert not run(
        store, condition={"script": {"source": "return ctx.payload.n > params.n", "params": {"n": 9}}}
    ).met
    with pytest.raises(RunError, match=r"condition: script inline: a condition gives true or false, not 7"):
        run(store, condition={"script": "return ctx.payload.n"})
    evaluation = run(store, condition={"script": "ctx.vars.seen = ctx.payload.n; return true"})
    assert evaluation.context["ctx"]["vars"] == {"seen": 7}


@pytest.mark.elasticsearch
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "def a = 1;\nreturn a.nope()",
            r"line 2, column \d+: .*dynamic method \[java.lang.Integer, nope/0\]",
        ),
        ("return ctx.payload.rows[0].k.nope.x", r"line 1, column \d+: .*nope"),
        ("int f(int x) { return x; }\nreturn f(1", r"line 2, column \d+: .*"),
        ("return 1 / 0", r"line 1, column \d+: / by zero"),
        ("return unknown", r"line 1, column 8: .*\[unknown\]\n.*\n +\^$"),
        ("while (true) { }", r"line 1, column \d+: .*"),
    ],
)
def test_errors_show_the_place_in_the_users_own_text(
    store: ElasticsearchStore, script: str, expected: str
) -> None:
    """Not in what is wrapped around it; Painless's own marks stand below."""
    with pytest.raises(RunError, match=expected) as caught:
        run(store, condition={"script": script})
    assert str(caught.value).startswith("condition: script inline: line ")


def test_a_script_beside_the_watch_has_its_own_id(tmp_path: Any) -> None:
    """scripts/<id>.painless; a shipped id is never replaced."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "mine.painless").write_text("return true")
    (tmp_path / "w.json").write_text(
        '{"trigger": {"schedule": {"interval": "1m"}}, "condition": {"script": {"id": "mine"}}}'
    )
    script = load_watch(tmp_path / "w.json").definition.condition.script
    assert script is not None
    assert (script.id, script.source) == ("mine", "return true")


def test_an_embedded_store_says_that_it_runs_no_painless() -> None:
    """And how to run it."""
    with (
        EmbeddedStore(None) as store,
        pytest.raises(RunError, match="run the watch with --elasticsearch URL"),
    ):
        run(store, condition={"script": "true"})


def test_a_script_that_is_too_long_with_ours_is_refused() -> None:
    """Before it is sent."""
    with pytest.raises(PainlessError, match=r"65000 bytes, and with .* of ours .* shorten it"):
        wrap("return '" + "x" * 64_991 + "'")


def test_offsets_are_those_of_the_users_text() -> None:
    """Functions stand before ours, the rest within ours."""
    source = "int f() { return 1; } f() + 1"
    wrapped = wrap(source)
    for word in ("int f()", "f() + 1"):
        assert wrapped.place(wrapped.source.index(word)) == source.index(word)
    assert wrapped.place(wrapped.source.index("watchJson")) is None


def test_a_search_that_the_store_refuses_is_a_failed_run() -> None:
    """The privilege is named by the store's own error."""

    def refuse(source: str, params: Any) -> str:
        raise painless.ScriptExecutionError("no such method")

    loaded = parse_watch(
        {"trigger": {"schedule": {"interval": "1m"}}, "condition": {"script": "true"}}, id="own", scripts={}
    )
    dependencies = replace(RunDependencies(lambda request, body: {}, {}), painless=refuse)
    with pytest.raises(RunError, match="condition: script inline: no such method"):
        evaluate(loaded, dependencies=dependencies, now=NOW, scheduled=NOW)
