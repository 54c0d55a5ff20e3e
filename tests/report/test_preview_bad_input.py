"""The preview over stores with little, much or nothing in them: every panel says something true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from logging_lib import profile
from logging_lib._util import content
from logging_lib.dashboards import preview
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.page import render_preview
from logging_lib.dashboards.spec import Dashboard
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import DelegatingStore
from tests.browser import Visit
from tests.report.conftest import START, fill, fitted, predictions, wide

NOW = START + timedelta(days=1)
Views = dict[str, dict[str, Any]]


def every(*profiles: profile.Profile) -> list[Dashboard]:
    return [*load_dashboards(content.path("kibana_dashboards")), *map(for_profile, profiles)]


def views_of(store: Any, dashboards: Sequence[Dashboard], **chosen: str) -> Views:
    """Dashboard → title → view; none is an error, and each says something."""
    given = preview.selection(chosen, preview.choices(store, now=NOW), now=NOW)
    found = {
        one.id: {panel.title: preview.panel_view(store, panel, given) for panel in one.panels}
        for one in dashboards
    }
    for name, panels in found.items():
        for title, view in panels.items():
            assert view["kind"] != "error", (name, title, view)
            if view["kind"] == "empty":
                assert view["note"].endswith("."), (name, title)
    return found


def looked_at(
    chromium: Any, store: Any, dashboards: Sequence[Dashboard], file: Path, scheme: str
) -> list[str]:
    """The texts of the dashboards as a phone shows them; nothing is said on the console, nothing is too wide."""
    known = preview.choices(store, now=NOW)
    combined = list(preview.combinations(known))[:1]
    views = preview.static_views(preview.CachingStore(store), dashboards, known, combined, now=NOW)
    file.write_text(render_preview(dashboards, known, views=views, periods=["all"]), "utf-8")
    texts = []
    with Visit(chromium, width=390, scheme=scheme) as visit:
        for one in dashboards:
            visit.page.goto(f"{file.as_uri()}#{one.id}")
            visit.page.wait_for_function(
                "id => document.body.dataset.ready === 'yes'"
                " && document.querySelector('#panels').dataset.of === id",
                arg=one.id,
            )
            assert visit.page.locator("section.error, p.error").count() == 0, one.id
            assert visit.width_overflow() <= 0, one.id
            texts.append(visit.page.inner_text("body"))
        assert visit.said == []
    return texts


def test_a_preview_of_an_empty_store_is_a_page(chromium: Any, fit: profile.Profile, tmp_path: Path) -> None:
    with EmbeddedStore(None) as store:
        views = views_of(store, every(fit))
        texts = looked_at(chromium, store, every(fit), tmp_path / "a.html", "light")
    assert views["fleet"]["Predictions"] == {"kind": "numbers", "numbers": [["", "0"]]}
    assert views["fleet"]["Failed predictions · should be 0 %"]["numbers"] == [["", "—"]]
    notes = {view["note"] for panels in views.values() for view in panels.values() if view["kind"] == "empty"}
    assert "No predictions in this period." in notes
    assert "No health events in this period: the loggers that write to this store send none." in notes
    assert all(
        "This store holds no predictions yet; index some with: logging-lib index" in one for one in texts
    )


def test_a_preview_of_one_event_is_a_page(chromium: Any, fit: profile.Profile, tmp_path: Path) -> None:
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(fit, 1)))
        store.index("ml-profiles", [profile.build_document(fit)])
        views = views_of(store, every(fit))
        looked_at(chromium, store, every(fit), tmp_path / "a.html", "dark")
    assert views["fleet"]["Predictions"]["numbers"] == [["", "2"]]  # its weight
    assert views["fleet"]["Failed predictions · should be 0 %"]["numbers"] == [["", "0 %"]]
    (event,) = views["investigate"]["Events with their full inputs"]["wholes"]
    assert '"income"' in event
    assert (
        views["predictions"][
            "Mean prediction with its standard-error band · should be flat, within the band"
        ]["kind"]
        == "charts"
    )  # a point without a band


def test_a_preview_of_a_model_without_a_profile_is_a_page(chromium: Any, tmp_path: Path) -> None:
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(None, 300)))
        views = views_of(store, every(), model="loans")
        looked_at(chromium, store, every(), tmp_path / "a.html", "light")
    assert views["fleet"]["Without checks · should be 0 %"]["numbers"] == [["", "100.0 %"]]
    nothing = "No prediction failed this check in this period, or none was checked."
    assert views["inputs"]["Missing values · should be on the dashed line"]["note"] == nothing
    assert (
        views["predictions"]["Median, minimum and maximum · should be within training's range"]["kind"]
        == "charts"
    )


def test_a_preview_of_a_profile_without_events_is_a_page(
    chromium: Any, fit: profile.Profile, tmp_path: Path
) -> None:
    """Its own dashboard and, chosen, all others."""
    other = fitted(model="other", version="9")
    with EmbeddedStore(None) as store:
        fill(store, list(predictions(fit, 50)))
        store.index("ml-profiles", [profile.build_document(other)])
        views = views_of(store, every(other))
        views_of(store, every(other), model="other", version="9")
        texts = looked_at(chromium, store, every(other), tmp_path / "a.html", "dark")
    own = views[for_profile(other).id]
    assert own["Predictions"]["numbers"] == [["", "0"]]
    assert own["income: bins · should be at the ticks"]["kind"] == "empty"
    assert "Trained on 2,000 rows" in texts[-1]


def test_a_preview_of_a_period_without_data_is_a_page(store: EmbeddedStore, fit: profile.Profile) -> None:
    views = views_of(store, every(fit), **{"from": "2019-01-01T00:00", "to": "2019-01-02T00:00"})
    drawn = {view["kind"] for panels in views.values() for view in panels.values()}
    assert drawn == {"text", "numbers", "empty", "hidden"}
    assert views["predictions"]["Mean prediction by version · should change only with a release"]["note"] == (
        "No prediction in this period has ml.prediction.value."
    )


def test_zero_failures_are_shown_as_zero(fit: profile.Profile) -> None:
    """A share of 0 is a share of something: the panel draws it."""
    with EmbeddedStore(None) as store:
        fill(store, [one for one in predictions(fit, 90) if one["event"]["outcome"] == "success"])
        views = views_of(store, every())
    assert views["operations"]["Failed predictions · should be 0 %"]["kind"] == "charts"
    assert (
        views["fleet"]["Failures by model · should be empty"]["note"]
        == "Nothing of this kind in this period."
    )
    assert views["predictions"]["Quality on late labels: accuracy · should be flat"]["kind"] == "hidden"


@pytest.mark.slow
def test_a_preview_of_three_hundred_features_is_a_page(chromium: Any, tmp_path: Path) -> None:
    """All of them are on the model's dashboard, from one search for all bins; the others show the largest."""
    made, events = wide()
    with EmbeddedStore(None) as opened:
        fill(opened, events)
        opened.index("ml-profiles", [profile.build_document(made)])
        asked: list[str] = []

        class Counting(DelegatingStore):
            def search(self, indices: Any, body: Any, **options: Any) -> dict[str, Any]:
                asked.append(str(body))
                return super().search(indices, body, **options)

        store = preview.CachingStore(Counting(opened))
        views = views_of(store, every(made))
        assert sum("'ml.input.bins', 'size': 20000" in one for one in asked) == 2
        looked_at(chromium, store, every(), tmp_path / "a.html", "light")
    own = views[for_profile(made).id]
    assert sum(view["kind"] == "charts" for title, view in own.items() if ": bins" in title) == 300
    bins = views["inputs"]["Bins of the chosen feature, now and in the week before · should be alike"]
    assert len(bins["specs"][0]["data"]["values"]) == 20
    assert bins["specs"][0]["data"]["values"][0]["feature"] == "feature_7"
