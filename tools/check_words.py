"""Find retired words: `python tools/check_words.py [FOLDER]`, a part of `make check`.

The words are those in `code` in the last column of docs/glossary.md; a `*` at a word's end stands for any ending.
They are found as whole words in file names, code, content and documentation, also inside `snake_case` and
`CamelCase` names. Retired words that also mean something in Python, Elasticsearch or ECS are not in `code` there:
readers look for those.

Exit code 1 if a retired word was found; each place is printed with the word to use instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = "docs/glossary.md"
FIXTURES = "tests/words/"
SKIPPED_FOLDERS = frozenset({"build", "dist", "keys", "node_modules", "__pycache__"})
_ROW = re.compile(r"^\|(?P<say>[^|\n]*)\|(?P<meaning>[^|\n]*)\|(?P<retired>[^|\n]*)\|[ ]*$", re.MULTILINE)
_CODE = re.compile(r"`([a-z]+\*?)`")


@dataclass(frozen=True)
class Hit:
    """A retired word: path below the root, line from 1 (0: the file's name), the word, what to say instead."""

    path: str
    line: int
    word: str
    say: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else f"{self.path} (its name)"
        return f"{place}: {self.word!r} is retired; say {self.say!r}"


def read_retired(glossary: str) -> dict[str, str]:
    """Read the retired words from the glossary's text: word → what to say instead."""
    return {
        word: row["say"].strip() for row in _ROW.finditer(glossary) for word in _CODE.findall(row["retired"])
    }


def compile_pattern(word: str) -> re.Pattern[str]:
    """Compile a lower-case word: `word` matches `a_word`, `AWord`, `A_WORD` and `wordOne`, but not `sword`."""
    stem, lower, upper = (word[:-1], "[a-z]*", "[A-Z]*") if word.endswith("*") else (word, "", "")
    return re.compile(
        rf"(?<![A-Za-z]){stem}{lower}(?![a-z])"
        rf"|(?<![A-Z]){stem.capitalize()}{lower}(?![a-z])"
        rf"|(?<![A-Za-z]){stem.upper()}{upper}(?![A-Za-z])"
    )


def find_words(path: str, text: str, words: Mapping[str, str]) -> Iterator[Hit]:
    """Find retired words in a file's name and text; the glossary may name them in its last column."""
    if path == GLOSSARY:
        text = _ROW.sub(lambda row: row[0].replace(row["retired"], ""), text)
    for word, say in words.items():
        pattern = compile_pattern(word)
        yield from (Hit(path, 0, match[0], say) for match in pattern.finditer(path))
        for match in pattern.finditer(text):
            yield Hit(path, text.count("\n", 0, match.start()) + 1, match[0], say)


def read_files(root: Path) -> Iterator[tuple[str, str]]:
    """Read the texts that people write below a folder, as (path below the folder, content)."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED_FOLDERS
            and not name.endswith(".egg-info")
            and (not name.startswith(".") or name in (".github", ".ci"))
        )
        for name in sorted(files):
            path = Path(folder, name)
            below = path.relative_to(root).as_posix()
            if not below.startswith(FIXTURES):
                with contextlib.suppress(UnicodeDecodeError):  # a picture, a compressed file
                    yield below, path.read_text("utf-8")


def main(root: Path = ROOT) -> int:
    """Print every retired word below a folder and a count by folder; return the exit code."""
    words = read_retired((ROOT / GLOSSARY).read_text("utf-8"))
    hits = sorted(
        (hit for path, text in read_files(root) for hit in find_words(path, text, words)),
        key=lambda hit: (hit.path, hit.line, hit.word),
    )
    for hit in hits:
        print(hit)
    for folder, count in sorted(Counter("/".join(hit.path.split("/")[:-1][:2]) for hit in hits).items()):
        print(f"{count:6d} in {folder or 'the root'}", file=sys.stderr)
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) > 1 else main())
