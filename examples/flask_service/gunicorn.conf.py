"""Prefork: the application is loaded once, and every worker inherits the model and the configured logger."""

import gc
import os
from typing import Any

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
