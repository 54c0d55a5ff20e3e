"""Elasticsearch's bulk API: batches, partial failures, patience. What is sent has ids, so sending twice is safe."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from logging_lib._util.text import printable
from logging_lib.store.connection import ElasticsearchError

MAX_DOCUMENTS: Final = 1000
MAX_BYTES: Final = 5 * 1024 * 1024
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0
_PASSING: Final = frozenset({429, 502, 503, 504})


class Caller(Protocol):
    """As much of ``Connection`` as is needed here."""

    def call(
        self, method: str, path: str, body: Any = None, *, params: Any = None, retries: int = 0
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Operation:
    """One line pair of a bulk request: the action (``{"create": {"_id": "a"}}``) and the document's JSON."""

    identity: str
    action: dict[str, Any]
    source: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation; ``reason`` says why it was refused for good."""

    identity: str
    status: int
    reason: str = ""

    @property
    def conflict(self) -> bool:
        """A document with this id is there already, or was changed in between."""
        return self.status == 409


def send(
    connection: Caller,
    target: str | None,
    operations: Iterable[Operation],
    *,
    patience: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Outcome]:
    """Send operations in batches; one outcome each, in their order.

    Args:
        target: a data stream or an index, quoted; None where each action names its ``_index``.
        patience: seconds to go on trying while nothing answers or the server is too busy; the time begins
            anew with each batch that got through.

    Raises:
        ElasticsearchError: the request as a whole was refused, or nothing answered for too long. Then the
            operations without an outcome may or may not have been carried out.
    """
    for batch in _batches(operations):
        outcomes: dict[int, Outcome] = {}
        waiting = list(range(len(batch)))
        until, wait = clock() + patience, _FIRST_WAIT
        while waiting:
            path = "/_bulk" if target is None else f"/{target}/_bulk"
            body = b"".join(_lines(batch[index]) for index in waiting)
            try:
                answer = connection.call("POST", path, body, params={"filter_path": _ANSWER}, retries=0)
            except ElasticsearchError as error:
                if not error.passing or clock() + wait > until:
                    raise
            else:
                for index, item in zip(waiting, answer["items"], strict=True):
                    outcomes[index] = _outcome(batch[index].identity, item)
                late = clock() + wait > until
                waiting = [i for i in waiting if outcomes[i].status in _PASSING and not late]
            if waiting:
                sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, _LONGEST_WAIT)
        yield from (outcomes[index] for index in range(len(batch)))


_ANSWER = "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"


def _batches(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    batch: list[Operation] = []
    size = 0
    for operation in operations:
        if batch and (len(batch) >= MAX_DOCUMENTS or size + len(operation.source) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += len(operation.source)
    if batch:
        yield batch


def _lines(operation: Operation) -> bytes:
    return orjson.dumps(operation.action) + b"\n" + operation.source + b"\n"


def _outcome(identity: str, item: dict[str, Any]) -> Outcome:
    (answer,) = item.values()
    error = answer.get("error") or {}
    caused = (error.get("caused_by") or {}).get("reason")
    reason = printable(": ".join(dict.fromkeys(filter(None, (error.get("reason"), caused)))))
    return Outcome(
        identity, answer["status"], f"{reason or error.get('type', 'refused'):.1000}" if error else ""
    )
