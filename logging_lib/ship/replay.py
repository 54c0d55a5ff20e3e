"""The replay of dead letters: events that a receiver refused return to the spool after the cause was fixed.

``dead-letters.jsonl`` is first renamed to a name with the time and the byte up to which it was delivered; then its
originals become a segment, whose name and content follow from that name; then the file gets its final name. A
replay that was interrupted continues with the next one, and writes the same segment again.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from logging_lib.logger.segments import DEAD_LETTERS, format_segment_name
from logging_lib.ship.spool_reader import SpoolReader

_IN_PROGRESS = f"{DEAD_LETTERS}.replaying-"
_IN_PROGRESS_NAME = re.compile(rf"{re.escape(_IN_PROGRESS)}[0-9a-f]{{1,16}}-\d+\Z")
_DONE = f"{DEAD_LETTERS}.replayed-"


@dataclass
class ReplayResult:
    """The numbers of events that were put back and of dead letters that were not, and the files with the latter."""

    events: int
    remaining: int
    files: list[Path]


def replay_dead_letters(reader: SpoolReader, *, now_ns: int | None = None) -> ReplayResult:
    """Put the originals of stage ``ship`` back into the spool, whose lock ``reader`` must hold.

    Originals that were cut, and lines that could not be sent at all, remain in the renamed file. Such a dead letter
    is itself put into the segment if it was not delivered yet.

    Raises:
        OSError: the spool cannot be written; nothing is lost, and a second call continues.
    """
    folder, state = reader.directory, reader.state
    result = ReplayResult(0, 0, [])
    for path in sorted(folder.glob(f"{_IN_PROGRESS}*")):
        if _IN_PROGRESS_NAME.match(path.name):
            _finish_replay(path, result)
    letters = folder / DEAD_LETTERS
    if letters.exists():
        now_ns = time.time_ns() if now_ns is None else now_ns
        delivered = reader.find_start(letters)
        state.offsets.pop(DEAD_LETTERS, None)
        reader.save(now_ns / 1e9)  # first, so that this offset is not taken for one of the next file
        _finish_replay(letters.rename(folder / f"{_IN_PROGRESS}{now_ns:x}-{delivered}"), result)
    return result


def _finish_replay(path: Path, result: ReplayResult) -> None:
    start, delivered = path.name.removeprefix(_IN_PROGRESS).split("-")
    start_ns = int(start, 16)
    segment = path.with_name(format_segment_name("replay", 0, start_ns, 0))
    hidden = path.with_name(f".{segment.name}.new")
    events = 0
    with os.fdopen(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
        for line, end in _read_lines(path):
            original = _read_original(line)
            if original is not None:
                events += 1
                new.write(original + b"\n")
            else:
                result.remaining += 1
                if end > int(delivered):
                    new.write(line + b"\n")
    hidden.rename(segment)
    result.events += events
    moment = datetime.fromtimestamp(start_ns // 10**9, UTC)
    result.files.append(path.rename(path.with_name(f"{_DONE}{moment:%Y%m%dT%H%M%SZ}-{start}")))


def _read_lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Read each line that is not blank, with the offset of its end in the file."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            if line.strip():
                yield line.rstrip(b"\n"), end


def _read_original(line: bytes) -> bytes | None:
    """Read the line that a receiver refused; return None if it was not refused, or was stored only in part."""
    try:
        letter: Any = orjson.loads(line)
        deadletter, text = letter["ml"]["deadletter"], letter["event"]["original"]
        if deadletter["stage"] != "ship":
            return None
        data = base64.b64decode(text, validate=True) if deadletter["encoding"] == "base64" else text.encode()
        # The size includes the newline.
        return data if deadletter["size"] == len(data) + 1 and b"\n" not in data else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
