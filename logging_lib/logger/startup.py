"""Checks at the start of a service for problems that would otherwise show only in, or as a lack of, its events."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from logging_lib._util.suggestions import suggest
from logging_lib.profile.model import Profile


def find_problems(
    *, model: str, version: str, profile: Profile | None, private: Iterable[str], spool: Path
) -> Iterator[str]:
    """Yield what is wrong with how a logger is configured, each with the remedy.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile, if there is one.
        private: the names of the features that are to be hidden.
        spool: the folder that events are written to.
    """
    if profile is not None:
        if (profile.model, profile.version) != (model, version):
            yield (
                f"the profile is that of {profile.model} {profile.version}, not of {model} {version}: inputs are "
                "checked against another model's training; give the profile that was fitted with this one"
            )
        for name in private:
            if name not in profile.features:
                yield f"private: the profile does not have a feature {name!r}{suggest(name, profile.features)}"
    if reason := find_write_error(spool):
        yield f"the spool {spool} cannot be written: {reason}; events will be dropped"


def find_write_error(folder: Path) -> str:
    """Return why no file, or not the folder itself, can be created; return an empty text if it can.

    A missing folder is not created now, because the process may change its user before it writes.
    """
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".write-test-{os.getpid()}-{time.time_ns()}"
    try:
        probe.mkdir()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        return getattr(error, "strerror", None) or str(error)
    with suppress(OSError):
        probe.rmdir()
    return ""
