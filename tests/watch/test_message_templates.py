"""The messages of the shipped watches: Watcher's Mustache and ours break their lines alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.watch.evaluate import new_context, with_payload
from logging_lib.watch.loading import load_watches, with_settings
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.registry import parse_action, render_settings
from logging_lib.watch.scripts import build_result
from tests.watch.conftest import draft

NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)
WATCHES = {watch.id: watch for watch in load_watches(content.path("watchers"))}
SECTION = re.compile(r"\{\{[#^/]\s*([\w.]+)[^}]*\}\}")
FUNCTIONS = ("url", "join", "toJson")


def misplaced(template: str) -> list[str]:
    """The lines of a text on which a section tag is not alone.

    Watcher's Mustache (mustache.java) drops the line break before a line that begins with a section tag and goes
    on, and keeps it before a tag that has its line to itself. Functions are not sections.
    """
    lines = template.splitlines()
    if len(lines) < 2:
        return []
    return [
        line
        for line in lines
        for tag in SECTION.finditer(line)
        if tag[1] not in FUNCTIONS and line.strip() != tag[0]
    ]


def texts(node: Any) -> Iterator[str]:
    """All strings in an action's JSON."""
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize("watch", WATCHES.values(), ids=list(WATCHES))
def test_every_section_tag_has_a_line_of_its_own(watch: Watch) -> None:
    """In each text that has several lines: the mail's two and Slack's two."""
    several = 0
    for action in watch.actions.values():
        for text in texts(action.model_dump()):
            assert misplaced(text) == []
            several += len(text.splitlines()) > 1
    assert several == 4


@pytest.mark.parametrize(
    "template",
    [
        "{{what}}\n{{#lines}}  {{name}}\n{{/lines}}\n",
        "{{#a}}\nx\n{{/a}}{{^a}}\ny\n{{/a}}\n",
        "{{#a}}\nx{{/a}}\n",
        "a\n{{#a}} {{#url}}{{b}}{{/url}}\n{{/a}}",
    ],
)
def test_a_tag_beside_other_text_is_found(template: str) -> None:
    assert misplaced(template)


def finding(feature: str, severity: str = "low", **more: str) -> dict[str, Any]:
    lines = [{"name": "Service", "value": "api"}, {"name": "First seen", "value": "2018-02-01 10:00:00 UTC"}]
    return {
        "about": "loans v3",
        "what": f"{feature} 41.1 % absent (expected 1.3 %)",
        "severity": severity,
        "color": "#c2410c",
        "lines": lines,
        "checked": "2018-02-01 12:00:00 UTC",
        "query": f'ml.check.absent: "{feature}"',
        "discover": "",
        "since": "",
        "until": "",
        "owner_email": None,
        "owner_slack": None,
        **more,
    }


def rendered(
    *findings: dict[str, Any], environ: Mapping[str, str] | None = None
) -> tuple[Notification, Notification]:
    """The mail and the Slack message about these findings."""
    settings = {"LOGGING_LIB_EMAIL_TO": "team@example.org", **(environ or {})}
    (watch,) = with_settings([WATCHES["vanished-feature"]], settings)
    payload = {"result": build_result(list(findings))}
    context = with_payload(new_context(watch, now=NOW, scheduled=NOW), payload)
    (email,) = render_settings(watch.actions["email"], context, draft("email"))
    (slack,) = render_settings(watch.actions["slack"], context, draft("slack"))
    return email, slack


STEPS = """\
What to do first
- Count the features that the alert names.
- Check whether an unexpected feature is an absent one under a new name.
- Find the upstream release that changed the fields.
"""
ALL_LINKS = {
    "LOGGING_LIB_KIBANA_URL": "https://kibana.example.org",
    "LOGGING_LIB_RUNBOOK_BASE_URL": "https://docs.example.org",
    "LOGGING_LIB_REPORT_URL": "https://reports.example.org/loans.html",
}


def test_a_mail_about_one_finding_says_it_in_its_subject_and_in_its_first_line() -> None:
    email, _ = rendered(finding("income"))
    assert email.subject == "loans v3: income 41.1 % absent (expected 1.3 %)"
    assert email.text == (
        """\
loans v3: income 41.1 % absent (expected 1.3 %), severity low

A feature is no longer sent, has no values any more, or is unknown to the model.

  Service: api
  First seen: 2018-02-01 10:00:00 UTC
  Events: ml.check.absent: "income"

"""
        + STEPS
        + """
If only some values are missing, na-spike reports it instead. Effects on predictions are not alerted on separately; see prediction-drift.
Vanished feature: watch vanished-feature, checked at 2018-02-01 12:00:00 UTC
"""  # noqa: E501
    )


def test_the_subject_names_the_worst_of_several_findings() -> None:
    email, slack = rendered(finding("income"), finding("home", "high"), finding("age", "medium"))
    assert email.subject == "loans v3: home 41.1 % absent (expected 1.3 %) +2 more"
    assert email.text.startswith(
        """\
loans v3: home 41.1 % absent (expected 1.3 %), severity high
+2 more below

A feature is no longer sent, has no values any more, or is unknown to the model.
With 3 findings at once, first look for one common cause upstream of the model.

home 41.1 % absent (expected 1.3 %)
  Severity: high
  Service: api
  First seen: 2018-02-01 10:00:00 UTC
  Events: ml.check.absent: "home"

age 41.1 % absent (expected 1.3 %)
  Severity: medium
"""
    )
    assert slack.content["text"].splitlines()[:3] == [
        "*loans v3: home 41.1 % absent (expected 1.3 %)*",
        "*+2 more*",
        "Severity high. A feature is no longer sent, has no values any more, or is unknown to the model.",
    ]


def test_a_slack_message_has_its_headline_above_a_bar_in_the_severitys_color() -> None:
    _, slack = rendered(finding("income"))
    (attachment,) = slack.content["attachments"]
    assert attachment["color"] == "#c2410c"
    assert attachment["text"].startswith(
        'Service: api\nFirst seen: 2018-02-01 10:00:00 UTC\nEvents: `ml.check.absent: "income"`\n\n'
        "*What to do first*\n• Count the features"
    )
    assert slack.subject == "loans v3: income 41.1 % absent (expected 1.3 %)"
    assert attachment["text"] in slack.text, "a digest, and a fallback, say all of it"


def test_links_take_the_place_of_the_steps_and_of_the_query() -> None:
    email, slack = rendered(finding("income"), environ=ALL_LINKS)
    for text in (email.text, email.content["html"], slack.text):
        assert "https://docs.example.org/runbooks/vanished-feature/" in text
        assert "https://reports.example.org/loans.html" in text
        assert "https://kibana.example.org/app/discover" in text
        assert "What to do first" not in text
        assert "Events" not in text


def test_the_owner_of_a_model_gets_its_mails_too() -> None:
    owned = finding("income", owner_email="owner@example.org")
    assert rendered(owned)[0].recipients == ("team@example.org", "owner@example.org")
    watch = WATCHES["vanished-feature"]
    context = with_payload(new_context(watch, now=NOW, scheduled=NOW), {"result": build_result([owned])})
    (email,) = render_settings(watch.actions["email"], context, draft("email"))
    assert email.recipients == ("owner@example.org",)


def test_the_mail_is_for_light_and_dark_and_for_phones() -> None:
    """And needs no stylesheet to be read: Watcher removes it, with the style attributes."""
    email, _ = rendered(finding("income"), environ=ALL_LINKS)
    markup = email.content["html"]
    assert '<meta name="color-scheme" content="light dark">' in markup
    assert "@media (prefers-color-scheme: dark)" in markup
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in markup
    body = re.sub(r' (?:style|class)="[^"]*"', "", markup.partition("<body>")[2])
    assert '<tr><th scope="row">Service</th><td>api</td></tr>' in body
    assert "<h1>income 41.1 % absent (expected 1.3 %)</h1>" in body


def test_the_card_for_teams_is_json_with_and_without_links() -> None:
    """However many findings there are, and whatever they hold."""
    action = parse_action(
        json.loads((content.path("watchers") / "templates" / "teams.json").read_text("utf-8"))
    )
    hostile = finding('in"co](https://evil.example.org)me', "critical")
    for environ in ({}, ALL_LINKS):
        for findings in ([hostile], [finding("age"), hostile]):
            (watch,) = with_settings([WATCHES["vanished-feature"]], environ)
            payload = {"result": build_result(findings)}
            context = with_payload(new_context(watch, now=NOW, scheduled=NOW), payload)
            (message,) = render_settings(action, context, draft("teams"))
            assert message.subject.startswith('loans v3: in"co] (https://evil.example.org)me 41.1 % absent')
            assert "Service: api" in message.text
            assert ("Runbook" in message.text) == bool(environ)
            assert ("What to do first" in message.text) != bool(environ)
