"""Telegram's two ends, where there is a token: the channel that says, the poller or webhook that hears."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from bot.app.stores import Stores, namespace
from bot.channel import Channel
from bot.duty import OnDuty, Receiver
from bot.metrics import Metrics
from bot.settings import WEBHOOK_PATH, Settings
from bot.votes import Votes
from bot.web import Receive
from context.duties import Duties
from context.turns import Chat


@dataclass(frozen=True, slots=True)
class Telegram:
    """What talks to Telegram while the app is open."""

    channel: Channel
    receiver: Receiver
    receive: Receive | None
    """What the web server hands a webhook's deliveries to."""


async def attach_telegram(
    stack: AsyncExitStack, settings: Settings, stores: Stores, *, votes: Votes, metrics: Metrics
) -> Telegram | None:
    """The channel, and whoever receives: not started yet.  None without a token."""
    inbox = stores.inbox
    token = settings.telegram_bot_token.get_secret_value()
    if not token:
        return None
    # Only a bot with a token pays for the import (0.5 s, 20 MB).
    from bot.telegram import Poller, Presses, Webhook, open_telegram  # noqa: PLC0415

    channel = await open_telegram(
        token=token,
        api_url=settings.telegram_api_url,
        sends_per_s=settings.telegram_sends_per_s,
        chat_sends_per_s=settings.telegram_chat_sends_per_s,
    )
    stack.push_async_callback(channel.close)
    presses = Presses(channel.api, cast=votes.cast, put=inbox.put)
    stack.push_async_callback(presses.close)

    async def set_aside(source: str, raw: str, reason: str) -> None:
        await inbox.set_aside(source, raw, reason)
        metrics.aside()

    if not settings.telegram_webhook_url:
        poller: Receiver = Poller(channel.api, put=inbox.put, set_aside=set_aside, on_press=presses.take)
        if not stores.db.is_sqlite:  # other processes may have been started for the same bot
            name = f"polling for {namespace(settings)}"
            poller = OnDuty(poller, Duties(stores.db), stores.news, name=name, me=stores.news.name)
        return Telegram(channel, poller, None)
    webhook = Webhook(
        channel.api,
        url=settings.telegram_webhook_url.rstrip("/") + WEBHOOK_PATH,
        secret=settings.telegram_webhook_secret.get_secret_value(),
        put=inbox.put,
        set_aside=set_aside,
        on_press=presses.take,
    )
    return Telegram(channel, webhook, webhook.receive)


def staff_chat(settings: Settings) -> Chat | None:
    """Where staff are told of what needs a person."""
    chat_id = settings.telegram_staff_chat_id
    return Chat("telegram", str(chat_id)) if chat_id else None
