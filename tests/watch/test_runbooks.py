"""Each runbook is followed once: its commands run as they are written, on a day of the demo's loans."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib.cli.app import app
from logging_lib.demo import loans
from logging_lib.demo.run import train

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make demo`` leaves, of the day with the first incident, beside the watches."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "watchers").symlink_to(content.path("watchers"))
    out = folder / "build" / "demo"
    out.mkdir(parents=True)
    months = loans.load()
    pipeline, fitted = train(months["Jan"])
    profiles.save(fitted, out / "profile.json")
    log = logging_lib.configure(
        model=loans.MODEL, version=loans.VERSION, profile=fitted, spool=out / "spool", service="loan-pricing"
    )
    (incident,) = [each for each in loans.INCIDENTS if each.feature == "homeownership"]
    day = months["Feb"][months["Feb"][loans.TIME].dt.date == incident.onset.date()]
    requests, random = loans.requests(day), Random(1)
    answers = pipeline.predict(requests)
    for inputs, answer, moment in zip(requests, answers, day[loans.TIME], strict=True):
        if incident.is_active(moment.to_pydatetime()):
            incident.apply(inputs, random)
        log.prediction(inputs, prediction=float(answer), timestamp=moment.to_pydatetime())
    return folder


HEADINGS = [
    "What it means",
    "First steps",
    "Causes",
    "Find the events",
    "Assess the impact",
    "If it is expected",
    "Try it",
]


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_all_runbooks_have_the_same_sections_and_at_most_three_first_steps(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == HEADINGS
    steps = text.partition("## First steps\n\n")[2].partition("\n\n")[0].splitlines()
    assert 1 <= len(steps) <= 3
    for number, step in enumerate(steps, 1):
        assert re.fullmatch(rf"{number}\. [A-Z][^\n]{{10,115}}[.?]", step), step
        assert not re.search(r"\]\(|\*[A-Za-z]", step), "an alert quotes the steps as plain text"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbooks_commands_run_as_written(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    (text,) = BLOCK.findall(page.read_text("utf-8"))
    said = ""
    for line in text.splitlines():
        words = shlex.split(line)
        if words == ["make", "demo"]:
            continue
        assert words[0] == "logging-lib"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
        said += result.output
    assert page.stem in said
    if page.stem == "unseen-categories":
        assert "homeownership" in said
