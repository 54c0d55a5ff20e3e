"""Remove a person's data from files: spools, the embedded store, reports, state, profiles, exports.

Lines and texts are overwritten in place, so that a writer's open file and a shipper's offset stay valid; Parquet
files are rewritten and replaced.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from logging_lib._util.suggestions import suggest_file
from logging_lib.logger import jsonlines
from logging_lib.privacy.csv_rows import is_csv, read_csv_rows, rewrite_csv
from logging_lib.privacy.encodings import Span
from logging_lib.privacy.subject_search import (
    SubjectTraces,
    TermFinder,
    find_line_spans,
    parse_event,
)
from logging_lib.store.duckdb import files as stored
from logging_lib.watch.state.file import FOLDER, hold_lock

_PACKED_SUFFIXES = frozenset((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".png", ".jpg", ".pdf"))
_LINE_SUFFIXES = frozenset((".jsonl", ".ndjson", ".log"))
_TABLE_SUFFIXES = frozenset((".csv", ".tsv"))
_SNIFFED_BYTES = 1 << 16


@dataclass
class PlaceMatches:
    """Counts of the person's data in a place: ``erase`` events to delete, ``redact`` texts to mask."""

    place: str
    erase: int = 0
    redact: int = 0
    note: str = ""
    spans: list[Span] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.erase or self.redact or self.note)


def list_files(paths: Iterable[Path]) -> list[Path]:
    """List the files at and below these paths, except locks and what is in hidden folders below them.

    A hidden file may be a copy that a killed process or an editor left; hidden folders belong to other programs,
    such as ``.git``, except for the watch runner's state.

    Raises:
        FileNotFoundError: a path does not exist; the message names it.
    """
    unique_files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder{suggest_file(path)}")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            folders = file.relative_to(path).parts[:-1]
            hidden = any(folder.startswith(".") and folder != FOLDER for folder in folders)
            if file.is_file() and not file.is_symlink() and not hidden and not file.name.endswith(".lock"):
                unique_files[file.absolute()] = None
    return list(unique_files)


def collect_ids(file: Path, traces: SubjectTraces) -> None:
    """Add the ids of the person's events in a file to ``traces``."""
    for line in _event_lines(file):
        event = parse_event(line)
        if event is not None:
            traces.add_ids(event)


def inspect_file(file: Path, traces: SubjectTraces) -> PlaceMatches:
    """Find what the file holds about the person; nothing is changed."""
    matches = PlaceMatches(str(file))
    people, all_terms = traces.finder(ids=False), traces.finder(ids=True)
    kind = _file_kind(file)
    if kind == "parquet":
        matches.erase = sum(_is_owned(row, traces, all_terms) for row in _parquet_rows(file))
    elif kind == "table":
        matches.erase = sum(is_owned for _, is_owned in read_csv_rows(file, all_terms))
    elif kind == "lines":
        for line in jsonlines.read_lines(file):
            if line.fault == "too_large":
                matches.note = "holds a line over 1 MB, which was not looked into"
                continue
            spans = find_line_spans(line.data, line.offset, traces, people, all_terms)
            if any(span.text != " " for span in spans):
                spans += _profile_id_spans(line.data, line.offset, all_terms, traces)
            matches.spans += spans
            blanked = any(span.text == " " for span in spans)
            matches.erase, matches.redact = (
                matches.erase + blanked,
                matches.redact + (bool(spans) and not blanked),
            )
    elif kind == "text":
        data = file.read_bytes()
        matches.spans = list(all_terms.find_encoded_spans(data))
        if matches.spans:
            matches.redact = 1
            matches.spans += _profile_id_spans(data, 0, all_terms, traces)
    else:
        matches.note = f"not looked into: {kind}"
    return matches


def redact_file(file: Path, matches: PlaceMatches, traces: SubjectTraces) -> None:
    """Erase and mask what ``inspect_file`` found, durably.

    A watch runner's state file is inspected again, since the runner may have rewritten it.
    """
    with hold_lock(file) as is_state:
        if is_state:
            matches.spans[:] = inspect_file(file, traces).spans
        kind = _file_kind(file)
        if kind == "parquet" and matches.erase:
            _rewrite_parquet(file, traces)
        elif kind == "table" and matches.erase:
            rewrite_csv(file, traces.finder(ids=True))
        elif matches.spans:
            overwrite_spans(file, matches.spans)


def overwrite_spans(file: Path, spans: Iterable[Span]) -> None:
    """Overwrite each span with its text; the file keeps its size."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for span in spans:
            os.pwrite(descriptor, span.bytes(), span.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_kind(file: Path) -> str:
    """Return how a file is read: by its name, even if it was rotated or replayed, else by its beginning."""
    if file.suffix in _PACKED_SUFFIXES:
        return f"packed ({file.suffix})"
    if not _LINE_SUFFIXES.isdisjoint(file.suffixes):
        return "lines"
    if file.suffix == ".parquet":
        return "parquet"
    with file.open("rb") as opened:
        beginning = opened.read(_SNIFFED_BYTES)
    if parse_event(beginning.lstrip().partition(b"\n")[0]) is not None:
        return "lines"
    if b"\0" in beginning:
        return "not a text"
    return "table" if file.suffix in _TABLE_SUFFIXES and is_csv(file) else "text"


def _event_lines(file: Path) -> Iterator[bytes]:
    kind = _file_kind(file)
    if kind == "lines":
        yield from (line.data for line in jsonlines.read_lines(file))
    elif kind == "parquet":
        yield from (orjson.dumps(row, default=str) for row in _parquet_rows(file))


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield each row of a Parquet file as the store reads it: JSON values, without nulls."""
    for block in stored.read_parquet_rows(file):
        yield from map(orjson.loads, block.splitlines())


def _is_owned(row: dict[str, Any], traces: SubjectTraces, finder: TermFinder) -> bool:
    """Return whether a table's row is the person's; its columns may be the fields' dotted names."""
    line = orjson.dumps(row)
    event = parse_event(line)
    return traces.owns(event) if event is not None else finder.mentions(line)


def _rewrite_parquet(file: Path, traces: SubjectTraces) -> None:
    import pyarrow.parquet as pq

    finder = traces.finder(ids=True)
    rows = _parquet_rows(file)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(descriptor)
    scratch = Path(name)
    try:
        with pq.ParquetFile(file) as opened, pq.ParquetWriter(scratch, opened.schema_arrow) as writer:
            for batch in opened.iter_batches(batch_size=8192):
                keep = [not _is_owned(next(rows), traces, finder) for _ in range(batch.num_rows)]
                writer.write_batch(batch.filter(_boolean_array(keep)))
        scratch.chmod(file.stat().st_mode)
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _boolean_array(values: list[bool]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.bool_())


def _profile_id_spans(data: bytes, start: int, finder: TermFinder, traces: SubjectTraces) -> Iterator[Span]:
    """Yield the spans of profile ids to replace: the id is a hash of the content, so masking changes it."""
    if (resealed := recompute_profile_id(finder.mask(data))) is not None:
        traces.profiles[resealed[0]] = resealed[1]
    for old, new in traces.profiles.items():
        for match in re.finditer(re.escape(old.encode()), data):
            yield Span(start + match.start(), len(new), new)


def recompute_profile_id(masked: bytes) -> tuple[str, str] | None:
    """Return the (old, new) id of a profile, or of a document that holds one, whose texts were masked."""
    try:
        document = orjson.loads(masked)
        if isinstance(document, dict) and isinstance(document.get("content"), str):
            document = orjson.loads(document["content"])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or not {"format_version", "features", "id"} <= document.keys():
        return None
    content = {key: value for key, value in document.items() if key != "id"}
    return str(document["id"]), sha256(orjson.dumps(content)).hexdigest()[:16]
