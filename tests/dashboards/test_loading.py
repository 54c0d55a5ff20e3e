"""A dashboard's file is refused with file and line, and with all reasons at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from logging_lib.dashboards.loading import SpecError, load_dashboards, parse_dashboard

GOOD = "title: t\npanels:\n- {title: a, chart: line, metric: count}\n"


@pytest.mark.parametrize(
    ("panel", "says"),
    [
        ("{title: a, chart: line, metric: count,\n   split: ml.modell.name}",
         "4: there is no field 'ml.modell.name'; did you mean 'ml.model.name'?"),
        ("{title: a, chart: line, metric: average,\n   field: ml.input.numeric.*}", "4: there is no field"),
        ("{title: a, chart: lin, metric: count}", "3: chart: Input should be 'line', "),
        ("{title: a, chrat: line}", "3: unknown key 'chrat'; did you mean 'chart'?"),
        ("{title: a, chart: line, metric: averag,\n   field: event.duration}", "3: metric: 'averag' is not one of"),
        ("{title: a, chart: line, metric: average,\n   field: ml.model.name}", "4: ml.model.name is of the type "
         "keyword, and no number"),
        ("{title: a, chart: table, metric: count,\n   split: ml.input.text.title}", "4: ml.input.text.title is of "
         "the type text: it can only be filtered and shown"),
        ("{title: a, chart: line, metric: count,\n   split: event.original, dataset: deadletter}",
         "4: event.original is not indexed"),
        ("{title: a, chart: line, metric: count,\n   dataset: health, split: ml.check.missing}",
         "4: ml.check.missing is not a field of the dataset health; it is one of ml.prediction"),
        ("{title: a, chart: line,\n   formula: count(}", "4: formula: 'count(' is not a formula"),
        ("{title: a, chart: line,\n   formula: count(failed)/count()}", "4: 'where' has no filter 'failed'"),
        ("{title: a, chart: line, metric: count,\n   where: {x: {event.outcome: failure}}}",
         "4: no formula uses 'x'"),
        ("{title: a, chart: line, metric: count,\n   filter: {event.outcome: {is: 1}}}", "4: filter.event.outcome: "
         "expected a value"),
        ("{title: a, chart: line, metric: count,\n   filter: {event.outcom: x}}",
         "4: there is no field 'event.outcom'"),
        ("{title: a, chart: table, metric: count}", "3: a table needs a 'split'"),
        ("{title: a, chart: pie, split: ml.model.name}", "3: a pie needs a 'metric'"),
        ("{title: a, chart: metric, metric: per_minute}", "per_minute() needs a chart over time"),
        ("{title: a, chart: line, formula: per_minute() * 2}", "per_minute() stands alone"),
        ("{title: a, chart: rates, field: ml.model.name}", "rates need a 'field' such as ml.check.missing"),
        ("{title: a, chart: rates, field: ml.check.oov, expected: missing}", "does not go with ml.check.oov"),
        ("{title: a, chart: line, metric: count, drilldown: fleet}", "a drilldown needs a 'split'"),
        ("{title: a, chart: line, metric: count, band: true}", "'band' goes with 'metric: average'"),
        ("{title: a, chart: text}", "a panel of text needs 'text'"),
        ("{title: a, chart: line, metric: count, width: 49}", "3: width: "),
        ("{title: a, chart: line, metric: count}\n- {title: a, chart: line, metric: count}",
         "4: panel 1 has the same title"),
    ],
)  # fmt: skip
def test_an_error_in_a_spec_names_its_line(panel: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_dashboard(f"title: t\npanels:\n- {panel}\n", id="x", file="x.yml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("x.yml:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title: [", "x.yml:1: is not YAML"),
        ("- 1", "x.yml:1: expected a mapping"),
        ("", "x.yml:1: expected a mapping"),
        ("title: t\ntitle: u\npanels: []", "x.yml:2: 'title' is given twice"),
        ("title: t\npanels: []", "x.yml:2: panels: Tuple should have at least 1 item"),
        (f"{GOOD}id: y\n", "x.yml:4: leave 'id' out"),
        (f"{GOOD}period: yesterday\n", "x.yml:4: period: "),
        (f"{GOOD}controls: [color]\n", "x.yml:4: controls: "),
        ("a: &a [*a]", "x.yml:1: is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_not_a_dashboard_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError, match="is not an id"):
        parse_dashboard(GOOD, id="../x")
    with pytest.raises(SpecError) as caught:
        parse_dashboard(text, id="x", file="x.yml")
    assert says in str(caught.value)


def test_a_merge_key_supplies_the_keys_that_are_not_overridden() -> None:
    made = parse_dashboard(
        "title: t\npanels:\n- &a {title: a, chart: line, metric: count, size: 3}\n- {<<: *a, title: b}\n",
        id="x",
    )
    assert [(panel.title, panel.size) for panel in made.panels] == [("a", 3), ("b", 3)]


def test_all_files_of_a_folder_report_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no \*.yml"):
        load_dashboards(tmp_path)
    (tmp_path / "a.yml").write_text(GOOD.replace("count", "cuont"))
    (tmp_path / "b.yml").write_text(GOOD.replace("line", "lime"))
    with pytest.raises(SpecError) as caught:
        load_dashboards(tmp_path)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["a.yml", "b.yml"]
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(
        "title: t\npanels:\n- {title: a, chart: pie, metric: count, split: ml.model.name, drilldown: c}\n"
    )
    with pytest.raises(SpecError, match="there is no dashboard 'c'"):
        load_dashboards(tmp_path)
