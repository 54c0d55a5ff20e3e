"""Erasing a person: what is found, what is left of others, what a crash leaves, what readers see afterwards."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import orjson
import pandas as pd
import pytest
from hypothesis import given
from typer.testing import CliRunner, Result

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.privacy import KEY_VARIABLE, PrivacyFilter
from logging_lib.privacy import redact_files
from logging_lib.privacy.erase import ErasureRecord, erase, find_matches
from logging_lib.privacy.subject_search import SubjectTraces, TermFinder
from logging_lib.ship.spool_reader import SpoolReader
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.incidents import Incident, Key
from logging_lib.watch.state.base import WatchState
from logging_lib.watch.state.file import FileState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PERSON = "customer-7"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("LOGGING_LIB_STORE", "LOGGING_LIB_ELASTICSEARCH_URL", KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str, code: int = 0, **more: Any) -> Result:
        result = CliRunner().invoke(app, list(arguments), **more)
        assert result.exit_code == code, result.output
        return result

    return invoke


def logged(profile: profiles.Profile, inputs: dict[str, Any]) -> logging_lib.PredictionLogger:
    """A spool with events of two people, a label of each, and a shadow prediction for the same request."""
    log = logging_lib.configure(
        model="loans", version="1", profile=profile, spool="spool", label_cache_size=10
    )
    for number, subject in enumerate((PERSON, "customer-77", PERSON)):
        log.prediction(inputs, prediction=9.0, request_id=f"req-{number}", subject=subject)
        log.label(f"req-{number}", 9.5)
    shadow = logging_lib.configure(model="loans", version="2", spool="spool", role="shadow")
    shadow.prediction(inputs, prediction=8.0, request_id="req-0")
    return log


def events(folder: Path) -> list[dict[str, Any]]:
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    all_events = [json.loads(line) for line in lines if line.strip()]
    return [event for event in all_events if event["event"]["dataset"] in ("ml.prediction", "ml.label")]


def test_a_dry_run_changes_nothing(run: Run, profile: profiles.Profile, inputs: dict[str, Any]) -> None:
    logged(profile, inputs)
    before = {file: file.read_bytes() for file in Path("spool").iterdir()}
    said = run("erase", "spool", "--subject", PERSON).output
    assert "5 events would be erased" in said
    assert "say --yes" in said
    assert {file: file.read_bytes() for file in Path("spool").iterdir()} == before
    assert not Path("erasures").exists()


def test_events_labels_and_shadows_go_and_others_stay(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    log = logged(profile, inputs)
    run("erase", "spool", "--subject", PERSON, "--yes")
    left = events(Path("spool"))
    assert [event["ml"]["request"]["id"] for event in left] == ["req-1", "req-1"]
    log.prediction(inputs, prediction=9.0, request_id="req-3")  # the writer's open file is still its own
    assert events(Path("spool"))[-1]["ml"]["request"]["id"] == "req-3"
    assert "nothing of this subject" in run("erase", "spool", "--subject", PERSON, "--yes").output


def test_the_shipper_goes_on_where_it_was(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    logged(profile, inputs)
    backlog = SpoolReader("spool")
    assert backlog.lock()
    first = backlog.read(3, 1 << 20)
    backlog.acknowledge(first, refused={}, now_ns=0)
    run("erase", "spool", "--subject", PERSON, "--yes")
    rest = backlog.read(100, 1 << 20)
    assert not any(item.fault for item in rest)
    datasets = [json.loads(item.data)["event"]["dataset"] for item in rest]
    assert [name for name in datasets if name in ("ml.prediction", "ml.label")] == [
        "ml.prediction",
        "ml.label",
    ]
    backlog.unlock()


def test_the_key_s_hash_and_the_plain_one_are_both_looked_for(
    run: Run, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logging_lib.configure(model="loans", version="1", spool="spool").prediction(inputs, 1.0, subject=PERSON)
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    keyed = logging_lib.configure(model="loans", version="2", spool="spool", private={"home": "hmac"})
    keyed.prediction(inputs, 1.0, subject=PERSON)
    assert len({event["ml"]["subject"]["hash"] for event in events(Path("spool"))}) == 2
    run("erase", "spool", "--subject", "-", "--yes", input=f"{PERSON}\n")
    assert events(Path("spool")) == []


def test_the_record_has_the_hash_and_no_text(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    logged(profile, inputs)
    run("erase", "spool", "--subject", PERSON, "--yes")
    (file,) = Path("erasures").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert PERSON not in text
    record = json.loads(text)
    assert record["subject_hashes"] == [PrivacyFilter({}, b"").hash_subject(PERSON)]
    assert len(record["events"]) == 3
    assert record["runs"][0]["finished"]
    assert record["runs"][0]["done"][0]["erased"] == 5
    # A label that comes a month later names the event by id and nobody by name: the record still knows it.
    late = {"event": {"dataset": "ml.label", "id": "l"}, "ml": {"prediction": {"id": record["events"][0]}}}
    Path("late.jsonl").write_text(json.dumps(late) + "\n")
    assert "1 events erased" in run("erase", "late.jsonl", "--subject", PERSON, "--yes").output
    run("erase", "late.jsonl", "--subject", "someone", "--record", str(file), code=2)


def test_everything_else_that_names_the_person_is_masked(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    logged(profile, inputs)
    identity = events(Path("spool"))[0]["event"]["id"]
    Path("report.html").write_text(f"<p>{PERSON} &amp; customer-77, event {identity}</p>")
    Path("alerts.jsonl").write_text(json.dumps({"watch": "w", "findings": [{"example": identity}]}) + "\n")
    Path("watch-state.json").write_text(json.dumps({"text": f"about {PERSON}", "count": 7}))
    raw = {"model": "loans", "customer": PERSON}
    letter = build_dead_letter(error_type="x", message="y", original=json.dumps(raw).encode(), stage="parse")
    binary = build_dead_letter(error_type="x", message="y", original=b"\xff" + PERSON.encode(), stage="parse")
    other = build_dead_letter(error_type="x", message="y", original=b"\xff someone", stage="parse")
    assert base64.b64decode(other["event"]["original"])
    Path("dead.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in (letter, binary, other)))
    run("erase", ".", "--subject", PERSON, "--yes")
    assert Path("report.html").read_text() == f"<p>{'#' * 10} &amp; customer-77, event {'#' * 36}</p>"
    assert json.loads(Path("alerts.jsonl").read_text())["findings"] == [{"example": "#" * 36}]
    assert json.loads(Path("watch-state.json").read_text()) == {"text": "about ##########", "count": 7}
    assert [orjson.loads(line) for line in Path("dead.jsonl").read_bytes().splitlines() if line.strip()] == [
        other
    ]


def test_a_masked_profile_can_still_be_read(run: Run, training: pd.DataFrame) -> None:
    frame = training.assign(home=training.home.where(training.home != "OWN", "12 Elm Street"))
    fitted = profiles.fit(frame, model="loans", version="1", prediction="rate")
    profiles.save(fitted, "profile.json")
    with EmbeddedStore("store") as store:
        store.index("ml-profiles", [profiles.build_document(fitted)])
        store.index("ml-profile-files", [{"_id": "loans:1", "content": profiles.dumps(fitted).decode()}])
    run("erase", "profile.json", "--store", "store", "--hash", "0" * 32, "--value", "12 Elm Street", "--yes")
    masked = profiles.load("profile.json")
    assert "#" * 13 in masked.features["home"].values
    assert masked.id != fitted.id
    with EmbeddedStore("store") as store:
        (whole,) = store.search("ml-profile-files", {})["hits"]["hits"]
        assert profiles.loads(whole["_source"]["content"].encode()) == masked
        (short,) = store.search("ml-profiles", {})["hits"]["hits"]
        assert short["_source"]["ml"]["profile"]["id"] == masked.id
        assert "Elm" not in json.dumps(short)


def test_the_embedded_store_answers_without_them(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    logged(profile, inputs)
    run("index", "spool", "--store", "store")
    with EmbeddedStore("store") as open_meanwhile:
        open_meanwhile.search("logs-*", {})
        run("erase", "--store", "store", "--subject", PERSON, "--yes")
        open_meanwhile.index(
            "logs-ml.prediction-default", [{"event": {"id": "new", "dataset": "ml.prediction"}}]
        )
    with EmbeddedStore("store") as store:
        hits = store.search("logs-ml.prediction-*,logs-ml.label-*", {})["hits"]["hits"]
    assert sorted(hit["_source"].get("ml", {}).get("request", {}).get("id", "new") for hit in hits) == [
        "new", "req-1", "req-1",
    ]  # fmt: skip


def test_parquet_loses_the_rows(run: Run, profile: profiles.Profile, inputs: dict[str, Any]) -> None:
    logged(profile, inputs)
    table = pd.DataFrame(
        {"event.id": [event["event"]["id"] for event in events(Path("spool"))], "income": 1.5}
    )
    table.to_parquet("train.parquet")
    run("erase", ".", "--subject", PERSON, "--yes")
    left = pd.read_parquet("train.parquet")
    assert list(left.columns) == ["event.id", "income"]
    gone = set(table["event.id"]) - set(left["event.id"])
    assert len(gone) == 3


def test_a_field_can_say_whose_an_event_is(run: Run, inputs: dict[str, Any]) -> None:
    log = logging_lib.configure(model="loans", version="1", spool="spool")
    log.prediction(inputs, 1.0, customer=PERSON)
    log.prediction(inputs, 1.0, customer="customer-8", referred_by=PERSON)
    run("erase", "spool", "--subject", PERSON, "--field", "labels.customer", "--yes")
    (left,) = events(Path("spool"))
    assert left["labels"] == {"customer": "customer-8", "referred_by": "##########"}


def test_a_run_that_was_stopped_within_a_line_is_finished(
    run: Run, profile: profiles.Profile, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(profile, inputs)

    class Killed(BaseException):
        pass

    def half(file: Path, spans: Any) -> None:
        span = spans[0]
        with file.open("r+b") as opened:
            opened.seek(span.offset)
            opened.write(b" " * (span.length // 2))
        raise Killed

    hashes = frozenset({PrivacyFilter({}, b"").hash_subject(PERSON)})
    with monkeypatch.context() as patched:
        patched.setattr(redact_files, "overwrite_spans", half)
        record, files = (
            ErasureRecord.open(Path("record.json"), hashes),
            redact_files.list_files([Path("spool")]),
        )
        with pytest.raises(Killed):
            erase(SubjectTraces(hashes), files, None, record, now=lambda: NOW)
    torn = json.loads(Path("record.json").read_text())
    assert torn["working"]
    assert torn["runs"][0]["finished"] is None
    run("erase", "spool", "--subject", PERSON, "--record", "record.json", "--yes")
    assert [event["ml"]["request"]["id"] for event in events(Path("spool"))] == ["req-1", "req-1"]
    assert json.loads(Path("record.json").read_text())["working"] is None


def test_wrong_input_is_said_with_its_remedy(run: Run) -> None:
    assert "--subject" in run("erase", "spool", code=2).output
    assert "say where" in run("erase", "--subject", PERSON, code=2).output
    assert "no such file" in run("erase", "nowhere", "--subject", PERSON, code=2).output
    Path("x.json").write_text("{}")
    assert "no record" in run("erase", ".", "--subject", PERSON, "--record", "x.json", code=2).output


def test_the_state_of_a_watch_runner_is_masked_while_it_may_run(run: Run) -> None:
    """Below the store, too; and what it wrote in between is not damaged."""
    state = FileState(Path("store") / ".watch-state")

    def add(state: WatchState) -> WatchState:
        incident = Incident(key=Key("loans", "1", PERSON), opened_at=datetime(2026, 1, 1, tzinfo=UTC))
        return state.with_incidents({incident.key: incident})

    state.update("w", add)
    state.record([{"time": "2026-01-01T00:00:00Z", "kind": "alert", "watch": "w", "subject": f"of {PERSON}"}])
    traces = SubjectTraces(frozenset(), frozenset([PERSON]))
    matches = redact_files.inspect_file(Path("store/.watch-state/watches/w.json"), traces)
    state.update(
        "w", lambda stored: stored.model_copy(update={"last_scheduled": datetime(2026, 1, 1, tzinfo=UTC)})
    )
    redact_files.redact_file(Path("store/.watch-state/watches/w.json"), matches, traces)
    assert [incident.key.feature for incident in state.load("w").incidents] == ["#" * 10]
    run("erase", "store", "--subject", PERSON, "--yes")
    assert state.history()[0]["subject"] == "of ##########"


def test_numbers_are_not_taken_for_a_numeric_subject() -> None:
    finder = TermFinder(["4711"])
    text = b'{"id": "4711", "count": 4711, "share": 0.4711, "bins": ["id=4711"], "port": "x4711"}'
    assert json.loads(finder.mask(text)) == {
        "id": "####", "count": 4711, "share": 0.4711, "bins": ["id=####"], "port": "x4711",
    }  # fmt: skip


_TERM = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=4, max_size=12
)


@given(term=_TERM.filter(lambda t: not t.isdigit()), others=st.lists(_TERM, max_size=4))
def test_what_is_masked_is_gone_and_json_stays_json(term: str, others: list[str]) -> None:
    """Whatever the text is, in JSON and in JSON within JSON, in either spelling of what is not ASCII."""
    document = {"a": term, "b": [f"seen: {term}, again"], "inner": json.dumps({"t": term}), "others": others}
    for ascii_only in (True, False):
        data = json.dumps(document, ensure_ascii=ascii_only).encode()
        masked = TermFinder([term]).mask(data)
        assert len(masked) == len(data)
        masked_document = json.loads(masked)
        assert set(masked_document["a"]) == {"#"}
        assert set(json.loads(masked_document["inner"])["t"]) == {"#"}
        assert term not in masked_document["b"][0] or set(term) == {"#"}
        assert TermFinder([term]).mask(masked) == masked or set(term) <= {"#"}


def test_find_learns_shadows_before_their_labels(tmp_path: Path) -> None:
    """A label that names a shadow prediction by event id alone, in a file that is read first."""
    hashes = frozenset({"h" * 32})
    rows = [
        {"event": {"dataset": "ml.label", "id": "l"}, "ml": {"prediction": {"id": "shadow-1"}}},
        {"event": {"dataset": "ml.prediction", "id": "shadow-1"}, "ml": {"request": {"id": "r-1"}}},
        {"event": {"dataset": "ml.prediction", "id": "live-1"},
         "ml": {"request": {"id": "r-1"}, "subject": {"hash": "h" * 32}}},
    ]  # fmt: skip
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (matches,) = find_matches(SubjectTraces(hashes), [file], None, ErasureRecord(tmp_path / "r.json", hashes))
    assert matches.erase == 3


def test_what_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "model.pkl").write_bytes(b"\0\1")
    notes = [
        redact_files.inspect_file(file, SubjectTraces(frozenset({"h"}))).note
        for file in redact_files.list_files([tmp_path])
    ]
    assert notes == ["not looked into: not a text", "not looked into: packed (.gz)"]
