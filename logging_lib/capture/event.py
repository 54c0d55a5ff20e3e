"""Builds the canonical event of a prediction out of what the caller and other processors gave."""

from __future__ import annotations

import base64
import os
import socket
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson

from logging_lib.capture.values import MAX_TEXT, jsonable, valid_text
from logging_lib.profile.values import epoch, iso
from logging_lib.schema import ECS_VERSION, SCHEMA_VERSION

MAX_MESSAGE = 8192
ECS = {"version": ECS_VERSION}


class _Ids:
    """What tells this process's ids from any other's: random bits and a counter that begins anywhere.

    From the system's own randomness, since services seed the shared generator, each worker alike. Renewed in a
    forked child.
    """

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        bits = int.from_bytes(os.urandom(8))
        self.process = f"-7{bits >> 52:03x}-{0x8000 | bits >> 38 & 0x3FFF:04x}-"
        self.next = count(1 << 48 | bits & 0x3F_FFFF_FFFF).__next__


_ids = _Ids()


_second: tuple[int, str] = (0, "")
_millisecond: tuple[int, str, str] = (-1, "", "")
# One assignment of a tuple: threads see either the old one or the new one.


def _begin(milliseconds: int) -> tuple[int, str, str]:
    """What the texts of a millisecond (since 1970) begin with: it, its time, and its ids."""
    global _second, _millisecond
    seconds, rest = divmod(milliseconds, 1000)
    cached, prefix = _second
    if cached != seconds:
        prefix = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _second = (seconds, prefix)
    digits = hex(milliseconds | 1 << 48)  # 0x1 and twelve digits, as the counter
    made = (milliseconds, f"{prefix}{str(1000 + rest)[1:]}", f"{digits[3:11]}-{digits[11:]}")
    _millisecond = made
    return made


def new_id(now_ns: int) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, 26 random bits a process, a counter of 48 bits."""
    milliseconds = now_ns // 1_000_000
    begun = _millisecond
    if begun[0] != milliseconds:
        begun = _begin(milliseconds)
    return f"{begun[2]}{_ids.process}{hex(_ids.next())[3:]}"


def new_ids(now_ns: int, count: int) -> list[str]:
    """So many ids of one moment, as ``new_id`` makes them."""
    before, following = f"{_begin(now_ns // 1_000_000)[2]}{_ids.process}", _ids.next
    return [before + hex(following())[3:] for _ in range(count)]


def timestamp(now_ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC with microseconds."""
    milliseconds, rest = divmod(now_ns, 1_000_000)
    begun = _millisecond
    if begun[0] != milliseconds:
        begun = _begin(milliseconds)
    return f"{begun[1]}{str(1000 + rest // 1000)[1:]}Z"


def moment(value: Any) -> str | None:
    """A given time (a date, ISO text, or seconds since 1970) as the event has it, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return timestamp(int(value * 1e9))
        except (ValueError, OverflowError, OSError):
            return None
    seconds = epoch(value)
    return iso(seconds) if seconds is not None else None


class Context:
    """What is the same in all events of one process: host and process id, renewed in a forked child."""

    host: Mapping[str, Any]
    process: Mapping[str, Any]

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.host = {"name": valid_text(socket.gethostname())}
        self.process = {"pid": os.getpid()}


PROCESS = Context()


def error_document(error: BaseException) -> dict[str, Any]:
    """``error.*`` of an exception."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception whose text raises
        message = "<no text>"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {
        "type": type(error).__qualname__,
        "message": valid_text(message[:MAX_MESSAGE]),
        "stack_trace": valid_text(trace[-MAX_MESSAGE:]),
    }


MAX_DURATION = 1e9
"""Seconds; what is negative or longer is no duration of a prediction."""


def duration_ns(seconds: Any) -> int | None:
    """``event.duration``, or None where it can't be one."""
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return round(seconds * 1e9) if number and 0 <= seconds < MAX_DURATION else None


def label_text(value: Any) -> str:
    """The value of one of ``labels.*``: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return valid_text(value)
    made = jsonable(value)
    return made if isinstance(made, str) else orjson.dumps(made).decode()


def dead_letter(
    *, error_type: str, message: str, original: bytes, stage: str, now_ns: int | None = None
) -> dict[str, Any]:
    """An event of the dead-letter stream: the reason, and the original bytes cut to 32 KiB."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    kept = original[: 4 * MAX_TEXT]
    try:
        text, encoding = kept.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(kept).decode("ascii"), "base64"
    return {
        "@timestamp": timestamp(now_ns),
        "message": "dead letter",
        "ecs": ECS,
        "event": {"id": new_id(now_ns), "kind": "event", "dataset": "ml.deadletter", "original": text},
        "error": {"type": error_type, "message": valid_text(message[:MAX_MESSAGE])},
        "ml": {
            "schema_version": SCHEMA_VERSION,
            "deadletter": {"stage": stage, "encoding": encoding, "size": len(original)},
        },
    }
