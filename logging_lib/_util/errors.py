"""The base class of the errors that are meant for the user."""

from __future__ import annotations


class LoggingLibError(Exception):
    """The base class of errors whose message explains to the user what was given, what is wrong, and the remedy.

    Commands print the message and end with exit code 2; no traceback is shown.
    """
