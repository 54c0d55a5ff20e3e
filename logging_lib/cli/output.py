"""Print the output of commands: tables, JSON, texts from logs, notes, progress and errors."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Final, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.suggestions import suggest_file
from logging_lib._util.text import one_line
from logging_lib.watch.templating import Medium

_log = logging.getLogger("logging_lib")
QUIET, NORMAL, VERBOSE = -1, 0, 1
_verbosity: ContextVar[int] = ContextVar("verbosity", default=NORMAL)
_logs: ContextVar[bool] = ContextVar("logs", default=False)
_wants_json: ContextVar[bool] = ContextVar("wants_json", default=False)
_PROGRESS_AFTER: Final = 2.0
"""Seconds after which a command shows its progress."""


def set_verbosity(*, quiet: bool, verbose: bool, reset: bool = False) -> None:
    """Set how much is printed besides the result.

    Args:
        reset: start from the defaults, as each run of the command line does; otherwise unset flags change nothing.
    """
    if reset:
        _stop_log()
    if reset or quiet or verbose:
        _verbosity.set(VERBOSE if verbose else QUIET if quiet else NORMAL)
    if verbose:
        log_to_stderr()


def is_verbose() -> bool:
    """Return whether ``--verbose`` was given."""
    return _verbosity.get() == VERBOSE


# -- texts -------------------------------------------------------------------------------------------------


def safe(text: object) -> str:
    """Escape a text from logs for rich, so that neither terminal codes nor rich's markup take effect."""
    return escape(plain(text))


def plain(text: object) -> str:
    """Escape a text from logs for output without rich."""
    return Medium.HEADER.escape(str(text))


def console() -> Console:
    """Return the console of standard output. A pipe gets 200 columns, since truncated text cannot be searched."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=max(200, terminal.width))


def note(text: object) -> None:
    """Print a remark on standard error, besides the result; ``--quiet`` omits it. A daemon logs it."""
    if _logs.get():
        _log.info("%s", plain(text))
    elif _verbosity.get() > QUIET:
        print(plain(text), file=sys.stderr)


def warn(text: object) -> None:
    """Print on standard error what went wrong with a part, even with ``--quiet``. A daemon logs it."""
    if _logs.get():
        _log.warning("%s", plain(text))
    else:
        print(plain(text), file=sys.stderr)


# -- progress ----------------------------------------------------------------------------------------------


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress on a terminal once the block has taken two seconds; on standard error.

    Yields:
        a function to call with the amount done and the total, if that is known.
    """
    stderr = Console(stderr=True)
    if not stderr.is_terminal or _verbosity.get() != NORMAL:
        yield lambda done, total: None
        return
    display = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=stderr, transient=True, redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    task = display.add_task(title, total=None)
    timer = threading.Timer(_PROGRESS_AFTER, display.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done, total: display.update(task, completed=done, total=total)
    finally:
        timer.cancel()
        timer.join()
        display.stop()


# -- logs --------------------------------------------------------------------------------------------------


class _OneLineFormatter(logging.Formatter):
    """Formats each record on one line with a time in UTC; a traceback only with ``--verbose``."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s UTC %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return one_line(super().format(record))
        record.exc_text, record.exc_info = None, None
        text = one_line(f"{super().format(record)}: {type(error).__name__}: {error}")
        return text + "\n" + "".join(traceback.format_exception(error)).rstrip() if is_verbose() else text


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the standard error that is current when a record is written."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


_handler = _StderrHandler()
_handler.setFormatter(_OneLineFormatter())


def log_to_stderr() -> None:
    """Write the log of this process, and all remarks, to standard error: one line each with its time."""
    _logs.set(True)
    level = {QUIET: logging.WARNING, NORMAL: logging.INFO, VERBOSE: logging.DEBUG}[_verbosity.get()]
    logging.getLogger("logging_lib").setLevel(level)
    # The client logs each request and each failed one, which our own lines report as well.
    logging.getLogger("elastic_transport").setLevel(logging.INFO if is_verbose() else logging.ERROR)
    logging.getLogger().addHandler(_handler)


def _stop_log() -> None:
    """Undo ``log_to_stderr``, for several command lines in one process."""
    if _logs.get():
        _logs.set(False)
        logging.getLogger().removeHandler(_handler)
        logging.getLogger("logging_lib").setLevel(logging.NOTSET)


# -- JSON --------------------------------------------------------------------------------------------------


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def remember_json(wanted: bool) -> bool:
    """Remember for ``fail`` whether the command prints JSON; used as the option's callback."""
    _wants_json.set(wanted)
    return wanted


def json_option(about: str) -> Any:
    """Return the ``--json`` option with this help text."""
    return typer.Option("--json", help=about, callback=remember_json, is_eager=True)


JsonOption = Annotated[bool, json_option("Print the result as JSON.")]


# -- errors ------------------------------------------------------------------------------------------------


def print_error(message: str) -> None:
    """Print ``error: ...`` on standard error, in color on a terminal. A daemon logs it."""
    if _logs.get() and not is_verbose():
        _log.error("%s", plain(message))
        return
    first, *others = message.splitlines() or [""]
    stderr = Console(stderr=True)
    stderr.print(Text("error: ", "bold red").append(plain(first), "default"), soft_wrap=True, highlight=False)
    for line in others:
        print(plain(line), file=sys.stderr)


def fail(message: object, code: int = 2) -> typer.Exit:
    """Print a message on standard error, and with ``--json`` an ``error`` document as the result.

    Args:
        message: what is wrong, and the remedy.
        code: 2 for wrong input; 1 if the requested object does not exist.
    """
    text = str(message) or type(message).__name__
    print_error(text)
    if _wants_json.get():
        lines = "\n".join(map(plain, text.splitlines()))
        print_json({"error": {"message": lines, "exit_code": code}})
    return typer.Exit(code)


@contextmanager
def handle_errors(*also: type[Exception], extra: str = "ops") -> Iterator[None]:
    """End the command with the reason on standard error and exit code 2; a traceback only with ``--verbose``.

    Args:
        also: exceptions besides ``LoggingLibError`` and ``FileNotFoundError`` whose message is meant for the user.
        extra: the extra to install if a library is missing.
    """
    shown: tuple[type[Exception], ...] = (LoggingLibError, FileNotFoundError, *also)
    try:
        yield
    except ModuleNotFoundError as missing:
        raise fail(f"{missing.name} is not installed; pip install 'logging-lib[{extra}]'") from None
    except shown as error:
        if is_verbose():
            traceback.print_exc()
        raise fail(_describe(error)) from None


def _describe(error: Exception) -> str:
    """Return the message of an error; a system error names its file first, as all others do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = os.fsdecode(error.filename) if not isinstance(error.filename, int) else error.filename
        hint = suggest_file(path) if isinstance(error, FileNotFoundError) and isinstance(path, str) else ""
        reason = error.strerror[:1].lower() + error.strerror[1:]
        return f"{path}: {reason}{hint}"
    return str(error) or type(error).__name__
