"""The composition root: settings become an `App`, and nothing is built anywhere else.

`open_app` owns every lifetime, in one exit stack: what is opened later is closed earlier.  Tests boot
the same app and replace what they need by argument.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bot import __version__
from bot.channel import Channel
from bot.collect import Collector
from bot.commands import Commands
from bot.duty import OnDuty, Receiver
from bot.engines import Engine
from bot.engines.cached import CachedEngine
from bot.engines.fallback import FallbackEngine
from bot.engines.first_available import FirstAvailable
from bot.engines.ocr import Ocr
from bot.engines.sampling import Sampling
from bot.errors import BadConfiguration
from bot.guard import Guard, load_policy
from bot.guard.mask import mask
from bot.guard.second import SecondCheck
from bot.metrics import Metrics
from bot.sender import Sender
from bot.settings import WEBHOOK_PATH, Settings
from bot.turn import Answerer, TurnTaker
from bot.web import Receive, build_site
from bot.web.chat import WebChannel
from bot.web.chat_page import ChatPage
from bot.web.server import serve
from bot.worker import Worker
from context import lock
from context.cache import DraftCache
from context.db import Database, StoreDown
from context.duties import Duties
from context.handoffs import Handoffs
from context.health import Health
from context.inbox import Inbox
from context.news import News
from context.outbox import Outbox
from context.photos import Intake, Photos
from context.redis_server import RedisServer, RedisUnreachable, open_redis
from context.transcripts import Transcripts
from context.turns import Arrival, Chat
from context.verdicts import Verdicts, read_key
from context.window import ContextWindow
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

DEFAULT_MODEL = "Qwen/Qwen3-VL-8B-Instruct"
"""What a GPU server answers with unless told otherwise (Apache-2.0, 17.5 GB in bf16)."""
GRACE_S = 8.0
"""For running turns at a stop: container runtimes kill after 10 s, and closing takes a moment."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Stores:
    """What is remembered, and where."""

    db: Database
    news: News
    inbox: Inbox
    outbox: Outbox
    transcripts: Transcripts
    verdicts: Verdicts
    handoffs: Handoffs
    photos: Photos
    redis: RedisServer
    window: ContextWindow


@dataclass(frozen=True, slots=True)
class App:
    """A running bot, for whoever has it open."""

    url: str
    """Where the chat page is served."""
    stores: Stores
    engine: Engine
    metrics: Metrics
    ready: asyncio.Event
    """Set once an engine can answer and the inbox is being worked on."""
    working: asyncio.Task[None]
    """What answers.  It ends before the block does only for a bug of ours, which it raises."""

    async def work_until(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set; raise what ended the work, since nobody would be answered any more."""
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, self.working}, return_when=asyncio.FIRST_COMPLETED)
            if self.working.done():
                self.working.result()
        finally:
            stopping.cancel()


@asynccontextmanager
async def open_app(
    settings: Settings, *, engine: Engine | None = None, guard: Guard | None = None, clock: Clock = time.time
) -> AsyncIterator[App]:
    """Build and start everything; the block runs while it answers.

    Messages are taken in at once, and answered as soon as an engine is ready.  Raises
    `BadConfiguration` when a part cannot be had as configured.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics(version=__version__)
        stores = await _open_stores(stack, settings, metrics)
        prompts = Prompts(context_tokens=settings.context_tokens)
        if problems := prompts.lint():
            raise BadConfiguration([f"prompts: {problem}" for problem in problems])
        guard = guard or build_guard(settings)
        stack.push_async_callback(guard.close)
        await guard.start()
        engine = engine or build_engine(
            settings, keep=partial(keeping, settings, redis=stores.redis, guard=guard, metrics=metrics)
        )
        stack.push_async_callback(engine.close)

        news = stores.news
        web = WebChannel(spool=settings.data_dir / "uploads", tell=lambda *words: news.tell("page", *words))
        news.on("page", web.hear)
        stack.push_async_callback(web.close)
        with _needing(settings.data_dir):
            await web.open()
        telegram = await _open_telegram(stack, settings, stores, metrics)
        channels: dict[str, Channel] = {web.name: web}
        if telegram is not None:
            channels[telegram.channel.name] = telegram.channel

        taker = TurnTaker(
            channels=channels,
            collector=Collector(channels=channels, inbox=stores.inbox, photos=stores.photos, metrics=metrics),
            commands=Commands(prompts=prompts, transcripts=stores.transcripts, handoffs=stores.handoffs),
            answerer=Answerer(
                prompts=prompts, photos=stores.photos, engine=engine, guard=guard, metrics=metrics
            ),
            sender=Sender(channels=channels, outbox=stores.outbox, metrics=metrics, clock=clock),
            outbox=stores.outbox,
            window=stores.window,
            handoffs=stores.handoffs,
            prompts=prompts,
            metrics=metrics,
            staff=_staff(settings),
            clock=clock,
        )
        worker = Worker(inbox=stores.inbox, take=taker.take, give_up=taker.give_up, name=news.name)
        news.on("arrived", worker.hear)
        metrics.watch_queue(lambda: worker.depth)
        ready = asyncio.Event()

        async def health() -> dict[str, Health]:
            states = await _store_health(stores)
            states["engine"], states["guard"] = await asyncio.gather(engine.health(), guard.health())
            states["worker"] = worker.health() if ready.is_set() else Health("degraded", "the engine starts")
            if telegram is not None:
                states["telegram"] = telegram.receiver.health()
            return states

        site = build_site(
            _chat_page(web, stores),
            health=health,
            metrics=metrics,
            receive=telegram.receive if telegram else None,
        )
        url = await stack.enter_async_context(serve(site, settings.http_host, settings.http_port))
        if telegram is not None:
            telegram.receiver.start()
            stack.push_async_callback(telegram.receiver.stop)

        async def work() -> None:
            await engine.start()
            ready.set()
            await worker.run()

        working = asyncio.create_task(work(), name="worker")
        stack.push_async_callback(_end, working, worker)
        yield App(url=url, stores=stores, engine=engine, metrics=metrics, ready=ready, working=working)


async def _open_stores(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> Stores:
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
    await news.start()
    redis = await open_store(stack, settings)
    window = ContextWindow(
        redis.client, refill=transcripts.turns, namespace=_namespace(settings), turns=settings.context_turns
    )
    photos = Photos(settings.data_dir / "photos", intake=Intake())
    stack.push_async_callback(photos.close)
    with _needing(settings.data_dir):
        await photos.start()
    return Stores(
        db=db,
        news=news,
        inbox=inbox,
        outbox=Outbox(db, verdicts=verdicts),
        transcripts=transcripts,
        verdicts=verdicts,
        handoffs=Handoffs(db),
        photos=photos,
        redis=redis,
        window=window,
    )


async def open_store(stack: AsyncExitStack, settings: Settings) -> RedisServer:
    """Redis as the settings say; a bot that is at work in the same folder shares its own."""
    url = settings.redis_url.get_secret_value() or None
    try:
        return await stack.enter_async_context(open_redis(url, settings.data_dir / "redis"))
    except RedisUnreachable as error:
        raise BadConfiguration([f"REDIS_URL: {error}"]) from error


async def _store_health(stores: Stores) -> dict[str, Health]:
    parts = {
        "database": stores.db.health(),
        "redis": stores.redis.health(),
        "context": stores.window.health(),
        "photos": stores.photos.health(),
    }
    states = dict(zip(parts, await asyncio.gather(*parts.values()), strict=True))
    return states | {"news": stores.news.health()}


def _chat_page(web: WebChannel, stores: Stores) -> ChatPage:
    async def photo(chat: Chat, sha256: str) -> bytes | None:
        is_theirs = await stores.transcripts.has_photo(chat, sha256)
        return await stores.photos.read(sha256) if is_theirs else None

    return ChatPage(web, put=stores.inbox.put, entries=stores.transcripts.entries, photo=photo)


def audit_key(settings: Settings) -> bytes:
    """What seals the verdicts: the operator's key, else one kept beside the data."""
    if settings.audit_key.get_secret_value():
        return settings.audit_key.get_secret_value().encode()
    try:
        return read_key(settings.data_dir / "audit.key")
    except (OSError, ValueError) as error:
        raise BadConfiguration([f"AUDIT_KEY: no key of its own either: {error}"]) from error


def build_guard(settings: Settings) -> Guard:
    """The guard, with the operator's own terms from `policy.yaml` in the data folder where there are any."""
    second = None
    if settings.guard_url:
        second = SecondCheck(
            settings.guard_url,
            model=settings.guard_model,
            api_key=settings.guard_api_key.get_secret_value(),
            timeout_s=settings.guard_timeout_s,
        )
    return Guard(
        policy=load_policy(settings.data_dir / "policy.yaml"),
        allowed_hosts=settings.allowed_hosts,
        allowed_phones=settings.allowed_phones,
        second=second,
    )


def build_engine(settings: Settings, *, keep: Callable[[Engine], Engine] | None = None) -> Engine:
    """The engine that the settings ask for, with OCR and rules behind it; `keep` wraps the model alone."""
    fallback = FallbackEngine(reader=Ocr())
    model = build_model(settings)
    if model is None:
        return fallback
    return FirstAvailable([keep(model) if keep else model, fallback], patience_s=settings.model_timeout_s)


def keeping(
    settings: Settings, model: Engine, *, redis: RedisServer, guard: Guard, metrics: Metrics
) -> Engine:
    """The model, with a memory for its drafts where the operator wants one."""
    if not settings.cache_ttl_s:
        return model
    about = {"server": settings.model_url, "quantisation": settings.model_quantization}
    return CachedEngine(
        model,
        cache=DraftCache(redis.client, namespace=_namespace(settings), ttl_s=settings.cache_ttl_s),
        about=asdict(Sampling()) | about,
        policy=lambda: guard.policy.version,
        count=metrics.cache,
    )


def build_model(settings: Settings) -> Engine | None:
    """The model alone, nothing behind it; None when the settings name none and there is no GPU."""
    if settings.model_url:
        # The import costs a second and 30 MB that a bot without a model server need not spend.
        from bot.engines.remote import RemoteEngine  # noqa: PLC0415

        return RemoteEngine(
            url=settings.model_url,
            model=settings.model,
            api_key=settings.model_api_key.get_secret_value(),
            timeout_s=settings.model_timeout_s,
            sampling=Sampling(),
        )
    can_load = find_spec("torch") is not None
    model = settings.model or (DEFAULT_MODEL if can_load and has_gpu() else "")
    if not model:
        return None
    if not can_load:
        raise BadConfiguration([f"MODEL: {model} needs torch and transformers: python3 run --with gpu"])
    from bot.engines.local import LocalEngine  # noqa: PLC0415

    return LocalEngine(
        model=model,
        quantisation=settings.model_quantization or "none",
        timeout_s=settings.model_timeout_s,
        sampling=Sampling(),
    )


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be seen, without importing torch to find out."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


async def _open_database(stack: AsyncExitStack, settings: Settings) -> Database:
    """The database; with SQLite this process alone works in the data folder."""
    is_ours_alone = settings.database.startswith("sqlite")
    if is_ours_alone:
        try:
            with _needing(settings.data_dir):
                stack.enter_context(lock.hold(settings.data_dir))
        except lock.Busy as error:
            raise BadConfiguration([f"DATA_DIR: {error}"]) from error
    try:
        db = await asyncio.to_thread(Database, settings.database)
    except StoreDown as error:
        raise BadConfiguration([f"DATABASE_URL: {error}"]) from error
    stack.push_async_callback(db.close)
    if is_ours_alone:
        await Inbox(db).release_all()
    return db


@contextmanager
def _needing(folder: Path) -> Iterator[None]:
    """A file system that refuses the block says so to the operator."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "the disk does not answer"
        raise BadConfiguration([f"DATA_DIR: {error.filename or folder} cannot be used: {reason}"]) from error


@dataclass(frozen=True, slots=True)
class _Telegram:
    channel: Channel
    receiver: Receiver
    receive: Receive | None
    """What the web server hands a webhook's deliveries to."""


async def _open_telegram(
    stack: AsyncExitStack, settings: Settings, stores: Stores, metrics: Metrics
) -> _Telegram | None:
    inbox = stores.inbox
    token = settings.telegram_bot_token.get_secret_value()
    if not token:
        return None
    # Only a bot with a token pays for the import (0.5 s, 20 MB).
    from bot.telegram import Poller, Webhook, open_telegram  # noqa: PLC0415

    channel = await open_telegram(
        token=token,
        api_url=settings.telegram_api_url,
        sends_per_s=settings.telegram_sends_per_s,
        chat_sends_per_s=settings.telegram_chat_sends_per_s,
    )
    stack.push_async_callback(channel.close)

    async def set_aside(source: str, raw: str, reason: str) -> None:
        await inbox.set_aside(source, raw, reason)
        metrics.aside()

    if not settings.telegram_webhook_url:
        poller: Receiver = Poller(channel.api, put=inbox.put, set_aside=set_aside)
        if not stores.db.is_sqlite:  # other processes may have been started for the same bot
            name = f"polling for {_namespace(settings)}"
            poller = OnDuty(poller, Duties(stores.db), stores.news, name=name, me=stores.news.name)
        return _Telegram(channel, poller, None)
    webhook = Webhook(
        channel.api,
        url=settings.telegram_webhook_url.rstrip("/") + WEBHOOK_PATH,
        secret=settings.telegram_webhook_secret.get_secret_value(),
        put=inbox.put,
        set_aside=set_aside,
    )
    return _Telegram(channel, webhook, webhook.receive)


def _namespace(settings: Settings) -> str:
    """What separates two bots on one Redis: Telegram's public id of the bot."""
    return settings.telegram_bot_token.get_secret_value().partition(":")[0] or "web"


def _staff(settings: Settings) -> Chat | None:
    chat_id = settings.telegram_staff_chat_id
    return Chat("telegram", str(chat_id)) if chat_id else None


async def _end(working: asyncio.Task[None], worker: Worker) -> None:
    await worker.stop(GRACE_S)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
