"""The report and the preview in a real Chromium: what a person sees, and what the pages must not do."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pandas as pd
import pytest

from logging_lib import profile
from logging_lib._util import content
from logging_lib.dashboards import preview
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.page import render_preview
from logging_lib.dashboards.serve import server
from logging_lib.report.attention import list_attention
from logging_lib.report.model import ModelReport
from logging_lib.report.page import render_page
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.browser import Visit
from tests.report.conftest import HOSTILE, LONG, SCRIPT, START, Document

NOW = START + timedelta(days=1)


@pytest.fixture(scope="module")
def report_file(made: ModelReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render_page(made), "utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def preview_file(store: EmbeddedStore, fit: profile.Profile, tmp_path_factory: pytest.TempPathFactory) -> str:
    dashboards = [*load_dashboards(content.path("kibana_dashboards")), for_profile(fit)]
    known = preview.choices(store, now=NOW)
    combined = list(preview.combinations(known))
    views = preview.static_views(store, dashboards, known, combined, now=NOW)
    file = tmp_path_factory.mktemp("preview") / "index.html"
    attention = list_attention(store, known["models"])
    text = render_preview(dashboards, known, views=views, periods=["all"], attention=attention)
    file.write_text(text, "utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def served(store: EmbeddedStore) -> Iterator[str]:
    dashboards = load_dashboards(content.path("kibana_dashboards"))
    with server(store, dashboards, port=0, clock=lambda: NOW, list_attention=list_attention) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def shown(visit: Visit, address: str) -> None:
    """Go there and wait until all panels are drawn."""
    visit.page.goto("about:blank")
    visit.page.goto(address)
    visit.page.wait_for_selector("body[data-ready=yes]")


def big_number(visit: Visit, title: str) -> str:
    return str(visit.page.locator(f"section[aria-label^={title!r}] .big").inner_text())


def test_the_report_loads_alone_and_shows_hostile_names_as_text(chromium: Any, report_file: str) -> None:
    with Visit(chromium) as visit:
        visit.context.set_offline(True)
        visit.page.goto(report_file)
        text = visit.page.inner_text("body")
        title = visit.page.title()
        bold = visit.page.locator("b").count()
    assert visit.said == []
    assert visit.beyond(report_file) == []
    assert title.startswith("loans 1: Needs attention")  # no script has changed it
    assert bold == 0
    assert SCRIPT in text
    assert "\u202e" not in text  # nothing turns the text around
    assert LONG not in text
    assert max(map(len, re.findall(r"w+", text))) <= 400


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_has_no_grave_fault_of_accessibility(
    chromium: Any, report_file: str, width: int, scheme: str
) -> None:
    with Visit(chromium, width=width, scheme=scheme, bypass_csp=True) as visit:
        visit.page.goto(report_file)
        assert visit.width_overflow() <= 0
        assert visit.faults() == []


def test_the_report_is_usable_by_keyboard(chromium: Any, report_file: str) -> None:
    with Visit(chromium) as visit:
        visit.page.goto(report_file)
        visit.page.keyboard.press("Tab")
        assert visit.page.locator(":focus").inner_text() == "To the content"
        visit.page.keyboard.press("Enter")
        visit.page.locator("summary").first.focus()
        visit.page.keyboard.press("Enter")
        assert visit.page.locator("details[open]").count() == 1


def test_the_controls_of_the_served_page_change_its_panels(
    chromium: Any, served: str, live: list[Document], shadow: list[Document]
) -> None:
    frame = pd.DataFrame(
        {
            "version": one["ml"]["model"]["version"],
            "time": pd.Timestamp(one["@timestamp"]),
            "weight": one["ml"]["sample"]["weight"],
        }
        for one in [*live, *shadow]
    )
    with Visit(chromium) as visit:
        shown(visit, f"{served}#fleet")
        assert big_number(visit, "Predictions") == f"{frame['weight'].sum():,.0f}"
        visit.page.select_option("#choose-model", "loans")
        visit.page.wait_for_selector("body[data-ready=yes]")
        with visit.page.expect_response(re.compile("panel=11")):
            visit.page.select_option("#choose-version", "2")
        visit.page.wait_for_selector("body[data-ready=yes]")
        of_version = frame.loc[frame["version"] == "2", "weight"].sum()
        assert big_number(visit, "Predictions") == f"{of_version:,.0f}"
        with visit.page.expect_response(re.compile("panel=11")):
            visit.page.fill("#choose-to", "2018-02-01T10:00")
            visit.page.locator("#choose-to").dispatch_event("change")
        visit.page.wait_for_selector("body[data-ready=yes]")
        early = frame[(frame["version"] == "2") & (frame["time"] < pd.Timestamp("2018-02-01T10:00Z"))]
        assert big_number(visit, "Predictions") == f"{early['weight'].sum():,.0f}"
        assert "version=2" in visit.page.url
        shown(visit, f"{served}#inputs?model=loans&feature=income")
        assert visit.page.locator("section.charts svg").count() >= 3
        visit.page.goto(f"{served}#nothing")
        visit.page.wait_for_selector("body[data-ready=yes]")
    assert visit.said == []
    assert visit.beyond(served) == []


def test_the_written_page_works_from_a_file(chromium: Any, preview_file: str, shadow: list[Document]) -> None:
    with Visit(chromium) as visit:
        visit.context.set_offline(True)
        for dashboard in ("fleet", "inputs", "predictions", "operations", "investigate"):
            shown(visit, f"{preview_file}#{dashboard}")
            assert visit.page.locator("section.error").count() == 0
        shown(visit, f"{preview_file}#investigate")
        text = visit.page.inner_text("body")
        shown(visit, f"{preview_file}#fleet")
        visit.page.select_option("#choose-model", "loans")
        visit.page.wait_for_selector("body[data-ready=yes]")
        visit.page.select_option("#choose-version", "2")
        expected = f"{sum(one['ml']['sample']['weight'] for one in shadow):,.0f}"
        number = visit.page.locator("section[aria-label^='Predictions'] .big")
        number.filter(has_text=re.compile(f"^{re.escape(expected)}$")).wait_for()
        title = visit.page.title()
    assert visit.said == []
    assert visit.beyond(preview_file) == []
    assert "hacked" not in title
    assert "</script><b>bold</b>" in text
    assert "<script>document.title%3D'hacked'</script>=" in text  # as in the events' tokens


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_preview_has_no_grave_fault_of_accessibility(
    chromium: Any, preview_file: str, width: int, scheme: str
) -> None:
    with Visit(chromium, width=width, scheme=scheme, bypass_csp=True) as visit:
        for dashboard in ("inputs", "investigate"):
            shown(visit, f"{preview_file}#{dashboard}")
            assert visit.width_overflow() <= 0
            assert visit.faults() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_dashboard_is_wider_than_a_phone(
    chromium: Any, preview_file: str, fit: profile.Profile, scheme: str
) -> None:
    """What is wide scrolls by itself; a table of many columns has a row a block, and hides none of them."""
    with Visit(chromium, width=390, scheme=scheme) as visit:
        for dashboard in (
            *("fleet", "inputs", "predictions", "operations", "investigate"), for_profile(fit).id,
        ):  # fmt: skip
            shown(visit, f"{preview_file}#{dashboard}")
            assert visit.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), dashboard
            cut = visit.page.eval_on_selector_all(
                "table.stacked", "all => all.filter(one => one.scrollWidth > one.parentElement.clientWidth)"
                ".map(one => one.parentElement.getAttribute('aria-label'))",
            )  # fmt: skip
            assert cut == []
        shown(visit, f"{preview_file}#fleet")
        first = visit.page.locator("section[aria-label^='Models and versions'] tbody tr").first
        assert first.locator("td").all_inner_texts()[:1] == ["loans"]
        assert all(cell.is_visible() for cell in first.locator("td").all())
    assert visit.said == []


@pytest.mark.parametrize("opened", ["preview_file", "served"])
def test_the_preview_opens_on_the_models_that_need_attention(
    chromium: Any, opened: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(opened)
    with Visit(chromium) as visit:
        shown(visit, f"{address}#fleet")
        entry = visit.page.locator("#attention li").first
        assert "Worth a look" in entry.inner_text()
        assert "(expected" in entry.inner_text()
        entry.get_by_role("link").click()
        visit.page.wait_for_selector("body[data-ready=yes]")
        assert visit.page.url.endswith("#inputs?model=loans")
        assert not visit.page.locator("#attention").is_visible()
    assert visit.said == []


def test_a_panel_without_data_is_not_shown(chromium: Any, served: str) -> None:
    with Visit(chromium) as visit:
        shown(visit, f"{served}#predictions")
        panels = visit.page.locator("section[aria-label^='Live against shadow']")
        assert [panel.is_visible() for panel in panels.all()] == [True, True]
        assert not visit.page.locator("section[aria-label*='Brier']").is_visible()  # of a regression
        shown(visit, f"{served}#predictions?model=loans&version=1")
        assert [panel.is_visible() for panel in panels.all()] == [False, False]
    assert visit.said == []


def test_a_whole_event_opens_below_its_row(chromium: Any, preview_file: str) -> None:
    with Visit(chromium) as visit:
        shown(visit, f"{preview_file}#investigate")
        panel = visit.page.locator("section[aria-label='Events with their full inputs']")
        button = panel.get_by_role("button", name="Whole event").first
        button.focus()
        visit.page.keyboard.press("Enter")
        event = json.loads(panel.locator("pre").inner_text())
        assert SCRIPT in event["ml"]["input"]["category"]
        visit.page.keyboard.press("Enter")
        assert panel.locator("pre").count() == 0
    assert visit.said == []


def test_the_server_answers_to_its_own_name_alone_and_only_reads(served: str) -> None:
    def status(path: str = "", *, method: str = "GET", **headers: str) -> int:
        try:
            with urlopen(Request(served + path, method=method, headers=headers), timeout=300) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    assert status("api/choices") == 200
    assert status("api/choices", Host="evil.example") == 421
    assert status("../../etc/passwd") == 404
    assert status("%2e%2e/setup.cfg") == 404
    assert status("api/panel", method="POST") == 501
    address = urlsplit(served)
    with socket.create_connection((address.hostname, address.port), 300) as connection:
        connection.sendall(f"GET http://[ HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == b"400"
    with urlopen(f"{served}api/panel?dashboard=fleet&panel=99", timeout=300) as answer:
        assert json.load(answer) == {"kind": "error", "note": "there is no such panel"}
    with urlopen(f"{served}api/panel?dashboard=fleet&panel=1&from=then", timeout=300) as answer:
        assert json.load(answer)["note"].startswith("no such time")


def test_hostile_values_stay_inside_their_script_element(preview_file: str) -> None:
    text = Path(preview_file.removeprefix("file://")).read_text("utf-8")
    (given,) = re.findall(r'<script type="application/json" id="given">(.*?)</script>', text, re.DOTALL)
    assert "<" not in given
    assert HOSTILE[5] in json.dumps(json.loads(given), ensure_ascii=False)
