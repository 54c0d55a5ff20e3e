"""The demo: one real model, three real mistakes upstream, and the alerts that people receive."""

from logging_lib.demo.run import run

__all__ = ["run"]
