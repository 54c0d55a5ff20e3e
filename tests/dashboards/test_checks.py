"""What is shipped passes each check, and each check rejects what it is for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.dashboards import generate
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import objects, validate
from logging_lib.dashboards.spec import Dashboard
from logging_lib.watch.loading import load_watches
from logging_lib.watch.testing import streams

Json = dict[str, Any]


def test_shipped_dashboards_are_valid_and_match_their_specs(root: Path, shipped: list[Dashboard]) -> None:
    text = (content.path("kibana_dashboards") / generate.NDJSON).read_text("utf-8")
    assert validate.check_ndjson(text) == []
    assert text == objects.ndjson(objects.saved_objects(shipped))
    assert generate.main(["--check", str(root)]) == 0


def test_a_models_dashboard_has_no_fault(maker: streams.DocumentGenerator, shipped: list[Dashboard]) -> None:
    made = for_profile(maker.profile)
    text = objects.ndjson(objects.saved_objects([made]))
    assert validate.check_ndjson(text, elsewhere=[objects.dashboard_id(one.id) for one in shipped]) == []
    titles = [panel.title for panel in made.panels]
    for name in maker.profile.features:
        assert f"{name}: bins · should be at the ticks" in titles
        assert f"{name}: checks · should be on the dashed lines" in titles


def test_every_dashboard_has_controls_says_what_is_normal_and_leads_on(shipped: list[Dashboard]) -> None:
    assert {one.id for one in shipped} == {"fleet", "inputs", "predictions", "operations", "investigate"}
    for one in shipped:
        assert one.controls == ("model", "version", "role", "service", "feature")
        text = "".join(panel.text for panel in one.panels)
        assert all(f"(#/view/{objects.dashboard_id(other.id)})" in text for other in shipped)
    leads = {(one.id, panel.drilldown) for one in shipped for panel in one.panels if panel.drilldown}
    assert {("fleet", "inputs"), ("fleet", "operations"), ("inputs", "investigate")} <= leads
    saying = [panel for one in shipped for panel in one.panels if " · " in panel.title]
    assert len(saying) > 40


def test_ids_and_bytes_are_the_same_each_time(shipped: list[Dashboard]) -> None:
    first, second = (objects.ndjson(objects.saved_objects(shipped)) for _ in range(2))
    assert first == second
    identities = [objects.panel_id(one, panel) for one in shipped for panel in one.panels]
    assert len(set(identities)) == len(identities)


@pytest.fixture(scope="module")
def sound(shipped: list[Dashboard]) -> list[Json]:
    return objects.saved_objects(shipped)


def dashboard(listed: list[Json], name: str = "logging-lib-fleet") -> Json:
    return next(one for one in listed if one["id"] == name)


def panels(one: Json, change: Callable[[list[Json]], None]) -> None:
    made = json.loads(one["attributes"]["panelsJSON"])
    change(made)
    one["attributes"]["panelsJSON"] = json.dumps(made)


def lens_of(made: list[Json], kind: str) -> Json:
    return next(
        panel["embeddableConfig"]["attributes"]
        for panel in made
        if panel["type"] == "lens" and panel["embeddableConfig"]["attributes"]["visualizationType"] == kind
    )


def layer_of(made: list[Json], kind: str) -> Json:
    found: Json = lens_of(made, kind)["state"]["datasourceStates"]["formBased"]["layers"]["data"]
    return found


def in_layer(kind: str, change: Callable[[Json], Any]) -> Callable[[list[Json]], None]:
    return lambda listed: panels(dashboard(listed), lambda made: change(layer_of(made, kind)) and None)


def in_panels(change: Callable[[list[Json]], Any]) -> Callable[[list[Json]], None]:
    return lambda listed: panels(dashboard(listed), lambda made: change(made) and None)


def in_shown(kind: str, **changes: Any) -> Callable[[list[Json]], None]:
    return in_panels(lambda made: lens_of(made, kind)["state"]["visualization"].update(changes))


FAULTS: dict[str, tuple[Callable[[list[Json]], Any], str]] = {
    "an id twice": (lambda all_: all_.append(all_[0]), "the id is given twice"),
    "another's id": (lambda all_: dashboard(all_).update(id="mine"), "an id of ours begins with logging-lib"),
    "no version": (lambda all_: dashboard(all_).pop("typeMigrationVersion"), "typeMigrationVersion is not 10.2.0"),
    "a newer version": (
        lambda all_: dashboard(all_).update(typeMigrationVersion="10.9.0"), "typeMigrationVersion is not 10.2.0",
    ),
    "a newer core": (
        lambda all_: dashboard(all_).update(coreMigrationVersion="9.0.0"), "coreMigrationVersion is not 8.8.0",
    ),
    "broken JSON": (
        lambda all_: dashboard(all_)["attributes"].update(optionsJSON="{"), "optionsJSON is not JSON in a string",
    ),
    "an object for JSON": (
        lambda all_: dashboard(all_)["attributes"].update(optionsJSON={}), "optionsJSON is not JSON in a string",
    ),
    "broken controls": (
        lambda all_: dashboard(all_)["attributes"]["controlGroupInput"].update(panelsJSON="["),
        "controlGroupInput.panelsJSON is not JSON in a string",
    ),
    "a data view that is not there": (
        lambda all_: all_.pop(1), "leads to index-pattern logging-lib-data-prediction",
    ),
    "a reference less": (lambda all_: dashboard(all_)["references"].pop(1), "nothing has the reference"),
    "a reference twice": (
        lambda all_: dashboard(all_)["references"].append(dashboard(all_)["references"][0]), "is given twice",
    ),
    "a reference too many": (
        lambda all_: dashboard(all_)["references"].append({"type": "tag", "id": "logging-lib", "name": "x"}),
        "the reference x is used by nothing",
    ),
    "a wide panel": (in_panels(lambda made: made[1]["gridData"].update(x=44)), "does not fit into 48 columns"),
    "panels over each other": (in_panels(lambda made: made[1]["gridData"].update(y=0)), "lies over 'Where to go'"),
    "another i": (in_panels(lambda made: made[1]["gridData"].update(i="x")), "gridData.i is not panelIndex"),
    "an index twice": (
        in_panels(lambda made: made[2].update(panelIndex=made[1]["panelIndex"])), "panelIndex is given twice",
    ),
    "a panel without a version": (in_panels(lambda made: made[1].pop("version")), "version is not 8.9.0"),
    "a link to nowhere": (
        in_panels(lambda made: made[0]["embeddableConfig"]["savedVis"]["params"].update(markdown="[x](#/view/y)")),
        "leads to the dashboard y, which does not exist",
    ),
    "a visualization of another kind": (
        in_panels(lambda made: made[0]["embeddableConfig"]["savedVis"].update(type="tsvb")),
        "tsvb is not a visualization",
    ),
    "a column out of the order": (
        in_layer("lnsXY", lambda layer: layer["columnOrder"].pop()), "columnOrder",
    ),
    "a metric first": (
        in_layer("lnsXY", lambda layer: layer["columnOrder"].reverse()), "has a metric before a bucket",
    ),
    "an accessor to nothing": (in_shown("lnsMetric", metricAccessor="x"), "metricAccessor names the column x"),
    "a bucket as a metric": (
        in_panels(
            lambda made: lens_of(made, "lnsXY")["state"]["visualization"]["layers"][0].update(accessors=["x"])
        ),
        "accessors names the column x, which is of the other kind",
    ),
    "a column that is not drawn": (in_shown("lnsDatatable", columns=[]), "is used by nothing"),
    "a layer that is not drawn": (in_shown("lnsXY", layers=[]), "the layer data is not drawn"),
    "a formula without its parts": (
        in_layer("lnsDatatable", lambda layer: layer["columns"]["metric1"].update(references=["x"])),
        "the column metric1 refers to x, which does not exist",
    ),
    "a calculation with nothing": (
        in_layer(
            "lnsDatatable",
            lambda layer: layer["columns"]["metric1X2"]["params"]["tinymathAst"].update(args=["y", "metric1X1"]),
        ),
        "calculates with y, which does not exist",
    ),
    "a field of another dataset": (
        in_layer("lnsXY", lambda layer: layer["columns"]["split0"].update(sourceField="ml.label.value")),
        "prediction has no field ml.label.value",
    ),
    "an unknown operation": (
        in_layer("lnsXY", lambda layer: layer["columns"]["split0"].update(operationType="top")),
        "unknown operation top",
    ),
    "an unknown key": (
        in_layer("lnsXY", lambda layer: layer["columns"]["split0"].update(colour="red")), "unknown key colour",
    ),
    "an unknown parameter": (
        in_layer("lnsXY", lambda layer: layer["columns"]["x"]["params"].update(step=1)),
        "unknown parameter step of date_histogram",
    ),
    "an order by nothing": (
        in_layer("lnsXY", lambda layer: layer["columns"]["split0"]["params"].pop("orderAgg")),
        "is ordered by an aggregation that does not exist",
    ),
    "a control of an unknown field": (
        lambda all_: dashboard(all_)["attributes"]["controlGroupInput"].update(
            panelsJSON=dashboard(all_)["attributes"]["controlGroupInput"]["panelsJSON"].replace(
                "ml.model.name", "model"
            )
        ),
        "prediction has no field model",
    ),
    "a layer without a data view": (
        in_panels(lambda made: lens_of(made, "lnsXY").update(references=[])), "the layer data has no data view",
    ),
    "another visualization": (
        in_panels(lambda made: lens_of(made, "lnsXY").update(visualizationType="lnsGauge")),
        "lnsGauge is not a visualization that is known here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_check_rejects_its_fault(name: str, sound: list[Json]) -> None:
    broken = copy.deepcopy(sound)
    change, says = FAULTS[name]
    change(broken)
    assert says in "\n".join(str(fault) for fault in validate.check(broken))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text + "{", "line 17: is not JSON"),
        (lambda text: "".join(text.splitlines(True)[:-1]), "is not a summary with exportedCount"),
        (lambda text: "".join(text.splitlines(True)[1:]), "says 15, there are 14"),
        (lambda _: "", "line 1: is not JSON"),
    ],
)
def test_a_file_that_is_cut_is_rejected(change: Callable[[str], str], says: str, sound: list[Json]) -> None:
    assert says in "\n".join(map(str, validate.check_ndjson(change(objects.ndjson(sound)))))


def test_a_stale_file_is_found_and_brought_up_to_date(tmp_path: Path, root: Path, capsys: Any) -> None:
    folder = tmp_path / "kibana_dashboards"
    folder.mkdir()
    for file in (root / "kibana_dashboards").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert generate.main(["--check", str(tmp_path)]) == 0
    (folder / "fleet.yml").write_text(
        (folder / "fleet.yml").read_text().replace("title: Predictions", "title: All")
    )
    assert generate.main(["--check", str(tmp_path)]) == 1
    assert (
        "logging-lib.ndjson: differs from the *.yml beside it; run `make generate`" in capsys.readouterr().out
    )
    assert generate.main([str(tmp_path)]) == 0
    assert generate.main(["--check", str(tmp_path)]) == 0
    (folder / "fleet.yml").write_text("title: x\n")
    assert generate.main(["--check", str(tmp_path)]) == 1
    assert "fleet.yml:1: 'panels' is required and missing" in capsys.readouterr().out


def test_a_watch_links_to_a_data_view_that_is_shipped() -> None:
    lines = (content.path("kibana_dashboards") / "logging-lib.ndjson").read_text("utf-8").splitlines()
    views = {found["id"] for line in lines if (found := json.loads(line)).get("type") == "index-pattern"}
    linked = {watch.metadata["data_view"] for watch in load_watches(content.path("watchers"))}
    assert linked <= views
