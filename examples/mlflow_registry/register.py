"""Train, and register in MLflow: the profile is an artifact of the run, the version is the registry's.

    python -m mlflow_registry.register

The tracking server is what ``MLFLOW_TRACKING_URI`` names. The version is asked for before the profile is fitted, so
that both say the same and ``ml.profile.status`` is ``matched``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from train import fit, loans

from logging_lib import profile
from logging_lib.profile.config import Config

NAME, ALIAS = "loans", "live"


def register() -> str:
    """The new version, which the alias ``live`` points to."""
    client = MlflowClient()
    rows = loans(2000, "2018-01-01", seed=1)
    model = fit(rows)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.json"
        model.save(file)
        mlflow.log_artifact(str(file))
        if not client.search_registered_models(f"name = '{NAME}'"):
            client.create_registered_model(NAME)
        version = str(client.create_model_version(NAME, str(run.info.artifact_uri), run.info.run_id).version)
        fitted = profile.fit(
            rows, model=NAME, version=version, target="interest_rate", config=Config(time="issued_at")
        )
        file = Path(scratch) / "profile.json"
        profile.save(fitted, file)
        mlflow.log_artifact(str(file))
        mlflow.log_params({"profile": fitted.id})
    client.set_registered_model_alias(NAME, ALIAS, version)
    return version


if __name__ == "__main__":
    print(register())
