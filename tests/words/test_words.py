"""Retired words are found wherever they stand, and nothing else is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "words"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_words", ROOT / "tools" / "check_words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check_words = load_tool()
RETIRED = check_words.read_retired((ROOT / "docs" / "glossary.md").read_text("utf-8"))


def find(text: str, path: str = "page.md") -> list[str]:
    return [hit.word for hit in check_words.find_words(path, text, RETIRED)]


def test_the_glossary_retires_the_unambiguous_words() -> None:
    assert set(RETIRED) == {
        "artefact*",
        "convict*",
        "errs",
        "judg*",
        "licence*",
        "mend",
        "mended",
        "mending",
        "mends",
        "normalise*",
        "outlet",
        "outlets",
        "parcel",
        "patience",
        "postman",
        "telling",
        "told",
        "truth",
        "truths",
    }
    assert RETIRED["licence*"] == "license"


@pytest.mark.parametrize("line", (FIXTURES / "retired.txt").read_text("utf-8").splitlines())
def test_every_line_of_the_fixture_is_rejected(line: str) -> None:
    assert find(line)


@pytest.mark.parametrize("line", (FIXTURES / "allowed.txt").read_text("utf-8").splitlines())
def test_words_that_only_look_alike_pass(line: str) -> None:
    assert find(line) == []


def test_a_folder_with_a_retired_word_ends_with_1_and_names_the_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check_words.main(FIXTURES) == 1
    printed = capsys.readouterr().out
    assert "retired.txt:1: 'told' is retired; say 'notify, notification'\n" in printed
    assert "allowed.txt" not in printed


def test_a_folder_without_one_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("Somebody is notified.\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "page.md").write_text("Built pages are not read: told.\n")
    assert check_words.main(tmp_path) == 0


def test_a_file_name_counts() -> None:
    assert find("", "logging_lib/watch/_told.py") == ["told"]


def test_the_glossary_may_name_a_word_only_where_it_retires_it() -> None:
    row = "| notify | Send a person an alert. | tell, `told` |"
    assert find(row, check_words.GLOSSARY) == []
    assert find(row.replace("Send", "Told to send"), check_words.GLOSSARY) == ["Told"]
    assert find(row, "docs/watches.md") == ["told"]
