"""``docs/first-alert.md``, followed from first line to last: a model, a real Elasticsearch with security on, a real
mail server and a receiver of Slack's messages."""

from __future__ import annotations

import os
import subprocess
import sys
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import orjson
import pytest

from logging_lib.demo.receivers import Receivers
from logging_lib.store.connection import Connection, ConnectionSettings
from tests.examples.conftest import ROOT, environment
from tests.pages import blocks

PAGE = ROOT / "docs" / "first-alert.md"


@pytest.mark.slow
@pytest.mark.elasticsearch
def test_the_page_leads_to_a_received_alert(tmp_path: Path, secured: ConnectionSettings) -> None:
    model = "first-alert"  # no other test's
    with Receivers(tmp_path / "received") as people:
        theirs = {
            "https://localhost:9200": secured.url,
            "=http_ca.crt": "=",
            "PASSWORD=...": f"PASSWORD={secured.password}",
            "https://hooks.slack.com/services/...": people.settings["LOGGING_LIB_SLACK_WEBHOOK"],
            "smtp+starttls://mail.example.org:587": people.settings["LOGGING_LIB_SMTP_URL"],
            'model="loans"': f'model="{model}"',
        }
        script, shown = ["set -e"], ""
        for block in blocks(PAGE):
            kind, text = block.kind, block.text
            for here, there in theirs.items():
                text = text.replace(here, there)
            if kind == "python":
                (tmp_path / text.split()[1]).write_text(text)
            elif kind == "sh":
                script += [line for line in text.splitlines() if not line.startswith("pip ")]
            else:
                shown = text.replace("loans v3", f"{model} v3")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", "\n".join(script).replace("doctor", "doctor || true")], cwd=tmp_path,
            env=environment(PATH=path), capture_output=True, text=True, timeout=1000, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        posts = [
            orjson.loads(line) for line in (tmp_path / "received" / "slack.jsonl").read_bytes().splitlines()
        ]
        mails = [
            message_from_bytes(file.read_bytes(), policy=default)
            for file in sorted((tmp_path / "received" / "mail").glob("*.eml"))
        ]
    (post,) = [post for post in posts if model in str(post)]
    text = "\n".join([post["text"], *(attachment["text"] for attachment in post["attachments"])])
    for line in shown.splitlines():
        assert line.rstrip() in text, f"{line!r} is not in {text}"
    (subject,) = [str(mail["subject"]) for mail in mails if model in str(mail["subject"])]
    assert subject == f"{model} v3: homeownership 25.0 % unseen (expected 0 %)"
    with Connection(secured) as connection:
        for indices in ("logs-ml.*-*", "ml-profiles", "ml-profile-files"):
            query = {"query": {"term": {"ml.model.name": model}}}
            connection.call("POST", f"/{indices}/_delete_by_query", query, params={"refresh": "true"})
