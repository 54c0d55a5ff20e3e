"""The shipped watches in a real Watcher: they run as deployed, and find and say what the runner does."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from logging_lib._util import content
from logging_lib._util.times import format_instant
from logging_lib.stack import resources
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.evaluate import Evaluation, evaluate, run_dependencies
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.registry import render_settings
from logging_lib.watch.testing import cases
from logging_lib.watch.testing.streams import DocumentGenerator
from tests.watch import on_6_8
from tests.watcher_server import WatcherServer

pytestmark = pytest.mark.slow

MODEL = "loans"
RECIPIENTS = {"email_to": "team@example.org", "slack_to": "#ml-alerts"}
DEPLOYED = {
    watch.name.removeprefix("logging-lib-").removesuffix(f"--{MODEL}"): watch
    for watch in resources.render_watches(content.path("watchers"), [MODEL], RECIPIENTS)
}
CASES = sorted((content.path("watchers") / "cases").glob("*.yml"))
OF_EACH_SCRIPT = (
    "na-spike", "input-drift", "latency-regression", "dead-letters", "quality-regression", "model-version"
)  # fmt: skip
EXACT = 1e-9
P95 = 0.01
"""Of a percentile, which 6.8 estimates by an older t-digest."""
Documents = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def deployed(watcher: WatcherServer) -> WatcherServer:
    on_6_8.deploy(watcher)
    return watcher


@pytest.fixture
def cleared(deployed: WatcherServer) -> Iterator[WatcherServer]:
    on_6_8.clear(deployed)
    yield deployed
    on_6_8.clear(deployed)


@pytest.mark.parametrize("watch_id", DEPLOYED)
def test_a_watch_runs_on_a_fresh_cluster(cleared: WatcherServer, watch_id: str) -> None:
    """Without any index: data streams appear with their first event."""
    deployed = DEPLOYED[watch_id]
    on_6_8.put_watch(cleared, deployed.name, deployed.body)
    record = on_6_8.run_watch(cleared, deployed.name, "2018-01-01T02:30:00.000Z")
    store = EmbeddedStore(None)
    compare(record, *run_ours(_our_watch(watch_id, {}), store, cases.START), EXACT)
    store.close()


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_watcher_finds_and_says_the_same_as_the_runner(cleared: WatcherServer, file: Path) -> None:
    """On the documents of its cases: firing, silent, low traffic and the others."""
    content_of_file = cases.load_case_file(file).content
    generator = DocumentGenerator(content_of_file, file.parent)
    alerts = []
    for case in content_of_file.cases:
        alerts += compare_case(cleared, generator, content_of_file, case, [content_of_file.watch])
        on_6_8.clear(cleared)
    assert alerts or not any(case.name.startswith("firing") for case in content_of_file.cases)


def test_a_watch_of_each_script_runs_for_a_model_with_200_features(cleared: WatcherServer) -> None:
    """All of them faulty at once: within what Painless allows of loops, of a script's size and of memory."""
    numbers = {f"number_{i:03}": {"normal": [100, 15], "missing": 0.01} for i in range(100)}
    words = {f"word_{i:03}": {"choice": {f"w{j}": 0.05 for j in range(20)}} for i in range(100)}
    shifted = {name: {"normal": [160, 15]} for name in numbers}
    shifted |= {name: {"choice": {f"w{j}": 0.2 for j in range(5)}} for name in words}
    faulty = {"missing": dict.fromkeys([*numbers, *words], "0.3"), "inputs": shifted}
    slow, wrong = {"milliseconds": {"normal": [500, 10]}}, {"error": {"normal": [0, 20]}}
    file = cases.CaseFile.model_validate(
        {
            "watch": "na-spike",
            "profile": {
                "rows": 2000,
                "features": numbers | words,
                "prediction": {"normal": [12, 3]},
                "error": {"normal": [0, 2]},
            },
            "cases": [
                {
                    "name": "firing",
                    "predictions": [
                        {"every": "4m", "for": "24h", "milliseconds": {"normal": [50, 10]}},
                        {"every": "1m", "from": "24h", "for": "4h", "seed": 1, "version": "1"}
                        | faulty
                        | slow,
                        {"every": "9m", "from": "24h", "for": "4h", "seed": 2, "version": "2"},
                    ],
                    "labels": [{"every": "1m", "from": "22h", "for": "6h"} | wrong],
                    "deadletters": [{"every": "10s", "from": "24h", "for": "4h"}],
                    "expect": [{"at": "28h", "alerts": []}],
                }
            ],
        }
    )
    generator = DocumentGenerator(file, CASES[0].parent)
    (case,) = file.cases
    alerts = compare_case(cleared, generator, file, case, OF_EACH_SCRIPT)
    assert tuple(alert.context["ctx"]["watch_id"] for alert in alerts) == OF_EACH_SCRIPT
    rates, drifts = (len(alert.payload["result"]["findings"]) for alert in alerts[:2])
    assert rates > 150
    assert drifts > 50


def compare_case(
    server: WatcherServer,
    generator: DocumentGenerator,
    file: cases.CaseFile,
    case: cases.Case,
    watch_ids: Iterable[str],
) -> list[Evaluation]:
    """Run watches on the documents of a case, at its times; return the evaluations that found something."""
    store, alerts = EmbeddedStore(None), []
    for target, documents in _documents(generator, file, case).items():
        on_6_8.index(server, target, documents)
        assert not store.index(target, documents).failed
    for watch_id in watch_ids:
        deployed = DEPLOYED[watch_id]
        changes = {"model": file.model, **case.metadata}
        metadata = {**deployed.body["metadata"], **changes}
        on_6_8.put_watch(server, deployed.name, {**deployed.body, "metadata": metadata})
        for expected in case.expect:
            now = cases.START + expected.at
            record = on_6_8.run_watch(server, deployed.name, format_instant(now))
            ours, texts = run_ours(_our_watch(watch_id, changes), store, now)
            compare(record, ours, texts, P95 if watch_id == "latency-regression" else EXACT)
            alerts += [ours] if ours.met else []
    store.close()
    return alerts


def _documents(generator: DocumentGenerator, file: cases.CaseFile, case: cases.Case) -> Documents:
    documents: Documents = {}
    if not case.without_profile:
        documents["ml-profiles"] = [generator.profile_document(case.profile)]
    for streams in (file.common, case):
        for target, document in generator.documents(streams):
            documents.setdefault(target, []).append(document)
    return documents


def _our_watch(watch_id: str, metadata: dict[str, Any]) -> Watch:
    definition = json.loads((content.path("watchers") / f"{watch_id}.json").read_text("utf-8"))
    definition["metadata"] |= {"model": MODEL, **RECIPIENTS, **metadata}
    return parse_watch(definition, id=watch_id)


def run_ours(watch: Watch, store: EmbeddedStore, now: datetime) -> tuple[Evaluation, dict[str, str]]:
    """Return what the runner finds, and what it would send if it finds something."""
    dependencies = run_dependencies(store, now=now)
    evaluation = evaluate(watch, dependencies=dependencies, now=now, scheduled=now)
    texts = {}
    for name, action in watch.actions.items() if evaluation.met else ():
        draft = Notification(id=name, watch=watch.id, action=name, created_at=now)
        (notification,) = render_settings(action, evaluation.context, draft)
        texts[name] = f"{notification.subject}\n{notification.text}" if name == "email" else notification.text
    return evaluation, texts


def compare(record: Any, ours: Evaluation, texts: dict[str, str], tolerance: float) -> None:
    """Compare a run in Watcher with one of ours.

    Args:
        tolerance: of each number, and of those in texts, relative to it.
    """
    # "throttled" is its word for a run in which an action was skipped on request.
    assert record["state"] == ("throttled" if ours.met else "execution_not_needed"), json.dumps(record)
    assert record["result"]["condition"]["met"] == ours.met
    theirs = record["result"]["input"]["payload"]["result"]
    assert theirs == approximate(ours.payload["result"], tolerance)
    if ours.met:
        actions = {action["id"]: action for action in record["result"]["actions"]}
        assert {name: actions[name]["status"] for name in texts} == dict.fromkeys(texts, "simulated")
        mail = actions["email"]["email"]["message"]
        post = actions["slack"]["slack"]["message"]
        parts = [post["text"], *(attachment["text"] for attachment in post["attachments"])]
        said = {
            "email": f"{mail['subject']}\n{mail['body']['text']}",
            "slack": "\n\n".join(part.strip("\n") for part in parts),
        }
        check_page(mail["body"]["html"], ours.payload["result"]["findings"])
        assert without_id(said) == approximate(
            without_id({**texts, "slack": html.unescape(texts["slack"])}), tolerance
        )


def check_page(page: str, findings: list[dict[str, Any]]) -> None:
    """Watcher removes the stylesheet of a mail; what is left is in its order, and says everything."""
    assert "style" not in page
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert text.strip().startswith(f"Severity {findings[0]['severity']}")
    assert "@media" not in text
    for finding in findings:
        assert all(line["name"] in text for line in finding["lines"])


def without_id(texts: dict[str, str]) -> dict[str, str]:
    """A deployed watch has an id of its own."""
    return {name: re.sub(r"watch \S+, checked", "watch, checked", text) for name, text in texts.items()}


class Approximate(str):
    """A text that is equal to one with nearly the same numbers."""

    __slots__ = ("tolerance",)
    _NUMBER = re.compile(r"(\d+(?:\.\d+)?)")

    def __new__(cls, text: str, tolerance: float) -> Approximate:
        new = super().__new__(cls, text)
        new.tolerance = tolerance
        return new

    def __eq__(self, other: object) -> bool:
        ours, theirs = self._NUMBER.split(self), self._NUMBER.split(str(other))
        numbers = [float(part) for part in ours[1::2]]
        return ours[::2] == theirs[::2] and [float(part) for part in theirs[1::2]] == pytest.approx(
            numbers, rel=self.tolerance
        )

    __hash__ = str.__hash__


def approximate(value: Any, tolerance: float) -> Any:
    """The same value with numbers that need not be equal to the last bit."""
    if isinstance(value, dict):
        return {key: approximate(item, tolerance) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [approximate(item, tolerance) for item in value]
    if isinstance(value, str):
        return Approximate(value, tolerance)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return pytest.approx(value, rel=tolerance)
    return value
