"""Predictions in Celery's prefork workers: one logger, configured before the fork; task ids join late labels.

celery --app celery_tasks.tasks worker --concurrency 2
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.signals import worker_process_init
from model import Model

import logging_lib

app = Celery("loans", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
app.conf.update(
    task_acks_late=True,  # a task whose worker is killed is done again, and logged again under the same event id
    broker_transport_options={"data_folder_in": os.environ.get("BROKER_FOLDER", "build/broker"),
                              "data_folder_out": os.environ.get("BROKER_FOLDER", "build/broker")}
    if os.environ.get("BROKER") == "filesystem://" else {},
    broker_connection_retry_on_startup=True,
)  # fmt: skip
folder = Path(os.environ.get("MODEL_DIR", "build"))
model = Model.load(folder / "model.json")
log = logging_lib.configure(
    model="loans",
    version="3",
    profile=folder / "profile.json",
    spool=os.environ.get("SPOOL", "build/spool"),
    service="pricing-tasks",
)


@worker_process_init.connect
def started(**_: Any) -> None:
    """In each worker, after the fork: say that it has started, before its first task."""
    log.start()


@app.task(bind=True, name="price", ignore_result=True, max_retries=2)
def price(task: Task, inputs: dict[str, Any]) -> None:
    """A retry of the task is the same prediction: it has the same event id, and is stored once."""
    with log.prediction(
        inputs, request_id=task.request.id, event_id=f"{task.request.id}:loans:3:live", queue="pricing"
    ) as p:
        p.prediction = model.predict(inputs)


@app.task(name="settled", ignore_result=True)
def settled(request_id: str, interest_rate: float) -> None:
    """Log the actual rate, which is known some time later."""
    log.label(request_id, interest_rate)
