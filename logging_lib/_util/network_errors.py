"""Explanations of why a request had no answer, without the wrappers of the libraries in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError

from logging_lib._util.text import one_line

_WRAPPING = re.compile(
    r"\w*Connection(?:Pool)?\([^)]*\):\s*|<[\w.]+ object at 0x[0-9a-f]+>:\s*|\[Errno -?\d+\]\s*"
)


def explain_network_error(error: BaseException) -> str:
    """Return why there was no answer: ``Connection refused``, ``Name or service not known``, ``timed out``.

    An error of requests, urllib3 or elastic_transport wraps that of the system, which explains it best.
    """
    chain = list(_unwrap(error, set()))
    for cause in reversed(chain):
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(_WRAPPING.sub("", cause.strerror))
    if any(isinstance(cause, JSONDecodeError) for cause in chain):
        return f"the answer is not JSON: {one_line(chain[-1])}"
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in chain):
        return "timed out"
    text = one_line(_WRAPPING.sub("", str(chain[-1])))
    return text.partition(" (Caused by ")[0] or type(chain[-1]).__name__


def _unwrap(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for cause in (*inner, *(getattr(error, "errors", None) or ())):
        if isinstance(cause, BaseException):
            yield from _unwrap(cause, seen)
