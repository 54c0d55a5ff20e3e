"""Define the base class of the errors that are meant for the user."""

from __future__ import annotations


class LoggingLibError(Exception):
    """Explain to the user what is wrong: the message names what was given, and the remedy.

    Commands print the message and end with exit code 2; no traceback is shown.
    """
