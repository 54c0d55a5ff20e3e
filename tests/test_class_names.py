"""No class name means two things in the package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import logging_lib

PACKAGE = Path(logging_lib.__file__).parent


def public_classes(source: str) -> Iterator[str]:
    """The classes at the top of a module that other modules may import."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def repeated_names(sources: dict[str, str]) -> dict[str, list[str]]:
    """Class name → the modules that define it, for names that several define."""
    modules = defaultdict(list)
    for module, source in sources.items():
        for name in public_classes(source):
            modules[name].append(module)
    return {name: places for name, places in modules.items() if len(places) > 1}


def test_every_class_has_a_name_of_its_own() -> None:
    sources = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    assert repeated_names(sources) == {}


def test_a_repeated_name_is_found() -> None:
    sources = {"a.py": "class Column: ...\nclass _Row: ...", "b.py": "class Column: ...\nclass _Row: ..."}
    assert repeated_names(sources) == {"Column": ["a.py", "b.py"]}
