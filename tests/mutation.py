"""Documents and lines with any part replaced, removed, renamed or wrapped: the mutator of all mutation tests.

Those tests give mutated input to what reads it: nothing but the documented exceptions may come out. How many each
tries is ``CASES``: few in `make test`, 100,000 in `make test-all`; the variable ``LOGGING_LIB_TEST_MUTATIONS`` says
otherwise.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from hypothesis import settings

SEEDS = range(10)
_NUMBER = os.environ.get("LOGGING_LIB_TEST_MUTATIONS")
_IS_FULL = settings.default.max_examples >= 100
CASES = (int(_NUMBER) if _NUMBER else 100_000 if _IS_FULL else 2_000) // len(SEEDS)
"""Mutations by seed."""
ODD: tuple[Any, ...] = (
    *("x", "", "{{ctx.payload}}", "{{", "<{now", "now-", "\ud800", "\0", "2026-13-99", "9" * 400),
    *(7, 0, -1, 1.5, 1e308, -1e-320, 10**400, 2**63, 2**31, float("nan"), float("-inf"), None, True),
    *([], {}, ["x"], [None], [[]], [{}, 7], {"x": 1}, {"": {}}, {"x": []}, {"a.b": {"c": 1}}),
    *({"field": {}}, {"field": ["x"]}, {"bool": 7}, {"terms": "x"}, {"range": {"@timestamp": []}}),
    *({"x": {"aggs": 7}}, {"id": []}, {"id": {}}, {"source": 7}),
)
_NAMES = ("x", "", "aggs", "query", "field", "id", "chain", "bool", "filter", "\ud800", "a.b", "__proto__")
_BYTES = (b"", b"\x00", b"\xff", b'"', b"\\", b"{", b"]", b",", b"\n", b"\xc3", b"1e999", b"NaN", b"\\ud800")

Place = tuple[Any, ...]


def list_places(node: Any, path: Place = ()) -> Iterator[Place]:
    """List the path of each key and element of a document."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from list_places(value, (*path, key))


class Mutator:
    """Draws mutated copies of some documents; what a document is copied and searched for is prepared once.

    Args:
        odd: more values to put in, such as some that one kind of document understands.
        names: more names to give to a key.
    """

    def __init__(
        self, documents: Iterable[Any], *, odd: Sequence[Any] = (), names: Sequence[str] = ()
    ) -> None:
        self._documents = [(orjson.dumps(document), list(list_places(document))) for document in documents]
        self._odd, self._names = (*ODD, *odd), (*_NAMES, *names)

    def draw(self, chance: random.Random) -> Any:
        """Draw a copy of a document with one to three places replaced, removed, renamed, repeated or wrapped."""
        content, places = chance.choice(self._documents)
        document = orjson.loads(content)
        for number in range(chance.choice((1, 1, 1, 2, 3))):
            self._change(document, places if number == 0 else list(list_places(document)), chance)
        return document

    def _change(self, document: Any, places: Sequence[Place], chance: random.Random) -> None:
        if not places:
            return
        *parents, key = chance.choice(places)
        node = document
        for parent in parents:
            node = node[parent]
        kind = chance.randrange(8)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[chance.choice(self._names)] = node.pop(key)
        elif kind == 2:
            node[key] = [node[key]]
        elif kind == 3:
            *others, other = chance.choice(places)
            source = document
            for parent in others:
                source = source[parent]
            node[key] = copy.deepcopy(source[other])
        elif kind == 4 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
            node[key] = chance.choice(
                (-node[key], node[key] * 10, node[key] + 1, str(node[key]), node[key] // 3)
            )
        else:
            node[key] = copy.deepcopy(chance.choice(self._odd))


def to_json(document: Any) -> bytes:
    """Write any mutated document as JSON, also numbers and texts that not every writer takes."""
    return json.dumps(document).encode()


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut, repeat or replace some bytes."""
    for _ in range(chance.choice((1, 1, 2))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 8, 64)))
        kind = chance.randrange(4)
        if kind == 0:
            data = data[:start]
        elif kind == 1:
            data = data[:end] + data[start:]
        else:
            data = data[:start] + chance.choice(_BYTES) + data[end:]
    return data
