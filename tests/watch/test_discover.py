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

from logging_lib import content
from logging_lib.watch.actions import SettingsError
from logging_lib.watch.checking.loading import load_watches
from logging_lib.watch.engine.context import new_context, with_payload
from logging_lib.watch.messages import Email, Slack, compose
from logging_lib.watch.model import Watch
from logging_lib.watch.runner.kibana import with_address
from logging_lib.watch.scripts.common import build_result, new_finding

NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)
KIBANA = "https://kibana.example.org/s/ml"
WATCHES = {watch.id: watch for watch in load_watches(content.path("watchers"))}
(LINKED,) = with_address([WATCHES["na-spike"]], {"LOGGING_LIB_KIBANA_URL": KIBANA + "/"})
# Controls and line breaks never come into a message as they are; names with them are found by their look only.
hostile = st.text(st.characters(max_codepoint=0x24F, exclude_categories=["Cc"]), min_size=1)


def messages(watch: Watch, query: str) -> tuple[Email, Slack]:
    finding = new_finding(
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
    context = with_payload(new_context(watch, now=NOW, scheduled=NOW), {"judged": build_result([finding])})
    email = compose("email", watch.actions["email"], context, NOW)[0]
    slack = compose("slack", watch.actions["slack"], context, NOW)[0]
    assert isinstance(email, Email)
    assert isinstance(slack, Slack)
    return email, slack


def strings(rison: str) -> list[str]:
    """The quoted strings of RISON, in which ``!`` escapes."""
    return [re.sub(r"!(.)", r"\1", each) for each in re.findall(r"'((?:[^'!]|!.)*)'", rison)]


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


@settings(max_examples=200, deadline=None)
@given(hostile)
def test_kibana_reads_the_query_that_the_finding_has(name: str) -> None:
    query = f'ml.check.missing: "{name}"'
    email, slack = messages(LINKED, query)
    assert email.text is not None
    assert email.html is not None
    assert slack.text is not None
    (plain,) = re.findall(r"see the events: (\S+)\n", email.text)
    (in_html,) = re.findall(r'<a href="([^"<>]+)">open in Discover</a>', email.html)
    (in_slack,) = re.findall(r"<([^<>|\s]+)\|open in Discover>", slack.text)
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
    (linked,) = with_address([watch], {"LOGGING_LIB_KIBANA_URL": KIBANA})
    for email, slack in [messages(linked, query)]:
        assert "see the events: https://kibana" in (email.text or "")
        assert query not in (email.text or "")
        assert "|open in Discover>" in (slack.text or "")
    email, slack = messages(watch, query)
    assert f"find the events: {query}" in (email.text or "")
    assert "kibana" not in (email.html or "")
    assert query in (slack.text or "")
    assert watch.metadata["runbook"] in (email.text or "")


def test_a_watch_keeps_an_address_of_its_own() -> None:
    (again,) = with_address([LINKED], {"LOGGING_LIB_KIBANA_URL": "https://other.example.org"})
    assert again.metadata["kibana_url"] == KIBANA
    assert with_address([LINKED], {}) == [LINKED]


@pytest.mark.parametrize(
    "url", ["kibana", "javascript:alert(1)", "https://k/#/x", 'https://k/"x', "https://"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LOGGING_LIB_KIBANA_URL"):
        with_address([LINKED], {"LOGGING_LIB_KIBANA_URL": url})
