"""A Flask service under gunicorn's prefork workers.

gunicorn --config flask_service/gunicorn.conf.py
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request
from model import Model
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import logging_lib


def create_app() -> Flask:
    """Runs once, before the fork. Each worker opens a segment of its own with its first prediction."""
    folder = Path(os.environ.get("MODEL_DIR", "build"))
    model = Model.load(folder / "model.json")
    spool = os.environ.get("SPOOL", "build/spool")
    log = logging_lib.configure(
        model="loans",
        version="3",
        profile=folder / "profile.json",
        spool=spool,
        ship_to=os.environ.get("SHIP_TO"),
        service="pricing-web",
        metrics=True,
    )
    app = Flask(__name__)

    @app.post("/price")
    def price() -> dict[str, Any]:
        inputs = request.get_json()
        if not isinstance(inputs, dict):
            abort(400, "expected an object: the inputs of one loan")
        request_id = request.headers.get("X-Request-Id") or str(uuid.uuid4())
        with log.prediction(inputs, request_id=request_id) as p:
            p.prediction = model.predict(inputs)
        return {"interest_rate": p.prediction, "request_id": request_id}

    @app.get("/metrics")
    def metrics() -> Response:
        """For Prometheus: the sum over all workers, whichever of them answers."""
        return Response(
            generate_latest(logging_lib.metrics_registry(spool)), content_type=CONTENT_TYPE_LATEST
        )

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "log": log.stats()}

    return app
