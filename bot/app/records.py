"""The lifetime of records: erased on request, or when they are as old as the operator allows."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

from bot.metrics import Metrics
from bot.retention import Sweeper
from bot.settings import Settings
from bot.web.uploads import Spool
from context.cache import DraftCache
from context.db import Database
from context.duties import Duties
from context.photos import Photos
from context.redis_server import RedisServer
from context.upkeep.erasure import Erasure
from context.upkeep.retention import Lifetimes, Retention
from context.window import ContextWindow


def lifetimes(settings: Settings) -> Lifetimes:
    """How long each kind of record is kept."""
    return Lifetimes(
        chats=settings.retention_chats_days,
        photos=settings.retention_photos_days,
        access=settings.retention_access_days,
    )


def build_sweeper(
    settings: Settings,
    *,
    db: Database,
    erasure: Erasure,
    me: str,
    metrics: Metrics,
    clock: Callable[[], float],
) -> Sweeper:
    """The daily sweep of what is too old."""
    days = lifetimes(settings)
    retention = Retention(db, lifetimes=days, erasure=erasure)
    return Sweeper(retention, Duties(db), me=me, lifetimes=days, tell=metrics.expired, clock=clock)


def build_erasure(
    settings: Settings,
    *,
    namespace: str,
    db: Database,
    photos: Photos,
    redis: RedisServer,
    window: ContextWindow,
) -> Erasure:
    """What erases chats, in every place that holds data of them."""
    # Also with the cache turned off: it may still hold drafts from before.
    drafts = DraftCache(redis.client, namespace=namespace, ttl_s=settings.cache_ttl_s or 1.0)
    refused = settings.data_dir / "redis" / "refused"

    async def scrub_copies() -> bool:
        await asyncio.to_thread(shutil.rmtree, refused, ignore_errors=True)
        return await redis.scrub()

    return Erasure(
        db,
        forget_photo=photos.forget,
        forget_uploads=Spool(settings.data_dir / "uploads").forget,
        copies={"context": window, "drafts": drafts},
        scrub_copies=scrub_copies,
    )
