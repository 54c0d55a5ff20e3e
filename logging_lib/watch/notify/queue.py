"""Deliver queued notifications, with retries after failures, digests and fallbacks.

Each notification is stored before it is sent and removed once it has been delivered, so after a crash the
notifications that were being sent are repeated and none is lost. The queue uses channels only through their common
interface.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from logging_lib.watch.errors import StateError
from logging_lib.watch.notify.base import Channels, DeliveryError, Notification, hash_id
from logging_lib.watch.notify.registry import CHANNELS

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeliveryPolicy:
    """When deliveries are repeated, combined or given up.

    Attributes:
        first_wait: the wait after the first failure; each further wait is twice as long, up to ``longest_wait``.
        fallback_after: the number of failed attempts before a notification goes to its fallback.
        give_up_after: the age at which a notification is given up, which is reported.
        digest_over: more notifications than this for one recipient are sent as one; 0 means never.
    """

    first_wait: timedelta = timedelta(seconds=30)
    longest_wait: timedelta = timedelta(minutes=15)
    fallback_after: int = 5
    give_up_after: timedelta = timedelta(days=3)
    digest_over: int = 5

    def wait(self, notification_id: str, attempts: int) -> timedelta:
        """Return the time until the next attempt: exponential, with a jitter of up to a half that is the same for
        the same notification ("full jitter", Brooker 2015, but with a floor)."""
        full = min(self.longest_wait, self.first_wait * (1 << min(attempts - 1, 30)))
        digits = hashlib.sha256(f"{notification_id}\x00{attempts}".encode()).digest()[:4]
        return full * (0.5 + int.from_bytes(digits) / 2**32 / 2)


class QueueStorage(Protocol):
    """Storage of the waiting notifications by watch. Raises StateError or StoreError."""

    def watch_ids(self) -> list[str]: ...

    def queued(self, watch_id: str) -> tuple[Notification, ...]:
        """Return a watch's waiting notifications, the oldest first. Raises StateError if its state cannot be
        read."""
        ...

    def settle(
        self, watch_id: str, *, removed: Collection[str] = (), retried: Iterable[Notification] = ()
    ) -> int:
        """Remove and replace notifications by id in one write; return how many still wait."""
        ...


@dataclass(frozen=True)
class Delivery:
    """One thing to send: a notification as it is, or a digest.

    ``parts`` are the notifications that it delivers, by id, and for each the recipients.
    """

    notification: Notification
    parts: Mapping[str, frozenset[str]]


def is_due(notification: Notification, now: datetime, *, at_once: bool = False) -> bool:
    """Return whether to try it now. ``at_once`` skips our own backoff, but never a wait that a server asked for."""
    if notification.not_before is not None and now < notification.not_before:
        return False
    return at_once or notification.next_attempt_at is None or now >= notification.next_attempt_at


def narrow(notification: Notification, recipients: Collection[str]) -> Notification:
    """Return the same notification for only these recipients."""
    if set(recipients) == set(notification.recipients):
        return notification
    return notification.model_copy(update={"recipients": tuple(sorted(recipients))})


def plan_deliveries(notifications: Iterable[Notification], now: datetime, digest_over: int) -> list[Delivery]:
    """Plan what to send: a recipient of more than ``digest_over`` notifications gets one that lists them."""
    notifications = list(notifications)
    waiting: dict[tuple[str, str], list[Notification]] = {}
    for notification in notifications:
        if CHANNELS[notification.channel].takes_digests:
            for recipient in notification.recipients:
                waiting.setdefault((notification.channel, recipient), []).append(notification)
    crowded = {to: queue for to, queue in waiting.items() if digest_over and len(queue) > digest_over}
    deliveries = []
    for notification in notifications:
        rest = frozenset(to for to in notification.recipients if (notification.channel, to) not in crowded)
        if rest:
            deliveries.append(Delivery(narrow(notification, rest), {notification.id: rest}))
    digests: dict[tuple[str, ...], tuple[list[Notification], list[str]]] = {}
    for (channel, recipient), queue in crowded.items():
        apart = () if CHANNELS[channel].shares_messages else (recipient,)
        key = (channel, *(notification.id for notification in queue), *apart)
        digests.setdefault(key, (queue, []))[1].append(recipient)
    for queue, recipients in digests.values():
        parts = {notification.id: frozenset(recipients) for notification in queue}
        deliveries.append(Delivery(render_digest(queue, sorted(recipients), now), parts))
    return deliveries


def render_digest(notifications: list[Notification], recipients: list[str], now: datetime) -> Notification:
    """Render one notification that lists several of one channel; its id is the same for the same notifications."""
    first = notifications[0]
    channel = CHANNELS[first.channel]
    models = Counter(notification.model for notification in notifications if notification.model)
    about = ", ".join(f"{model} ({count})" for model, count in models.most_common(3))
    subject = (
        _count_kinds(notifications) + (f": {about}" if about else "") + (" …" if len(models) > 3 else "")
    )
    draft = Notification(
        id=hash_id(*(notification.id for notification in notifications), *recipients),
        action=first.action,
        created_at=now,
        digest_of=len(notifications),
    )
    return channel.combine(draft, channel.address_of(recipients, first.address), subject, notifications)


def _count_kinds(notifications: Collection[Notification]) -> str:
    """Return ``9 alerts``, ``9 resolutions``, or ``5 alerts and 4 resolutions``."""
    resolved = sum(notification.kind == "resolved" for notification in notifications)
    counts = ((len(notifications) - resolved, "alert"), (resolved, "resolution"))
    return " and ".join(f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count)


def to_fallback(notification: Notification) -> Notification | None:
    """Return the notification in the form for its fallback; None if it has no fallback."""
    if notification.fallback is None:
        return None
    name, recipient = notification.fallback
    channel = CHANNELS[name]
    subject = notification.subject[:200] or "An alert"
    return channel.compose(notification, channel.address_of([recipient]), subject, notification.text)


def after_failure(
    notification: Notification,
    errors: Iterable[tuple[DeliveryError, frozenset[str]]],
    now: datetime,
    policy: DeliveryPolicy,
) -> Notification:
    """Return the notification after an attempt that failed, wholly or for some of its recipients.

    Args:
        errors: each with the recipients that did not get it.
    """
    errors = list(errors)
    attempts = notification.attempts + 1
    waits = [error.retry_after for error, _ in errors if error.retry_after is not None]
    missing = frozenset(recipient for _, recipients in errors for recipient in recipients)
    remaining = next((error.remaining for error, _ in errors if error.remaining is not None), None)
    is_own = remaining is not None and remaining.id == notification.id  # not the digest's
    content = remaining.content if remaining is not None and is_own else notification.content
    return narrow(notification, missing or notification.recipients).model_copy(
        update={
            "content": content,
            "attempts": attempts,
            "reason": "; ".join(dict.fromkeys(str(error) for error, _ in errors)),
            "next_attempt_at": now + policy.wait(notification.id, attempts),
            "not_before": now + timedelta(seconds=max(waits)) if waits else None,
        }
    )


class DeliveryQueue:
    """The queue of all watches' notifications. Call ``deliver`` from one thread at a time.

    Args:
        channels: the configured channels.
        check_leader: called before each delivery; raises if this runner must not send any more.
    """

    def __init__(
        self,
        storage: QueueStorage,
        channels: Channels,
        policy: DeliveryPolicy | None = None,
        check_leader: Callable[[], object] = lambda: None,
    ) -> None:
        self.policy = policy or DeliveryPolicy()
        self._channels = channels
        self._check_leader = check_leader
        self._storage = storage
        self._lock = Lock()
        self._waiting: set[str] = set()
        self._counts: dict[str, int] = {}
        self._knows_all = False
        self._unreadable: set[str] = set()
        # These last for one call of ``deliver``: servers that are down are not tried again, and notifications that
        # are sent in order wait.
        self._down: dict[str, DeliveryError] = {}
        self._held: set[str | None] = set()

    def has(self, channel: str) -> bool:
        return channel in self._channels

    def expect(self, watch_id: str, count: int) -> None:
        """Set the number of a watch's notifications that wait now."""
        with self._lock:
            self._counts[watch_id] = count
            if count:
                self._waiting.add(watch_id)

    def forget(self) -> None:
        """Make the queue look up again what waits, because another runner had the state."""
        with self._lock:
            self._counts.clear()
            self._knows_all = False

    @property
    def size(self) -> int:
        """Return the number of waiting notifications."""
        with self._lock:
            return sum(self._counts.values())

    def deliver(self, now: datetime, *, at_once: bool = False) -> list[Notification]:
        """Try all due notifications, and return each with its outcome: executed, failed or given up.

        Args:
            at_once: also try the notifications that are waiting because of our own backoff.

        Raises:
            StateError, StoreError: the state cannot be written, or its server does not answer.
        """
        known = [] if self._knows_all else self._storage.watch_ids()
        with self._lock:
            self._knows_all = True
            # A watch that adds notifications from here on is in the set again, and is seen the next time.
            watches = sorted(self._waiting.union(known))
            self._waiting.clear()
        try:
            return self._deliver(watches, now, at_once=at_once)
        except BaseException:
            with self._lock:
                self._waiting.update(watches)
            raise

    def settle(
        self, watch_id: str, *, removed: Collection[str] = (), retried: Iterable[Notification] = ()
    ) -> None:
        self.expect(watch_id, self._storage.settle(watch_id, removed=removed, retried=retried))

    def _deliver(self, watches: list[str], now: datetime, *, at_once: bool) -> list[Notification]:
        outcomes: list[Notification] = []
        due: list[Notification] = []
        for watch_id in watches:
            queued = self._queued(watch_id)
            if queued:
                self.expect(watch_id, len(queued))
            oldest = now - self.policy.give_up_after
            expired = [notification for notification in queued if notification.created_at < oldest]
            if expired:
                self.settle(watch_id, removed={notification.id for notification in expired})
            days = self.policy.give_up_after.days
            outcomes += [
                notification.with_status("given_up", f"given up after {days} days: {notification.reason}")
                for notification in expired
            ]
            alive = [notification for notification in queued if notification.created_at >= oldest]
            due += _due(alive, now, at_once=at_once)
        if due:
            self._down.clear()
            self._held.clear()
            outcomes += self._send_all(due, now)
        return outcomes

    def _queued(self, watch_id: str) -> list[Notification]:
        """Return a watch's waiting notifications; none if its state cannot be read, which must not stop the
        others."""
        try:
            queued = self._storage.queued(watch_id)
            for notification in queued:
                if notification.channel not in CHANNELS:
                    raise StateError(
                        f"its state names a channel {notification.channel!r:.80}, and there is no such channel"
                    )
        except StateError as error:
            with self._lock:
                self._waiting.add(watch_id)
            if watch_id not in self._unreadable:
                _log.warning("the waiting notifications of %s are not delivered: %s", watch_id, error)
            self._unreadable.add(watch_id)
            return []
        self._unreadable.discard(watch_id)
        # A stored queue does not contain the name of its watch.
        return [notification.model_copy(update={"watch": watch_id}) for notification in queued]

    def _send_all(self, notifications: list[Notification], now: datetime) -> list[Notification]:
        """Send notifications, by their fallbacks if that fails, and return each with its outcome."""
        outcomes, errors = self._attempt(notifications, now)
        retried = self._record_failures(notifications, errors, now)
        moved = [
            elsewhere
            for notification in retried.values()
            if notification.attempts >= self.policy.fallback_after
            and (elsewhere := to_fallback(notification)) is not None
            and self.has(elsewhere.channel)
        ]
        rescued, refused = self._attempt(moved, now)
        originals = {notification.id: notification for notification in notifications}
        for outcome in rescued:
            update = {
                "status": outcome.status,
                "attempts": outcome.attempts,
                "sent_by": outcome.channel,
                "digest_of": outcome.digest_of,
            }
            outcomes.append(originals[outcome.id].model_copy(update=update))
            del retried[outcome.id]
        for notification_id, notification in retried.items():
            reasons = [notification.reason, *(str(error) for error, _ in refused.get(notification_id, ()))]
            outcomes.append(notification.with_status("failed", "; ".join(dict.fromkeys(reasons))))
        return outcomes

    def _record_failures(
        self, notifications: Iterable[Notification], errors: _Errors, now: datetime
    ) -> dict[str, Notification]:
        """Store the failed notifications for their next attempt, with one write per watch; return them by id."""
        retried = {
            notification.id: after_failure(notification, errors[notification.id], now, self.policy)
            for notification in notifications
            if notification.id in errors
        }
        for watch_id, group in _by_watch(retried.values()).items():
            self.settle(watch_id, retried=group)
        return retried

    def _attempt(
        self, notifications: list[Notification], now: datetime
    ) -> tuple[list[Notification], _Errors]:
        """Send notifications once. Each is done when every delivery that contains it has been tried. Delivered ones
        are removed from the state at once, those of a digest in one write per watch.

        Returns:
            The delivered notifications, and the errors of the others by id.
        """
        known = {notification.id: notification for notification in notifications}
        deliveries = plan_deliveries(notifications, now, self.policy.digest_over)
        left = Counter(part for delivery in deliveries for part in delivery.parts)
        outcomes: list[Notification] = []
        errors: _Errors = {}
        for delivery in deliveries:
            sequence = _sequence(delivery.notification)
            if sequence in self._held:
                continue
            self._check_leader()
            error = self._send(delivery.notification)
            if error is not None and sequence is not None:
                self._held.add(sequence)
            delivered: list[Notification] = []
            for part, recipients in delivery.parts.items():
                if error is not None and (missing := recipients & _missing(delivery, error)):
                    errors.setdefault(part, []).append((error, missing))
                left[part] -= 1
                if not left[part] and part not in errors:
                    delivered.append(_executed(known[part], len(delivery.parts)))
            for watch_id, group in _by_watch(delivered).items():
                self.settle(watch_id, removed={notification.id for notification in group})
            outcomes += delivered
        return outcomes, {part: failures for part, failures in errors.items() if not left[part]}

    def _send(self, notification: Notification) -> DeliveryError | None:
        name = notification.channel
        channel = self._channels.get(name)
        if channel is None:
            return DeliveryError(f"the channel {name} is not configured")
        if name in self._down:
            return self._down[name]
        try:
            channel.deliver(notification)
        except DeliveryError as error:
            if error.down:
                self._down[name] = DeliveryError(str(error), retry_after=error.retry_after)
            return error
        except Exception as error:  # noqa: BLE001 - a notification that breaks its channel must not stop the others
            return DeliveryError(f"{type(error).__name__} while sending")
        return None


def _due(queued: Iterable[Notification], now: datetime, *, at_once: bool) -> Iterator[Notification]:
    """Yield the notifications to try now. One that is sent in order waits for those before it."""
    held: set[str | None] = set()
    for notification in queued:
        sequence = _sequence(notification)
        if sequence in held:
            continue
        if is_due(notification, now, at_once=at_once):
            yield notification
        elif sequence is not None:
            held.add(sequence)


def _sequence(notification: Notification) -> str | None:
    """Return the sequence of a notification: those with the same one are sent in order, each after the one
    before."""
    if not CHANNELS[notification.channel].is_per_incident:
        return None
    return hash_id(notification.channel, str(sorted(notification.address.items())))


_Errors = dict[str, list[tuple[DeliveryError, frozenset[str]]]]


def _missing(delivery: Delivery, error: DeliveryError) -> frozenset[str]:
    """Return the recipients that a delivery did not reach."""
    everyone = frozenset(delivery.notification.recipients)
    return (
        everyone if error.remaining is None else everyone.intersection(error.remaining.recipients) or everyone
    )


def _executed(notification: Notification, together: int) -> Notification:
    update = {"status": "executed", "attempts": notification.attempts + 1, "digest_of": together}
    return notification.model_copy(update=update)


def _by_watch(notifications: Iterable[Notification]) -> dict[str, list[Notification]]:
    groups: dict[str, list[Notification]] = {}
    for notification in notifications:
        groups.setdefault(notification.watch, []).append(notification)
    return groups
