"""The documentation as a whole: the site builds and needs no network, the reference is the code's, no command is
without a page, an example and JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib.cli import reference
from logging_lib.cli.app import app
from tests import public
from tests.browser import Visit, launched
from tests.pages import PAGES, blocks
from tests.reader import accepted

ROOT = Path(__file__).parents[1]
COMMANDS = dict(reference.commands())
WITHOUT_JSON = {"dashboards preview", "demo", "demo-service"}
"""They show something to people."""
OURS = re.compile(r"(?:^|&& )logging-lib (.*)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        text = page.read_text("utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            if 'rel="canonical"' not in tag:
                assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), f"{page}: {tag}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import )["']?(?:https?:)?//""", sheet.read_text("utf-8")), sheet


def test_the_python_api_shows_every_public_name_with_its_text(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text("utf-8")
    for name in public.names():
        assert f'id="{name}"' in text, name
    assert str(logging_lib.configure.__doc__).partition(".")[0] in text
    assert ":::" not in text
    assert "::</p>" not in text


def navigation() -> list[str]:
    """The pages in the navigation, in order."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    return re.findall(r"^ +- [^\n:]+: (\S+\.md)$", text.partition("\nnav:\n")[2], re.MULTILINE)


def test_the_navigation_is_short_and_leads_to_every_page(site: Path) -> None:
    """At most 25 pages; each other page is one click from one of these, a runbook or a decision from its list."""
    pages = navigation()
    assert len(pages) == len(set(pages)) <= 25
    reached = {*pages, "adr/index.md"}
    for page in [*pages, "adr/index.md"]:
        text = (site / page.removesuffix(".md")).with_suffix(".html").read_text("utf-8")
        article = text.partition("<article")[2].partition("</article>")[0]
        links = re.findall(r'href="([^"#:]+)\.html[#"]', article)
        reached |= {os.path.normpath(Path(page).parent / link) + ".md" for link in links}
    found = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert found - reached == set()


def test_the_navigation_has_the_four_kinds_of_documentation(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    tabs = re.findall(r'<li class="md-tabs__item[^"]*">.*?<a [^>]*>\s*(.*?)\s*</a>', home, re.DOTALL)
    assert tabs == ["Home", "Tutorials", "How-to guides", "Reference", "Explanation"]


@pytest.mark.parametrize("page", ["index.html", "runbooks/na-spike.html"])
def test_the_search_works_without_a_server(site: Path, page: str) -> None:
    """A browser starts no worker for a page of a file; the search works all the same, and asks no network."""
    with launched() as browser, Visit(browser) as visit:
        visit.page.goto((site / page).as_uri())
        field = visit.page.locator("input.md-search__input")
        field.click()
        field.press_sequentially("beta-binomial")
        first = visit.page.locator(".md-search-result__link").first
        first.wait_for()
        first.click()
        visit.page.wait_for_url("**/*.html*")
        assert "beta-binomial" in visit.page.locator("article").inner_text().lower()
        assert visit.beyond(site.as_uri()) == []
        assert visit.said == []


def test_the_reference_is_up_to_date() -> None:
    for name, text in reference.outputs(ROOT).items():
        assert (ROOT / name).read_text("utf-8") == text, f"{name}: run `make generate`"


def test_the_reference_names_every_command_and_option() -> None:
    page = reference.command_page()
    of_all = page.partition("\n## ")[0]
    for name, command in COMMANDS.items():
        section = page.partition(f"{{ #{name.replace(' ', '-')} }}")[2].partition("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help" and not parameter.hidden:
                assert parameter.opts[0] in section or f"`{parameter.opts[0]}`" in of_all, (
                    f"{name} {parameter.opts[0]}"
                )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_that_uses_it(name: str) -> None:
    pages = [page for page in PAGES if page.parent.name != "reference"]
    pages += [ROOT / folder / "README.md" for folder in ("kibana_dashboards", "pipelines", "watchers")]
    alone = rf"|`{name}\b" if " " in name else ""
    used = re.compile(rf"(?:logging-lib|make) {name}\b{alone}")
    assert any(used.search(page.read_text("utf-8")) for page in pages), f"no page says what {name} is for"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_json(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    text = COMMANDS[name].help or ""
    assert text.strip(), name
    if name not in WITHOUT_JSON:
        assert "Example" in text, f"{name}: give its help an example"
        options = {flag for parameter in COMMANDS[name].params for flag in parameter.opts}
        assert options & {"--json", "--format"}, f"{name}: give it --json"


WRONG = {
    "--store": "no-such-folder",
    "--elasticsearch": "ftp://nowhere",
    "--kibana": "ftp://nowhere",
    "--model": "no-such-model",
    "--version": "0",
    "--to": "nowhere.txt",
    "--out": "nowhere.txt",
    "--channel": "nobody",
    "--subject": "nobody",
    "--watches": "no-such-folder",
    "--specs": "no-such-folder",
}
"""Wrong input of every kind, so that each command finds one that it refuses."""


def refused(name: str) -> list[str]:
    """A command's words with wrong input."""
    words = name.split()
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument" and (parameter.required or name == "init"):
            words.append("no-such-file.csv")
        for flag in parameter.opts:
            if flag in WRONG and not (flag == "--elasticsearch" and "--store" in words):
                words += [flag, WRONG[flag]]
    if name == "report":
        return [*words, "--format", "json"]
    return [*words, "--json", *(["--status"] if name == "ship" else [])]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_JSON])
def test_an_error_is_json_with_the_option_json(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = name in ("watch lint", "watch test")
    words = [*name.split(), "no-such-file", "--json"] if files else refused(name)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, f"{words}: {done.output} {done.exception!r}"
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 2
    assert error["message"]
    assert error["message"].splitlines()[0] in done.stderr


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"logging-lib {logging_lib.__version__}\n"


def test_a_wrong_option_or_command_ends_with_2() -> None:
    for words in (["profile", "fit", "--no-such-option"], ["no-such-command"], ["profile", "no-such"]):
        assert CliRunner().invoke(app, words).exit_code == 2


def command_lines() -> list[Any]:
    """``logging-lib ...`` in the pages that a test of their own follows, and in the examples of the help texts."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            lines = block.text.replace("\\\n", " ").splitlines()
            found += [(str(block), match) for line in lines for match in OURS.findall(line.strip())]
    for name, command in COMMANDS.items():
        for match in re.findall(r"Examples?:(.*?)(?:\n\n|\Z)", command.help or "", re.DOTALL):
            joined = " ".join(match.split())
            found += [
                (name, part.removeprefix("logging-lib ")) for part in re.split(r"\s+(?=logging-lib )", joined)
            ]
    return [
        pytest.param(line.partition(" && ")[0].strip(" ;"), id=f"{where}: {line[:50]}")
        for where, line in found
    ]


@pytest.mark.parametrize("line", command_lines())
def test_every_documented_command_is_accepted(line: str) -> None:
    if "[OPTIONS]" not in line:
        accepted(shlex.split(line, comments=True))
