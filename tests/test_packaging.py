"""What is installed: a light service part, and a wheel that works outside the checkout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path

import pytest

import logging_lib
from tests.pages import blocks
from tests.reader import Reader

ROOT = Path(__file__).parents[1]
HEAVY = ("pandas", "numpy", "duckdb", "elasticsearch", "requests", "typer", "pydantic", "yaml")


def test_the_import_of_a_service_is_light() -> None:
    code = (
        "import sys, logging_lib, logging_lib.normalize, logging_lib.profile;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_service_part_needs_three_libraries() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needs = setup["options"]["install_requires"].split()
    assert [need.split(">=")[0] for need in needs] == ["structlog", "orjson", "python-logstash-async"]


def test_the_exported_names_are_complete() -> None:
    assert sorted(name for name in vars(logging_lib) if name in logging_lib.__all__) == sorted(
        logging_lib.__all__
    )
    assert logging_lib.__all__ == [
        "EventRenderer",
        "PredictionFormatter",
        "PredictionHandler",
        "PredictionLogger",
        "PredictionProcessor",
        "ProfileError",
        "Spool",
        "SpoolLoggerFactory",
        "__version__",
        "add_trace_ids",
        "configure",
        "metrics_registry",
    ]


def test_without_the_ops_extra_the_command_names_the_remedy(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom logging_lib.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'logging-lib[ops]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"  # not the checkout: a build leaves files that the next one would pick up
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__")
    )
    command = f"-m build --no-isolation --outdir {folder / 'dist'} {source}"
    done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel; the libraries are those of this one."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = dist.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    here = next(p for p in map(Path, sys.path) if p.name == "site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
    )
    (site / "borrowed.pth").write_text(str(here) + "\n")
    return folder / "venv" / "bin" / "python"


def files_below(*folders: str) -> set[str]:
    """The checkout's own files, less hidden ones and what was built."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()):
        name = path.relative_to(ROOT)
        built = name.parts[0] in ("build", "dist", "keys") or "__pycache__" in name.parts
        if not built and not any(part.startswith(".") or part.endswith(".egg-info") for part in name.parts):
            found.add(name.as_posix())
    return found


def test_the_sdist_contains_what_the_wheel_and_the_tests_need(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert files_below(".") - names == set()
    assert ".env.example" in names


def test_the_wheel_holds_the_content_folders(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    content = files_below("watchers", "pipelines", "kibana_dashboards", "docs/runbooks")
    assert len(content) > 300
    assert {f"logging_lib/_content/{name}" for name in content} <= names
    assert files_below("logging_lib") <= names


def test_the_description_has_no_link_that_an_index_cannot_follow(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())
    assert metadata["Author"] == "The logging_lib developers"
    assert {entry.partition(",")[0] for entry in metadata.get_all("Project-URL", [])} >= {
        "Source",
        "Changelog",
    }
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert len(links) > 20
    assert all(link.startswith("https://") for link in links)
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def run(python: Path, folder: Path, *arguments: str) -> str:
    code = "import sys; from logging_lib.cli import main; sys.argv[0] = 'logging-lib'; main()"
    done = subprocess.run(
        [str(python), "-I", "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_but_the_library_is_importable(installed: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import files; print(*{path.parts[0] for path in files('logging-lib')})"
    done = subprocess.run(
        [str(installed), "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    names = {name for name in done.stdout.split() if not name.endswith(".dist-info")}
    assert names - {"bin", ".."} == {"logging_lib"}  # and the command


def test_the_wheel_lists_its_own_watches_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [str(installed), "-I", "-c", "import logging_lib; print(logging_lib.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(ROOT) not in where
    watches = json.loads(run(installed, tmp_path, "watch", "list", "--json"))
    assert {watch["id"] for watch in watches} >= {"unseen-categories", "na-spike", "oov-rise"}


def test_the_wheel_carries_what_it_deploys(installed: Path, tmp_path: Path) -> None:
    code = (
        "from logging_lib._util import content; from logging_lib.stack import resources;"
        "folder = content.path('pipelines') / 'elasticsearch';"
        "print(len(resources.load_templates(folder)), len(resources.load_roles(folder / 'roles')))"
    )
    command = [str(installed), "-I", "-c", code]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["22", "7"]
    assert "5 dashboards" in run(installed, tmp_path, "dashboards", "build", "-o", "made")


def plain(text: str) -> str:
    """Without a table's lines and the width of its columns."""
    return " ".join(re.sub(r"[─-╿]", " ", text).split())


def shown_of_the_demo() -> list[str]:
    (block,) = [block for block in blocks(ROOT / "README.md") if "Before the first incident" in block.text]
    return [plain(line) for line in block.text.splitlines() if line.strip()]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_outside_the_checkout(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "118")
    said = run(installed, tmp_path, "demo", "--out", "made")
    for line in shown_of_the_demo():
        assert line in plain(said), f"the README shows of the demo: {line}\n{said}"
    summary = json.loads((tmp_path / "made" / "summary.json").read_text())
    assert summary["alerts_before_first_incident"] == 0
    assert summary["events_before_first_incident"] > 1000
    assert summary["other_alerts"] == []
    assert [entry["watch"] for entry in summary["incidents"]] == [
        "unseen-categories",
        "na-spike",
        "new-words",
    ]
    assert all(entry["events"] <= 300 for entry in summary["incidents"])
    mails = [file.read_text() for file in (tmp_path / "made" / "mail").glob("*.eml")]
    posts = (tmp_path / "made" / "slack.jsonl").read_text().splitlines()
    alerts = (tmp_path / "made" / "alerts.jsonl").read_text().splitlines()
    found = {(alert["watch"], *alert["features"]) for alert in map(json.loads, alerts)}
    # The graver second watch of the third incident is an alert of its own.
    assert found == {
        ("unseen-categories", "homeownership"),
        ("na-spike", "annual_income"),
        ("new-words", "emp_title"),
        ("oov-rise", "emp_title"),
    }
    for sent in (mails, posts):  # the first incident ends within the demo, which is sent, too
        assert len([text for text in sent if "[Resolved]" not in text]) == len(alerts) == len(found)
        assert len(sent) == len(alerts) + 1
    assert summary["ok"]
    (asked,) = [one for one in blocks(ROOT / "docs" / "concepts.md") if one.kind == "sh"]
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, monkeypatch, addresses={"build/demo": "made"})
    reader.follow(asked)
    assert "homeownership" in reader.output
    assert "na-spike" in reader.output
