"""Prefork: the application is loaded once, and every worker inherits the model and the configured logger."""

import gc
import os
import shutil
import tempfile
from typing import Any

# Where the workers keep their metrics together: empty at each start, and set before prometheus_client is imported.
# This file is read again at a reload, when the workers' numbers have to stay.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="prometheus-")

wsgi_app = "flask_service.app:create_app()"
bind = os.environ.get("BIND", "127.0.0.1:8000")
preload_app = True
workers = 4
threads = 2
max_requests = int(os.environ.get("MAX_REQUESTS", "10000"))  # a worker is replaced after so many
max_requests_jitter = max_requests // 10


def when_ready(server: Any) -> None:
    """Before the fork: the collector would touch, and so copy, every page that the workers share."""
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """The counts of a worker that has ended stay; its gauges go."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
