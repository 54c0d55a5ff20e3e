"""What every page has in common: its policy, its look in a real Chromium, and what hostile text may do in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from logging_lib.analysis import compare
from logging_lib.analysis.page import render_page as render_comparison
from logging_lib.html import charts
from logging_lib.html.timeline import TimeAxis
from logging_lib.watch.backtest.backtest import Backtest
from logging_lib.watch.backtest.page import render_page as render_backtest
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.results import Alert
from tests.browser import Visit, launched

START = datetime(2018, 2, 1, tzinfo=UTC)
HOSTILE = "<script>document.title='hacked'</script>" + "w" * 300 + "\x1b[2J\u202e"
POLICY = "default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src data:;"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def comparison() -> str:
    random = np.random.default_rng(1)
    samples = [
        pd.DataFrame({HOSTILE: random.choice(["a", HOSTILE], 300), "n": random.normal(shift, 1, 300)})
        for shift in (0, 1)
    ]
    return render_comparison(compare(*samples, names=(HOSTILE, "now")), title=HOSTILE, now=START)


def backtest() -> str:
    names = ("na-spike", "unseen-categories", HOSTILE)
    mail = Notification(
        id="n", action="email", subject=HOSTILE, features=("a",), status="executed", created_at=START
    )
    finding = {"model": HOSTILE, "version": "1", "feature": HOSTILE}
    alerts = tuple(
        Alert(START + timedelta(hours=i), names[i % 3], "NA", HOSTILE, "1", (finding,), (mail,))
        for i in range(60)
    )
    result = Backtest(names, START, START + timedelta(days=4), 1153, alerts, {("na-spike", HOSTILE): 3})
    return render_backtest(
        result, events=1234, now=START, what_if=result, changes={"na-spike": {"min_effect": (0.02, HOSTILE)}}
    )


PAGES = {"comparison": comparison, "backtest": backtest}


@pytest.fixture(scope="module", params=PAGES)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    file.write_text(PAGES[request.param](), "utf-8")
    return file.as_uri()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
)
def test_a_page_fits_its_window_and_has_no_grave_fault_of_accessibility(
    chromium: Any, address: str, width: int, scheme: str
) -> None:
    with Visit(chromium, width=width, scheme=scheme, bypass_csp=True) as visit:
        visit.page.goto(address)
        assert visit.width_overflow() <= 0
        assert visit.faults() == []


def test_a_page_loads_alone_and_shows_hostile_text_as_text(chromium: Any, address: str) -> None:
    """No script of the text runs, nothing is requested, and nothing turns the text around."""
    with Visit(chromium) as visit:
        visit.context.set_offline(True)
        visit.page.goto(address)
        text = visit.page.inner_text("body")
        title = visit.page.title()
        policy = visit.page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert visit.said == []
    assert visit.beyond(address) == []
    assert title != "hacked"
    assert "<script>document.title='hacked'</script>" in text
    assert not re.search("[\x1b\u202e]", text)
    assert policy.startswith(POLICY)


def test_a_page_is_usable_by_keyboard(chromium: Any, address: str) -> None:
    with Visit(chromium) as visit:
        visit.page.goto(address)
        visit.page.keyboard.press("Tab")
        assert visit.page.locator(":focus").inner_text() == "To the content"


def test_bins_of_the_same_label_stay_apart() -> None:
    spec = charts.bins(["a", "a", "b"], {"training": [0.5, 0.3, 0.2], "served": [0.1, None, 0.9]})
    first, second = (layer["data"]["values"] for layer in spec["layer"])
    assert len({row["bin"] for row in first}) == 3
    assert [row["share"] for row in second] == [0.1, 0.0, 0.9]


def test_a_failed_check_has_its_own_color_and_legend() -> None:
    """Color alone never says what a bar means."""
    spec = charts.bins(["a", "missing"], {"training": [1, 0], "served": [0.5, 0.5]}, failed={1})
    rows = spec["layer"][1]["data"]["values"]
    assert [row["who"] for row in rows] == ["served", charts.FAILED]
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["training", "served", charts.FAILED]
    assert len(set(scale["range"])) == 3


def test_bars_of_more_than_two_samples_are_below_each_other() -> None:
    spec = charts.bins(["a", "b"], {name: [0.5, 0.5] for name in ("x", "y", "z")})
    assert "layer" not in spec
    assert spec["encoding"]["yOffset"]["sort"] == ["x", "y", "z"]
    assert len(spec["data"]["values"]) == 6


@pytest.mark.parametrize(
    ("hours", "year", "first"),
    [
        (48, 2018, "1 Feb"),
        (48, 2026, "1 Feb 2018"),
        (24 * 200, 2018, "1 Feb"),
        (24 * 290, 2018, "1 Feb"),
        (24 * 340, 2018, "Feb 2018"),
        (5, 2018, "00:00"),
        (5, 2026, "1 Feb 2018 00:00"),
    ],
)
def test_times_of_another_year_name_it(hours: int, year: int, first: str) -> None:
    times = tuple(START + timedelta(hours=hour) for hour in range(hours))
    axis = TimeAxis(times, timedelta(hours=1), year).x(980)["axis"]
    assert f'"0":"{first}"' in axis["labelExpr"]


def test_a_notebook_shows_a_comparison_in_a_frame_of_its_own(tmp_path: Path, chromium: Any) -> None:
    """As Jupyter does: it puts what ``_repr_html_`` returns into its own page."""
    samples = [pd.DataFrame({"n": range(200)}), pd.DataFrame({"n": range(150, 350), "new": "a"})]
    comparison = compare(*samples, names=("training", "today"))
    page = comparison.to_html(tmp_path / "compare.html")
    assert (tmp_path / "compare.html").read_text("utf-8") == page
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><title>notebook</title><h1>Mine</h1>{comparison._repr_html_()}", "utf-8")
    with Visit(chromium) as visit:
        visit.page.goto(file.as_uri())
        frame = visit.page.frame_locator("iframe")
        assert "1 of 1 variables differ" in frame.locator(".sentence").inner_text()
        assert frame.locator("article.card svg").count() == 1
        assert visit.page.locator("h1").inner_text() == "Mine"
        assert visit.beyond(file.as_uri()) == []
        assert visit.said == []
