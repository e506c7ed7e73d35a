"""Telegram, if there is a token: the channel that sends, and the poller or webhook that receives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from bot.app.stores import Stores, namespace
from bot.channel import Channel
from bot.metrics import Metrics
from bot.sender import Sender
from bot.settings import WEBHOOK_PATH, Settings
from bot.staff import Desk
from bot.staff.group import Group, Topics
from bot.staff.posts import Posts
from bot.telegram.duty import OnDuty, Receiver
from bot.votes import Votes
from bot.web import Receive
from context.console.cases import Cases
from context.duties import Duties
from context.turns import Chat
from prompts.prompts import Prompts


@dataclass(frozen=True, slots=True)
class Telegram:
    """Everything that talks to Telegram while the app runs."""

    channel: Channel
    receiver: Receiver
    receive: Receive | None
    """Where the web server passes the deliveries of a webhook."""
    group: Receiver | None = None
    """What shows cases in the staff's group, if there is one."""
    wake_group: Callable[[], None] = lambda: None
    """Tells the group that there may be something new."""


async def attach_telegram(
    stack: AsyncExitStack,
    settings: Settings,
    stores: Stores,
    *,
    desk: Desk,
    votes: Votes,
    prompts: Prompts,
    metrics: Metrics,
) -> Telegram | None:
    """The channel and its receiver, not started yet.  None without a token."""
    inbox = stores.inbox
    token = settings.telegram_bot_token.get_secret_value()
    if not token:
        return None
    # Only a bot with a token pays for the import (0.5 s, 20 MB).
    from bot.telegram import Ears, ForumTopics, Poller, Presses, Webhook, open_telegram  # noqa: PLC0415

    channel = await open_telegram(
        token=token,
        api_url=settings.telegram_api_url,
        sends_per_s=settings.telegram_sends_per_s,
        chat_sends_per_s=settings.telegram_chat_sends_per_s,
    )
    stack.push_async_callback(channel.close)
    presses = Presses(channel.api, cast=votes.cast, put=inbox.put)
    stack.push_async_callback(presses.close)
    ears, group = Ears(on_press=presses.take), None
    if staff := staff_chat(settings):
        group, posts = _open_group(
            stores,
            ForumTopics(channel.api, staff.address),
            channel,
            desk=desk,
            prompts=prompts,
            metrics=metrics,
        )
        ears = replace(ears, on_post=posts.take, group=staff.address)

    async def set_aside(source: str, raw: str, reason: str) -> None:
        await inbox.set_aside(source, raw, reason)
        metrics.aside()

    alone = partial(_alone, settings, stores)
    shows = alone(group, "the staff's group") if group else None
    wake = group.wake if group else _nothing
    inbox.on_put(lambda _: wake())
    if not settings.telegram_webhook_url:
        poller = Poller(channel.api, put=inbox.put, set_aside=set_aside, ears=ears)
        return Telegram(channel, alone(poller, "polling"), None, shows, wake)
    webhook = Webhook(
        channel.api,
        url=settings.telegram_webhook_url.rstrip("/") + WEBHOOK_PATH,
        secret=settings.telegram_webhook_secret.get_secret_value(),
        put=inbox.put,
        set_aside=set_aside,
        ears=ears,
    )
    return Telegram(channel, webhook, webhook.receive, shows, wake)


def _open_group(
    stores: Stores, topics: Topics, channel: Channel, *, desk: Desk, prompts: Prompts, metrics: Metrics
) -> tuple[Group, Posts]:
    """What shows cases in the staff's group, and what acts on the posts in it."""
    cases = Cases(stores.db)
    sender = Sender(
        channels={channel.name: channel}, outbox=stores.outbox, metrics=metrics, photo=stores.photos.read
    )
    group = Group(topics=topics, cases=cases, desk=desk, sender=sender, channel=channel.name, prompts=prompts)
    posts = Posts(
        topics.group,
        cases=cases,
        desk=desk,
        sender=sender,
        channel=channel,
        prompts=prompts,
        wake=group.wake,
    )
    return group, posts


def _alone(settings: Settings, stores: Stores, receiver: Receiver, what: str) -> Receiver:
    """The receiver, run by only one of the processes that share a PostgreSQL database."""
    if stores.db.is_sqlite:
        return receiver
    name = f"{what} for {namespace(settings)}"
    return OnDuty(receiver, Duties(stores.db), stores.news, name=name, me=stores.news.name)


def _nothing() -> None:
    """Do nothing: there is no group."""


def staff_chat(settings: Settings) -> Chat | None:
    """The chat in which staff are told which customers need a person."""
    chat_id = settings.telegram_staff_chat_id
    return Chat("telegram", str(chat_id)) if chat_id else None
