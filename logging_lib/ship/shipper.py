"""The shipper, which sends a spool in batches to a receiver until it has acknowledged each event."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from logging_lib._util.formatting import format_count, format_seconds
from logging_lib._util.text import one_line
from logging_lib.logger.health import build_health_event
from logging_lib.logger.reporter import disk_usage
from logging_lib.logger.segments import DEAD_LETTERS
from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import (
    ConnectionClosedError,
    Receiver,
    ReceiverAnswer,
    ReceiverRefusedError,
    RetryError,
)
from logging_lib.ship.spool_reader import SpoolItem, SpoolReader

_log = logging.getLogger("logging_lib.ship")

BATCH_EVENTS, BATCH_BYTES, _PROBE_EVENTS = 2000, 4 << 20, 50
GRACE = 2.0
"""The longest time, in seconds, that a stopped shipper continues while its receiver answers."""
_POLL, _POLL_LOCK = 0.2, 1.0
_FIRST_WAIT, _MAX_WAIT_CLOSED, _MAX_WAIT = 0.5, 2.0, 30.0
_HEALTH_SECONDS, _PROGRESS_SECONDS, _RATE_SECONDS = 60.0, 10.0, 60.0
_REMINDER_SECONDS = 600.0
"""The time in seconds between two equal lines in the log, about the shipped events or the lack of an answer."""
_MAX_CLOSED = 3


class Shipper:
    """A shipper of one spool to one receiver, at least once and in order within each segment.

    Only one shipper works on a spool at a time; others wait until it ends. A segment is deleted only after the
    receiver has acknowledged it. An event that the receiver refuses (found by halving its batch if the receiver
    does not name it) goes to ``dead-letters.jsonl`` in the spool with the receiver's answer. Dead letters are
    delivered, too; a refused one remains in that file.

    Args:
        directory: the spool.
        receiver: receives the events; see ``receivers.create_receiver``.
        name: the receiver's address, for ``--status``.
        health: the spool for an ``ml.health`` event each minute; default: none is written.
        clock: returns seconds since 1970.
        monotonic: returns seconds of a monotonic clock.
        uniform: returns a random number from 0 to 1, for the waits between attempts.
        wait: waits for some seconds or until the shipper is stopped; returns whether it was stopped.
    """

    def __init__(
        self,
        directory: str | Path,
        receiver: Receiver,
        *,
        name: str = "",
        health: Spool | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.reader = SpoolReader(directory)
        self._receiver, self._name, self._health = receiver, name, health
        self._clock, self._monotonic = clock, monotonic
        # Use a separate generator: services seed the shared one, and would all wait equally long.
        self._uniform = uniform if uniform is not None else random.Random().random
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._deadline = float("inf")
        self.failures = 0
        """The number of failed attempts since the last successful one."""
        self._limit = BATCH_EVENTS
        self._closed_count = 0
        self._shipped: deque[tuple[float, int]] = deque()
        self._reported_at = self._progress_at = monotonic()
        self._is_connected = False
        self._failing_since = self._reminded_at = 0.0
        self._count_said, self._count_at = 0, monotonic() + _PROGRESS_SECONDS
        self._reported = (0, 0, 0, 0)

    # ── running ──────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Ship until ``stop`` is called, then ship the rest while the receiver answers, within the grace period."""
        try:
            while self._run_once():
                pass
        finally:
            self.close()

    def stop(self, grace: float = GRACE) -> None:
        """Stop ``run``, in another thread, within ``grace`` seconds."""
        self._deadline = self._monotonic() + grace
        self._stop.set()

    def close(self) -> None:
        """Close the connection and release the spool's lock."""
        self._receiver.close()
        self.reader.unlock()

    def _acquire_lock(self) -> bool:
        if self.reader.is_locked:
            return True
        try:
            if not self.reader.lock():
                return False
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                _log.warning("the spool %s cannot be shipped: %s", self.reader.directory, error)
            return False
        self.reader.state.receiver = self._name
        self._reported = self._counts()
        return True

    def _run_once(self) -> bool:
        """Ship one batch, or wait once; return False at the end."""
        if self._monotonic() >= self._deadline:
            return False
        if not self._acquire_lock():
            return not self._wait(_POLL_LOCK)
        try:
            acknowledged = self.ship_batch()
            if acknowledged:
                self._say_answers()
            self._report()
        except Exception as error:  # noqa: BLE001 - in any case the events stay in the spool and are sent again
            self._record_failure(error)
            if isinstance(error, OSError):  # the folder may have been deleted, and the lock with it
                self.reader.unlock()
            max_wait = _MAX_WAIT_CLOSED if isinstance(error, ConnectionClosedError) else _MAX_WAIT
            wait_limit = min(max_wait, _FIRST_WAIT * 2 ** min(self.failures - 1, 10))
            return not self._stop.is_set() and not self._wait(self._uniform() * wait_limit)
        self.failures = 0
        if acknowledged:
            return True
        if self._stop.is_set():
            return False
        if self._wait(_POLL):
            self._stop.set()  # ship once more, for the lines that arrived during the wait
        return True

    def _record_failure(self, error: Exception) -> None:
        reason = one_line(str(error) or type(error).__name__)
        self.failures += 1
        now = self._monotonic()
        if self.failures == 1:
            self._failing_since = self._reminded_at = now
            _log.warning("%s; the events stay in the spool and are sent again", reason)
        elif now - self._reminded_at >= _REMINDER_SECONDS:
            self._reminded_at = now
            lasted = format_seconds(now - self._failing_since)
            _log.warning("%s; still so after %s and %d attempts", reason, lasted, self.failures)
        state = self.reader.state
        state.retries += 1
        state.last_error, state.last_error_at = reason, self._clock()
        try:
            self.reader.save(self._clock())
        except OSError:
            return  # the spool is deleted or full; the next attempt reports it

    # ── one batch ────────────────────────────────────────────────────────────────────────────────────────

    def ship_batch(self) -> int:
        """Ship one batch; return the number of acknowledged events, which is 0 if nothing is waiting.

        Raises:
            RetryError: the receiver did not answer for all events; those that it answered for are acknowledged.
            OSError: the spool or its checkpoint cannot be read or written.
        """
        items = self._read_batch()
        if not items:
            return 0
        try:
            self._deliver(items)
        except ConnectionClosedError as error:
            self._handle_closed_connection(items, error)
        else:
            self._closed_count = 0
            self._limit = min(BATCH_EVENTS, 2 * self._limit)
        now = self._monotonic()
        self._shipped.append((now, len(items)))
        while self._shipped[0][0] < now - _RATE_SECONDS:
            self._shipped.popleft()
        span = now - self._shipped[0][0]
        self.reader.state.rate = sum(n for _, n in self._shipped) / max(span, 1.0)
        return len(items)

    def _read_batch(self) -> list[SpoolItem]:
        if (
            self.failures
        ):  # probe with a few events, so that a receiver that stays down costs neither memory nor traffic
            return self.reader.read(min(self._limit, _PROBE_EVENTS), 1)
        return self.reader.read(self._limit, BATCH_BYTES)

    def _deliver(self, items: Sequence[SpoolItem]) -> None:
        sent = [n for n, item in enumerate(items) if not item.fault]
        try:
            answer = self._send([items[n].line for n in sent]) if sent else ReceiverAnswer()
        except ReceiverRefusedError as error:
            if len(items) == 1:
                self._acknowledge(items, {0: f"the receiver answered: {error}"})
            else:
                half = len(items) // 2
                self._deliver(items[:half])
                self._deliver(items[half:])
        else:
            refused = {sent[n]: reason for n, reason in answer.refused.items()}
            self._acknowledge(items, refused, answer.duplicates)

    def _send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        """Send lines; after an unexpected answer, try again on a new connection."""
        try:
            return self._receiver.send(lines)
        except (RetryError, ReceiverRefusedError):
            raise
        except Exception as error:
            self._receiver.close()
            raise RetryError(
                f"{self._name or 'the receiver'}: an answer that is not understood: "
                f"{type(error).__name__}: {error!s:.500}"
            ) from error

    def _acknowledge(
        self, items: Sequence[SpoolItem], refused: Mapping[int, str], duplicates: int = 0
    ) -> None:
        now_ns = int(self._clock() * 1e9)
        self.reader.acknowledge(items, refused=refused, duplicates=duplicates, now_ns=now_ns)
        if refused_again := [reason for n, reason in refused.items() if items[n].is_dead_letter]:
            path = self.reader.directory / DEAD_LETTERS
            _log.warning(
                "%s refused again, still in %s: %s",
                format_count(len(refused_again), "dead letter"),
                path,
                refused_again[0],
            )

    def _handle_closed_connection(self, items: list[SpoolItem], error: ConnectionClosedError) -> None:
        # A receiver that restarts closes the connection once; one that fails on an event does so each time. So make
        # the batches smaller, and blame a single event only if the receiver accepts another one.
        self._closed_count += 1
        if len(items) > 1:
            self._limit = max(1, len(items) // 2)
            raise error
        next_items = self.reader.read(2, BATCH_BYTES)[1:]
        if self._closed_count < _MAX_CLOSED or not next_items or next_items[0].fault:
            raise error
        self._send([next_items[0].line])  # it is sent again later: delivery is at least once
        try:
            self._deliver(items)
        except ConnectionClosedError:
            self._acknowledge(items, {0: f"the receiver answered: {error}"})
        self._closed_count = 0

    # ── reports ──────────────────────────────────────────────────────────────────────────────────────────

    def _say_answers(self) -> None:
        """Log the first answer, and the first one after an outage."""
        name = self._name or "the receiver"
        if self.failures and self._is_connected:
            lasted = format_seconds(self._monotonic() - self._failing_since)
            _log.info(
                "%s answers again after %s and %s", name, lasted, format_count(self.failures, "attempt")
            )
        elif not self._is_connected:
            _log.info("connected to %s", name)
        self._is_connected = True

    def _report(self) -> None:
        now, shipped = self._monotonic(), self.reader.state.shipped
        if now >= self._count_at and shipped != self._count_said:
            self._count_said, self._count_at = shipped, now + _REMINDER_SECONDS
            _log.info("%s shipped from this spool so far", format_count(shipped, "event"))
        if len(self._shipped) > 1 and now - self._progress_at >= _PROGRESS_SECONDS:
            self._progress_at = now
            events, size, _ = self.reader.measure_backlog()
            if events > BATCH_EVENTS:
                rate = self.reader.state.rate
                waiting = format_count(events, "event")
                _log.info("%s waiting (%.1f MB), %.0f shipped per second", waiting, size / 1e6, rate)
        if self._health is not None and now - self._reported_at >= _HEALTH_SECONDS:
            interval = round(now - self._reported_at)
            self._reported_at = now
            self._health.write(self._health_line(interval))

    def _counts(self) -> tuple[int, int, int, int]:
        state = self.reader.state
        return state.shipped, state.dead_lettered, state.duplicates, state.retries

    def _health_line(self, interval: int) -> bytes:
        now = self._clock()
        since, self._reported = self._reported, self._counts()
        shipped, dead, duplicates, retries = (
            now_count - last_count for now_count, last_count in zip(self._reported, since, strict=True)
        )
        events, size, oldest = self.reader.measure_backlog()
        event = build_health_event(
            int(now * 1e9),
            interval=interval,
            shipped=shipped,
            dead_lettered=dead,
            duplicates=duplicates,
            retries=retries,
            backlog={"events": events, "bytes": size, "age": max(0.0, now - oldest) if oldest else 0.0},
            disk=disk_usage(self.reader.directory),
        )
        return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
