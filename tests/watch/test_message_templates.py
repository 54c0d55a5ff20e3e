"""The messages of the shipped watches: Watcher's Mustache and ours break their lines alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib.watch.evaluate import new_context, with_payload
from logging_lib.watch.loading import load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.registry import render_settings
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
    """In each text that has several lines: the mail's two and Slack's."""
    several = 0
    for action in watch.actions.values():
        for text in texts(action.model_dump()):
            assert misplaced(text) == []
            several += len(text.splitlines()) > 1
    assert several == 3


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


def finding(feature: str, values: str = "") -> dict[str, Any]:
    lines = [{"name": "service", "value": "api"}, {"name": "since", "value": "10:00"}]
    return {
        "about": "model loans, version 3",
        "what": f"{feature}: 41.11 % missing, expected 1.25 %",
        "severity": "high",
        "lines": lines,
        "query": f'ml.check.missing: "{feature}"',
        "discover": "",
        "since": "",
        "until": "",
        "owner_email": None,
        "owner_slack": None,
        "values_text": values,
    }


def rendered(*findings: dict[str, Any]) -> tuple[str, str]:
    """The text of the mail and of the Slack message about these findings."""
    watch = WATCHES["vanished-feature"]
    payload = {"result": build_result(list(findings))}
    context = with_payload(new_context(watch, now=NOW, scheduled=NOW), payload)
    (email,) = render_settings(watch.actions["email"], context, draft("email"))
    (slack,) = render_settings(watch.actions["slack"], context, draft("slack"))
    return email.content["text"], slack.content["text"]


def test_a_mail_has_a_line_for_each_fact_and_a_blank_one_after_each_finding() -> None:
    email, _ = rendered(finding("income", "a (2)"), finding("home"), finding("age"))
    head, _, rest = email.partition("\n\n")
    assert head.splitlines()[0] == "Vanished feature in model loans, version 3"
    assert rest.startswith(
        """\
3 findings at once: look first for one cause that they share, upstream of the model.

income: 41.11 % missing, expected 1.25 %
  severity: high
  service: api
  since: 10:00
  values: a (2)
  find the events: ml.check.missing: "income"

home: 41.11 % missing, expected 1.25 %
  severity: high
  service: api
  since: 10:00
  find the events: ml.check.missing: "home"

age: 41.11 % missing, expected 1.25 %
  severity: high
"""
    )
    assert email.endswith(
        """
What to do: docs/runbooks/vanished-feature.md
Watch vanished-feature, checked at 2018-02-01T12:00:00.000Z
"""
    )


def test_one_finding_is_not_said_to_be_several() -> None:
    email, slack = rendered(finding("income"))
    assert "at once" not in email
    lines = slack.splitlines()
    assert lines[0] == "*Vanished feature* in *model loans, version 3*"
    assert lines[1:7] == [
        "• *income: 41.11 % missing, expected 1.25 %*",
        "   severity: high",
        "   service: api",
        "   since: 10:00",
        '   events: `ml.check.missing: "income"`',
        "",
    ]
    assert lines[-1] == "What to do: docs/runbooks/vanished-feature.md"
