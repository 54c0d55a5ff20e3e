"""A batch job: score a CSV file and log every row.

python -m batch_job.score build/applications.csv build/scored.csv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from model import Model

import logging_lib


def main() -> int:
    parser = argparse.ArgumentParser(description="Score loans and log every prediction.")
    parser.add_argument("source", type=Path, help="CSV with loan_id, issued_at and the model's inputs")
    parser.add_argument("target", type=Path, help="CSV to write: loan_id, interest_rate")
    parser.add_argument("--model-dir", type=Path, default=Path("build"))
    parser.add_argument("--spool", type=Path, default=Path("build/spool"))
    parser.add_argument("--run", default="manual", help="kept with each event as labels.run")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the ordinary events to log")
    args = parser.parse_args()

    log = logging_lib.configure(
        model="loans",
        version="3",
        profile=args.model_dir / "profile.json",
        spool=args.spool,
        service="pricing-batch",
        sample=args.sample,
    )
    model = Model.load(args.model_dir / "model.json")
    loans = pd.read_csv(args.source)
    inputs = loans.drop(columns=["loan_id", "issued_at"])
    rates = [model.predict(row) for row in inputs.to_dict("records")]
    log.predictions(inputs, rates, request_ids=loans["loan_id"], run=args.run)

    loans[["loan_id"]].assign(interest_rate=rates).round(2).to_csv(args.target, index=False)
    print(f"{len(loans)} loans scored; logged: {log.stats()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
