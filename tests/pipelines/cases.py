"""The golden cases of ``pipelines/cases``, and ``python -m tests.pipelines.cases`` to rewrite what they expect.

A case is ``NNN-name.raw``, the bytes of one line, or ``NNN-name.parts.json``, from which a large one is made: a
list of ``{"text", "times", "join"}``, in whose text ``{i}`` is its number. Beside it stands
``NNN-name.expected.json``: the document, or where that is large the SHA-256 and length of its canonical JSON, and
its error. The cases in a folder are read with the file of its name in ``pipelines/aliases``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from logging_lib.normalize import Aliases, normalize, read_aliases

FOLDER = Path(__file__).parents[2] / "pipelines" / "cases"
ALIASES_FILES = sorted((FOLDER.parent / "aliases").glob("*.yml"))
NOW = datetime(2018, 2, 1, 12, tzinfo=UTC)
"""When the cases arrive."""
_LARGE = 20_000


@dataclass(frozen=True)
class Case:
    """One line and what it becomes."""

    name: str
    raw: bytes
    expected_file: Path
    aliases_file: Path | None = None

    @property
    def aliases(self) -> Aliases | None:
        return None if self.aliases_file is None else read_aliases(self.aliases_file)


def alias_cases() -> list[Case]:
    """The cases of the shipped files of aliases."""
    return [case for file in ALIASES_FILES for case in cases(FOLDER / file.stem, file)]


def cases(folder: Path = FOLDER, aliases_file: Path | None = None) -> list[Case]:
    all_cases = []
    for file in sorted(folder.iterdir()):
        if file.name.endswith((".raw", ".parts.json")):
            name = file.name.removesuffix(".raw").removesuffix(".parts.json")
            raw = file.read_bytes() if file.suffix == ".raw" else _made(json.loads(file.read_bytes()))
            all_cases.append(Case(name, raw, folder / f"{name}.expected.json", aliases_file))
    return all_cases


def _made(parts: list[dict[str, Any]]) -> bytes:
    return "".join(
        part.get("join", "").join(part["text"].replace("{i}", str(i)) for i in range(part.get("times", 1)))
        for part in parts
    ).encode()


def canonical(document: Any) -> bytes:
    """Canonical JSON: UTF-8, keys sorted by code point, no space, numbers in their shortest spelling."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def expectation(document: Any) -> Any:
    """What the file beside a case holds for this document."""
    expected = canonical(document)
    if len(expected) <= _LARGE:
        return orjson.loads(expected)
    short = {"bytes": len(expected), "sha256": hashlib.sha256(expected).hexdigest()}
    return short | {"error": document["error"]} if "error" in document else short


def main() -> None:
    for case in cases() + alias_cases():
        document = expectation(normalize(case.raw, now=NOW, aliases=case.aliases).document)
        text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
        case.expected_file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
