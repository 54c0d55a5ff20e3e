"""``docs/quickstart.md``, followed from first line to last: a model, the embedded store and a real Elasticsearch,
a real mail server and a receiver of Slack's messages."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import orjson
import pandas as pd
import pytest

from logging_lib.demo.receivers import Receivers
from logging_lib.store.connection import PREFIX, Connection, ConnectionSettings
from tests.examples.conftest import ROOT
from tests.pages import Block, blocks
from tests.reader import Reader

PAGE = ROOT / "docs" / "quickstart.md"
ELASTICSEARCH = PAGE.read_text("utf-8").partition("\n## With Elasticsearch")[0].count("\n") + 1
"""The line from which on the page needs an Elasticsearch."""


def follow(
    page: list[Block], folder: Path, environment: pytest.MonkeyPatch, addresses: dict[str, str]
) -> Reader:
    environment.chdir(folder)
    environment.setenv("PYTHONPATH", str(ROOT))
    kept = frozenset(PREFIX + part for part in ("URL", "USER", "PASSWORD", "CA"))
    reader = Reader(
        folder, environment, addresses=addresses, kept=kept if PREFIX in str(page) else frozenset()
    )
    for block in page:
        if block.kind == "python":
            (folder / block.text.split()[1]).write_text(block.text, "utf-8")
        elif not block.text.startswith("*Unseen categories*"):  # what Slack shows
            reader.follow(block)
    return reader


def received(people: Path) -> tuple[list[str], list[EmailMessage]]:
    """What Slack and the mail server got."""
    posts = [
        str(orjson.loads(line).get("text")) for line in (people / "slack.jsonl").read_bytes().splitlines()
    ]
    files = sorted((people / "mail").glob("*.eml"))
    mails = [message_from_bytes(file.read_bytes(), policy=default) for file in files]
    return posts, mails  # type: ignore[return-value]


def addresses_of(people: Receivers) -> dict[str, str]:
    return {
        "https://hooks.slack.com/services/...": people.settings["LOGGING_LIB_SLACK_WEBHOOK"],
        "smtp+starttls://mail.example.org:587": people.settings["LOGGING_LIB_SMTP_URL"],
    }


def test_the_page_leads_to_an_alert_on_a_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "loans"
    folder.mkdir()
    rows = 500
    pd.DataFrame(
        {
            "annual_income": [30_000.0 + i * 200 for i in range(rows)],
            "homeownership": ["RENT", "OWN"] * (rows // 2),
            "interest_rate": [8.0 + i / 20 for i in range(rows)],
        }
    ).to_csv(folder / "train.csv", index=False)
    page = [block for block in blocks(PAGE) if block.line < ELASTICSEARCH]
    with Receivers(tmp_path / "received") as people:
        follow(page, folder, monkeypatch, {**addresses_of(people), "cd /srv/loans": f"cd {folder}"})
    posts, mails = received(tmp_path / "received")
    assert any("homeownership" in post for post in posts)
    assert {mail["to"] for mail in mails} == {"team@example.org"}
    assert "loans v3: homeownership 25.0 % unseen (expected 0 %)" in [mail["subject"] for mail in mails]
    assert (folder / "report.html").exists()
    assert {"profile.yml", "prediction_service.py", ".env"} <= {file.name for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.elasticsearch(secured=True)
def test_the_page_leads_to_an_alert_on_elasticsearch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secured: ConnectionSettings
) -> None:
    model = "first-alert"  # no other test's
    page = [block for block in blocks(PAGE) if block.kind == "python" or block.line > ELASTICSEARCH]
    trained = Block("docs/quickstart.md", 0, "sh", "python train.py\npython serve.py\n")
    page = [*page[:2], trained, *page[2:]]
    for part, value in (("URL", secured.url), ("USER", secured.user), ("PASSWORD", secured.password)):
        monkeypatch.setenv(PREFIX + part, str(value))
    with Receivers(tmp_path / "received") as people:
        for name, value in people.settings.items():
            monkeypatch.setenv(name, value)
        addresses = {
            "logging-lib doctor": "logging-lib doctor # exit code 1",
            "stack deploy": "stack deploy --force",
        }
        page = [
            Block(block.page, block.line, block.kind, block.text.replace('model="loans"', f'model="{model}"'))
            for block in page
        ]
        follow(page, tmp_path, monkeypatch, addresses)
    posts, mails = received(tmp_path / "received")
    (post,) = [post for post in posts if model in post]
    shown = page[-1].text.replace("model loans,", f"model {model},")
    for line in shown.splitlines():
        assert line.rstrip() in post, f"{line!r} is not in {post}"
    assert len([mail for mail in mails if model in mail["subject"]]) == 1
    with Connection(secured) as connection:
        for indices in ("logs-ml.*-*", "ml-profiles", "ml-profile-files"):
            query = {"query": {"term": {"ml.model.name": model}}}
            connection.call("POST", f"/{indices}/_delete_by_query", query, params={"refresh": "true"})
