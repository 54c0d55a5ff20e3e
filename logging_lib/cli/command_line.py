"""The base of all commands: ``--quiet`` and ``--verbose`` everywhere, and usage errors on one line."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from logging_lib._util.suggestions import suggest
from logging_lib.cli import output

Function = TypeVar("Function", bound=Callable[..., Any])

_PANEL = "Global options"
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only the result, warnings and errors: no notes and no progress.",
        rich_help_panel=_PANEL,
    ),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also print what is done, with times, and tracebacks of errors.",
        rich_help_panel=_PANEL,
    ),
]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]
"""The base class of all usage errors: click's, or that of typer's own copy of click."""


class Command(TyperCommand):
    """A command whose help names no types."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """A group that reports a wrong command line on one line, with a suggestion."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _ClickError as error:
            if not standalone_mode:
                raise
            if message := describe_usage_error(error):
                output.print_error(message)
            sys.exit(getattr(error, "exit_code", 2))
        except typer.Abort:
            output.print_error("stopped")
            sys.exit(1)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


class App(typer.Typer):
    """A Typer application or group whose commands all take ``--quiet`` and ``--verbose``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=CommandGroup, pretty_exceptions_enable=False, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        register = super().command(name, cls=Command, **options)

        def decorate(function: Function) -> Function:
            register(_with_verbosity(function))
            return function

        return decorate


def _with_verbosity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that also takes ``quiet`` and ``verbose``, as typer reads them from its signature."""

    @functools.wraps(function)
    def wrapper(*args: Any, quiet: bool, verbose: bool, **named: Any) -> Any:
        output.set_verbosity(quiet=quiet, verbose=verbose)
        return function(*args, **named)

    signature = inspect.signature(function, eval_str=True)
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("quiet", QuietOption), ("verbose", VerboseOption))
    ]
    wrapper.__doc__ = _fold(inspect.getdoc(function) or "")
    parameters = [*signature.parameters.values(), *flags]
    del wrapper.__wrapped__
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _fold(text: str) -> str:
    """Put each paragraph on one line, which the terminal wraps, and each example on its own line."""
    folded = []
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        if line.startswith(("Example: ", "Examples: ")):
            title, _, examples = line.partition(": ")
            line = "\n".join([f"{title}:", *(f"  {part}" for part in examples.split("; "))])
        folded.append(line)
    return "\n\n".join(folded)


def _without_types(parameters: list[Any]) -> list[Any]:
    """Remove types such as ``<bool>`` and ``<path>`` beside flags and arguments, whose names say them."""
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
        elif parameter.is_flag and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


def describe_usage_error(error: Any) -> str:
    """Describe on one line what is wrong with a command line: the input, the probable intention, where to look."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""  # the help was printed
    context = getattr(error, "ctx", None)
    help_hint = f"; see: {context.command_path} --help" if context is not None else ""
    parameter = getattr(error, "param", None)
    typed = getattr(error, "option_name", None)
    if typed is not None and hasattr(error, "possibilities"):
        known = (
            [name for option in context.command.get_params(context) for name in option.opts]
            if context
            else []
        )
        return f"no such option {typed!r}{suggest(typed, known) or help_hint}"
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        return f"missing {_name(parameter)}{help_hint}"
    if parameter is not None:
        problem = str(error.message).removeprefix("Value error, ").rstrip(".")
        return f"{_name(parameter)}: {problem[:1].lower()}{problem[1:]}{help_hint}"
    text = str(error.format_message()).rstrip(".")
    if context is not None and text.startswith("No such command"):
        name = text.split("'")[1]
        return (
            f"no such command {name!r}{suggest(name, getattr(context.command, 'commands', ())) or help_hint}"
        )
    return f"{text[:1].lower()}{text[1:]}{help_hint}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper()).strip("[].")
