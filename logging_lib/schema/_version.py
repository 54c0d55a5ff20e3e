"""The constants of ``fields.yml`` that a service needs at run time, without a YAML parser.

A test holds them against the file.
"""

SCHEMA_VERSION = 1
ECS_VERSION = "9.2.0"
DATASETS = ("ml.prediction", "ml.label", "ml.deadletter", "ml.health", "ml.start")
