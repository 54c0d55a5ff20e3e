"""Suggestions of what was meant by a misspelled name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def find_similar(name: object, known: Iterable[object], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to a wrong one, ignoring case; return None if none is similar.

    Args:
        cutoff: the lowest similarity, from 0 to 1.
    """
    from difflib import get_close_matches  # imported only if needed: services import this module

    names = {text.casefold(): text for text in map(str, known)}
    similar = get_close_matches(str(name).casefold(), list(names), 1, cutoff)
    return names[similar[0]] if similar else None


def suggest(name: object, known: Iterable[object]) -> str:
    """Return ``; did you mean 'x'?`` for the known name most similar to a wrong one, or an empty text."""
    similar = find_similar(name, known)
    return "" if similar is None else f"; did you mean {similar!r}?"


def suggest_file(path: str | Path) -> str:
    """Return ``; did you mean 'x'?`` for the file or folder beside a missing one with the most similar name."""
    missing = Path(path)
    try:
        similar = find_similar(missing.name, (entry.name for entry in missing.parent.iterdir()), cutoff=0.75)
    except OSError:
        return ""
    return "" if similar is None else f"; did you mean {str(missing.with_name(similar))!r}?"


def explain_unreadable(path: str | Path, error: Exception) -> str:
    """Return why a file cannot be read: ``no such file; did you mean 'x'?``, or the error of system or parser."""
    if isinstance(error, FileNotFoundError):
        return f"no such file{suggest_file(path)}"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
