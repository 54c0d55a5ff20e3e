"""Readers of a service's lines that a container's runtime and a log shipper have wrapped. There is no I/O.

- Docker's ``json-file``: ``{"log": "…\\n", "stream": "stdout", "time": …}``; lines beyond 16 KB are split.
- CRI (containerd, CRI-O, Podman): ``2026-03-10T10:00:00Z stdout F …``; ``P`` marks each part but the last.
- Fluent Bit: the line in ``log`` or ``message``, with CRI's mark in ``logtag``.
- Filebeat: the line in ``message``.

``join_lines`` joins the parts among the lines of a file. ``find_wrapped_line`` works on one event, and has a twin
in ``pipelines/ruby/ml_normalize/containers.rb``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from logging_lib.logger.jsonlines import MAX_LINE, Line

WRAPPERS = ("log", "message")
"""The fields that may hold a service's line; the first one with the beginning of an object is used."""
MAX_WRAPPERS = 3
"""The maximum number of nested wrappers: a line may be in a line that is in a third one."""
MAX_OPEN = 64
"""The maximum number of streams in one file that have unfinished lines at the same time."""
DOCKER_PART = 16_384
"""The size in bytes of each part of a line that Docker splits, except the last."""

_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?P<stream>stdout|stderr) (?P<tag>[FP])(?::[^ ]*)? (?P<line>.*)",
    re.DOTALL,
)
_ORIGINS = ("stream", "kubernetes", "container_id", "container_name")
_BEGINS_AN_OBJECT = re.compile(r"[\ufeff \t\r\n]*\{")


def find_wrapped_line(document: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Find the field with a service's line in an event of a log shipper, and the line; return None without one."""
    for name in WRAPPERS:
        line = document.get(name)
        if isinstance(line, str) and _BEGINS_AN_OBJECT.match(line):
            return name, line.encode("utf-8", "surrogatepass")
    return None


def join_lines(lines: Iterable[Line]) -> Iterator[Line]:
    """Remove the prefix of CRI's lines, and join the parts of lines that a runtime split.

    A joined line has the offset of its first part. Its ``fault`` is ``torn`` if the last part is missing, and
    ``too_large`` if it has more than ``MAX_LINE`` bytes. All other lines are passed on unchanged.
    """
    unfinished: dict[Any, _UnfinishedLine] = {}
    for line in lines:
        part = _read_part(line)
        if part is None:
            yield line
            continue
        earlier = unfinished.pop(part.key, None)
        if part.is_last and earlier is None:
            if part.data.strip():  # a blank line is skipped, as in any file
                yield line if part.is_wrapped else line._replace(data=part.data)
            continue
        joined = earlier or _UnfinishedLine(line)
        joined.add(part.data)
        if part.is_last:
            yield joined.join(line.fault)
            continue
        unfinished[part.key] = joined
        if len(unfinished) > MAX_OPEN:
            yield unfinished.pop(next(iter(unfinished))).join("torn")
    for rest in unfinished.values():
        yield rest.join("torn")


class _Part(NamedTuple):
    """A part of a service's line, or all of it.

    Attributes:
        key: the stream that the part is from.
        data: its bytes.
        is_last: whether the line ends here.
        is_wrapped: whether it is in an object, from which ``normalize`` extracts it.
    """

    key: Any
    data: bytes
    is_last: bool
    is_wrapped: bool


@dataclass(slots=True)
class _UnfinishedLine:
    """The parts of a line that were read so far, up to the maximum size of a line."""

    first: Line
    size: int = 0
    parts: list[bytes] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= MAX_LINE or not self.parts:
            self.parts.append(data)

    def join(self, fault: str) -> Line:
        fault = "too_large" if self.size > MAX_LINE else fault
        return Line(b"".join(self.parts), self.first.path, self.first.offset, fault)


def _read_part(line: Line) -> _Part | None:
    """Read a line of CRI, or an object that names the stream of its line; return None for any other line."""
    if line.fault == "too_large":
        return None
    if (match := _CRI.fullmatch(line.data)) is not None:
        return _Part(match["stream"], match["line"], match["tag"] == b"F", is_wrapped=False)
    if b'"stream"' not in line.data and b'"logtag"' not in line.data:
        return None
    try:
        document = orjson.loads(line.data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    text = next((text for name in WRAPPERS if isinstance(text := document.get(name), str)), None)
    if text is None:
        return None
    key = orjson.dumps([document.get(name) for name in _ORIGINS])
    return _Part(key, text.encode(), _is_last(document.get("logtag"), text), is_wrapped=True)


def _is_last(tag: Any, text: str) -> bool:
    if isinstance(tag, str):
        return tag != "P"
    if text.endswith("\n") or len(text) < DOCKER_PART // 4 or len(text.encode()) < DOCKER_PART:
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
