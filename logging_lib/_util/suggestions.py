"""Suggest what was meant by a misspelled name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def find_similar(name: object, known: Iterable[object], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like a wrong one, whatever their case; None where none is like it.

    Args:
        cutoff: the least similarity, from 0 to 1.
    """
    from difflib import get_close_matches  # only where something is wrong: a service imports this module

    names = {text.casefold(): text for text in map(str, known)}
    similar = get_close_matches(str(name).casefold(), list(names), 1, cutoff)
    return names[similar[0]] if similar else None


def suggest(name: object, known: Iterable[object]) -> str:
    """Return ``; did you mean 'x'?`` for the known name most like a wrong one, or an empty text."""
    similar = find_similar(name, known)
    return "" if similar is None else f"; did you mean {similar!r}?"


def suggest_file(path: str | Path) -> str:
    """Return ``; did you mean 'x'?`` for the file or folder beside a missing one that is most like it."""
    missing = Path(path)
    try:
        similar = find_similar(missing.name, (entry.name for entry in missing.parent.iterdir()), cutoff=0.75)
    except OSError:
        return ""
    return "" if similar is None else f"; did you mean {str(missing.with_name(similar))!r}?"


def explain_unreadable(path: str | Path, error: Exception) -> str:
    """Say why a file cannot be read: ``no such file; did you mean 'x'?``, or what the system or parser says."""
    if isinstance(error, FileNotFoundError):
        return f"no such file{suggest_file(path)}"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
