"""The event's contract: ``fields.yml`` and what reads it."""

from logging_lib.schema._version import DATASETS, ECS_VERSION, SCHEMA_VERSION

__all__ = ["DATASETS", "ECS_VERSION", "SCHEMA_VERSION"]
