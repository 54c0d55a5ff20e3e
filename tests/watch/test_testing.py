"""Each shipped watch against its cases; what the runner of cases says when they, or their file, are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from logging_lib._util import content
from logging_lib.cli.watch import app
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import StoreError
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.loading import load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.testing import cases
from logging_lib.watch.testing.run import run_file

FOLDER = content.path("watchers") / "cases"
WATCHES = {watch.id: watch for watch in load_watches(content.path("watchers"))}
KINDS = ("firing", "silent", "just below the threshold", "low traffic", "recovery")


@pytest.mark.parametrize("watch", WATCHES.values(), ids=lambda watch: watch.id)
def test_a_watch_finds_what_its_cases_say(watch: Watch) -> None:
    """Each has at least a firing, a silent, a just-below-threshold, a low-traffic and a recovery case."""
    loaded = cases.load_case_file(FOLDER / f"{watch.id}.yml")
    assert loaded.content.watch == watch.id
    names = [case.name for case in loaded.content.cases]
    assert all(any(name.startswith(kind) for name in names) for kind in KINDS), names
    failures = [
        failure
        for _, case_failures in run_file(loaded, WATCHES, lambda: EmbeddedStore(None))
        for failure in case_failures
    ]
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.slow
@pytest.mark.elasticsearch
@pytest.mark.parametrize("watch", WATCHES.values(), ids=lambda watch: watch.id)
def test_a_watch_finds_the_same_on_elasticsearch(watch: Watch, elasticsearch: Connection) -> None:
    loaded = cases.load_case_file(FOLDER / f"{watch.id}.yml")
    failures = [
        failure
        for _, case_failures in run_file(loaded, WATCHES, lambda: Sandbox(elasticsearch))
        for failure in case_failures
    ]
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.elasticsearch
def test_cases_run_on_elasticsearch_and_leave_nothing_behind(
    tmp_path: Path, elasticsearch: Connection, elasticsearch_url: str
) -> None:
    """What the command finds there is what it finds on the embedded store, a failure's text included."""

    def indices() -> set[str]:
        return {index["name"] for index in elasticsearch.call("GET", "/_resolve/index/*")["indices"]}

    before = indices()
    right = write(tmp_path)
    assert "1 case passed, 0 failed" in call(right, "--elasticsearch", elasticsearch_url, code=0)
    wrong = write(tmp_path, cases=case())
    assert call(wrong, "--elasticsearch", elasticsearch_url, code=1) == call(wrong, code=1)
    assert indices() <= before


@pytest.mark.elasticsearch
def test_a_sandbox_sees_nothing_of_the_cluster_and_says_what_is_not_deployed(
    elasticsearch: Connection,
) -> None:
    event = {"event": {"id": "a", "ingested": "2018-01-01T00:00:00Z"}, "@timestamp": "2018-01-01T00:00:00Z"}
    sandbox, other = Sandbox(elasticsearch), Sandbox(elasticsearch)
    try:
        assert sandbox.index("logs-ml.prediction-default", [event, event]).duplicates == 1
        sandbox.refresh()
        totals = [
            isolated.search("logs-ml.*-*", {"size": 9})["hits"]["total"]["value"]
            for isolated in (sandbox, other)
        ]
        assert totals == [1, 0]
        assert sandbox.streams("logs-*") == ["logs-ml.prediction-default"]
        with pytest.raises(
            StoreError, match="no index template orders; make it with: logging-lib stack deploy"
        ):
            sandbox.index("orders", [event])
    finally:
        sandbox.close()
    assert not sandbox.streams("*")


def write(folder: Path, **changes: Any) -> Path:
    document: dict[str, Any] = {
        "watch": "na-spike",
        "profile": {"rows": 400, "features": {"income": {"normal": [5, 1], "missing": 0.02}}},
        "cases": [
            {
                "name": "firing",
                "predictions": [{"every": "10s", "for": "1h", "missing": {"income": "0.5 from 30m"}}],
                "expect": [{"at": "1h", "alerts": [{"feature": "income"}]}],
            }
        ],
    }
    file = folder / "case.yml"
    file.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return file


def case(**changes: Any) -> list[dict[str, Any]]:
    usual = {
        "name": "firing",
        "predictions": [{"every": "10s", "for": "1h", "missing": {"income": "0.5 from 30m"}}],
        "expect": [{"at": "1h", "alerts": []}],
    }
    return [{**usual, **changes}]


def call(*arguments: object, code: int) -> str:
    result = CliRunner().invoke(app, ["test", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_case_that_holds_ends_with_0(tmp_path: Path) -> None:
    assert "1 case passed, 0 failed" in call(write(tmp_path), code=0)


def test_a_finding_that_was_not_expected_is_shown_with_its_line(tmp_path: Path) -> None:
    output = call(write(tmp_path, cases=case()), code=1)
    assert "case.yml:11: firing, at 1h" in output
    assert "+ loans 1 income: " in output
    assert "0 cases passed, 1 failed" in output


def test_a_missing_expected_alert_is_shown(tmp_path: Path) -> None:
    expect = [{"at": "20m", "alerts": [{"feature": "income"}]}]
    assert "- loans 1 income" in call(write(tmp_path, cases=case(expect=expect)), code=1)


def test_a_message_that_lacks_a_text_is_shown(tmp_path: Path) -> None:
    expect = [{"at": "1h", "alerts": [{"feature": "income", "says": ["no such text"]}]}]
    output = call(write(tmp_path, cases=case(expect=expect)), code=1)
    assert "the message says 'no such text'" in output
    assert "loans v1: income" in output


def test_metadata_of_a_case_replace_those_of_the_watch(tmp_path: Path) -> None:
    changed = case(metadata={"min_effect": 0.9})
    assert "1 case passed" in call(write(tmp_path, cases=changed), code=0)
    assert "has no 'min_efect'" in call(write(tmp_path, cases=case(metadata={"min_efect": 1})), code=2)


def test_without_a_profile_the_note_says_so(tmp_path: Path) -> None:
    expect = [{"at": "1h", "alerts": [], "notes": ["no profile"]}]
    call(write(tmp_path, cases=case(without_profile=True, expect=expect)), code=0)
    expect = [{"at": "1h", "alerts": [], "notes": []}]
    output = call(write(tmp_path, cases=case(without_profile=True, expect=expect)), code=1)
    assert "+ a note: no profile" in output


def test_a_fault_that_arrives_after_an_outage_is_found_then(tmp_path: Path) -> None:
    """A fault wholly inside an outage of the shipping is found when its events arrive."""
    streams = [{"every": "10s", "for": "1h", "missing": {"income": 0.5}, "not_before": "5h"}]
    expect = [{"at": "1h", "alerts": []}, {"at": "5h", "alerts": [{"feature": "income"}]}]
    call(write(tmp_path, cases=case(predictions=streams, expect=expect)), code=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"watch": "na-spikes"}, "there is no 'na-spikes'"),
        ({"cases": []}, "$.cases"),
        ({"cases": case(expects=[])}, "$.cases[0].expects: is unknown here"),
        (
            {"cases": case(expect=[{"at": "1 hour", "alerts": []}])},
            "$.cases[0].expect[0].at: '1' is not a duration",
        ),
        ({"cases": case(predictions=[{"every": "1s"}])}, "$.cases[0].predictions[0].for: Field required"),
        (
            {"cases": case(predictions=[{"every": "1s", "for": "1m", "missing": {"a": "lots"}}])},
            "'lots' is not a share",
        ),
        ({"profile": "nowhere.json"}, "nowhere.json"),
        ({"profile": "nowhere.yml"}, "nowhere.yml: is not a description of a profile"),
        ({"profile": {"features": {}}}, "features: Dictionary should have at least 1 item"),
        ({"profile": {"features": {"a": {"normal": [0, 1], "uniform": [0, 1]}}}}, "exactly one of normal"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_path(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in call(write(tmp_path, **changes), code=2)


def test_a_file_that_is_not_yaml_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("watch: [")
    assert "cannot be read" in call(tmp_path / "broken.yml", code=2)
    (tmp_path / "empty").mkdir()
    assert "there is no *.yml in this folder" in call(tmp_path / "empty", code=2)
