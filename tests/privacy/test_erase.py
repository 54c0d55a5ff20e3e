"""Erasing a person: what is found, what is left of others, what a crash leaves, what readers see afterwards."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

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
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Incident
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.email import build_mail
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
    assert "give --yes" in said
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
    assert "nothing of this person" in run("erase", "spool", "--subject", PERSON, "--yes").output


def test_the_shipper_continues_at_its_last_position(
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
    assert "1 event erased" in run("erase", "late.jsonl", "--subject", PERSON, "--yes").output
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


def test_the_embedded_store_no_longer_finds_erased_events(
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


def test_wrong_input_is_refused_with_a_remedy(run: Run) -> None:
    assert "--subject" in run("erase", "spool", code=2).output
    assert "say where to erase" in run("erase", "--subject", PERSON, code=2).output
    assert "no such file" in run("erase", "nowhere", "--subject", PERSON, code=2).output
    Path("x.json").write_text("{}")
    assert "is not a record" in run("erase", ".", "--subject", PERSON, "--record", "x.json", code=2).output


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
def test_masked_values_are_gone_and_json_stays_json(term: str, others: list[str]) -> None:
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


def test_files_that_cannot_be_searched_are_reported(tmp_path: Path) -> None:
    (tmp_path / "old.jsonl.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "model.pkl").write_bytes(b"\0\1")
    notes = [
        redact_files.inspect_file(file, SubjectTraces(frozenset({"h"}))).note
        for file in redact_files.list_files([tmp_path])
    ]
    assert notes == ["not looked into: not a text", "not looked into: packed (.gz)"]


# -- encodings of mails and links, files with other names, tables ------------------------------------------


def built_mail(encoding: str, subject: str) -> bytes:
    """A mail as the e-mail channel builds it, whose text part has one encoding."""
    once = quote(subject, safe="")
    link = f"https://k/app/discover#/?q=%22{once}%22&id={quote(once, safe='')}"
    text = "\n".join([f"seen: {subject}, again ({subject})", "x" * 70 + f" {subject} " + "y" * 900, link] * 3)
    notification = Notification(
        id="n-1", action="mail", channel="email", subject=f"about {subject}", created_at=NOW,
        content={"text": text, "html": f"<p>{text}</p>", "to": ["a@x.org"]},
    )  # fmt: skip
    mail = build_mail(notification, "w@x.org")
    for part in mail.walk():
        if part.get_content_maintype() == "text":
            part.set_content(part.get_content(), subtype=part.get_content_subtype(), cte=encoding)
    return mail.as_bytes()


def readable(data: bytes) -> str:
    """Everything that a reader of a mail can read, links decoded."""
    mail = message_from_bytes(data, policy=policy.default)
    texts = [
        str(mail["Subject"]),
        *(p.get_content() for p in mail.walk() if p.get_content_maintype() == "text"),
    ]
    return unquote(unquote("\n".join(texts)))


@pytest.mark.parametrize("subject", ["customer-4711x", "kunde-jörg@example.org", "anna smith@example.org"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_mails_lose_the_person_in_each_encoding(run: Run, subject: str, encoding: str, line_end: str) -> None:
    data = built_mail(encoding, subject).replace(b"\n", line_end.encode())
    assert readable(data).count(subject) > 20
    Path("mails").mkdir()
    file = Path("mails/0001.eml")
    file.write_bytes(data)
    run("erase", "mails", "--subject", subject, "--yes")
    masked = file.read_bytes()
    assert len(masked) == len(data)
    assert subject not in readable(masked)
    assert "#" * len(subject.encode()) in readable(masked)
    assert readable(masked).count("seen: ") == readable(data).count("seen: ")
    run("erase", "mails", "--subject", subject, "--yes")


@pytest.mark.parametrize("subject", ["customer-7", "anna@example.org", "jörg müller"])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_links_lose_the_person(run: Run, subject: str, times: int) -> None:
    encoded, plus = f'"{subject}"', quote_plus(f'"{subject}"')
    for _ in range(times):
        encoded = quote(encoded, safe="")
    link = f"https://k/app/discover#/?q={encoded}&lower={encoded.lower()}&plus={plus}"
    lines = [{"event": {"dataset": "ml.prediction", "id": "x"}, "labels": {"link": link}}, {"link": link}]
    Path("alerts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("page.html").write_text(f"<a href='{link}'>")
    run("erase", "alerts.jsonl", "page.html", "--subject", subject, "--yes")
    for name in ("alerts.jsonl", "page.html"):
        text = Path(name).read_text()
        assert "discover#/?q=" in text
        assert subject not in unquote(unquote(text))
        assert subject not in unquote_plus(text)


@given(
    before=st.binary(max_size=40),
    after=st.text(max_size=40),
    line=st.sampled_from([16, 61, 64, 76]),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    head=st.sampled_from([b"", b"attached\n", b"see the file below\r\n", b"a: "]),
)
def test_a_term_in_base64_is_found_at_each_place(
    before: bytes, after: str, line: int, line_end: bytes, head: bytes
) -> None:
    prefix = before.translate(None, bytes((*range(32), 127)))
    plain = prefix + b" customer-4711 " + after.encode()
    encoded = base64.b64encode(plain)
    body = line_end.join(encoded[i : i + line] for i in range(0, len(encoded), line))
    data = bytearray(head + body + line_end * 2)
    for span in TermFinder(["customer-4711"]).find_encoded_spans(bytes(data)):
        assert len(span.bytes()) == span.length
        data[span.offset : span.offset + span.length] = span.bytes()
    assert data.startswith(head)
    left = base64.b64decode(bytes(data[len(head) :]))
    assert b"customer-4711" not in left
    assert len(left) == len(plain)


@given(st.binary(max_size=300))
def test_files_without_the_person_are_unchanged(data: bytes) -> None:
    finder = TermFinder(["customer-4711", "7"])
    text = base64.b64encode(data) + b" " + data.hex().encode()
    if b"customer-4711" not in data and b'"7"' not in data and b"=7" not in data:
        assert list(finder.find_encoded_spans(text)) == []


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
@pytest.mark.parametrize(
    "name",
    ["dead-letters.jsonl.replayed-20260101T000000Z-18a", "dead-letters.jsonl.replaying-18a-0", "alerts.jsonl.1",
     "service.log.2026-01-01", "kept.txt", "kept"],
)  # fmt: skip
def test_files_of_lines_under_another_name_lose_the_events(run: Run, name: str, encoding: str) -> None:
    mine = {
        "event": {"dataset": "ml.prediction", "id": "mine"},
        "ml": {"input": {"text": {"iban": "IBAN-DE-SECRET-99"}}},
    }
    mine["ml"]["subject"] = {"hash": PrivacyFilter({}, b"").hash_subject(PERSON)}
    original = json.dumps(mine).encode() + (b"\xff" if encoding == "base64" else b"")
    letter = build_dead_letter(error_type="refused", message="no", original=original, stage="ship", now_ns=1)
    other = {"event": {"dataset": "ml.prediction", "id": "other"}, "ml": {"input": {}}}
    Path("spool").mkdir()
    file = Path("spool", name)
    file.write_text("".join(json.dumps(line) + "\n" for line in (other, letter, mine, other)))
    run("erase", "spool", "--subject", PERSON, "--yes")
    left = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    assert [event["event"]["id"] for event in left] == ["other", "other"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("subject", [PERSON, "4711", "jörg, müller"])
def test_a_table_loses_the_rows(run: Run, delimiter: str, subject: str) -> None:
    digest = PrivacyFilter({}, b"").hash_subject(subject)
    rows = [
        ["ml.subject.hash", "iban", "note"],
        ["f" * 32, "DE-1", "of another person"],
        [digest, "IBAN-DE-SECRET-99", 'a note\nof two "lines"; with, marks'],
        ["e" * 32, "DE-2", "two\r\nlines"],
        ["", "IBAN-DE-SECRET-98", subject],
        ["d" * 32, "DE-47110", "47115 customer-77"],
    ]
    file = Path("export.tsv" if delimiter == "\t" else "export.csv")
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, delimiter=delimiter).writerows(rows)
    file.chmod(0o640)
    run("erase", str(file), "--subject", subject, "--yes")
    with file.open(newline="", encoding="utf-8") as opened:
        assert list(csv.reader(opened, delimiter=delimiter)) == [rows[0], rows[1], rows[3], rows[5]]
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(Path().glob(".*")) == []


def test_an_export_loses_the_rows_as_parquet_does(run: Run, inputs: dict[str, Any]) -> None:
    log = logging_lib.configure(model="loans", version="1", spool="spool", report_every=None)
    for number, subject in enumerate((PERSON, "customer-77")):
        log.prediction({**inputs, "iban": f"IBAN-{number}"}, 1.0, event_id=f"event-{number}", subject=subject)
    run("index", "spool", "--store", "store")
    run("export", "--store", "store", "--model", "loans", "--out", "rows.csv")
    assert "IBAN-0" in Path("rows.csv").read_text()
    run("erase", "spool", "rows.csv", "--subject", PERSON, "--yes")
    left = Path("rows.csv").read_text()
    assert "IBAN-0" not in left
    assert "IBAN-1" in left


def test_remaining_mentions_are_reported_as_a_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]
) -> None:
    log = logging_lib.configure(model="loans", version="1", spool="spool", report_every=None)
    log.prediction(inputs, 1.0, subject=PERSON)
    overwrite = redact_files.overwrite_spans

    def overwrite_and_log(file: Path, spans: Any) -> None:
        overwrite(file, spans)
        log.prediction(inputs, 1.0, subject=PERSON)

    monkeypatch.setattr(redact_files, "overwrite_spans", overwrite_and_log)
    said = run("erase", "spool", "--subject", PERSON, "--yes", code=1).output
    assert "erase again" in said
    monkeypatch.undo()


def test_a_shipper_s_last_error_is_masked(run: Run) -> None:
    Path("spool").mkdir()
    state = Path("spool/.ship.json")
    state.write_text(json.dumps({"last_error": f"refused: '{PERSON}'", "offsets": {}}))
    run("erase", "spool", "--subject", PERSON, "--yes")
    assert json.loads(state.read_text())["last_error"] == "refused: '##########'"


def test_hidden_files_are_searched_and_hidden_folders_only_if_they_are_named(run: Run) -> None:
    """A killed process or an editor leaves copies; `.git` and the like belong to other programs."""
    line = f"seen: {PERSON}\n"
    copies = [Path("spool/.alerts.txt.swp"), Path("spool/.watch-state/.w.json.new"), Path(".copies/a.txt")]
    for file in (*copies, Path("spool/.git/note.txt")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(line)
    run("erase", "spool", ".copies", "--subject", PERSON, "--yes")
    assert [PERSON in file.read_text() for file in copies] == [False, False, False]
    assert Path("spool/.git/note.txt").read_text() == line
