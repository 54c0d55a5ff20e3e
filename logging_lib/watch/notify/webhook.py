"""Send requests to any HTTP service: Watcher's ``webhook`` action.

No settings are needed. ``LOGGING_LIB_AUTHORIZATION_<HOST>`` is the Authorization header of requests to a host, see
``watch.http``; a login may also come from a ``.netrc``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from logging_lib.store.port import Store
from logging_lib.watch.http import BRIEF_BYTES, Call, CallError, HttpClient, render_call
from logging_lib.watch.model import HttpRequest
from logging_lib.watch.notify.base import (
    Channel,
    DeliveryError,
    Fetch,
    Notification,
    Path,
    RenderError,
    excerpt,
    refusal,
)


@dataclass(frozen=True)
class WebhookChannel(Channel):
    """The channel of HTTP requests. A status from 200 to 299 is a delivery; in Watcher, any below 400 is.

    A notification's content is the rendered request, a ``watch.http.Call``. ``Idempotency-Key`` is the
    notification's id: a receiver that knows it acts once when the same alert is sent again.
    """

    name = "webhook"
    action_type = "webhook"
    action_model = HttpRequest

    caller: HttpClient = field(default_factory=HttpClient)

    @classmethod
    def requests(cls, settings: HttpRequest) -> Iterator[tuple[Path, HttpRequest]]:
        yield (), settings

    @classmethod
    def recipients(cls, settings: HttpRequest) -> Sequence[str]:
        return [settings.host]

    @classmethod
    def render(
        cls, settings: HttpRequest, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        call = render_call(settings, context)
        return [
            draft.model_copy(
                update={
                    "channel": cls.name,
                    "subject": f"{call.method} {call.place}",
                    "text": call.body or "",
                    "content": call.model_dump(exclude_defaults=True),
                }
            )
        ]

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        """Post ``{"subject": ..., "text": ...}`` to the address."""
        body = {"subject": subject, "text": text}
        try:
            request = HttpRequest.model_validate({"url": recipient, "method": "post", "body": body})
        except ValueError:
            raise RenderError("name an address: --recipient https://alerts.example.org/hook") from None
        return cls.render(request, {"ctx": {}}, draft, None)[0].model_copy(update={"subject": subject})

    @classmethod
    def preview(cls, notification: Notification) -> str:
        """Show neither query nor headers, which may hold secrets."""
        call = Call.model_validate(notification.content)
        address = call.url.partition("?")[0]
        return f"webhook {call.method} {address}\n{call.body or ''}".rstrip("\n")

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> WebhookChannel:
        return cls(HttpClient.from_environ(environ))

    def deliver(self, notification: Notification) -> str:
        call = Call.model_validate(notification.content)
        if not any(name.lower() == "idempotency-key" for name in call.headers):
            headers = {**call.headers, "Idempotency-Key": notification.id}
            call = call.model_copy(update={"headers": headers})
        try:
            answer = replace(self.caller, max_bytes=BRIEF_BYTES, is_brief=True)(call)
        except CallError as error:
            # This is never ``down``, because the host of another webhook may be available.
            raise DeliveryError(str(error)) from None
        headers_sent = [value for name, value in call.headers.items() if name.lower() == "authorization"]
        words = [
            word for text in (*self.caller.authorizations.values(), *headers_sent) for word in text.split()
        ]
        secrets = (call.password or "", *(word for word in words if word.lower() not in ("basic", "bearer")))
        if 200 <= answer.status < 300:
            return f"{answer.status}{excerpt(answer.text, *secrets)}"
        is_redirect = 300 <= answer.status < 400
        hint = "; redirects are not followed: write the final address" if is_redirect else ""
        raise refusal(call.place, answer, *secrets, hint=hint)
