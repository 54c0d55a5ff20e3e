"""Documentation that cannot go stale: a reader follows every page, block by block, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile
from logging_lib.cli.app import app
from logging_lib.demo.receivers import Receivers
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings
from tests.dashboards import fake_kibana
from tests.pages import DRAWINGS, PAGES, ROOT, Block, blocks, elsewhere, name
from tests.reader import ENDLESS, NOT_RUN, Reader
from tests.stack.logstash_api import answers, serving

ELASTICSEARCH = ("https://localhost:9200", "https://es.example.org:9200")
KIBANA = ("https://localhost:5601", "https://kibana:5601")
LOGSTASH = "localhost:9600"
SLACK = "https://hooks.slack.com/services/..."
MAIL = "smtp+starttls://mail.example.org:587"
FOLLOWED = [page for page in PAGES if elsewhere(page) is None and any(blocks(page))]


def usage(block: Block) -> bool:
    """The reference shows how a command is called; tests/test_site.py compares that with the code."""
    return block.page == "docs/reference/commands.md" and block.kind == "text"


def drawing(block: Block) -> bool:
    return block.kind in ("", "text") and block.text.strip().startswith(DRAWINGS.get(block.page, "\0"))


def shown(block: Block) -> bool:
    """What is not a command: the demo's output, compared in tests/test_packaging.py; the folders of the project,
    below; formulas, in tests/test_sizing.py."""
    return (block.page, block.kind) in (
        ("README.md", ""),
        ("docs/design.md", ""),
        ("docs/sizing.md", "text"),
    )


@pytest.fixture
def kibana() -> Iterator[fake_kibana.Server]:
    with fake_kibana.running(fake_kibana.Server()) as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the reader has it: a checkout's content, training data, a profile, a spool with events."""
    monkeypatch.chdir(tmp_path)
    rows = 2000
    frame = pd.DataFrame(
        {
            "annual_income": [30000.0 + i % 200 * 500 for i in range(rows)],
            "homeownership": ["RENT", "OWN"] * (rows // 2),
            "interest_rate": [8.0 + i % 200 / 20 for i in range(rows)],
            "issued_at": pd.date_range("2018-01-01", periods=rows, freq="h").astype(str),
        }
    )
    frame.to_csv("train.csv", index=False)
    frame.to_parquet("train.parquet")
    frame.to_parquet("last-week.parquet")
    frame.assign(row_number=range(rows), loan_amount=5000 + frame.index, zip="941xx", ssn="n/a").to_csv(
        "wide.csv", index=False
    )
    fitted = profile.fit(frame, model="loans", version="3", target="interest_rate")
    profile.save(fitted, "profile.json")
    log = logging_lib.configure(model="loans", version="3", profile=fitted, spool="spool")
    event = {"event_id": "0195d3b2-7c1e-7a44-9b1a-3f0c2d5e6f70", "subject": "customer-7"}
    for i in range(3):
        inputs = {"annual_income": 50000.0 + i, "homeownership": "RENT"}
        log.prediction(inputs, prediction=9.5, request_id=f"r{i}", **({} if i else event))
    shadow = logging_lib.configure(
        model="loans", version="4", role="shadow", profile=fitted, spool="spool", service="shadow"
    )
    shadow.prediction(inputs, prediction=9.6, request_id="r2")
    served = pd.DataFrame({"request_id": ["r0", "r1", "r2"]})
    features = pd.DataFrame(
        {
            "request_id": ["r0", "r1", "r2", "earlier", *(f"na-{i}" for i in range(200))],
            "annual_income": [50000.0, 50001.0, 50002.0, 50000.0, *([50000.0, None] * 100)],
            "homeownership": "RENT",
        }
    )
    features.to_csv("features.csv", index=False)
    features.to_parquet("features.parquet")
    served.assign(actual=[9.0, 10.0, 9.5]).to_csv("labels.csv", index=False)
    stored = CliRunner().invoke(
        app, ["index", "spool", "--store", "build/store", "--profile", "profile.json"]
    )
    assert stored.exit_code == 0, stored.output
    Path("alerts.jsonl").touch()
    shutil.copytree(ROOT / "watchers", "watchers", ignore=shutil.ignore_patterns("cases"))
    for folder in ("docker", "examples/prometheus", "pipelines", "watchers/cases/profiles"):
        shutil.copytree(ROOT / folder, folder)
    shutil.copy(ROOT / ".env.example", ".")
    Path("tests/pipelines").mkdir(parents=True)
    for file in ("__init__.py", "pipelines/__init__.py", "pipelines/cases.py"):
        shutil.copy(ROOT / "tests" / file, f"tests/{file}")
    subprocess.run(["git", "init", "--quiet"], check=True)
    shutil.copy(ROOT / "watchers" / "cases" / "dead-letters.yml", "watchers/cases")
    return tmp_path


def index_earlier(desk: Path) -> None:
    """A prediction of two days ago, for pages that compare two periods."""
    log = logging_lib.configure(model="loans", version="3", profile="profile.json", spool="spool-earlier")
    inputs = {"annual_income": 50000.0, "homeownership": "RENT"}
    moment = datetime.now(UTC) - timedelta(days=2)
    log.prediction(inputs, prediction=9.5, request_id="earlier", timestamp=moment)
    stored = CliRunner().invoke(app, ["index", "spool-earlier", "--store", "build/store"])
    assert stored.exit_code == 0, stored.output


def open_incident(desk: Path) -> None:
    """What the watch runner's page acknowledges: a feature goes missing, and a run finds it."""
    log = logging_lib.configure(model="loans", version="3", profile="profile.json", spool="spool-na")
    for i in range(200):
        income = None if i % 2 else 50000.0
        log.prediction(
            {"annual_income": income, "homeownership": "RENT"}, prediction=9.5, request_id=f"na-{i}"
        )
    with Receivers(desk / "before") as people:
        smtp_url, recipients = (people.settings[f"LOGGING_LIB_{name}"] for name in ("SMTP_URL", "EMAIL_TO"))
        for command in (
            "index spool-na --store build/store",
            f"watch run --store build/store --watch na-spike --once --smtp-url {smtp_url}",
        ):
            done = CliRunner(env={"LOGGING_LIB_EMAIL_TO": recipients}).invoke(app, command.split())
            assert done.exit_code == 0, done.output


def all_of_it(desk: Path) -> None:
    """The reference's commands stand in the order of the alphabet, not in that of life."""
    index_earlier(desk)
    open_incident(desk)
    labels = "labels ingest labels.csv --model loans --store build/store"
    assert CliRunner().invoke(app, labels.split()).exit_code == 0
    Path("pipeline").mkdir()
    Path("pipeline", "features.py").write_text(
        "def compute(events):\n    return events.rename(columns={'@ml.request.id': 'request_id'})\n"
    )


BEFORE = {
    "docs/reference/commands.md": all_of_it,
    "docs/watch-runner.md": open_incident,
    "docs/watches.md": open_incident,
}


class Model:
    def predict(self, inputs: Any) -> float:
        return 9.5


def asks(page: Path) -> bool:
    """Whether a page names an Elasticsearch."""
    return any(
        block.kind == "http" or address in block.text for block in blocks(page) for address in ELASTICSEARCH
    )


def needs(page: Path) -> list[pytest.MarkDecorator]:
    """An Elasticsearch where the page names one; the reference follows every command, which takes long."""
    slow = [pytest.mark.slow] if page.name == "commands.md" else []
    return slow + ([pytest.mark.elasticsearch(secured=True)] if asks(page) else [])


@pytest.fixture
def server(page: Path, request: pytest.FixtureRequest) -> ConnectionSettings | None:
    """The Elasticsearch that stands for the page's, without what other tests left in it."""
    if not asks(page):
        return None
    settings: ConnectionSettings = request.getfixturevalue("secured")
    with Connection(settings, timeout=600) as connection:
        everything, done = {"query": {"match_all": {}}}, {"conflicts": "proceed", "refresh": "true"}
        connection.call("POST", "/logs-ml.*-*,ml-*/_delete_by_query", everything, params=done)
    return settings


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page), marks=needs(page)) for page in FOLLOWED])
def test_a_page_is_followed(
    page: Path,
    server: ConnectionSettings | None,
    desk: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a page names an Elasticsearch, a real one stands for it, with our stack in it; for a mail server and
    Slack, receivers; for a Kibana or a Logstash, a server that answers as it does."""
    found = list(blocks(page))
    text = "\n".join(block.text for block in found)
    addresses: dict[str, str] = {}
    kept: set[str] = set()
    connection = None
    if server is not None:
        for part, value in (("URL", server.url), ("USER", server.user), ("PASSWORD", server.password)):
            monkeypatch.setenv(PREFIX + part, str(value))
        kept |= {PREFIX + part for part in ("URL", "USER", "PASSWORD", "API_KEY", "CA")}
        secret = f"{server.user}:{server.password}@"
        addresses |= {
            f"es+{ELASTICSEARCH[0]}": "es+" + server.url.replace("://", f"://{secret}"),
            " --ca http_ca.crt": "",
        }
        addresses |= dict.fromkeys(ELASTICSEARCH, server.url)
        connection = Connection(server, timeout=600)
        for command in ("stack deploy --force", "index spool", "profile publish profile.json"):
            ready = CliRunner().invoke(app, command.split())
            assert ready.exit_code == 0, ready.output
    if any(address in text for address in KIBANA):
        url = request.getfixturevalue("kibana").url
        addresses |= dict.fromkeys(KIBANA, url)
        kept.add("LOGGING_LIB_KIBANA_API_KEY")
        monkeypatch.setenv("LOGGING_LIB_KIBANA_URL", url)
        if page.name == "commands.md":  # an order of the alphabet, where `export` stands before `import`
            assert CliRunner().invoke(app, ["dashboards", "import"]).exit_code == 0
    BEFORE.get(name(page), lambda _: None)(desk)
    (desk / "etc" / "logstash").mkdir(parents=True)
    (desk / "srv" / "loans").mkdir(parents=True)
    (desk / "build" / "demo").mkdir(parents=True)
    (desk / "build" / "demo" / "store").symlink_to(desk / "build" / "store")
    days = [f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}" for ago in (3, 1)]
    addresses |= {"/etc/logstash": f"{desk}/etc/logstash", "cd /srv/loans": f"cd {desk}"}
    addresses |= dict(zip(("2018-02-01", "2018-03-01"), days, strict=True))
    with Receivers(desk / "received") as people, serving(answers()) as logstash:
        addresses[LOGSTASH] = logstash.removeprefix("http://")
        urls = people.settings
        addresses |= {SLACK: urls["LOGGING_LIB_SLACK_WEBHOOK"], MAIL: urls["LOGGING_LIB_SMTP_URL"]}
        if page.name == "commands.md":  # it says of each command that the environment configures its channel
            monkeypatch.setenv("LOGGING_LIB_SMTP_URL", urls["LOGGING_LIB_SMTP_URL"])
            monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", urls["LOGGING_LIB_EMAIL_TO"])
        reader = Reader(
            desk, monkeypatch, addresses=addresses, kept=frozenset(kept), connection=connection,
            names=lambda: {"model": Model()},
        )  # fmt: skip
        for block in found:
            if not (drawing(block) or shown(block) or usage(block)):
                reader.follow(block)
    if connection is not None:
        connection.close()
        if "stack destroy" in text:
            assert CliRunner().invoke(app, ["stack", "deploy", "--force"]).exit_code == 0


def test_every_page_is_followed_and_no_code_hides_from_it() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert {*tracked} <= {*map(name, PAGES), "CHANGELOG.md", ".github/pull_request_template.md"}
    for page in PAGES:
        test = elsewhere(page)
        if test is not None:
            code = (ROOT / test).read_text("utf-8")
            assert page.name in code or 'glob("*.md")' in code, f"{test} does not follow {name(page)}"
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        hidden = re.search(r"\n\n {4}(?! *[-*0-9|])\S.*", prose)
        assert hidden is None or page.name == "CHANGELOG.md", f"{name(page)}: fence the block {hidden}"


def test_every_exception_of_the_page_check_is_still_needed() -> None:
    text = {name(page): page.read_text("utf-8") for page in PAGES}
    for page, beginning in DRAWINGS.items():
        assert beginning in text[page], page
    everything = "\n".join(text.values())
    for command in (*NOT_RUN, *ENDLESS):
        assert command in everything, f"no page says {command!r} any more: take it from the exceptions"


def test_the_design_page_names_the_existing_folders() -> None:
    (tree,) = [block for block in blocks(ROOT / "docs" / "design.md") if "the facade" in block.text]
    for line in tree.text.splitlines():
        inside = line.startswith("  ")
        for entry in re.split(r" {3,}", line.strip())[0].split():
            assert (ROOT / ("logging_lib" if inside else "") / entry).exists(), entry


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_an_existing_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_watch_has_a_runbook_and_a_row() -> None:
    listed = (ROOT / "docs" / "watches.md").read_text("utf-8")
    rows = (ROOT / "watchers" / "README.md").read_text("utf-8")
    for watch in (ROOT / "watchers").glob("*.json"):
        assert (ROOT / "docs" / "runbooks" / f"{watch.stem}.md").exists()
        assert f"[{watch.stem}]" in listed
        assert f"| `{watch.stem}` |" in rows
