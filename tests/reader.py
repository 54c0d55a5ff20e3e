"""Follows a page of the documentation as a person would: in one folder, from its first block to its last.

Every kind of block and every command has its way here; what has none fails.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from logging_lib.cli.app import app
from logging_lib.cli.reference import commands
from logging_lib.dashboards.loading import parse_dashboard
from logging_lib.normalize import DeadLetter, normalize
from logging_lib.normalize.aliases import parse as parse_aliases
from logging_lib.profile.config import parse
from logging_lib.store.connection import Connection
from logging_lib.watch.generate import compile_watch
from logging_lib.watch.http import AUTHORIZATION_PREFIX as LOGIN
from logging_lib.watch.loading import load_watch, parse_watch
from logging_lib.watch.spec import parse_spec
from tests.pages import ROOT, Block

COMMANDS = dict(commands())

NOT_RUN = {
    "make check": "what a change must pass; the continuous integration runs it",
    "make test": "is this run",
    "make test-all": "is this run",
    "make bench": "takes an hour; tests/test_packaging.py looks at its parts",
    "make demo": "tests/test_packaging.py runs it and compares what the README shows of it",
    "make docs": "tests/test_site.py builds the site",
    "pip install": "tests/test_packaging.py installs the wheel; that the extra exists is looked up here",
    "docker compose": "there is no engine here; tests/test_compose.py validates the file and runs its commands",
    "python -m pytest": "is this run",
    "curl -s http://127.0.0.1:9600": "Logstash itself answers there, and there is none here",
}
"""Commands that are not run here, with the reason. That their target or extra exists is looked up."""

DIFFERS = ("logging-lib compare", "logging-lib dashboards diff", "logging-lib stack status --elasticsearch")
"""Commands that may end with 1: they did what they are for, and something differs."""

ENDLESS = {
    "--follow": "tests/store/test_annotate.py follows",
    "watch run --elasticsearch": "tests/watch/test_daemon.py runs it until it is asked to end",
    "ship /var/spool/ml": "tests/ship/test_tls.py ships so until it is asked to end",
    "demo-service": "tests/test_demo.py runs it until its limit",
    "profile learn": "needs a week of traffic, which tests/cli/test_learn.py serves",
}
"""Commands that go on until they are stopped, or need more events than the pages have.
Their words are accepted, and the named test runs them."""


class Reader:
    """Args:
    folder: where the reader is.
    environment: what the reader's shell has; ``export`` adds to it.
    addresses: what the page calls a server → where a real one is.
    kept: variables that an ``export`` of the page does not change, since they lead to the real servers.
    connection: to the Elasticsearch that stands for the page's, where it names one.
    """

    def __init__(
        self,
        folder: Path,
        environment: pytest.MonkeyPatch,
        *,
        addresses: dict[str, str],
        kept: frozenset[str] = frozenset(),
        connection: Connection | None = None,
        names: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.folder = folder
        self.output = ""
        self._environment = environment
        self._addresses = addresses
        self._kept = kept
        self._connection = connection
        self._names = names

    def follow(self, block: Block) -> None:
        """Raises AssertionError where the block does not do what the page says, or nobody knows how to run it."""
        way = {
            "sh": self._sh,
            "python": self._python,
            "yaml": self._yaml,
            "json": self._json,
            "http": self._http,
            "ini": self._ini,
            "crontab": self._crontab,
            "text": self._text,
        }.get(block.kind)
        assert way is not None, f"{block}: no test runs a block of kind {block.kind or 'none'!r}"
        text = block.text
        for here, there in self._addresses.items():
            text = text.replace(here, there)
        try:
            way(text)
        except AssertionError as failure:
            raise AssertionError(f"{block}: {failure}") from failure

    # -- commands ------------------------------------------------------------------------------------------

    def _sh(self, text: str) -> None:
        self.output = ""
        for line in text.replace("\\\n", " ").splitlines():
            self._line(line)

    def _line(self, line: str) -> None:
        command, _, remark = line.partition(" #")
        wanted = {0, *map(int, re.findall(r"exit code (\d)", remark))}
        if any(known in line for known in DIFFERS):
            wanted.add(1)
        for part in re.split(r"\s+&&\s+", command):
            words = shlex.split(part, comments=True)
            if words:
                self._command(words, part, wanted)

    def _command(self, words: list[str], line: str, wanted: set[int]) -> None:
        if words[0] == "export":
            variable, _, value = words[1].partition("=")
            assert re.fullmatch(r"LOGGING_LIB_[A-Z_]+", variable), line
            if variable not in self._kept:
                assert value != "...", f"{line}: the test has to say what stands for it"
                self._environment.setenv(variable, value)
        elif words[0] == "cd":
            self.folder = self.folder / words[1]
            assert self.folder.is_dir(), line
            self._environment.chdir(self.folder)
        elif words[0] == "logging-lib":
            self._ours(words[1:], line, wanted)
        elif reason := next((why for known, why in NOT_RUN.items() if line.strip().startswith(known)), None):
            _look_up(words, line, reason)
        elif words[0] == "promtool" and shutil.which("promtool") is None:
            pytest.skip("NO PROMTOOL COMMAND WAS RUN: it is not on PATH")
        elif words[0] == "bin/logstash-keystore" and shutil.which("logstash") is None:
            pass  # the rest of the page needs no Logstash; tests/pipelines/test_logstash.py is skipped, too
        elif words[:2] == ["curl", "-d"]:
            # A real Logstash gets it in tests/pipelines/test_logstash.py; here, its twin.
            assert not isinstance(normalize(words[2].encode(), now=datetime.now(UTC)), DeadLetter), line
        elif words[0] in ("promtool", "cp", "cat", "sh", "git", "python", "tail") or words[:2] == [
            "curl",
            "-s",
        ]:
            self._shell(line)
        else:
            raise AssertionError(f"no test knows how to run: {line}")

    def _ours(self, words: list[str], line: str, wanted: set[int]) -> None:
        if any(known in line for known in ENDLESS):
            accepted(words)
            return
        result = CliRunner().invoke(app, words)
        unexpected = result.exception if not isinstance(result.exception, SystemExit) else None
        assert result.exit_code in wanted, f"{line}\n{result.output}\n{unexpected!r}"
        self.output += result.output

    def _shell(self, line: str) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-ec", line], cwd=self.folder, env={**os.environ, "PATH": path}, capture_output=True,
            text=True, timeout=1000, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.output += done.stdout

    # -- code and documents --------------------------------------------------------------------------------

    def _python(self, text: str) -> None:
        names = self._names()
        exec(compile(text, "documentation", "exec"), names)
        if text.count("price(") == 1:  # shown, and left to the reader to call
            assert names["price"]({"annual_income": 50000.0, "homeownership": "RENT"}) == 9.5

    def _yaml(self, text: str) -> None:
        document = yaml.safe_load(text)
        if "cases" in document:
            file = self.folder / "watchers" / "cases" / "of-the-page.yml"
            file.write_text(text, "utf-8")
            self._line(f"logging-lib watch test {file}")
        elif "panels" in document:
            parse_dashboard(text, id="of-the-page")
        elif "kind" in document:
            parse_watch(compile_watch(parse_spec(text, id="of-the-page"), {}, 20), id="of-the-page")
        elif "extend" in document:
            assert parse_aliases(text.encode(), "of-the-page.yml").sources
        else:
            parse(document)
            command = re.search(r"# (profile\.yml): (logging-lib profile fit) \.\.\. (.*)", text)
            assert command is not None, "the page does not say how the file is used"
            (self.folder / command[1]).write_text(text, "utf-8")
            self._line(f"{command[2]} wide.csv --model loans --version 3 {command[3]} -o build/made.json")

    def _json(self, text: str) -> None:
        document = json.loads(text)
        assert {"condition", "actions"} & document.keys(), "no test knows what this document is"
        watch = json.loads((ROOT / "watchers" / "no-traffic.json").read_text("utf-8"))
        file = self.folder / "of-the-page.json"
        file.write_text(json.dumps({**watch, **document}), "utf-8")
        load_watch(file)

    def _http(self, text: str) -> None:
        """``METHOD /path`` and a body, as Kibana's console has it, put to a real Elasticsearch."""
        (method, path), body = text.partition("\n")[0].split(), text.partition("\n")[2]
        assert self._connection is not None, "the page names no Elasticsearch"
        answer = self._connection.call(method, path, json.loads(body))
        if path.endswith("/_search"):
            assert answer["_shards"]["failed"] == 0
            assert answer["_shards"]["total"], "the search found no index"
            assert answer["aggregations"]
        else:
            assert answer["encoded"]
        self.output = json.dumps(answer)

    def _ini(self, text: str) -> None:
        if text.startswith("["):
            unit = configparser.ConfigParser(strict=False, interpolation=None)
            unit.optionxform = str  # type: ignore[assignment,method-assign]
            unit.read_string(text)
            command = shlex.split(unit["Service"]["ExecStart"])
            assert Path(command[0]).name == "logging-lib"
            accepted(command[1:])
            return
        known = (ROOT / "docs" / "reference" / "configuration.md").read_text("utf-8")
        for line in text.splitlines():
            variable = line.partition("=")[0]
            if variable.startswith(LOGIN):  # the rest is the name of a host
                assert re.fullmatch(rf"{LOGIN}[A-Z0-9_]+", variable), line
            else:
                assert f"`{variable}`" in known, f"{variable} is not a variable of ours"

    def _text(self, text: str) -> None:
        """What the commands of the block before it print: each line, whatever its indentation."""
        assert self.output, "it shows an output, and no command stands before it"
        printed = " ".join(self.output.split())
        for line in text.splitlines():
            shown = " ".join(line.split())
            assert shown in printed, f"{shown!r} is not in what is printed:\n{self.output}"

    def _crontab(self, text: str) -> None:
        for line in text.splitlines():
            if re.match(r"[A-Z_]+=", line):
                self._line(f"export {line}")
                continue
            *when, command = line.split(maxsplit=5)
            assert all(re.fullmatch(r"[\d*/,-]+", part) for part in when), line
            self._line(command)


def _look_up(words: list[str], line: str, reason: str) -> None:
    """What is not run here at least names what exists."""
    assert reason
    if words[0] == "make":
        targets = (ROOT / "Makefile").read_text("utf-8")
        assert all(re.search(rf"^{target}:", targets, re.MULTILINE) for target in words[1:]), line
    if words[0] == "pip":
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        for extra in re.findall(r"\[(.*?)\]", line):
            assert extra in setup["options.extras_require"], line


def accepted(words: list[str]) -> None:
    """Raises where the command line would not take these words; runs nothing."""
    name = max(
        (name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len, default=None
    )
    assert name is not None, f"no command: {words}"
    COMMANDS[name].make_context(name, words[len(name.split()) :])
