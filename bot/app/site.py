"""Everything that is served over HTTP: chat page, console, API, webhook, health and metrics."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bot.app.answering import Answering
from bot.app.channels import Channels
from bot.app.console import open_console
from bot.app.stores import Stores
from bot.metrics import Metrics
from bot.photos.second_look import SecondLook
from bot.settings import Settings
from bot.staff import Desk
from bot.votes import Votes
from bot.web import CheckHealth, build_site
from bot.web.api import Api
from bot.web.chat import WebChannel
from bot.web.chat_page import ChatPage
from bot.web.server import Serving, serve
from context.turns import Chat


async def open_site(
    stack: AsyncExitStack,
    settings: Settings,
    stores: Stores,
    answering: Answering,
    channels: Channels,
    *,
    desk: Desk,
    votes: Votes,
    second_look: SecondLook,
    api: Api,
    health: CheckHealth,
    metrics: Metrics,
) -> Serving:
    """Serve all of it from now on.  Raises `BadConfiguration` if the address is taken."""
    console = await open_console(
        settings,
        stores,
        desk=desk,
        spool=channels.web.spool,
        prompts=answering.prompts,
        engine=answering.engine,
        second_look=second_look,
        guard=answering.guard,
    )
    site = build_site(
        _chat_page(channels.web, stores, votes),
        health=health,
        waiting=stores.handoffs.waiting,
        metrics=metrics,
        console=console,
        receive=channels.telegram.receive if channels.telegram else None,
        api=api,
    )
    serving = await stack.enter_async_context(serve(site, settings.http_host, settings.http_port))
    stack.push_async_callback(console.close)  # before the server, which waits for open streams
    return serving


def _chat_page(web: WebChannel, stores: Stores, votes: Votes) -> ChatPage:
    async def photo(chat: Chat, sha256: str) -> bytes | None:
        is_theirs = await stores.transcripts.has_photo(chat, sha256)
        return await stores.photos.read(sha256) if is_theirs else None

    return ChatPage(
        web, put=stores.inbox.put, entries=stores.transcripts.entries, photo=photo, cast=votes.cast
    )
