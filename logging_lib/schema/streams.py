"""The names of the data streams: ``logs-<event.dataset>-<namespace>``."""

from __future__ import annotations

from logging_lib.schema._version import DATASETS

DEFAULT_NAMESPACE = "default"
MAX_NAMESPACE = 100
"""Bytes of UTF-8."""

_FORBIDDEN = frozenset('-\\/*?"<>|,#:')


def data_stream(dataset: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """The data stream of a dataset: ``data_stream("ml.prediction", "prod")`` is ``logs-ml.prediction-prod``.

    Raises:
        ValueError: there is no such dataset, or the namespace is none; the message says what is allowed.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset: expected one of {', '.join(DATASETS)}, found {dataset!r:.80}")
    return f"logs-{dataset}-{validate_namespace(namespace)}"


def validate_namespace(text: str) -> str:
    """A namespace as Elasticsearch takes it in a data stream's name.

    Raises:
        ValueError: it is empty, longer than 100 bytes, not in lower case, or has a character that is not allowed;
        the message says which.
    """
    if not text:
        raise ValueError("namespace: expected a text that is not empty")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_NAMESPACE:
        raise ValueError(f"namespace: {text!r:.80} has more than {MAX_NAMESPACE} bytes")
    if text != text.lower():
        raise ValueError(f"namespace: {text!r} must be in lower case")
    for letter in text:
        if letter in _FORBIDDEN or letter.isspace() or not letter.isprintable():
            raise ValueError(f"namespace: {text!r} has the character {letter!r}, which is not allowed there")
    return text
