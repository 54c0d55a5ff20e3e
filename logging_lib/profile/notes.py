"""Notes about the columns of training data, their order of importance, and a draft of ``profile.yml`` from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

MAX_LISTED = 10


class Importance(IntEnum):
    """The importance of a note, the highest first."""

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
    """A remark about a column for people.

    Attributes:
        importance: the subject of the note, which determines its importance.
        text: the note; it begins with a verb, whose subject is the column.
        setting: the setting for ``profile.yml``: ``exclude``, ``time``, ``na_values``, ``kind: numeric`` or empty.
        is_advised: whether the setting is right whatever the service sends.
    """

    importance: Importance
    text: str
    setting: str = ""
    is_advised: bool = False


Notes = Mapping[str, Sequence[Note]]


def rank_notes(notes: Notes) -> list[tuple[list[str], Note]]:
    """List the notes, the most important first, each with the columns that share it.

    Args:
        notes: the notes by column.
    """
    columns: dict[Note, list[str]] = {}
    for name, column_notes in notes.items():
        for note in column_notes:
            columns.setdefault(note, []).append(name)
    return sorted(((names, note) for note, names in columns.items()), key=lambda ranked: ranked[1].importance)


def name_columns(names: Sequence[str]) -> str:
    """Name columns as the subject of a note: the first name, and the number of the others."""
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def draft_config(notes: Notes, na_values: Sequence[str], *, source: str, has_time: bool) -> str:
    """Draft a ``profile.yml`` from notes: advised settings are set; those that depend on the service are comments.

    Args:
        notes: the notes by column.
        na_values: the spellings of a missing value that the profile has.
        source: the name of the training data.
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
    """Quote a text for YAML, which reads JSON's texts as texts."""
    return json.dumps(text)
