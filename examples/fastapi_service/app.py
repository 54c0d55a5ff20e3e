"""A FastAPI service that logs each prediction.

uvicorn fastapi_service.app:app --port 8000
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from model import Model
from pydantic import BaseModel
from structlog.contextvars import bound_contextvars

import logging_lib


class Loan(BaseModel, extra="allow"):
    """The model's inputs. Unknown ones are let through: the profile's checks report them."""

    annual_income: float | None = None
    term: int | None = None
    homeownership: str | None = None
    purpose: str | None = None
    emp_title: str | None = None


class Outcome(BaseModel):
    """What a loan's rate turned out to be, long after it was predicted."""

    request_id: str
    interest_rate: float


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model and configure its logger: where the profile is damaged, the service does not start."""
    folder = Path(os.environ.get("MODEL_DIR", "build"))
    app.state.model = Model.load(folder / "model.json")
    app.state.log = logging_lib.configure(
        model="loans",
        version="3",
        profile=folder / "profile.json",
        spool=os.environ.get("SPOOL", "build/spool"),
        ship_to=os.environ.get("SHIP_TO"),
        service={"name": "pricing-api", "environment": os.environ.get("ENVIRONMENT", "development")},
        label_cache_size=10_000,  # for /outcomes; what another worker predicted, or long ago, stays unjoined
    )
    app.state.log.start()  # this worker runs, though no request may come for long
    yield  # nothing to flush at the end: a call that returned is in the spool


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def request_context(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Everything that is logged for a request carries its id, which the answer names, too."""
    request_id = request.headers.get("x-request-id") or str(uuid.uuid4())
    with bound_contextvars(request_id=request_id, route=request.url.path):
        response = await call_next(request)
    response.headers["x-request-id"] = request_id
    return response


@app.post("/price")
async def price(loan: Loan, request: Request) -> dict[str, float]:
    """The rate of one loan. A model that fails is logged with its inputs; the error goes on to FastAPI."""
    inputs = loan.model_dump(exclude_unset=True)  # what was not sent is absent, not null
    with request.app.state.log.prediction(inputs) as p:
        p.prediction = request.app.state.model.predict(inputs)
    return {"interest_rate": p.prediction}


@app.post("/outcomes", status_code=204)
async def outcome(found: Outcome, request: Request) -> None:
    """Log the label of an earlier prediction."""
    request.app.state.log.label(found.request_id, found.interest_rate)


@app.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Up, with what this process has logged; events that had to be dropped do not make it unwell."""
    return {"status": "ok", "log": request.app.state.log.stats()}
