"""Count what one prediction passes on its way to a mail: modules, functions and named types, by leg.

Fits a small profile, logs 61 predictions, loads them into an embedded store, runs one watch and delivers its mail
to an SMTP server in this process, under ``sys.setprofile``. Run it as ``python -m tools.trace_delivery``; with
``--names`` it lists what it counted.
"""

from __future__ import annotations

import argparse
import gc
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
from aiosmtpd.controller import Controller

import logging_lib
from logging_lib import profile
from logging_lib._util import content
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.loading import load
from logging_lib.store.profiles import publish
from logging_lib.watch.loading import load_watches, with_sample_recipients
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.file import FileState

PACKAGE = "logging_lib"
PREDICTIONS = 61
# The counts of this tool before the channels became units. The review at that time also counted comprehensions and
# the types of the report.
BEFORE = {"watch run": (48, 335), "all": (69, 433)}
TYPES_BEFORE = 17
REVIEW = "the review before: 66 modules, 535 functions, 20 types"


@dataclass
class Leg:
    """The functions and types of one stretch of the way.

    Attributes:
        functions: (module, qualified name) of each function that was called.
        types: of the objects that were created on the way and passed on; filled only from the finding on.
    """

    name: str
    functions: set[tuple[str, str]] = field(default_factory=set)
    types: set[str] = field(default_factory=set)

    @property
    def modules(self) -> set[str]:
        return {module for module, _ in self.functions}


class Tracer:
    """Records calls into the package. ``types_from`` and ``types_until`` are functions, by qualified name: types
    are counted between the return of the first and the call of the second."""

    def __init__(self, leg: Leg, types_from: str = "", types_until: str = "") -> None:
        self._leg = leg
        self._from, self._until = types_from, types_until
        self._counts = False
        self._known: set[int] = set()
        self._seen: list[Any] = []  # references are kept, so that no identity is used twice

    def __enter__(self) -> Tracer:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)
        made = [each for each in self._seen if id(each) not in self._known and not _is_of_store(each)]
        self._leg.types |= {type(each).__name__ for each in made}

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return
        module = str(frame.f_globals.get("__name__", ""))
        name = frame.f_code.co_qualname
        is_ours = module.startswith(PACKAGE)
        if is_ours and event == "call" and not name.endswith(">"):  # neither comprehensions nor lambdas
            self._leg.functions.add((module, name))
        if name == self._from and is_ours and event == "return":
            self._known = {id(each) for each in gc.get_objects() if _is_ours(each)}
            self._counts = True
        elif name == self._until and event == "call":
            self._counts = False
        if self._counts and (is_ours or name.startswith("BaseModel.")):
            values = frame.f_locals.values() if event == "call" else [argument]
            self._seen.extend(each for value in values for each in _contained(value) if _is_ours(each))


def _contained(value: Any) -> Iterator[Any]:
    """Yield a value, and the contents of a container."""
    yield value
    if isinstance(value, dict):
        yield from (*value.keys(), *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value


def _is_ours(value: Any) -> bool:
    return str(type(value).__module__).startswith(PACKAGE)


def _is_of_store(value: Any) -> bool:
    """Return whether a store made the value to answer a search: it is not passed on."""
    return str(type(value).__module__).startswith(f"{PACKAGE}.store")


class Inbox:
    """A real SMTP server that keeps the subjects of the mails it receives."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=port)
        self.url = f"smtp://127.0.0.1:{port}"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        lines = envelope.content.decode().splitlines()
        self.subjects.append(next(line for line in lines if line.startswith("Subject: ")))
        return "250 OK"

    def __enter__(self) -> Inbox:
        self._controller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._controller.stop()


def public_types(leg: Leg) -> list[str]:
    """Return the types that are not private to one module."""
    return sorted(name for name in leg.types if not name.startswith("_"))


def trace() -> tuple[list[Leg], list[str]]:
    """Return the legs of the way, and the subjects of the mails that arrived."""
    with tempfile.TemporaryDirectory() as name, Inbox() as inbox:
        folder = Path(name)
        started = datetime.now(UTC)
        rows = pd.DataFrame(
            {
                "income": [float(number % 97) for number in range(2000)],
                "home": [("rent", "own")[number % 2] for number in range(2000)],
                "price": [float(number % 7) for number in range(2000)],
            }
        )
        fitted = profile.fit(rows, model="loans", version="3", target="price")
        log = logging_lib.configure(
            model="loans", version="3", profile=fitted, spool=folder / "spool", service="s"
        )
        service, storing, watching = Leg("log.prediction"), Leg("load"), Leg("watch run")
        with Tracer(service):
            for number in range(PREDICTIONS):
                with log.prediction({"income": 5.0, "home": "odd" if number % 2 else "rent"}) as prediction:
                    prediction.prediction = 1.0
        with EmbeddedStore(folder / "store") as store:
            publish(store, fitted, now=started)
            with Tracer(storing):
                load(store, [folder / "spool"])
            watches = [
                watch
                for watch in with_sample_recipients(load_watches(content.path("watchers")))
                if watch.id == "unseen-categories"
            ]
            runner = Runner(
                store, watches, channels={"email": EmailChannel(inbox.url)}, state=FileState(folder / "state")
            )
            with Tracer(watching, "evaluate", "SMTP.send_message"):
                runner.run_once(datetime.now(UTC))
        return [service, storing, watching], inbox.subjects


def show(
    legs: list[Leg], subjects: Iterable[str], *, names: bool, write: Callable[[str], object] = print
) -> None:
    every = Leg("all", set().union(*(leg.functions for leg in legs)))
    write(f"{'leg':<16}{'modules':>10}{'functions':>12}")
    for leg in (*legs, every):
        before = BEFORE.get(leg.name)
        note = f"   before: {before[0]} modules, {before[1]} functions" if before else ""
        write(f"{leg.name:<16}{len(leg.modules):>10}{len(leg.functions):>12}{note}")
    every.types = set().union(*(leg.types for leg in legs))
    public = public_types(every)
    private = ", ".join(sorted(every.types.difference(public)))
    write(f"types from the finding to SMTP: {len(public)} ({', '.join(public)}); before: {TYPES_BEFORE}")
    write(f"and private to one module, not counted: {private}")
    write(REVIEW)
    for subject in subjects:
        write(f"delivered: {subject}")
    if names:
        for leg in legs:
            write("\n".join([f"\n{leg.name}:", *(f"  {module}" for module in sorted(leg.modules))]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", action="store_true", help="list the modules of each leg")
    legs, subjects = trace()
    show(legs, subjects, names=parser.parse_args().names)


if __name__ == "__main__":
    main()
