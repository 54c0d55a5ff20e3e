"""The contract of events: versions and datasets, the names of the data streams, and ``fields.yml``.

The constants are those of ``fields.yml`` that a service, which has no YAML parser, needs at run time; a test
compares them with the file. Each dataset has the data streams ``logs-<event.dataset>-<namespace>``.
"""

from __future__ import annotations

SCHEMA_VERSION = 1
ECS_VERSION = "9.2.0"
DATASETS = ("ml.prediction", "ml.label", "ml.deadletter", "ml.health", "ml.start")

DEFAULT_NAMESPACE = "default"
MAX_NAMESPACE = 100
"""The maximum length of a namespace, in bytes of UTF-8."""

_FORBIDDEN = frozenset('-\\/*?"<>|,#:')


def data_stream(dataset: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """Name the data stream of a dataset: ``data_stream("ml.prediction", "prod")`` is ``logs-ml.prediction-prod``.

    Raises:
        ValueError: there is no such dataset, or the namespace is invalid; the message says what is allowed.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset: expected one of {', '.join(DATASETS)}, found {dataset!r:.80}")
    return f"logs-{dataset}-{validate_namespace(namespace)}"


def validate_namespace(text: str) -> str:
    """Check that Elasticsearch accepts a namespace in a data stream's name, and return it.

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
