"""Any other service over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field

from logging_lib.watch.actions._outlet import DeliveryError, shown, wait_of
from logging_lib.watch.http import CallError, HttpClient
from logging_lib.watch.messages import Message, Webhook


@dataclass(frozen=True)
class WebhookOutlet:
    """Sends a request; an answer from 200 to 299 is a delivery, as in Watcher all below 400 would be.

    ``Idempotency-Key`` is the same when the same alert is sent again: a receiver that knows it acts once.
    """

    caller: HttpClient = field(default_factory=HttpClient)

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Webhook):
            raise TypeError(message.kind)
        call = message.call
        if not any(name.lower() == "idempotency-key" for name in call.headers):
            call = call.model_copy(update={"headers": {**call.headers, "Idempotency-Key": message.id}})
        try:
            answer = self.caller(call)
        except CallError as error:
            # Another webhook's host may well be there: never ``down``.
            raise DeliveryError(str(error)) from None
        if 200 <= answer.status < 300:
            return
        wait = wait_of(next(iter(answer.headers.get("retry-after", ())), None))
        after = "" if wait is None else f", retry after {wait:.0f} s"
        redirect = (
            "; redirects are not followed: write the final address" if 300 <= answer.status < 400 else ""
        )
        given = [value for name, value in call.headers.items() if name.lower() == "authorization"]
        said = [word for text in (*self.caller.authorizations.values(), *given) for word in text.split()]
        secrets = (call.password or "", *(word for word in said if word.lower() not in ("basic", "bearer")))
        raise DeliveryError(
            f"{call.place} answered {answer.status}{after}{redirect}{shown(answer.text, *secrets)}",
            retry_after=wait,
        )
