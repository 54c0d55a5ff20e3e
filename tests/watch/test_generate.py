"""The watches that specs compile to, the README that lists them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from logging_lib._util import content
from logging_lib.watch.errors import WatchError
from logging_lib.watch.generate import build_outputs, compile_watch, main
from logging_lib.watch.spec import load_specs, parse_spec

SHIPPED = content.path("watchers")
RATES = {
    "title": "Test",
    "concern": "Something is wrong.",
    "every": "15m",
    "kind": "rates",
    "settings": {
        "check": "missing",
        "windows": ["15m", "1h"],
        "budget_weight": 1,
        "min_effect": 0.02,
        "min_hits": 5,
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the shipped watches."""
    shutil.copytree(SHIPPED, tmp_path / "watchers", ignore=shutil.ignore_patterns("cases"))
    shutil.copytree(content.path("docs/runbooks"), tmp_path / "docs" / "runbooks")
    return tmp_path


def changed(path: str, value: Any) -> str:
    document = json.loads(json.dumps(RATES))
    *parents, last = path.split(".")
    place = document
    for part in parents:
        place = place[part]
    place[last] = value
    return yaml.safe_dump(document, sort_keys=False)


def test_every_shipped_watch_matches_its_compiled_spec(root: Path) -> None:
    """And the README lists it with its interval."""
    contents = build_outputs(root)
    assert {f"watchers/{file.name}" for file in SHIPPED.glob("*.json")} == contents.keys() - {
        "watchers/README.md"
    }
    for name, text in contents.items():
        assert (root / name).read_text("utf-8") == text
    rows = contents["watchers/README.md"]
    for file in SHIPPED.glob("*.json"):
        interval = json.loads(file.read_text("utf-8"))["trigger"]["schedule"]["interval"]
        (row,) = (line for line in rows.splitlines() if line.startswith(f"| `{file.stem}` |"))
        assert f"| {interval} |" in row


def test_there_are_two_sets_of_messages_and_one_runbook_a_watch() -> None:
    """The words for a shared cause differ by kind, and the throttle period of what changes by itself."""
    watches = [json.loads(file.read_text("utf-8")) for file in SHIPPED.glob("*.json")]
    periods = {action.pop("throttle_period") for watch in watches for action in watch["actions"].values()}
    assert periods == {"24h", "7d"}
    assert len({json.dumps(watch["actions"]) for watch in watches}) == 2
    assert len({watch["metadata"]["runbook"] for watch in watches}) == len(watches)


def test_the_ticks_of_a_month_follow_from_the_interval() -> None:
    """A budget of false alarms is divided by how often the watch really runs."""
    metadata = compile_watch(parse_spec(yaml.safe_dump(RATES), id="test"), {}, 20)["metadata"]
    assert metadata["ticks_per_month"] == 30 * 24 * 4


def test_all_shipped_watches_together_raise_one_false_alarm_for_each_model_and_month(root: Path) -> None:
    """Another watch takes its part from the others."""

    def read_budgets() -> dict[str, float]:
        return {
            name: metadata["false_alarms_per_model_month"]
            for name, text in build_outputs(root).items()
            if name.endswith(".json")
            and "false_alarms_per_model_month" in (metadata := json.loads(text)["metadata"])
        }

    before = read_budgets()
    assert sum(before.values()) == pytest.approx(1, abs=1e-4)
    spec = (root / "watchers" / "na-spike.yml").read_text("utf-8")
    (root / "watchers" / "mine.yml").write_text(spec.replace("budget_weight: 1", "budget_weight: 5"))
    after = read_budgets()
    assert sum(after.values()) == pytest.approx(1, abs=1e-4)
    assert after["watchers/mine.json"] == pytest.approx(5 * after["watchers/na-spike.json"], rel=1e-4)
    assert after["watchers/na-spike.json"] < before["watchers/na-spike.json"]


def test_a_changed_spec_is_found_by_the_check_and_compiled(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check writes nothing."""
    spec = root / "watchers" / "na-spike.yml"
    spec.write_text(spec.read_text("utf-8").replace("every: 5m", "every: 10m"), "utf-8")
    before = (root / "watchers" / "na-spike.json").read_text("utf-8")
    assert main(["--check", str(root)]) == 1
    output = capsys.readouterr().out
    assert "watchers/na-spike.json: differs from its *.yml; run `make generate`" in output
    assert "watchers/README.md: differs" in output
    assert (root / "watchers" / "na-spike.json").read_text("utf-8") == before
    assert main([str(root)]) == 0
    watch = json.loads((root / "watchers" / "na-spike.json").read_text("utf-8"))
    assert watch["trigger"]["schedule"]["interval"] == "10m"
    assert watch["metadata"]["ticks_per_month"] == 4320
    assert main(["--check", str(root)]) == 0


def test_a_watch_that_is_written_by_hand_is_listed_and_left_alone(root: Path) -> None:
    """Plain Watcher JSON needs no spec."""
    text = '{"metadata": {"title": "Mine|yours"}, "trigger": {"schedule": {"daily": {"at": "noon"}}}}\n'
    (root / "watchers" / "mine.json").write_text(text, "utf-8")
    assert main(["--check", str(root)]) == 1
    assert main([str(root)]) == 0
    assert (root / "watchers" / "mine.json").read_text("utf-8") == text
    row = r"| `mine` | Mine\|yours | 0 0 12 * * ? |  |  |"
    assert row in (root / "watchers" / "README.md").read_text("utf-8").splitlines()
    assert main(["--check", str(root)]) == 0


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("tite", "x", "$.tite: unknown key; did you mean 'title'?"),
        ("frobnicate", 1, "$.frobnicate: unknown key; remove it"),
        ("settings.min_hitz", 5, "$.settings.min_hitz: unknown key; did you mean 'min_hits'?"),
        ("settings.budget_weight", 0, "$.settings.budget_weight: Input should be greater than 0"),
        ("settings.min_hits", "many", "$.settings.min_hits: Input should be a valid integer"),
        ("settings.windows", ["15m"], "$.settings.windows: List should have at least 2 items"),
        ("settings.windows", ["15m", "1 hour"], "$.settings.windows[1]: '1 hour' is not a duration"),
        ("settings.references", ["week1"], "$.settings: 'seasonal' and 'references' go together"),
        ("settings.checks", ["missing"], "$.settings: give either 'check' or 'checks'"),
        ("settings.fields", {"a": "b"}, "$.settings: 'fields' needs 'checks'"),
        ("settings.usual_rate", 0.1, "$.settings: 'usual_rate' needs 'dispersion'"),
        ("every", "often", "$.every: 'often' is not a duration"),
        ("kind", "ratez", "$.kind: write one of rates, distributions"),
        ("id", "other", "$.id: leave it out: it is the file's name"),
        ("values", {"feild": "x"}, "$.values.feild: unknown key; did you mean 'field'?"),
    ],
)
def test_a_wrong_spec_is_refused_by_its_path(path: str, value: Any, problem: str) -> None:
    with pytest.raises(WatchError) as caught:
        parse_spec(changed(path, value), id="test", file="test.yml")
    assert f"test.yml: {problem}" in str(caught.value)


OTHERS = [
    ("prediction-drift", "min_sd: 0.3", "", "$.settings: the measure 'mean' needs 'min_sd'"),
    ("stale-model", "max_days: 180", "", "$.settings: the rule 'age' needs 'max_days'"),
    (
        "uptime",
        "by: services",
        "by: hosts",
        "$: 'counts' and 'settings.groups' (by 'by') do not name the same",
    ),
    (
        "uptime",
        "datasets: [start], since: 1h, ",
        "",
        "$.counts.services.starts: say which events count",
    ),
    ("resources", "cpu: avg ml", "cpu: average ml", "$.counts.services.cpu: String should match"),
    ("resources", "above: 0.9", "abov: 0.9", "abov: unknown key; did you mean 'above'?"),
]


@pytest.mark.parametrize(("watch", "right", "wrong", "problem"), OTHERS)
def test_each_kind_refuses_settings_that_its_script_cannot_use(
    watch: str, right: str, wrong: str, problem: str
) -> None:
    text = (SHIPPED / f"{watch}.yml").read_text("utf-8")
    assert right in text
    with pytest.raises(WatchError) as caught:
        parse_spec(text.replace(right, wrong), id=watch)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title: [", "is not YAML"),
        ("- a", "expected a mapping"),
        ("title: a\ntitle: b", "line 1: the key 'title' is given twice"),
    ],
)
def test_a_file_that_is_not_a_spec_is_refused(text: str, problem: str) -> None:
    with pytest.raises(WatchError, match=problem):
        parse_spec(text, id="test")


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("title: x", "utf-8")
    (tmp_path / "b.yml").write_bytes(b"\xff")
    with pytest.raises(WatchError) as caught:
        load_specs(tmp_path)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["a.yml", "b.yml"]


def test_a_compiled_watch_is_checked_like_any_watch(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A field that the schema does not have is found before anything is written."""
    spec = root / "watchers" / "oov-rise.yml"
    spec.write_text(spec.read_text("utf-8").replace("oov_words", "oov_wordz"), "utf-8")
    assert main([str(root)]) == 1
    assert "oov-rise.yml, compiled: " in capsys.readouterr().out
    (root / "watchers" / "README.md").write_text("no place", "utf-8")
    shutil.copy(SHIPPED / "oov-rise.yml", spec)
    assert main([str(root)]) == 1
    assert "README.md: lacks the lines" in capsys.readouterr().out
