"""The stores, opened as the settings say: database, Redis, photos, and what is built on them."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.app.records import build_erasure, lifetimes
from bot.errors import BadConfiguration, BotError
from bot.guard.mask import mask
from bot.metrics import Metrics
from bot.settings import Settings
from context.background import BackgroundTask
from context.db import Database, StoreAway, StoreDown
from context.feedback import Feedbacks
from context.handoffs import Handoffs
from context.health import Health
from context.inbox import Inbox
from context.news import News
from context.outbox import Outbox
from context.photos import Intake, Photos
from context.readings import Readings
from context.redis_server import RedisRefuses, RedisServer, open_redis
from context.transcripts import Transcripts
from context.turns import Arrival, Chat, Turn
from context.upkeep import lock
from context.upkeep.erasure import Erasure
from context.upkeep.retention import Retention
from context.verdicts import Verdicts, read_key
from context.window import ContextWindow


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that the bot remembers."""

    db: Database
    news: News
    inbox: Inbox
    outbox: Outbox
    transcripts: Transcripts
    verdicts: Verdicts
    handoffs: Handoffs
    feedbacks: Feedbacks
    photos: Photos
    readings: Readings
    """What was found on photos."""
    intake: Intake
    redis: RedisServer
    window: ContextWindow
    erasure: Erasure

    async def health(self) -> dict[str, Health]:
        """The health of each."""
        parts = {
            "database": self.db.health(),
            "redis": self.redis.health(),
            "context": self.window.health(),
            "photos": self.photos.health(),
        }
        states = dict(zip(parts, await asyncio.gather(*parts.values()), strict=True))
        return states | {"news": self.news.health()}


async def open_stores(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> Stores:
    """Open all of them.

    Raises `BadConfiguration` if one cannot be opened as configured, `BotError` while PostgreSQL is away.
    """
    db = await _open_database(stack, settings)
    inbox, transcripts = Inbox(db, mask=mask), Transcripts(db)
    verdicts = Verdicts(db, key=audit_key(settings))

    def count(stored: Sequence[Arrival]) -> None:
        for arrival in stored:
            metrics.arrival(arrival.chat.channel, arrival.kind.value)

    inbox.on_put(count)
    # Containers may share a host's name and a process number, but not what they hold.
    news = News(db, name=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}")
    stack.push_async_callback(news.close)
    inbox.on_put(news.tell_of_arrivals)
    handoffs = Handoffs(db, tell=news.tell)
    news.on("held", handoffs.hear)
    await news.start()
    redis = await open_store(stack, settings)
    window = ContextWindow(
        redis.client,
        refill=transcripts.turns,
        namespace=namespace(settings),
        turns=settings.context_turns,
        trim=settings.context_trim,
    )
    intake = Intake()
    photos = Photos(settings.data_dir / "photos", intake=intake)
    stack.push_async_callback(photos.close)
    with needing(settings.data_dir):
        await photos.start()
    erasure = build_erasure(
        settings, namespace=namespace(settings), db=db, photos=photos, redis=redis, window=window
    )
    stack.push_async_callback(verdicts.close)
    for work in (
        BackgroundTask("scrubbing", erasure.keep_scrubbing),
        BackgroundTask("sealing", verdicts.keep_sealing),
    ):
        work.start()
        stack.push_async_callback(work.stop)
    return Stores(
        db=db,
        news=news,
        inbox=inbox,
        outbox=Outbox(db, verdicts=verdicts),
        transcripts=transcripts,
        verdicts=verdicts,
        handoffs=handoffs,
        feedbacks=Feedbacks(db),
        photos=photos,
        readings=Readings(db),
        intake=intake,
        redis=redis,
        window=window,
        erasure=erasure,
    )


@asynccontextmanager
async def open_erasure(settings: Settings) -> AsyncIterator[Erasure]:
    """What erases chats, for a command; safe beside a running bot.  Raises BotError, BadConfiguration."""
    async with AsyncExitStack() as stack:
        try:
            db = await asyncio.to_thread(Database, settings.database)
        except StoreDown as error:
            raise BotError(str(error)) from error
        stack.push_async_callback(db.close)
        redis = await open_store(stack, settings)
        photos = Photos(settings.data_dir / "photos", intake=Intake())
        stack.push_async_callback(photos.close)
        name = namespace(settings)
        window = ContextWindow(redis.client, refill=Transcripts(db).turns, namespace=name)
        yield build_erasure(settings, namespace=name, db=db, photos=photos, redis=redis, window=window)


@asynccontextmanager
async def open_retention(settings: Settings) -> AsyncIterator[tuple[Retention, Erasure]]:
    """What deletes what is too old, for a command; raises as `open_erasure` does."""
    async with open_erasure(settings) as erasure:
        yield Retention(erasure.db, lifetimes=lifetimes(settings), erasure=erasure), erasure


async def clear_copies(settings: Settings) -> bool:
    """Clear what Redis copied from a database that is being replaced; False if Redis does not answer."""

    async def refill(_chat: Chat, _count: int) -> tuple[Turn, ...]:
        return ()

    async with AsyncExitStack() as stack:
        redis = await open_store(stack, settings)
        return await ContextWindow(redis.client, refill=refill, namespace=namespace(settings)).clear()


async def open_store(stack: AsyncExitStack, settings: Settings) -> RedisServer:
    """Redis as the settings say.  A command shares the private server of a bot in the same folder."""
    url = settings.redis_url.get_secret_value() or None
    try:
        return await stack.enter_async_context(open_redis(url, settings.data_dir / "redis"))
    except RedisRefuses as error:
        raise BadConfiguration([f"REDIS_URL: {error}"]) from error


def audit_key(settings: Settings) -> bytes:
    """The key that seals the verdicts: the operator's own, otherwise one stored beside the data."""
    if settings.audit_key.get_secret_value():
        return settings.audit_key.get_secret_value().encode()
    try:
        return read_key(settings.data_dir / "audit.key")
    except (OSError, ValueError) as error:
        raise BadConfiguration([f"AUDIT_KEY: no key of its own either: {error}"]) from error


async def _open_database(stack: AsyncExitStack, settings: Settings) -> Database:
    """The database.  With SQLite, only one process may work in the data folder."""
    if lock.is_restore_unfinished(settings.data_dir):
        raise BadConfiguration(["DATA_DIR: a restore did not come to its end: run it again"])
    is_ours_alone = settings.database.startswith("sqlite")
    if is_ours_alone:
        try:
            with needing(settings.data_dir):
                stack.enter_context(lock.hold(settings.data_dir))
        except lock.Busy as error:
            raise BadConfiguration([f"DATA_DIR: {error}"]) from error
    try:
        db = await asyncio.to_thread(Database, settings.database)
    except StoreAway as error:  # not 78, with which service managers would not start the bot again
        raise BotError(f"DATABASE_URL: {error}") from error
    except StoreDown as error:
        raise BadConfiguration([f"DATABASE_URL: {error}"]) from error
    stack.push_async_callback(db.close)
    if is_ours_alone:
        await Inbox(db).release_all()
    return db


@contextmanager
def needing(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a BadConfiguration for the operator."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "the disk does not answer"
        problem = f"DATA_DIR: {error.filename or folder} cannot be used: {reason}"
        raise BadConfiguration([f"{problem}; name a folder that the bot may write"]) from error


def namespace(settings: Settings) -> str:
    """What separates the keys of two bots on one Redis: the bot's public Telegram id."""
    return settings.telegram_bot_token.get_secret_value().partition(":")[0] or "web"
