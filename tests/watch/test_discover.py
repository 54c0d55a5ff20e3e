"""The link to Discover in a message: Kibana reads from it just what the finding says, however hostile a name is."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib._util import content
from logging_lib.watch.evaluate import new_context, with_payload
from logging_lib.watch.loading import load_watches, with_sample_recipients, with_settings
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import SettingsError
from logging_lib.watch.notify.registry import render_settings
from logging_lib.watch.scripts.common import build_result, new_finding
from tests.strategies import examples
from tests.watch.conftest import draft

NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)
KIBANA = "https://kibana.example.org/s/ml"
WATCHES = {watch.id: watch for watch in with_sample_recipients(load_watches(content.path("watchers")))}
(LINKED,) = with_settings([WATCHES["na-spike"]], {"LOGGING_LIB_KIBANA_URL": KIBANA + "/"})
# Controls and line breaks never come into a message as they are; names with them are found by their look only.
hostile = st.text(st.characters(max_codepoint=0x24F, exclude_categories=["Cc"]), min_size=1)


def texts(watch: Watch, query: str) -> tuple[str, str, str]:
    """Of a mail its text and its HTML, and the text of a post."""
    finding = new_finding(
        new_context(watch, now=NOW, scheduled=NOW)["ctx"],
        None,
        "loans",
        "1",
        "x",
        "what",
        [],
        query,
        "2018-02-01T10:00:00.000Z",
        "2018-02-01T11:00:00.000Z||-1h",
    )
    context = with_payload(new_context(watch, now=NOW, scheduled=NOW), {"result": build_result([finding])})
    mail = render_settings(watch.actions["email"], context, draft("email"))[0].content
    post = render_settings(watch.actions["slack"], context, draft("slack"))[0].content
    return mail["text"], mail["html"], post["attachments"][0]["text"]


def strings(rison: str) -> list[str]:
    """The quoted strings of RISON, in which ``!`` escapes."""
    return [re.sub(r"!(.)", r"\1", text) for text in re.findall(r"'((?:[^'!]|!.)*)'", rison)]


def read(address: str) -> dict[str, Any]:
    """What Kibana reads: the fragment's query, decoded, its strings unescaped."""
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{KIBANA}/app/discover"
    path, _, query = parts.fragment.partition("?")
    assert path == "/"
    state = {key: value[0] for key, value in parse_qs(query).items()}
    assert state.keys() == {"_g", "_a"}
    assert re.fullmatch(r"\(time:\(from:'.*',to:'.*'\)\)", state["_g"])
    return {"time": strings(state["_g"]), "about": strings(state["_a"])}


@settings(max_examples=examples(200), deadline=None)
@given(hostile)
def test_kibana_reads_the_query_that_the_finding_has(name: str) -> None:
    query = f'ml.check.missing: "{name}"'
    text, markup, post = texts(LINKED, query)
    (plain,) = re.findall(r"Open in Discover: (\S+)\n", text)
    (in_html,) = re.findall(r'<a class="button" href="([^"<>]+)">Open in Discover</a>', markup)
    (in_slack,) = re.findall(r"<([^<>|\s]+)\|Open in Discover>", post)
    wanted = {
        "time": ["2018-02-01T10:00:00.000Z", "2018-02-01T11:00:00.000Z||-1h"],
        "about": ["logging-lib-data-prediction", query],
    }
    assert read(plain) == wanted
    assert read(html.unescape(in_html)) == wanted
    assert read(html.unescape(in_slack)) == wanted


@pytest.mark.parametrize("watch", WATCHES.values(), ids=list(WATCHES))
def test_every_watch_links_to_discover_or_says_the_query(watch: Watch) -> None:
    query = 'service.name: "api"'
    (linked,) = with_settings([watch], {"LOGGING_LIB_KIBANA_URL": KIBANA})
    text, _, post = texts(linked, query)
    assert "Open in Discover: https://kibana" in text
    assert query not in text
    assert "|Open in Discover>" in post
    text, markup, post = texts(watch, query)
    assert f"Events: {query}" in text
    assert "kibana" not in markup
    assert query in post


@pytest.mark.parametrize("watch", WATCHES.values(), ids=list(WATCHES))
def test_a_message_links_to_the_runbook_or_carries_its_first_steps(watch: Watch) -> None:
    """Which are those of the page, as plain text."""
    page = content.path("docs/runbooks") / f"{watch.id}.md"
    steps = watch.metadata["steps"]
    assert 1 <= len(steps) <= 3
    assert all(
        step in page.read_text("utf-8").replace("`", "").replace("*", "")
        for step in (step.replace("*", "") for step in steps)
    )
    url = f"https://docs.example.org/x/runbooks/{watch.id}/"
    (linked,) = with_settings([watch], {"LOGGING_LIB_RUNBOOK_BASE_URL": "https://docs.example.org/x/"})
    for text in texts(watch, "q"):
        assert "What to do first" in text
        assert all(html.escape(step) in text or step in text for step in steps)
    for text in texts(linked, "q"):
        assert "What to do first" not in text
        assert url in text


def test_a_message_links_to_the_report_if_there_is_one() -> None:
    url = "https://reports.example.org/loans.html"
    (linked,) = with_settings([WATCHES["na-spike"]], {"LOGGING_LIB_REPORT_URL": url})
    assert all(url in text for text in texts(linked, "q"))
    assert all("Report" not in text for text in texts(WATCHES["na-spike"], "q"))


def test_a_watch_keeps_an_address_of_its_own() -> None:
    (again,) = with_settings([LINKED], {"LOGGING_LIB_KIBANA_URL": "https://other.example.org"})
    assert again.metadata["kibana_url"] == KIBANA
    assert with_settings([LINKED], {}) == [LINKED]


@pytest.mark.parametrize(
    "url", ["kibana", "javascript:alert(1)", "https://k/#/x", 'https://k/"x', "https://"]
)
def test_text_that_is_not_an_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LOGGING_LIB_KIBANA_URL"):
        with_settings([LINKED], {"LOGGING_LIB_KIBANA_URL": url})
