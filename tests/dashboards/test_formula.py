"""The arithmetic of panels: what is read, what is refused, and what it is worth."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logging_lib.dashboards import formula
from logging_lib.dashboards.formula import FormulaError, Math, Number, Operation
from logging_lib.dashboards.kibana import kql
from logging_lib.dashboards.spec import Panel


def test_a_formula_is_a_tree_of_operations() -> None:
    read = formula.parse("count(failed) / (count() + 2)")
    assert read == Math(
        "divide", (Operation("count", where="failed"), Math("add", (Operation("count"), Number(2.0))))
    )
    assert list(formula.operations(read)) == [Operation("count", where="failed"), Operation("count")]
    assert formula.parse("percentile(event.duration, 99.9, slow)") == Operation(
        "percentile", "event.duration", 99.9, "slow"
    )
    assert formula.parse("documents(ml.label.error)") == Operation("documents", "ml.label.error")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("count(", "is not a formula"),
        ("", "is not a formula"),
        ("__import__('os')", "is not one of count"),
        ("count().__class__", "is neither a number"),
        ("'a' * 3", "is not a number"),
        ("1e999", "is not a number"),
        ("average()", "average needs a field"),
        ("percentile(event.duration)", "percentile needs a number"),
        ("percentile(event.duration, 100)", "not between 0 and 100"),
        ("count(a.b)", "is not a name of a filter"),
        ("count(a, b)", "too many arguments"),
        ("2 ** 3", "is neither a number"),
        ("(" * 300 + "1" + ")" * 300, "is not a formula"),
        ("1 + " * 400 + "1", "more than 1000 characters"),
    ],
)
def test_text_that_is_not_a_formula_is_refused(text: str, says: str) -> None:
    with pytest.raises(FormulaError, match=says):
        formula.parse(text)


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(Number)
TREES = st.recursive(
    NUMBERS | st.sampled_from([Operation("count"), Operation("sum", "event.duration")]),
    lambda inner: st.builds(
        Math, st.sampled_from(["add", "subtract", "multiply", "divide"]), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@example(Math("subtract", (Number(458281.5), Number(453285.0))), 0.0, None)
@example(Number(1e-7), 0.0, None)
@given(TREES, st.floats(-100, 100), st.floats(-100, 100) | st.none())
def test_its_value_is_that_of_the_text_in_python(
    tree: formula.Formula, count: float, total: float | None
) -> None:
    """What Lens is given says the same as the tree; where a part has no value, the whole has none."""
    panel = Panel(title="x", chart="line", dataset="health", metric="count")
    text = kql.lens_formula(tree, panel)

    def of(one: Operation) -> float | None:
        return count if one.name == "count" else total

    value = formula.value(tree, of)
    uses = any(one.name == "sum" for one in formula.operations(tree))
    try:
        python = text.replace("count()", repr(count)).replace("sum(event.duration)", repr(total))
        expected = None if uses and total is None else eval(python)
    except ZeroDivisionError:
        expected = None
    if expected is None or value is None:
        assert value is expected
    else:
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_division_by_zero_and_roots_of_negative_numbers_have_no_value() -> None:
    assert formula.value(formula.parse("1 / 0"), lambda _: None) is None
    assert formula.value(formula.parse("sqrt(0 - 1)"), lambda _: None) is None
    assert formula.value(formula.parse("sqrt(9) * 2"), lambda _: None) == 6


@pytest.mark.parametrize(
    ("given_filter", "text"),
    [
        ({"event.outcome": "failure"}, 'event.outcome : "failure"'),
        ({"ml.model.name": 'a"b\\c'}, r'ml.model.name : "a\"b\\c"'),
        ({"ml.model.name": ["a", "b"]}, 'ml.model.name : ("a" or "b")'),
        ({"ml.check.missing": {"exists": True}}, "ml.check.missing : *"),
        ({"ml.check.missing": {"exists": False}}, "not ml.check.missing : *"),
        ({"ml.model.role": {"not": "shadow"}}, 'not ml.model.role : "shadow"'),
        ({"event.duration": {"gte": 1, "lt": 5}}, "event.duration >= 1 and event.duration < 5"),
        (
            {"ml.label.correct": True, "ml.model.role": "live"},
            'ml.label.correct : true and ml.model.role : "live"',
        ),
    ],
)
def test_a_filter_in_kibanas_language(given_filter: dict[str, object], text: str) -> None:
    panel = Panel.model_validate({"title": "x", "chart": "line", "metric": "count", "filter": given_filter})
    assert kql.kql(panel.filter) == text


def test_a_quote_in_a_filter_does_not_end_it_in_a_formula() -> None:
    panel = Panel.model_validate(
        {
            **{"title": "x", "chart": "line", "formula": "count(odd) / count()"},
            "where": {"odd": {"ml.check.missing": "it's"}},
        }
    )
    assert kql.lens_formula(panel.numbers[0].parsed, panel) == (
        r"""sum(ml.sample.weight, kql='ml.check.missing : "it\'s"') / sum(ml.sample.weight)"""
    )
