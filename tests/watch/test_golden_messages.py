"""The mail about the first finding of each file of cases, beside it: ``watchers/cases/<file>.txt``.

``UPDATE_GOLDEN=1 pytest tests/watch/test_golden_messages.py`` writes them anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from logging_lib._util import content
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.evaluate import evaluate, run_dependencies
from logging_lib.watch.findings import by_model_version, findings_of, with_findings
from logging_lib.watch.loading import load_watches, with_sample_recipients
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.registry import render_settings
from logging_lib.watch.scripts import build_result
from logging_lib.watch.testing import cases, run, streams
from tests.watch.conftest import draft

CASES = content.path("watchers") / "cases"
WATCHES = {watch.id: watch for watch in with_sample_recipients(load_watches(content.path("watchers")))}
FILES = [file for file in sorted(CASES.glob("*.yml")) if "feature:" in file.read_text("utf-8")]


def render_first_mail(file: Path) -> Notification:
    """The mail about the first time at which one of the cases has findings."""
    loaded = cases.load_case_file(file)
    generator = streams.DocumentGenerator(loaded.content, file.parent)
    for case, line in zip(loaded.content.cases, loaded.lines, strict=True):
        for expected in case.expect:
            if not expected.alerts:
                continue
            watch = run._apply_case_metadata(WATCHES[loaded.content.watch], case, file, line)
            with EmbeddedStore(None) as store:
                run._load_events(store, generator, loaded, case, line)
                now = cases.START + expected.at
                dependencies = run_dependencies(AsOf(store), now=now)
                evaluation = evaluate(watch, dependencies=dependencies, now=now, scheduled=now)
            findings = findings_of(evaluation.payload) or []
            (group, *_) = by_model_version(findings).values()
            payload = with_findings(evaluation.payload, group, build_result)
            context = {"ctx": {**evaluation.context["ctx"], "payload": payload}}
            (mail,) = render_settings(watch.actions["email"], context, draft("email"))
            return mail
    raise AssertionError(f"{file}: no case has a finding")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_mail_of_the_first_finding_matches_the_golden_file(file: Path) -> None:
    golden = file.with_suffix(".txt")
    mail = render_first_mail(file)
    text = f"Subject: {mail.subject}\n\n{mail.text}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def private_terms() -> Iterator[str]:
    """Words that only this project uses, and forms of figures that messages no longer have."""
    yield from ("by chance", " in 10^", "oov", "NaN %", "held back", "None", "null", "{{", "  %")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_mail_has_no_private_terms_and_its_subject_fits_a_phone(file: Path) -> None:
    """But for the query, which has the fields' own names, and the related watches'."""
    subject, _, body = file.with_suffix(".txt").read_text("utf-8").removeprefix("Subject: ").partition("\n")
    assert len(subject) <= 90
    shown = [line for line in body.splitlines() if "Events: " not in line and "-rise" not in line]
    for term in private_terms():
        assert term not in "\n".join([subject, *shown])
