"""Serve the version that the registry's alias points to, logged with the profile of that very version.

python -m mlflow_registry.serve < requests.jsonl
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlflow import MlflowClient, artifacts
from model import Model

import logging_lib

NAME, ALIAS = "loans", "live"


def main() -> None:
    """One request a line in, one price a line out."""
    chosen = MlflowClient().get_model_version_by_alias(NAME, ALIAS)
    folder = Path(artifacts.download_artifacts(run_id=chosen.run_id))
    model = Model.load(folder / "model.json")
    log = logging_lib.configure(
        model=chosen.name,
        version=str(chosen.version),
        profile=folder / "profile.json",
        spool=os.environ.get("SPOOL", "build/spool"),
    ).bind(mlflow_run=chosen.run_id)
    for line in sys.stdin:
        request = json.loads(line)
        with log.prediction(request["inputs"], request_id=request["id"]) as p:
            p.prediction = model.predict(request["inputs"])
        print(json.dumps({"id": request["id"], "interest_rate": p.prediction, "version": chosen.version}))


if __name__ == "__main__":
    main()
