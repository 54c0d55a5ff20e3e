"""Resolutions and digests, as each channel sends them: the golden ones, and their look in a real Chromium.

``UPDATE_GOLDEN=1 pytest tests/watch/test_digests_and_resolutions.py`` writes ``golden/*`` anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from logging_lib.html.pages import find_cards
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Incident
from logging_lib.watch.notify.base import Notification, Resolution
from logging_lib.watch.notify.queue import render_digest
from logging_lib.watch.notify.registry import CHANNELS
from logging_lib.watch.results import build_resolution
from tests.browser import Visit, launched
from tests.watch.conftest import NOW, draft, minutes, notification
from tests.watch.test_golden_messages import CASES, render_first_mail

GOLDEN = Path(__file__).with_name("golden")
HOSTILE = "<script>alert(1)</script>](https://evil.example.org)<!channel>\n\x1b[2J\u202e" + "w" * 200
ALERTED = ("na-spike", "unseen-categories", "quality-regression")


def resolution(*features: str, alerts: tuple[str, ...] = ()) -> Resolution:
    opened = [NOW - timedelta(days=26, hours=number) for number, _ in enumerate(features)]
    incidents = [
        Incident(key=Key("loans", "3", feature), opened_at=start, absent_since=NOW - minutes(30))
        for feature, start in zip(features, opened, strict=True)
    ]
    return build_resolution("NA spike", "na-spike", incidents, alerts, NOW)


TWO = resolution(
    "income",
    "age",
    alerts=("loans v3: income 41.1 % missing (expected 1.3 %)", "loans v3: age 8.2 % missing (expected 0 %)"),
)


def resolve(channel: str, resolved: Resolution = TWO) -> Notification:
    address = CHANNELS[channel].address_of(["team@example.org"])
    return CHANNELS[channel].resolve(draft(kind="resolved"), address, resolved)


@cache
def alert_mails() -> tuple[Notification, ...]:
    return tuple(render_first_mail(CASES / f"{name}.yml") for name in ALERTED)


def combine(channel: str) -> Notification:
    """The digest of three alerts and a resolution."""
    sent = [
        mail if channel == "email" else notification(channel, subject=mail.subject, text=mail.text)
        for mail in alert_mails()
    ]
    sent = [each.model_copy(update={"model": "loans"}) for each in (*sent, resolve(channel))]
    return render_digest(sent, ["team@example.org"], NOW)


MESSAGES = {"resolution": resolve, "digest": combine}


def written(message: Notification) -> Iterator[tuple[str, str]]:
    """The parts of a message that people see, each with the ending of its file."""
    if message.channel == "email":
        yield "txt", f"Subject: {message.subject}\n\n{message.content['text']}"
        yield "html", message.content["html"]
    else:
        yield "json", json.dumps(message.content, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("channel", ["email", "slack", "teams"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_resolutions_and_digests_match_the_golden_files(kind: str, channel: str) -> None:
    for ending, text in written(MESSAGES[kind](channel)):
        golden = GOLDEN / f"{kind}-{channel}.{ending}"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(text, "utf-8")
        assert text == golden.read_text("utf-8")


def test_a_digest_has_the_cards_of_its_alerts_as_they_were() -> None:
    """So each alert looks the same, alone or in a digest."""
    page = combine("email").content["html"]
    for mail in alert_mails():
        assert "What to do first" in mail.content["html"]
        assert find_cards(mail.content["html"]) in page


def test_a_mail_with_a_stylesheet_of_its_own_is_in_a_digest_as_text() -> None:
    """Its markup would look wrong without its stylesheet, and could change that of the others."""
    own = notification("email", to=["a@x.org"], subject="<own>", text="a\nb")
    own = own.model_copy(
        update={"content": {**own.content, "html": "<style>b{}</style><body>\n<b>x</b></body>"}}
    )
    page = render_digest([own, own], ["a@x.org"], NOW).content["html"]
    assert "<b>x</b>" not in page
    assert '<h1>&lt;own&gt;</h1>\n<p class="text">a\nb</p>' in page


def test_a_digest_is_not_longer_than_mail_programs_show() -> None:
    """It lists all subjects, and says how many cards it leaves out."""
    sent = [mail.model_copy(update={"id": str(number)}) for number, mail in enumerate(alert_mails() * 30)]
    digest = render_digest(sent, ["a@x.org"], NOW)
    page = digest.content["html"]
    assert len(page.encode()) < 102_000
    assert page.count("<li>") >= len(sent)
    cards = page.count("What to do first")
    assert 10 < cards < len(sent)
    assert f"The {len(sent) - cards} others would make this mail too long." in page


def test_a_digest_counts_alerts_and_resolutions_apart() -> None:
    assert combine("email").subject == "3 alerts and 1 resolution: loans (4)"
    sent = [resolve("slack")] * 2
    assert render_digest(sent, [], NOW).subject == "2 resolutions"


def test_plain_texts_and_test_mails_have_the_same_design() -> None:
    """That is, a fallback's mail, and that of ``notify-test``."""
    mail = CHANNELS["email"].test(draft(), "a@x.org", "A <test>", "one\ntwo")
    assert find_cards(mail.content["html"]) is not None
    assert '<h1>A &lt;test&gt;</h1>\n<p class="text">one\ntwo</p>' in mail.content["html"]
    assert mail.content["text"] == "one\ntwo"


def test_names_from_a_log_are_text_in_every_resolution() -> None:
    hostile = resolution(HOSTILE, alerts=(HOSTILE,))
    mail = resolve("email", hostile).content
    assert "<script>" not in mail["html"]
    assert not set("\x1b\u202e") & {*mail["html"], *mail["text"]}
    assert mail["text"].startswith("<script>alert(1)</script>](https://evil.example.org)<!channel> [2Jwwww")
    slack = json.dumps(resolve("slack", hostile).content)
    assert "<!channel>" not in slack
    assert "](https" not in json.dumps(resolve("teams", hostile).content)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


PAGES = {
    "resolution": lambda: resolve("email"),
    "hostile": lambda: resolve("email", resolution(HOSTILE, "age", alerts=(HOSTILE,))),
    "digest": lambda: combine("email"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
@pytest.mark.parametrize("kind", PAGES)
def test_a_mail_fits_its_window_and_is_readable(
    chromium: Any, tmp_path: Path, kind: str, width: int, scheme: str
) -> None:
    """With enough contrast, in light and in dark; ``SCREENSHOTS=folder`` keeps what was seen."""
    file = tmp_path / "mail.html"
    file.write_text(PAGES[kind]().content["html"].replace("<head>", "<head><title>mail</title>"), "utf-8")
    with Visit(chromium, width=width, scheme=scheme) as visit:
        visit.page.goto(file.as_uri())
        assert visit.width_overflow() <= 0
        assert visit.page.eval_on_selector_all(
            ".card", "cards => cards.every(c => c.scrollWidth <= c.clientWidth)"
        )
        assert visit.page.title() == "mail"
        if folder := os.environ.get("SCREENSHOTS"):
            visit.page.screenshot(path=f"{folder}/{kind}-{width}-{scheme}.png", full_page=True)
        assert visit.faults() == []
