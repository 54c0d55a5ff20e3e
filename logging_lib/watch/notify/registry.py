"""List all channels, parse watches with them, and render their actions. A new channel is named only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from logging_lib.store.port import Store
from logging_lib.watch.conditions import resolve_path
from logging_lib.watch.evaluate import RunDependencies, evaluate_condition, run_transform, with_payload
from logging_lib.watch.model import Action, Definition, Watch, with_actions, with_types
from logging_lib.watch.notify.base import Channel, Channels, Fetch, Notification, RenderError
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.index import IndexChannel
from logging_lib.watch.notify.log import LogChannel
from logging_lib.watch.notify.pagerduty import PagerDutyChannel
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.notify.teams import TeamsChannel
from logging_lib.watch.notify.webhook import WebhookChannel
from logging_lib.watch.templating import Medium, TemplateError, render

CHANNELS: Mapping[str, type[Channel]] = {
    channel.name: channel
    for channel in (
        EmailChannel,
        SlackChannel,
        TeamsChannel,
        PagerDutyChannel,
        WebhookChannel,
        IndexChannel,
        LogChannel,
    )
}
"""The channels by name. If two have the same type of actions, the first whose ``takes`` agrees gets an action."""

ACTION_TYPES = tuple(dict.fromkeys(channel.action_type for channel in CHANNELS.values()))
WatchAction = with_types({channel.action_type: channel.action_model for channel in CHANNELS.values()})
WatchDefinition = with_actions(WatchAction)


def parse_action(document: Any) -> Action:
    """Parse an action of a watch. Raises pydantic's ValidationError."""
    return WatchAction.model_validate(document)


def parse_definition(document: Any, *, sources: Mapping[str, str] | None = None) -> Definition:
    """Parse the content of a watch file. Raises pydantic's ValidationError.

    Args:
        sources: users' own Painless scripts by id.
    """
    return WatchDefinition.model_validate(document, context={"sources": sources or {}})


def channel_of(action: Action) -> type[Channel]:
    """Return the channel by which an action sends."""
    return next(
        channel
        for channel in CHANNELS.values()
        if channel.action_type == action.type and channel.takes(action.settings)
    )


def configure_channels(environ: Mapping[str, str], *, store: Store | None = None) -> dict[str, Channel]:
    """Configure the channels that the environment describes, by name.

    Raises:
        SettingsError: a setting is wrong; the message names it.
    """
    configured = {name: channel.configure(environ, store) for name, channel in CHANNELS.items()}
    return {name: channel for name, channel in configured.items() if channel is not None}


class PreviewChannel:
    """A channel that only shows what would be sent. ``write`` is called with each text."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def deliver(self, notification: Notification) -> None:
        self._write(preview(notification))


def preview_channels(write: Callable[[str], object]) -> Channels:
    """Return preview channels in place of all channels, for a dry run."""
    return dict.fromkeys(CHANNELS, PreviewChannel(write))


def preview(notification: Notification) -> str:
    """Return a notification as people would read it, without possible secrets."""
    return CHANNELS[notification.channel].preview(notification)


def recipients(watch: Watch) -> list[str]:
    """Return whom a watch's actions notify, as far as its metadata says, for lists and overviews.

    If the metadata leaves the recipients to the channel's settings, return the channel's name.
    """
    context = {"ctx": {"watch_id": watch.id, "metadata": watch.metadata}}
    channels = [(channel_of(action), action.settings) for action in watch.actions.values()]
    return list(
        dict.fromkeys(
            render(text, context, Medium.HEADER) or (channel.name if channel.names_recipients(text) else text)
            for channel, settings in channels
            for text in channel.recipients(settings)
        )
    )


def fallback_of(channel: str, addresses: Mapping[str, str]) -> tuple[str, str] | None:
    """Find the first of these channels, and its recipient, that can take what another channel fails to send."""
    if not CHANNELS[channel].takes_text:
        return None
    others = ((name, to) for name, to in addresses.items() if name != channel)
    return next(((name, to) for name, to in others if name in CHANNELS and CHANNELS[name].takes_text), None)


def fallback_addresses(metadata: Mapping[str, Any], default: Mapping[str, str]) -> dict[str, str]:
    """Return, by channel, the recipients of a watch's notifications that their own channel fails to deliver:
    ``metadata.fallback``, else the default; none if the watch says ``false``."""
    value = metadata.get("fallback")
    if value is False:
        return {}
    if not isinstance(value, dict):
        return dict(default)
    return {**default, **{str(channel): str(to) for channel, to in value.items()}}


def render_action(
    action: Action, context: Mapping[str, Any], draft: Notification, *, dependencies: RunDependencies
) -> list[Notification] | None:
    """Render an action's notifications, or return None if its condition is not met. The runner decides whom to
    notify.

    With ``foreach`` there is a notification for each element. Elements over ``max_iterations``, and elements that
    cannot be rendered while others can, are reported by a line for the log: none is dropped silently, and none
    stops the others.

    Args:
        context: a context with the payload after the watch's transform.
        draft: names the watch, the action, and the subject of the notifications.

    Raises:
        RunError: the condition or the transform fails.
        RenderError: a template fails, an address is wrong, or ``foreach`` has nothing to iterate over.
    """
    where = f"actions.{draft.action}"
    if action.condition and not evaluate_condition(
        action.condition, context, dependencies=dependencies, where=f"{where}.condition"
    ):
        return None
    if action.transform:
        payload = run_transform(
            action.transform, context, dependencies=dependencies, where=f"{where}.transform"
        )
        context = with_payload(context, payload)
    if action.foreach is None:
        return render_settings(action, context, draft, dependencies.http)
    return list(_for_each(action, action.foreach, context, draft, dependencies.http))


def render_settings(
    action: Action, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None = None
) -> list[Notification]:
    """Render an action's notifications from an unchanged context. Raises RenderError."""
    try:
        notifications = channel_of(action).render(action.settings, context, draft, fetch)
    except TemplateError as error:
        raise RenderError(str(error)) from error
    return [notification.with_content_id() for notification in notifications]


def _for_each(
    action: Action, path: str, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
) -> Iterator[Notification]:
    items = resolve_path(path, context)
    if not isinstance(items, list | tuple):
        raise RenderError(f"foreach: {path} is not a list")
    chosen = items[: action.max_iterations]
    if not chosen:
        raise RenderError(f"foreach: {path} is empty" if not items else "foreach: max_iterations is 0")
    notifications: list[Notification] = []
    faults = []
    for number, item in enumerate(chosen):
        # As in Watcher: an object is the payload, anything else becomes one.
        payload = item if isinstance(item, Mapping) else {"_value": item}
        try:
            notifications += render_settings(
                action, with_payload(context, payload), draft.part(number), fetch
            )
        except RenderError as error:
            faults.append(f"{path}.{number}: {error}")
    if not notifications:
        raise RenderError("; ".join(faults[:3]))
    yield from notifications
    if len(items) > len(chosen):
        faults.append(
            f"{len(items) - len(chosen)} of {len(items)} were left out: max_iterations is {len(chosen)}"
        )
    yield from _log_lines(draft, faults)


def _log_lines(draft: Notification, faults: Iterable[str]) -> Iterator[Notification]:
    for number, fault in enumerate(faults):
        text = f"watch {draft.watch}, action {draft.action}: foreach: {fault}"
        yield LogChannel.line(draft.part(-1 - number), text, "error")
