"""Notes about the columns of training data: which to look at first, and a draft of ``profile.yml`` from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

MAX_LISTED = 10


class Importance(IntEnum):
    """How important a note is, the most important first."""

    RISES = 1
    OTHER_VALUES = 2
    NO_VALUE = 3
    SPELLING = 4
    NOT_WATCHED = 5
    IDENTIFIER = 6
    WORDS = 7
    CODE = 8
    MANY_VALUES = 9
    CONSTANT = 10
    DUMMY = 11


class Note(NamedTuple):
    """What a person should know about a column.

    Attributes:
        importance: what it is about.
        text: begins with a verb, whose subject is the column.
        setting: what ``profile.yml`` would say: ``exclude``, ``time``, ``na_values``, ``kind: numeric`` or nothing.
        is_advised: whether that can be said without knowing what the service sends.
    """

    importance: Importance
    text: str
    setting: str = ""
    is_advised: bool = False


Notes = Mapping[str, Sequence[Note]]


def rank_notes(notes: Notes) -> list[tuple[list[str], Note]]:
    """List the notes, the most important first, each with the columns that have the same one.

    Args:
        notes: by column.
    """
    columns: dict[Note, list[str]] = {}
    for name, column_notes in notes.items():
        for note in column_notes:
            columns.setdefault(note, []).append(name)
    return sorted(((names, note) for note, names in columns.items()), key=lambda ranked: ranked[1].importance)


def name_columns(names: Sequence[str]) -> str:
    """Name columns as the subject of a note: the first, and how many more."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def draft_config(notes: Notes, na_values: Sequence[str], *, source: str, has_time: bool) -> str:
    """Draft a ``profile.yml`` from notes: what is advised is set, what depends on the service is a comment.

    Args:
        notes: by column.
        na_values: the spellings of a missing value that the profile has.
        source: names the training data.
        has_time: whether the time column is known, so that no other is advised.
    """
    settings: dict[str, list[tuple[str, Note]]] = {}
    for names, note in rank_notes(notes):
        for name in names:
            settings.setdefault(note.setting, []).append((name, note))
    times = [] if has_time else settings.pop("time", [])
    excluded = [*settings.pop("time", []), *times[1:], *settings.pop("exclude", [])]
    lines = [
        f"# Drafted from the notes about {json.dumps(source)}: check each line, then pass the file with --config.",
        "# A line that begins with # depends on what the service sends: remove the # if it applies.",
    ]
    lines += [f"time: {_quote(name)}  # {note.text}" for name, note in times[:1]]
    if excluded:
        lines.append("exclude:" if any(note.is_advised for _, note in excluded) else "# exclude:")
        lines += [
            f"{'  ' if note.is_advised else '# '}- {_quote(name)}  # {note.text}" for name, note in excluded
        ]
    if settings.pop("na_values", None):
        lines.append(f"na_values: [{', '.join(map(_quote, na_values))}]")
    settings.pop("", None)
    kinds = [(name, setting, note) for setting, noted in settings.items() for name, note in noted]
    if kinds:
        lines.append("# features:")
        lines += [f"#   {_quote(name)}: {{{setting}}}  # {note.text}" for name, setting, note in kinds]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Quote a text for YAML, in which JSON's texts are texts."""
    return json.dumps(text)
