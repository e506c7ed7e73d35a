"""The channels that customers use: the chat page always, Telegram if there is a token."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from bot.app.stores import Stores, needing
from bot.app.telegram import Telegram, attach_telegram
from bot.channel import Channel
from bot.metrics import Metrics
from bot.settings import Settings
from bot.staff import Desk
from bot.telegram.duty import Receiver
from bot.votes import Votes
from bot.web.chat import WebChannel
from prompts.prompts import Prompts


@dataclass(frozen=True, slots=True)
class Channels:
    """Every channel of the app."""

    web: WebChannel
    telegram: Telegram | None
    """None without a token."""

    @property
    def by_name(self) -> dict[str, Channel]:
        """Each channel by the name that chats have in their address."""
        named: dict[str, Channel] = {self.web.name: self.web}
        return named | ({self.telegram.channel.name: self.telegram.channel} if self.telegram else {})

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """What has to be started.  The page has none: its messages come with its own requests."""
        if self.telegram is None:
            return ()
        return tuple(filter(None, (self.telegram.receiver, self.telegram.group)))


async def open_channels(
    stack: AsyncExitStack,
    settings: Settings,
    stores: Stores,
    *,
    desk: Desk,
    votes: Votes,
    prompts: Prompts,
    metrics: Metrics,
) -> Channels:
    """All channels, ready to send.  What receives from Telegram is not started yet."""
    news = stores.news
    web = WebChannel(spool=settings.data_dir / "uploads", tell=lambda *words: news.tell("page", *words))
    news.on("page", web.hear)
    stack.push_async_callback(web.close)
    with needing(settings.data_dir):
        await web.open()
    telegram = await attach_telegram(
        stack, settings, stores, desk=desk, votes=votes, prompts=prompts, metrics=metrics
    )
    return Channels(web, telegram)
