"""Watch machine-learning models on the Elastic stack.

In a service::

    import logging_lib

    log = logging_lib.configure(model="loans", version="3", profile="profile.json", spool="/var/spool/ml")
    log.prediction(inputs, prediction=11.49)
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from logging_lib.configuration import configure
from logging_lib.logger.event import EventRenderer
from logging_lib.logger.prediction_logger import (
    PredictionFormatter,
    PredictionHandler,
    PredictionLogger,
    SpoolLoggerFactory,
)
from logging_lib.logger.processor import PredictionProcessor, add_trace_ids
from logging_lib.logger.spool import Spool
from logging_lib.profile.io import ProfileError

try:
    __version__ = _version("logging-lib")
    """The installed version, such as ``0.2.0``."""
except _PackageNotFoundError:  # this is a checkout that was never installed
    __version__ = "0+unknown"


if _TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import CollectorRegistry


def metrics_registry(*spools: "str | Path") -> "CollectorRegistry":
    """Build the registry of a Prometheus endpoint.

    It has the metrics of ``configure(metrics=True)``, those of the service itself, and the health of these spools
    and their shippers. If ``PROMETHEUS_MULTIPROC_DIR`` is set (gunicorn), it covers all workers, otherwise this
    process::

        app.mount("/metrics", prometheus_client.make_asgi_app(registry=logging_lib.metrics_registry("spool")))

    Args:
        spools: directories of spools.

    Raises:
        ModuleNotFoundError: prometheus_client is not installed: ``pip install 'logging-lib[prometheus]'``.
    """
    from logging_lib.ship.metrics import build_registry

    return build_registry(*spools)


__all__ = [
    "EventRenderer",
    "PredictionFormatter",
    "PredictionHandler",
    "PredictionLogger",
    "PredictionProcessor",
    "ProfileError",
    "Spool",
    "SpoolLoggerFactory",
    "__version__",
    "add_trace_ids",
    "configure",
    "metrics_registry",
]
