"""Shipping from within the service, in one daemon thread per process that starts with its first segment."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING

from logging_lib.logger.spool import Spool
from logging_lib.ship.target import Target, parse_target, require_client

if TYPE_CHECKING:
    from logging_lib.ship.shipper import Shipper

_log = logging.getLogger("logging_lib.ship")
_GRACE = 1.8  # 0.2 s of the promised 2 s are left to the interpreter

_attached: weakref.WeakKeyDictionary[Spool, Target] = weakref.WeakKeyDictionary()


def attach(spool: Spool, url: str) -> None:
    """Ship a spool in the background, in this process and in those that are forked from it.

    The thread starts when a process opens its first segment. If several processes share a spool, one ships for all;
    when it ends, another continues. At exit it continues for up to 2 s, or not at all while the receiver is down;
    the remaining events are shipped after the next start.

    Raises:
        ValueError: the URL is invalid, the spool is already shipped to another URL, or a library is missing.
    """
    target = parse_target(url)
    require_client(target)
    attached = _attached.setdefault(spool, target)
    if attached != target:
        raise ValueError(
            f"ship_to: the spool {spool.directory} is already shipped to {attached}, not to {target}"
        )
    if attached is not target:
        return
    spool.on_open.append(_start_shipper)
    if spool.path is not None:  # the spool was written to before
        _start_shipper(spool)


def _start_shipper(spool: Spool) -> None:
    _BackgroundShipper(spool, _attached[spool]).start()


class _BackgroundShipper:
    def __init__(self, spool: Spool, target: Target) -> None:
        self._spool, self._target = spool, target
        self._pid = os.getpid()
        self._shipper: Shipper | None = None
        self._thread = threading.Thread(target=self._run, name="logging_lib-ship", daemon=True)

    def start(self) -> None:
        self._thread.start()
        atexit.register(self._finish)

    def _run(self) -> None:
        # This import takes 0.1 s, for which the first call of the logger must not wait.
        from logging_lib.ship.receivers import create_receiver
        from logging_lib.ship.shipper import Shipper

        try:
            receiver = create_receiver(self._target)
        except (OSError, ValueError) as error:  # such as a file for TLS, or the API key
            _log.warning("the spool %s is not shipped in the background: %s", self._spool.directory, error)
            return
        self._shipper = Shipper(self._spool.directory, receiver, name=str(self._target), health=self._spool)
        self._shipper.run()

    def _finish(self) -> None:
        if os.getpid() != self._pid:  # registered in the parent, which has the thread
            return
        shipper = self._shipper
        if shipper is None or shipper.failures:
            return
        shipper.stop(_GRACE)
        self._thread.join(_GRACE)
