"""Names of data streams: ``logs-<dataset>-<namespace>``."""

from __future__ import annotations

import re

from logging_lib.schema._version import DATASETS

DEFAULT_NAMESPACE = "default"
_NAMESPACE = re.compile(r"[^\sA-Z\-\\/*?\"<>|,#:\x00-\x1f]{1,100}")


def data_stream(dataset: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """The data stream of a dataset: ``data_stream("ml.prediction", "prod")`` is ``logs-ml.prediction-prod``.

    Raises:
        ValueError: the dataset is none of ``DATASETS``, or Elasticsearch would refuse the namespace.
    """
    if dataset not in DATASETS:
        raise ValueError(f"{dataset!r} is no dataset; there are {', '.join(DATASETS)}")
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"{namespace!r:.120} is no namespace: write 1 to 100 characters in lower case, without spaces, "
            'hyphens and any of \\ / * ? " < > | , # :'
        )
    return f"logs-{dataset}-{namespace}"
