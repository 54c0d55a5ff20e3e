"""``logging-lib init``: what it writes is read, run and sent with, as its reader would."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from logging_lib import profile
from logging_lib.cli import scaffold
from logging_lib.cli.app import app
from logging_lib.demo.receivers import Receivers
from logging_lib.profile import config
from tests.examples.conftest import ROOT, call, environment
from tests.ports import free_port

INPUTS = {"income": 52_000.0, "home": "RENT"}
DJANGO = """
import json, sys, types
import django
from django.conf import settings
from django.urls import path
import prediction_service
urls = types.ModuleType("urls")
urls.urlpatterns = [path("predict", prediction_service.answer)]
sys.modules["urls"] = urls
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls")
django.setup()
from django.test import Client
answer = Client(enforce_csrf_checks=True).post(
    "/predict", sys.argv[1], content_type="application/json", headers={"X-Request-Id": "r-1"}
)
print(answer.content.decode())
"""
CELERY = """
import json, sys
import prediction_service
made = prediction_service.answer.apply(args=[json.loads(sys.argv[1])], task_id="r-1")
print(json.dumps({"prediction": made.get()}))
"""
PLAIN = """
import json, sys
import prediction_service
print(json.dumps({"prediction": prediction_service.answer(json.loads(sys.argv[1]))}))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with training data: a counter, a time, and what the model uses."""
    folder = tmp_path / "loan prices"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rows = 500
    pd.DataFrame(
        {
            "row": range(rows),
            "income": [30_000 + i % 200 * 100 for i in range(rows)],
            "home": ["RENT", "OWN"] * (rows // 2),
            "price": [8.0 + i % 7 for i in range(rows)],
            "asked_at": pd.date_range("2026-01-01", periods=rows, freq="h").astype(str),
        }
    ).to_csv("train.csv", index=False)
    return folder


def init(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["init", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_init_says_what_it_wrote_and_the_next_command_works(project: Path) -> None:
    said = init("train.csv", "--target", "price")
    for file in ("profile.yml", "prediction_service.py", ".env"):
        assert f"{file}: " in said
        assert (project / file).exists()
    settings = config.read("profile.yml")
    assert settings.time == "asked_at"
    assert settings.exclude == ("row",)
    command = re.search(r"^next: logging-lib (.*)$", said, re.MULTILINE)
    assert command is not None
    done = CliRunner().invoke(app, shlex.split(command[1]))
    assert done.exit_code == 0, done.output
    fitted = profile.load("profile.json")
    assert (fitted.model, fitted.version, list(fitted.features)) == ("loan-prices", "1", ["income", "home"])


@pytest.mark.parametrize("data", [[], ["train.csv"]])
def test_every_setting_of_profile_yml_is_shown_and_can_be_turned_on(project: Path, data: list[str]) -> None:
    init(*data)
    text = Path("profile.yml").read_text("utf-8")
    config.parse(scaffold_yaml(text))
    settings = text.partition("# What else can be set")[2].partition("\n")[2]
    turned_on = config.parse(scaffold_yaml(re.sub(r"^# ", "", settings, flags=re.MULTILINE)))
    assert turned_on.features["homeownership"].values == ("RENT", "OWN", "MORTGAGE")
    for key in ("time", "timezone", "exclude", "na_values", "features"):
        assert len(re.findall(rf"^(?:# )?{key}:", text, re.MULTILINE)) == 1, key


def scaffold_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text) or {}


def test_nothing_is_overwritten_unless_forced(project: Path) -> None:
    Path(".env").write_text("OURS=1\n")
    said = init()
    assert ".env: is there already, and is left as it is; --force replaces it" in said
    assert Path(".env").read_text() == "OURS=1\n"
    Path("prediction_service.py").write_text("ours\n")
    again = json.loads(init("--json"))
    assert again["written"] == []
    assert again["left"] == ["profile.yml", "prediction_service.py", ".env"]
    assert Path("prediction_service.py").read_text() == "ours\n"
    init("--force")
    assert "LOGGING_LIB_SMTP_URL" in Path(".env").read_text()
    assert Path(".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("files", "framework"),
    [
        ({}, "none"),
        ({"requirements.txt": "Flask[async]>=3\n"}, "flask"),
        ({"requirements/base.txt": "# flask is gone\ndjango==5.2  # web\n"}, "django"),
        ({"pyproject.toml": '[project]\ndependencies = ["fastapi>=0.115", "celery"]\n'}, "fastapi"),
        ({"pyproject.toml": '[project]\nname = "flask-things"\n', "a/tasks.py": "import celery\n"}, "celery"),
        ({"app/main.py": "    from fastapi import FastAPI\n"}, "fastapi"),
        ({"v/pyvenv.cfg": "", "v/lib/a.py": "import flask\n", ".x/a.py": "import flask\n"}, "none"),
        ({"a.py": "text = 'import flask'\nimport flask_like\n"}, "none"),
    ],
)
def test_the_framework_is_the_one_that_the_project_names(
    project: Path, files: dict[str, str], framework: str
) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    assert json.loads(init("--json"))["framework"] == framework


def test_another_framework_is_named_and_can_be_chosen(project: Path) -> None:
    Path("requirements.txt").write_text("celery\nflask\n")
    assert "a Flask service (requirements.txt names Flask); for Celery give --framework" in init()
    init("--force", "--framework", "celery")
    assert "from celery import" in Path("prediction_service.py").read_text()
    assert "write one of fastapi, flask, django, celery, none" in init("--framework", "tornado", code=2)


@pytest.mark.parametrize("framework", [*scaffold.FRAMEWORKS, scaffold.NO_FRAMEWORK])
def test_the_service_runs_and_logs(
    project: Path,
    framework: str,
    valid: Callable[[dict[str, Any]], dict[str, Any]],
    spooled: Callable[[Path], list[dict[str, Any]]],
) -> None:
    """The reader fits the profile, calls the model where the snippet says so, and runs it."""
    if framework != scaffold.NO_FRAMEWORK:
        pytest.importorskip(framework)
    init("train.csv", "--target", "price", "--framework", framework, "--model", "a \"b' c")
    profile.save(
        profile.fit(pd.read_csv("train.csv"), model="a \"b' c", version="1", target="price"), "profile.json"
    )
    file = project / "prediction_service.py"
    text = file.read_text("utf-8")
    assert text.count('raise NotImplementedError("call your model here")') == 1
    file.write_text(
        text.replace('raise NotImplementedError("call your model here")', 'return inputs["income"] / 1000')
    )
    if framework in ("fastapi", "flask"):
        command = {
            "fastapi": "uvicorn prediction_service:app --port",
            "flask": "flask --app prediction_service run --port",
        }
        answer = ask(f"{command[framework]} {{port}}", project)
    else:
        script = {"django": DJANGO, "celery": CELERY, "none": PLAIN}[framework]
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(INPUTS)], cwd=project, env=environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
    assert answer == {"prediction": 52.0}
    (event,) = map(valid, spooled(project / "spool"))
    assert event["ml"]["model"]["name"] == "a \"b' c"
    assert event["ml"]["profile"]["status"] == "matched"
    assert event["ml"]["prediction"]["value"] == 52.0
    assert framework == "none" or event["ml"]["request"]["id"] == "r-1"


def ask(command: str, folder: Path) -> Any:
    """What a server answers to one prediction."""
    port = free_port()
    words = [sys.executable, "-m", *command.format(port=port).split()]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(words, cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        for _ in range(6000):
            assert server.poll() is None, (folder / "server.log").read_text()
            try:
                status, _, answer = call(port, "POST", "/predict", INPUTS, request_id="r-1")
            except ConnectionError:
                time.sleep(0.1)
                continue
            assert status == 200, answer
            return answer
        raise AssertionError((folder / "server.log").read_text())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(300)


@pytest.mark.parametrize("framework", [*scaffold.FRAMEWORKS, scaffold.NO_FRAMEWORK])
def test_the_service_is_formatted_and_linted(project: Path, framework: str) -> None:
    init("--framework", framework)
    for command in ("format --check --line-length 88", "check --select E,F,I,UP,B,SIM"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command.split(), "--isolated", "prediction_service.py"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_the_environment_sends_mails_to_its_recipients(project: Path, tmp_path: Path) -> None:
    """Its lines turned on and its addresses replaced by real receivers', as a shell loads it."""
    init()
    reference = (ROOT / "docs" / "reference" / "configuration.md").read_text("utf-8")
    text = Path(".env").read_text()
    names = re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE)
    assert [name for name in names if f"`{name}`" not in reference] == []
    with Receivers(tmp_path / "received") as people:
        settings = people.settings | {"LOGGING_LIB_EMAIL_TO": "one@example.org,two@example.org"}
        settings["LOGGING_LIB_MAIL_FROM"] = "ml-watch@example.org"
        for name, value in settings.items():
            assert name in names
            text = re.sub(rf"^# {name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        Path(".env").write_text(text)
        load = re.search(r"in a shell: (.*\.env; set \+a)\.", text)
        assert load is not None
        commands = [
            f"{sys.executable} -c 'from logging_lib.cli import main; main()' {words}"
            for words in (
                "index spool --store store --profile profile.json",
                "watch run --once --store store --watch unseen-categories",
            )
        ]
        profile.save(
            profile.fit(pd.read_csv("train.csv"), model="m", version="1", target="price"), "profile.json"
        )
        log_unseen(project)
        done = subprocess.run(
            ["bash", "-ec", "\n".join([load[1], *commands])], env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "which nobody reads" not in done.stderr
        (mail,) = (tmp_path / "received" / "mail").glob("*.eml")
        assert "one@example.org" in mail.read_text()
        assert "two@example.org" in mail.read_text()
        assert "ml-alerts@example.org" not in mail.read_text()


def log_unseen(folder: Path) -> None:
    """Log what the watch for unseen categories finds."""
    import logging_lib

    log = logging_lib.configure(model="m", version="1", profile="profile.json", spool=folder / "spool")
    for number in range(200):
        log.prediction(INPUTS | ({"home": "YURT"} if number % 4 == 0 else {}), prediction=9.5)


def test_the_templates_are_in_the_package() -> None:
    folder = Path(scaffold.__file__).parent / "templates"
    assert {file.stem for file in folder.iterdir()} == {*scaffold.FRAMEWORKS, "none", "env", "profile"}
