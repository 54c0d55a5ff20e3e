"""Print the estimates of NannyML's CBPE; run by ``_peers.run`` in NannyML's environment.

``_peer_nannyml_cbpe.py BINARY_REFERENCE BINARY_ANALYSIS SEVERAL_REFERENCE SEVERAL_ANALYSIS CHUNK``
"""

import json
import sys

import nannyml
import pandas as pd

CLASSES = ("bird", "cat", "dog")
METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "confusion_matrix")


def estimate(reference: pd.DataFrame, analysis: pd.DataFrame, size: int, probabilities, problem: str) -> list:
    metrics = [*METRICS[:5], *METRICS[5:]]
    options = {"normalize_confusion_matrix": None} if "confusion_matrix" in metrics else {}
    cbpe = nannyml.CBPE(
        y_pred_proba=probabilities, y_pred="predicted", y_true="actual", problem_type=problem, metrics=metrics,
        chunk_size=size, **options,
    )  # fmt: skip
    cbpe.fit(reference)
    table = cbpe.estimate(analysis.drop(columns="actual")).filter(period="analysis").to_df()
    values = table.loc[:, [column for column in table.columns if column[-1] == "value"]]
    return [{column[0]: float(row[column]) for column in values.columns} for _, row in values.iterrows()]


def main(binary: list, several: list, size: int) -> dict:
    read = [pd.read_parquet(path) for path in (*binary, *several)]
    return {
        "version": nannyml.__version__,
        "binary": estimate(read[0], read[1], size, "probability", "classification_binary"),
        "several": estimate(
            read[2], read[3], size, {name: name for name in CLASSES}, "classification_multiclass"
        ),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:3], sys.argv[3:5], int(sys.argv[5]))))
