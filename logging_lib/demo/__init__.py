"""Run the demo: one real model, three real mistakes upstream, and the resulting notifications."""

from logging_lib.demo.run import run

__all__ = ["run"]
