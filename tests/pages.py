"""The documentation's pages, and every fenced block on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "benchmarks", "examples", "kibana_dashboards", "pipelines", "watchers")
ROOT_PAGES = ("CONTRIBUTING.md", "README.md", "RELEASING.md", "SECURITY.md")
PAGES = sorted(
    [
        *(ROOT / page for page in ROOT_PAGES),
        *(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/**/*.md")),
    ]
)

FOLLOWED_ELSEWHERE = {
    "docs/quickstart.md": "tests/examples/test_quickstart_page.py",
    "docs/concepts.md": "tests/test_packaging.py",
    "docs/fastapi.md": "tests/examples/test_fastapi_page.py",
    "examples/README.md": "tests/examples/test_commands.py",
    "docs/runbooks/*.md": "tests/watch/test_runbooks.py",
}
"""Pages that have a test of their own, which follows them from their first line to their last."""

DRAWINGS = {
    "README.md": "training DataFrame",
    "docs/concepts.md": "training DataFrame",
    "docs/design.md": "training DataFrame",
    "pipelines/README.md": "10 beats",
}
"""Blocks without a language that hold nothing to run: how each begins."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page below the project's root, its first line's number, its language, its text."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """A page's fenced blocks, those within lists too."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = line.lstrip().startswith("```")
        if fence and opened is None:
            opened, lines = (number, line.strip().removeprefix("```").strip()), []
        elif fence and opened is not None:
            yield Block(name(page), opened[0], opened[1], dedent("\n".join(lines)) + "\n")
            opened = None
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{name(page)}:{opened}: the block has no end"


def elsewhere(page: Path) -> str | None:
    """The file of the test that follows a page as a whole."""
    found = [test for pattern, test in FOLLOWED_ELSEWHERE.items() if Path(name(page)).match(pattern)]
    return found[0] if found else None
