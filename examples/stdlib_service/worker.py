"""A worker that logs with the standard library alone: loans come as lines of JSON, prices go out the same way.

    python -m stdlib_service.worker < tasks.jsonl

A task is ``{"id": "r-1", "inputs": {"term": 36, "homeownership": "RENT"}}``.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
from pathlib import Path

from model import Model

import logging_lib

FOLDER = Path(os.environ.get("MODEL_DIR", "build"))
logger = logging.getLogger("pricing")


def predictions() -> logging.Handler:
    """The handler that takes the records with ``inputs``, and no others."""
    return logging_lib.PredictionHandler(
        logging_lib.configure(
            model="loans",
            version="3",
            profile=FOLDER / "profile.json",
            spool=os.environ.get("SPOOL", "build/spool"),
            ship_to=os.environ.get("SHIP_TO"),
            service="pricing-worker",
        )
    )


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"console": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "console"},
        "predictions": {"()": predictions},
    },
    "root": {"level": "INFO", "handlers": ["console", "predictions"]},
}


def main() -> None:
    logging.config.dictConfig(LOGGING)
    model = Model.load(FOLDER / "model.json")
    logger.info("ready")
    for line in sys.stdin:
        task = json.loads(line)
        given = {"inputs": task["inputs"], "request_id": task["id"]}
        try:
            rate = model.predict(task["inputs"])
        except Exception:
            logger.exception("loan %s cannot be priced", task["id"], extra=given)
            continue
        logger.info("loan %s priced", task["id"], extra={**given, "prediction": rate})
        print(json.dumps({"id": task["id"], "interest_rate": rate}), flush=True)


if __name__ == "__main__":
    main()
