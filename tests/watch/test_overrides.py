"""Other settings for a watch, and the page that shows what they would have done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from logging_lib._util import content
from logging_lib.watch.backtest.backtest import Backtest
from logging_lib.watch.backtest.page import render_page
from logging_lib.watch.errors import WatchError
from logging_lib.watch.loading import load_watches
from logging_lib.watch.overrides import OverrideError, apply_overrides, compare_metadata
from logging_lib.watch.results import Alert
from tests.watch.conftest import notification

WATCHES = load_watches(content.path("watchers"))
START = datetime(2018, 2, 1, tzinfo=UTC)


def test_a_setting_takes_the_type_of_the_existing_value() -> None:
    """Numbers, texts, lists and places within them; only what is named changes."""
    settings = [
        "na-spike.min_effect=0.05", 'na-spike.windows=["5m", "1h", "6h", "24h"]', "no-traffic.window=9d",
        "dead-letters.groups.0.limits.0.above=25", "na-spike.model=7",
    ]  # fmt: skip
    changed = apply_overrides(WATCHES, settings)
    assert compare_metadata(WATCHES, changed) == {
        "na-spike": {
            "model": ("*", "7"),
            "windows": (["15m", "1h", "6h", "24h"], ["5m", "1h", "6h", "24h"]),
            "min_effect": (0.02, 0.05),
        },
        "no-traffic": {"window": ("8d", "9d")},
        "dead-letters": {
            "groups": tuple(watch.metadata["groups"] for watch in (by_id("dead-letters"), changed[-1]))
        },
    }
    assert changed[-1].metadata["groups"][0]["limits"][0]["above"] == 25
    assert by_id("na-spike").metadata["min_effect"] == 0.02
    assert apply_overrides(WATCHES, []) == []


def by_id(name: str) -> object:
    return next(watch for watch in WATCHES if watch.id == name)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("na-spike", "not WATCH.KEY=VALUE"),
        ("na-spike.min_effect", "not WATCH.KEY=VALUE"),
        ("na.min_effect=1", "there is no watch with this id"),
        ("na-spike.min_efect=1", "there is no 'min_efect'; did you mean 'min_effect'?"),
        ("na-spike.windows.9=1h", "there is no '9'; there are: 0 to 3"),
        ("na-spike.min_effect.x=1", "there is no 'x'; there are: nothing below it"),
        ("na-spike.min_effect=much", "'much' is not a number, such as 0.02"),
        ("na-spike.min_effect=NaN", "'NaN' is not a number"),
        ("na-spike.min_effect=true", "'true' is not a number"),
        ("na-spike.windows=1h", "'1h' is not a list"),
    ],
)
def test_an_impossible_setting_is_refused(setting: str, message: str) -> None:
    """By name, with what there is."""
    with pytest.raises(OverrideError) as refused:
        apply_overrides(WATCHES, [setting])
    assert message in str(refused.value)


def test_a_setting_is_checked_as_at_load() -> None:
    """The message names the place in the watch."""
    with pytest.raises(WatchError, match=r"--set: \$\.metadata\.windows\[1\]: '1h' is not longer"):
        apply_overrides(WATCHES, ["na-spike.windows.0=5h"])
    with pytest.raises(WatchError, match=r"\$\.metadata\.min_hits: 0: write a whole number"):
        apply_overrides(WATCHES, ["na-spike.min_hits=0"])


def alert(hours: float, watch: str, subject: str) -> Alert:
    actions = (notification("email", to=["a@x.org"], subject=subject, status="executed", features=("a",)),)
    finding = {"model": "<m>", "version": "1", "feature": "a"}
    return Alert(START + timedelta(hours=hours), watch, "NA", "<m>", "1", (finding,), actions)


def result(*alerts: Alert, watches: tuple[str, ...] = ("na-spike", "uptime")) -> Backtest:
    return Backtest(watches, START, START + timedelta(days=4), 1153, alerts, {("uptime", "<b>"): 3})


def test_a_backtest_shows_alerts_per_day() -> None:
    """Each day of the span has its count, days without an alert too."""
    backtest_result = result(alert(1, "na-spike", "x"), alert(2, "na-spike", "y"), alert(50, "na-spike", "z"))
    assert backtest_result.alerts_a_day("na-spike") == [2, 0, 1, 0, 0]
    assert backtest_result.mean_a_day("na-spike") == 0.75
    assert backtest_result.document()["alerts_a_day"] == {
        "na-spike": {"mean": 0.75, "days": {"2018-02-01": 2, "2018-02-03": 1}},
        "uptime": {"mean": 0.0, "days": {}},
    }


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_both_and_escapes_all() -> None:
    """What a log carries is text there, and nothing is loaded from elsewhere."""
    hostile = "</title><script>alert(1)</script>\x1b[2J"
    as_is = result(alert(1, "na-spike", hostile), alert(30, "na-spike", "b"))
    what_if = result(alert(1, "na-spike", "c"), watches=("na-spike",))
    text = render_page(
        as_is, events=1234, now=START, what_if=what_if, changes={"na-spike": {"min_effect": (0.02, "<i>")}}
    )
    read = Tags(text)
    assert read.tags.count("circle") == 3
    assert "script" not in read.tags
    assert "i" not in read.tags
    assert "alert(1)" in read.text
    assert "\x1b" not in text
    assert "uptime: 3 runs failed: <b>" in read.text
    assert "1,234 events" in read.text
    assert "http" not in text.replace("http-equiv", "")
