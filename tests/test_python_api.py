"""Every public name is on the Python API's page, and has a docstring that names all of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe
import pytest
import yaml

from tests import public

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")


@cache
def package() -> griffe.Module:
    loaded = griffe.load("logging_lib", search_paths=[ROOT], resolve_aliases=True)
    assert isinstance(loaded, griffe.Module)
    return loaded


def find(name: str) -> griffe.Object:
    found = package()[name.removeprefix("logging_lib.")]
    return found.final_target if isinstance(found, griffe.Alias) else found


def text(member: griffe.Object | griffe.Alias) -> str:
    return member.docstring.value if member.docstring is not None else ""


def members_shown(name: str) -> list[str] | None:
    """The members that the page shows of a name; None: all that are public."""
    block = re.search(rf"^::: {re.escape(name)}\n((?: .*\n)*)", PAGE, re.MULTILINE)
    options = yaml.safe_load(block[1]) if block is not None else None
    members = options["options"]["members"] if options else None
    return [] if members is False else members


def faults(name: str, member: griffe.Object) -> Iterator[str]:
    """Find what is missing in the docstrings of a public name and of those of its members that are shown."""
    if not text(member).strip():
        yield f"{name}: no docstring"
    parameters: list[str] = []
    if isinstance(member, griffe.Class):
        is_dataclass = "dataclass" in member.labels
        shown = members_shown(name)
        for part, inner in member.members.items():
            if inner.is_alias or (part.startswith("_") if shown is None else part not in shown):
                continue
            if isinstance(inner, griffe.Function):
                yield from faults(f"{name}.{part}", inner)
            elif "property" in inner.labels and not text(inner):
                yield f"{name}.{part}: no docstring"
            elif is_dataclass and isinstance(inner, griffe.Attribute) and "property" not in inner.labels:
                parameters.append(part)
        if not is_dataclass and not is_error(member):
            parameters += [parameter.name for parameter in member.parameters]
    elif isinstance(member, griffe.Function):
        signatures = member.overloads or [member]
        parameters = list(
            dict.fromkeys(part.name for signature in signatures for part in signature.parameters)
        )
    for parameter in documented_parameters(member):
        if parameter.lstrip("*") not in parameters:
            yield f"{name}: the docstring explains {parameter!r}, which is not a parameter"
    for parameter in parameters:
        if parameter not in ("self", "cls") and not re.search(rf"\b{parameter}\b", text(member)):
            yield f"{name}: the docstring does not name {parameter!r}"


def documented_parameters(member: griffe.Object) -> list[str]:
    """The names in a docstring's section ``Args``."""
    if member.docstring is None:
        return []
    sections = member.docstring.parse("google", warnings=False)
    return [
        parameter.name
        for section in sections
        if isinstance(section, griffe.DocstringSectionParameters)
        for parameter in section.value
    ]


def is_error(member: griffe.Class) -> bool:
    """Whether a class is an exception, which its raiser builds."""
    return any(str(base).endswith(("Error", "Exception")) for base in member.bases)


def test_the_page_lists_the_public_names() -> None:
    listed = re.findall(r"^::: (.*)$", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(public.names())


@pytest.mark.parametrize("name", public.names())
def test_a_public_name_is_documented(name: str) -> None:
    assert list(faults(name, find(name))) == []


def test_an_undocumented_name_is_found() -> None:
    code = '''
        """A module."""
        from dataclasses import dataclass

        def fit(data, *, model):
            """Fit a profile to data.

            Args:
                data: the rows.
                target: not a parameter.
            """

        class Logger:
            """A logger."""

            def label(self): ...

            @property
            def path(self): ...

        @dataclass
        class Event:
            """An event with a reason."""

            reason: str
            document: str
        '''
    with griffe.temporary_visited_module(code) as module:
        found = [fault for name in ("fit", "Logger", "Event") for fault in faults(name, module[name])]
    assert found == [
        "fit: the docstring explains 'target', which is not a parameter",
        "fit: the docstring does not name 'model'",
        "Logger.label: no docstring",
        "Logger.path: no docstring",
        "Event: the docstring does not name 'document'",
    ]
