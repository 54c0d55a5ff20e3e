"""What an answer over HTTP says, as a payload. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from logging_lib.watch.engine.calls import Answer


class AnswerError(ValueError):
    """An answer that is not what its kind says."""


def read(answer: Answer, kind: str | None) -> Mapping[str, Any]:
    """The payload of an answer, as Watcher makes it: an object as it is, a list as ``data``, a text as ``_value``.

    Args:
        kind: ``json``, ``yaml`` or ``text``; None goes by the answer's own header.

    Raises:
        AnswerError: it cannot be read as that.
    """
    if not answer.content.strip():
        return {}
    if kind is None:
        given = ",".join(answer.headers.get("content-type", ())).lower()
        kind = "json" if "json" in given else "yaml" if "yaml" in given else "text"
    if kind == "text":
        return {"_value": answer.text}
    found = _parsed(answer, kind)
    if isinstance(found, Mapping):
        return found
    return {"data": found} if isinstance(found, list) else {"_value": found}


def headers(answer: Answer) -> dict[str, list[str]]:
    """Dots in a name would make a path of it."""
    return {name.replace(".", "_"): list(values) for name, values in answer.headers.items()}


def _parsed(answer: Answer, kind: str) -> Any:
    try:
        if kind == "json":
            return json.loads(answer.content)
        import yaml

        # JSON has what a payload may hold: dates and the like become texts.
        return json.loads(json.dumps(yaml.safe_load(answer.content), default=str))
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"the answer is not {kind.upper()}: {error}") from None
    except Exception as error:  # noqa: BLE001 - PyYAML has errors of its own and lets others through
        raise AnswerError(f"the answer is not {kind.upper()}: {str(error)[:200]}") from None
