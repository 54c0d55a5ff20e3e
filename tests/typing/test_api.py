"""The public API passes a strict type checker, and a user's mistakes do not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import public

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).parent / "api.py"
IGNORE = re.compile(r"  # type: ignore\[(.*?)\]")


def check(file: Path) -> str:
    """What mypy prints, without the project's own settings, and with errors of the user's file alone."""
    options = [
        "--strict",
        "--config-file=",
        "--follow-imports=silent",
        "--no-error-summary",
        "--no-color-output",
    ]
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'user'}"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, cache, str(file)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout


def test_a_users_code_passes() -> None:
    assert check(FILE) == ""


def test_a_users_mistakes_are_found(tmp_path: Path) -> None:
    lines = FILE.read_text("utf-8").splitlines()
    (tmp_path / "mistakes.py").write_text("\n".join(IGNORE.sub("", line) for line in lines) + "\n", "utf-8")
    expected = [(number, match[1]) for number, line in enumerate(lines, 1) if (match := IGNORE.search(line))]
    printed = check(tmp_path / "mistakes.py")
    found = re.findall(r"mistakes\.py:(\d+): error: .*\[([a-z-]+)\]$", printed, re.MULTILINE)
    assert [(int(number), code) for number, code in found] == expected
    assert len(expected) > 15


@pytest.mark.parametrize("name", public.names())
def test_every_public_name_is_used(name: str) -> None:
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", FILE.read_text("utf-8"))
