"""What ``configure`` says of a service that is set up wrongly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.startup import find_write_error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "price"}, "the profile is that of loans 1, not of price 1"),
        ({"version": "2"}, "the profile is that of loans 1, not of loans 2"),
        ({"private": {"titel": "drop"}}, "does not have a feature 'titel'; did you mean 'title'?"),
        ({"private": {"ssn": "redact"}}, "private: the profile does not have a feature 'ssn'"),
        ({"spool": "file/spool"}, "file/spool cannot be written: Not a directory"),
        ({"spool": "/proc/spool"}, "the spool /proc/spool cannot be written"),
    ],
)
def test_one_warning_says_what_is_wrong_or_an_exception(
    tmp_path: Path,
    profile: profiles.Profile,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    profiles.save(profile, "profile.json")
    arguments = {"model": "loans", "version": "1", "profile": "profile.json", "spool": "spool"} | options
    logging_lib.configure(**arguments)
    (message,) = caplog.messages
    assert says in message
    caplog.clear()
    with pytest.raises(
        ValueError, match=r"the profile is that of|does not have a feature|cannot be written"
    ) as error:
        logging_lib.configure(**arguments, strict=True)
    assert says in str(error.value)
    assert not caplog.messages


def test_several_problems_are_one_warning(
    tmp_path: Path, profile: profiles.Profile, caplog: pytest.LogCaptureFixture
) -> None:
    private: Any = {"ssn": "drop", "home": "drop"}
    logging_lib.configure(model="m", version="1", profile=profile, spool=tmp_path, private=private)
    (message,) = caplog.messages
    assert "not of m 1" in message
    assert "'ssn'" in message
    assert "'home'" not in message


@pytest.mark.parametrize("strict", [False, True])
def test_a_correct_setup_causes_no_warning_and_creates_no_folder(
    tmp_path: Path, profile: profiles.Profile, caplog: pytest.LogCaptureFixture, strict: bool
) -> None:
    spool = tmp_path / "not" / "there"
    logging_lib.configure(
        model="loans", version="1", profile=profile, spool=spool, private={"title": "drop"}, strict=strict
    )
    logging_lib.configure(model="m", version="1", spool=spool, private={"any": "drop"}, strict=strict)
    assert not caplog.messages
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert find_write_error(tmp_path / "spool") == "Permission denied"
