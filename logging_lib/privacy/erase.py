"""Erase a person's data: find it, record the plan, carry it out, and report what was done.

The record is written before anything is erased. It holds no text of the person, only the subject's hash and the ids
of the erased events, so that the erasure can be repeated after a crash, when a late label arrives, or when a backup
was restored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.times import format_instant
from logging_lib.privacy import redact_files
from logging_lib.privacy.encodings import Span
from logging_lib.privacy.redact_files import PlaceMatches
from logging_lib.privacy.subject_search import SubjectTraces

_MAX_PASSES = 4


class ErasureRecordError(LoggingLibError):
    """A record cannot be read or is about another person; the message names the file and the remedy."""


class ErasureCluster(Protocol):
    """The part of ``ElasticsearchEraser`` that an erasure needs."""

    def collect_ids(self, traces: SubjectTraces) -> None: ...
    def inspect(self, traces: SubjectTraces) -> list[PlaceMatches]: ...
    def erase(self, traces: SubjectTraces) -> list[PlaceMatches]: ...


@dataclass
class ErasureRecord:
    """The record of what was done about one person, in one file that is replaced at each step.

    ``runs`` has one entry per run: ``started``, ``finished`` (None: it was interrupted), and ``done`` by place.
    ``current_file`` is the file that an interrupted run was overwriting, with its spans.
    """

    path: Path
    hashes: frozenset[str]
    events: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    runs: list[dict[str, Any]] = field(default_factory=list)
    current_file: dict[str, Any] | None = None

    @classmethod
    def open(cls, path: Path, hashes: frozenset[str]) -> ErasureRecord:
        """Open the record of earlier runs, or begin a new one.

        Raises:
            ErasureRecordError: the file is not a record, or is about somebody else.
        """
        if not path.exists():
            return cls(path, hashes)
        try:
            known = orjson.loads(path.read_bytes())
            record = cls(
                path,
                frozenset(known["subject_hashes"]),
                set(known["events"]),
                set(known["requests"]),
                known["runs"],
                known["working"],
            )
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ErasureRecordError(
                f"{path}: is not a record of an erasure ({error!r}); give another --record"
            ) from error
        if record.hashes.isdisjoint(hashes):
            raise ErasureRecordError(f"{path}: is the record of another subject; give another --record")
        record.hashes |= hashes
        return record

    def save(self) -> None:
        """Replace the file, durably; readable by its owner alone."""
        document = {
            "subject_hashes": sorted(self.hashes),
            "events": sorted(self.events),
            "requests": sorted(self.requests),
            "runs": self.runs,
            "working": self.current_file,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)


def find_matches(
    traces: SubjectTraces, files: Sequence[Path], cluster: ErasureCluster | None, record: ErasureRecord
) -> list[PlaceMatches]:
    """Find the person's data in all places, and add the ids of their events to ``traces``; nothing is changed.

    Raises:
        OSError: a file cannot be read.
        StoreError: the cluster does not respond, or denies access.
    """
    traces.events |= record.events
    traces.requests |= record.requests
    for _ in range(_MAX_PASSES):  # events that share a request with the person's events have further ids
        before = len(traces.events) + len(traces.requests)
        if cluster is not None:
            cluster.collect_ids(traces)
        for file in files:
            redact_files.collect_ids(file, traces)
        if len(traces.events) + len(traces.requests) == before:
            break
    matches = [in_file for file in files if not (in_file := redact_files.inspect_file(file, traces)).is_empty]
    return matches + (cluster.inspect(traces) if cluster is not None else [])


def erase(
    traces: SubjectTraces,
    files: Sequence[Path],
    cluster: ErasureCluster | None,
    record: ErasureRecord,
    *,
    now: Callable[[], datetime],
    ids_known: bool = False,
) -> list[PlaceMatches]:
    """Erase and mask in all places, files first.

    Args:
        record: is written before anything is erased, and after each place.
        now: returns the time, for the record.
        ids_known: ``find_matches`` was called before, so that the ids need not be searched again.

    Returns:
        What was done, by place, with a ``note`` if something is left.

    Raises:
        OSError: a file cannot be read or written.
        StoreError: the cluster does not respond, or denies access.
    """
    _finish_interrupted_file(record)
    if not ids_known:
        find_matches(traces, files, cluster, record)
    record.events |= traces.events
    record.requests |= traces.requests
    run: dict[str, Any] = {"started": format_instant(now()), "finished": None, "done": []}
    record.runs.append(run)
    record.save()
    done = []

    def note(matches: PlaceMatches) -> None:
        done.append(matches)
        run["done"].append(
            {
                "place": matches.place,
                "erased": matches.erase,
                "redacted": matches.redact,
                "left": matches.note,
            }
        )
        record.current_file = None
        record.save()

    for file in files:
        matches = redact_files.inspect_file(file, traces)
        if matches.is_empty:
            continue
        record.current_file = {
            "file": str(file),
            "inode": file.stat().st_ino,
            "spans": [list(span) for span in matches.spans],
        }
        record.save()
        redact_files.redact_file(file, matches, traces)
        left = redact_files.inspect_file(file, traces)
        if (left.erase or left.redact) and not matches.note:
            matches.note = "something was written meanwhile, or is left: erase again"
        note(matches)
    for matches in cluster.erase(traces) if cluster is not None else ():
        note(matches)
    run["finished"] = format_instant(now())
    record.save()
    return done


def _finish_interrupted_file(record: ErasureRecord) -> None:
    """Finish the file in which a run was interrupted: a half-overwritten line would not match any more."""
    if record.current_file is None:
        return
    file, spans = Path(record.current_file["file"]), [Span(*span) for span in record.current_file["spans"]]
    if file.exists() and file.stat().st_ino == record.current_file["inode"] and spans:
        redact_files.overwrite_spans(file, spans)
    record.current_file = None
    record.save()
