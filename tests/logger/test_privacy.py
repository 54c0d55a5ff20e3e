"""No value of a private feature leaves the process, whatever it is and however the call goes wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.privacy import PrivacyFilter

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]
KEY = b"a key"
PRIVATE = {"home": "drop", "title": "redact", "income": "hmac", "joint": "drop", "opened": "redact"}


def process(
    profile: profiles.Profile | None, event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> bytes:
    monkeypatch.setenv("LOGGING_LIB_HMAC_KEY", KEY.decode())
    processor = logging_lib.PredictionProcessor(
        model="loans",
        version="1",
        profile=profile,
        private=PRIVATE,  # type: ignore[arg-type]
    )
    return logging_lib.EventRenderer()(None, "info", processor(None, "info", event))


def test_each_privacy_treatment_hides_its_value(
    profile: profiles.Profile, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, valid: Valid
) -> None:
    event = valid(orjson.loads(process(profile, {"inputs": inputs, "prediction": 1.0}, monkeypatch)))
    shown = event["ml"]["input"]
    assert shown["numeric"] == {"count": 2}
    assert shown["other"]["title"] == "<redacted>"
    assert shown["other"]["income"].startswith("hmac-sha256:")
    assert "home" not in orjson.dumps(shown["other"]).decode()
    assert sorted(shown["bins"]) == sorted([f"{name}=!hidden" for name in PRIVATE] + ["count=[1.5,2.5)"])


def test_checks_run_on_the_value_before_it_is_hidden(
    profile: profiles.Profile, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_ = inputs | {"home": "secret-home", "title": "secreta palabra", "income": None}
    event = orjson.loads(process(profile, {"inputs": given_}, monkeypatch))
    assert event["ml"]["check"] == {"missing": ["income"], "unseen": ["home"], "oov": ["title"]}
    assert "income=!missing" in event["ml"]["input"]["bins"]
    assert "oov_words" not in event["ml"]["text"]


secrets = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=3, max_size=30)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(PRIVATE, secrets)), secrets, st.booleans())
def test_no_byte_of_a_private_value_is_in_the_output(
    profile: profiles.Profile, given_: dict[str, str], other: str, checked: bool
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        error = ValueError(f"could not convert {given_!r}", given_)
        for event in (
            {"inputs": given_, "prediction": 1.0},
            {"inputs": given_ | {"free": "x"}, "error": error},
            {"inputs": {name: [value] for name, value in given_.items()}, "prediction": 1.0},
            {"inputs": list(given_.values()), "prediction": 1.0},
        ):
            line = process(profile if checked else None, event, monkeypatch).decode()
            for value in given_.values():
                assert value not in line
                assert value.encode("unicode_escape").decode() not in line


def test_the_same_value_has_the_same_hash_under_the_same_key_only() -> None:
    one, same, other = PrivacyFilter({}, KEY), PrivacyFilter({}, KEY), PrivacyFilter({}, b"another")
    assert one.hash_subject("customer-7") == same.hash_subject("customer-7")
    assert one.hash_subject("customer-7") != other.hash_subject("customer-7")
    assert len(PrivacyFilter({}, b"").hash_subject("customer-7")) == 32


def test_a_subject_is_logged_as_a_hash(tmp_path: Path, spooled: Events, valid: Valid) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction({"a": 1}, 2.0, subject="customer-7")
    (event,) = map(valid, spooled(tmp_path))
    assert len(event["ml"]["subject"]["hash"]) == 32
    assert "customer-7" not in orjson.dumps(event).decode()


def test_a_wrong_treatment_or_a_missing_key_is_reported_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGGING_LIB_HMAC_KEY", raising=False)
    with pytest.raises(ValueError, match="private: a: expected 'drop', 'redact' or 'hmac', found 'hash'"):
        PrivacyFilter({"a": "hash"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="'hmac' needs a key: set LOGGING_LIB_HMAC_KEY"):
        PrivacyFilter({"a": "hmac"})


SECRET = "078-05-1120"


def hides(
    way: str, tmp_path: Path, profile: profiles.Profile, **options: Any
) -> logging_lib.PredictionLogger:
    """Configure a logger for which ``home`` is private, or hidden by its profile."""
    spool, names = tmp_path / way, {"model": "loans", "version": "1", "report_every": None}
    if way == "private":
        return logging_lib.configure(spool=spool, private={"home": "drop"}, **names, **options)
    hidden = dataclasses.replace(profile.features["home"], hidden=True)
    profile = dataclasses.replace(profile, features={**profile.features, "home": hidden})
    return logging_lib.configure(spool=spool, profile=profile, **names, **options)


@pytest.mark.parametrize("way", ["private", "hidden"])
def test_no_exception_of_a_model_shows_a_private_or_hidden_value(
    way: str, tmp_path: Path, profile: profiles.Profile, inputs: dict[str, Any], spooled: Events, valid: Valid
) -> None:
    log, given_ = hides(way, tmp_path, profile), {**inputs, "home": SECRET}

    def predict(inputs: dict[str, Any]) -> float:
        return float(inputs["home"])

    with pytest.raises(ValueError, match=SECRET), log.prediction(given_) as p:
        p.prediction = predict(given_)
    with pytest.raises(ValueError, match=SECRET):
        log.observe(predict)(given_)
    log.prediction(given_, error=ValueError(SECRET))
    log.prediction(given_, error=SECRET)  # type: ignore[arg-type]
    service = logging.getLogger(f"a service with {way} values")
    service.propagate = False
    service.addHandler(logging_lib.PredictionHandler(log))
    try:
        predict(given_)
    except ValueError:
        service.exception("failed", extra={"inputs": given_})
    events = list(map(valid, spooled(tmp_path / way)))
    assert [event["event"]["outcome"] for event in events] == ["failure"] * 5
    assert {event["error"]["type"] for event in events} == {"ValueError", "error"}
    for path in (tmp_path / way).glob("*.jsonl"):
        assert SECRET not in path.read_text("utf-8")


class QuotingError(Exception):
    def __repr__(self) -> str:
        return f"QuotingError({self.args})"


@pytest.mark.parametrize("way", ["private", "hidden"])
def test_no_warning_shows_a_private_or_hidden_value(
    way: str,
    tmp_path: Path,
    profile: profiles.Profile,
    inputs: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def own(logger: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
        raise QuotingError(f"cannot handle {event}")

    log = hides(way, tmp_path, profile, processors=[own])
    log.prediction({**inputs, "home": SECRET}, 1.0)
    log.predictions({**inputs, "home": SECRET}, [1.0, 2.0])  # type: ignore[arg-type]
    log.label(SECRET, SECRET)
    assert "QuotingError" in caplog.text
    assert SECRET not in caplog.text + "".join(capfd.readouterr())
    assert log.stats()["dropped"]["QuotingError"] == 2


def test_the_text_of_an_exception_is_shown_if_nothing_is_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def own(logger: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
        raise QuotingError("why")

    log = logging_lib.configure(model="m", version="1", report_every=None, spool=tmp_path, processors=[own])
    log.prediction({"a": 1}, 1.0)
    assert "QuotingError(('why',))" in caplog.text
