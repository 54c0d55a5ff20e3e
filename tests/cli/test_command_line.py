"""The frame of all commands: options, help, usage errors, verbosity, suggestions, progress."""

from __future__ import annotations

import io
import json
import logging
import shlex
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from logging_lib.cli import output
from logging_lib.cli.app import app
from logging_lib.cli.reference import commands
from logging_lib.logger.spool import Spool
from tests.ship.conftest import fill

_FLAGS_IN_TEXT = ("<bool>", "<str>", "<path>", "<int>", "<float>", "list[")


def run(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line), prog_name="logging-lib", env={"COLUMNS": "200"})  # type: ignore[return-value]


def _options() -> list[tuple[str, Any]]:
    return [
        (name, parameter)
        for name, command in commands()
        for parameter in command.params
        if parameter.param_type_name == "option"
        and parameter.name not in ("install_completion", "show_completion")
    ]


def test_an_option_means_the_same_in_all_commands() -> None:
    """One name has one form: with a value of one metavar, or a flag."""
    forms: defaultdict[str, set[str]] = defaultdict(set)
    for _, parameter in _options():
        forms[max(parameter.opts, key=len)].add("a flag" if parameter.is_flag else parameter.metavar)
    forms["--exclude"] -= {"MARK"}  # of events, and else of columns
    assert {name: form for name, form in forms.items() if len(form) > 1} == {}


def test_each_option_says_what_it_does_and_its_form() -> None:
    for name, parameter in _options():
        assert parameter.help, (name, parameter.opts)
        assert parameter.is_flag or parameter.metavar, (name, parameter.opts)
    for name, command in commands():
        shown = run(f"{name} --help").stdout
        assert not [text for text in _FLAGS_IN_TEXT if text in shown], name
        assert "--quiet" in shown
        assert "--verbose" in shown
        assert "Example" in (command.help or ""), name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inde spool", "error: no such command 'inde'; did you mean 'index'?"),
        ("watch shwo", "error: no such command 'shwo'; did you mean 'show'?"),
        ("index spool --stroe x", "error: no such option '--stroe'; did you mean '--store'?"),
        ("index", "error: missing EVENTS; see: logging-lib index --help"),
        ("profile fit a.csv --model m", "error: missing --version; see: logging-lib profile fit --help"),
        ("demo-service x --rate 0", "error: --rate: input should be greater than or equal to 0.01"),
        ("report --format pdf --store x", "error: --format pdf: not one of html, json, md"),
        ("watch show na-spkie", "error: na-spkie: there is no watch with this id; did you mean 'na-spike'?"),
        ("watch notify-test --channel emial", "error: --channel emial: not one of email, slack"),
        ("watch history --kind alrt --state x", "did you mean 'alert'?"),
        (
            "watch backtest x --set na-spike.min_efect=1",
            "there is no 'min_efect'; did you mean 'min_effect'?",
        ),
        ("watch backtest x --set na-spik.min_effect=1", "no watch with this id; did you mean 'na-spike'?"),
        ("watch backtest x --every 5", "error: --every 5: not a duration: a whole number and a unit"),
        ("compare a.csv b.csv --min-effect smal", "did you mean 'small'?"),
        (
            "doctor --elasticsearch localhost:9200",
            "error: --elasticsearch localhost:9200: not a URL such as ",
        ),
        (
            "doctor --elasticsearch localhost:9200",
            "did you mean https://localhost:9200, or http://localhost:9200",
        ),
        ("dashboards list --kibana localhost:5601", "error: --kibana localhost:5601: not a URL such as "),
        (
            "ship . --to logstash:5044",
            "error: --to logstash:5044: a URL needs its scheme; did you mean beats://log",
        ),
        (
            "ship . --to beat://logstash",
            "error: --to beat://logstash: unknown scheme; did you mean beats://logstash?",
        ),
        ("ship . --to beats://x --timeout 5", "error: --timeout 5: not a duration"),
        ("profile fit trian.csv --model m --version 1", "trian.csv: no such file; did you mean 'train.csv'?"),
        (
            "profile fit train.csv --model m --version 1 --target incme --out new.json",
            "did you mean 'income'?",
        ),
        ("profile show train.csv", "it looks like CSV"),
        ("profile show profle.json", "error: profle.json: no such file; did you mean 'profile.json'?"),
        ("index spol --store store", "did you mean 'spool'?"),
        ("scorecard --store stroe", "error: stroe: no such folder; did you mean 'store'?"),
        ("annotate --every 1 --elasticsearch http://h", "error: --every 1: not a duration"),
        ("watch lint nothere", "nothere"),
        ("stack statsu", "did you mean 'status'?"),
    ],
)
def test_an_error_is_one_line_that_names_what_was_typed(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text("income,home\n1,a\n2,b\n")
    Path("profile.json").write_text("{}")
    Path("spool").mkdir()
    Path("store").mkdir()
    result = run(line)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_server_that_does_not_answer_is_named_without_its_libraries_words(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    fill(spool, 1)
    spool.close()
    for line in (
        "dashboards list --kibana http://127.0.0.1:1",
        f"ship {tmp_path / 'spool'} --once --to http://127.0.0.1:1",
        f"ship {tmp_path / 'spool'} --once --to es+http://127.0.0.1:1",
    ):
        said = run(line).stderr
        assert "Connection refused" in said, line
        assert not [word for word in ("Max retries", "urllib3", "ConnectionPool", "Errno") if word in said], (
            said
        )


def test_quiet_leaves_out_notes_and_verbose_adds_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text("income,home\n" + "1,a\n2,b\n" * 20)
    fit = "profile fit train.csv --model m --version 1 --force"
    assert "note: " in run(fit).stderr
    for line in (f"-q {fit}", f"{fit} -q", f"{fit} --quiet"):
        result = run(line)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "profile.json: m 1" in result.stdout
    wrong = "profile show train.csv"
    assert "Traceback" not in run(wrong).stderr
    for line in (f"-v {wrong}", f"{wrong} --verbose"):
        assert "Traceback" in run(line).stderr
    assert "note: " in run(fit).stderr  # neither stays for the next command line


def test_colors_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("inde").stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in run("inde").stderr
    monkeypatch.delenv("FORCE_COLOR")
    assert "\x1b[" not in run("inde").stderr


def test_an_elasticsearch_that_is_typed_takes_precedence_over_a_store_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGGING_LIB_STORE", str(tmp_path))
    assert "--elasticsearch h: not a URL" in run("scorecard --elasticsearch h").stderr
    assert "not both" in run(f"scorecard --elasticsearch http://h --store {tmp_path / 'other'}").stderr


def test_progress_is_shown_after_a_while_and_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_PROGRESS_AFTER", 0.1)
    for is_terminal, shown in ((True, True), (False, False)):
        stream = io.StringIO()
        monkeypatch.setattr(output, "Console", lambda **_: Console(file=stream, force_terminal=is_terminal))  # noqa: B023
        with output.progress("Reading") as report_progress:
            report_progress(1, 2)
            time.sleep(0.5)
        assert ("Reading" in stream.getvalue()) is shown
    stream = io.StringIO()
    monkeypatch.setattr(output, "Console", lambda **_: Console(file=stream, force_terminal=True))
    with output.progress("Reading"):
        pass
    assert stream.getvalue() == ""


def test_a_daemons_log_has_one_line_each_with_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    output.set_verbosity(quiet=False, verbose=False, reset=True)
    output.log_to_stderr()
    try:
        output.note("connected to\nhttps://h")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("logging_lib.watch").exception("the run broke off")
    finally:
        output.set_verbosity(quiet=False, verbose=False, reset=True)
    first, second = capsys.readouterr().err.splitlines()
    assert first[4] == "-"
    assert first[19:].startswith(" UTC INFO connected to")
    assert second[19:] == " UTC ERROR the run broke off: ValueError: two lines"
    assert not logging.getLogger().handlers or output._handler not in logging.getLogger().handlers


def test_the_json_error_document_has_no_prefix() -> None:
    result = run("watch show na-spkie --json")
    message = json.loads(result.stdout)["error"]["message"]
    assert message.startswith("na-spkie: there is no watch")


def test_status_right_after_the_start_does_not_read_like_an_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    said = run(f"ship {tmp_path} --status").stdout
    assert said.splitlines()[0] == "shipper    has never run on this spool"
    assert "waiting    0 events" in said
    spool.close()
