"""Watch machine-learning models on the Elastic stack.

In a service::

    import logging_lib

    log = logging_lib.configure(model="loans", version="3", profile="profile.json", spool="/var/spool/ml")
    log.prediction(inputs, prediction=11.49)
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from logging_lib.capture import spool as _spool
from logging_lib.capture.logger import PredictionLogger, SpoolLoggerFactory, configure
from logging_lib.capture.processor import EventRenderer, PredictionProcessor
from logging_lib.capture.spool import Spool
from logging_lib.capture.stdlib import PredictionFormatter, PredictionHandler
from logging_lib.capture.tracing import add_trace_ids
from logging_lib.profile.io import ProfileError

try:
    __version__ = _version("logging-lib")
    """The installed version, such as ``0.2.0``."""
except _PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


if _TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import CollectorRegistry


def _ship(spool: Spool, url: str) -> None:
    from logging_lib.ship.background import attach

    attach(spool, url)


_spool.attach_shipper = _ship


def metrics_registry(*spools: "str | Path") -> "CollectorRegistry":
    """Collect what a Prometheus endpoint shows.

    These are the metrics of ``configure(metrics=True)``, those of the service itself, and the health of the
    spools and of their shippers. They are of this process, or of all of gunicorn's workers if
    ``PROMETHEUS_MULTIPROC_DIR`` is set::

        app.mount("/metrics", prometheus_client.make_asgi_app(registry=logging_lib.metrics_registry("spool")))

    Args:
        spools: directories of spools.

    Returns:
        A registry to expose; each scrape reads the spools again.

    Raises:
        ModuleNotFoundError: prometheus_client is not installed: ``pip install 'logging-lib[prometheus]'``.
    """
    from logging_lib.ship.metrics import registry

    return registry(*spools)


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
