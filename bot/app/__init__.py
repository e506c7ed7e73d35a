"""The composition root: settings become an `App`, and nothing is built anywhere else.

`open_app` owns all lifetimes in one exit stack: what is opened last is closed first.  Tests start the same
app and pass their own parts as arguments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bot import __version__
from bot.app.answering import build_second_look, open_answering
from bot.app.api import open_api
from bot.app.console import open_console
from bot.app.engines import has_gpu
from bot.app.records import build_sweeper
from bot.app.release import open_trial
from bot.app.staff import open_desk, open_follow_up
from bot.app.stores import Stores, needing, open_stores
from bot.app.telegram import Telegram, attach_telegram, staff_chat
from bot.ceilings import Ceilings, Most
from bot.channel import Channel
from bot.collect import Collector
from bot.commands import Commands
from bot.engines import Engine
from bot.gpus import Gpus
from bot.guard import Guard
from bot.inquiries.inquiries import Inquiries
from bot.metrics import Metrics
from bot.patience import Patience
from bot.photos.marks import Marks
from bot.photos.second_look import SecondLook
from bot.release.trial import Trial
from bot.sender import Sender
from bot.settings import Settings
from bot.staff import Desk
from bot.traces import Traces, open_traces
from bot.turn import TurnTaker
from bot.votes import Votes
from bot.web import build_site
from bot.web.chat import WebChannel
from bot.web.chat_page import ChatPage
from bot.web.server import serve
from bot.worker import Worker
from context import background
from context.background import BackgroundTask
from context.health import Health
from context.turns import Chat
from context.usage import Usage

GRACE_S = 8.0
"""Time for running turns when the bot stops: container runtimes kill after 10 s, and closing takes a
moment."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class App:
    """A running bot."""

    url: str
    """Where the chat page is served."""
    stores: Stores
    engine: Engine
    second_look: SecondLook
    """What reads photos behind their turns."""
    desk: Desk
    """What staff can do with chats."""
    metrics: Metrics
    ready: asyncio.Event
    """Set when the engine can answer and the worker runs."""
    working: asyncio.Task[None]
    """The task that answers.  It ends before the block only because of a bug, which it raises."""
    serving: asyncio.Task[None]
    """The task of the HTTP server, likewise: without it `/health` could tell nobody."""

    async def work_until(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set.

        Raises the error that ended the work or the HTTP server, if one did: then the bot has to be started
        again.
        """
        stopping = asyncio.create_task(stop.wait())
        tasks = (self.working, self.serving)
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            stopping.cancel()


@asynccontextmanager
async def open_app(
    settings: Settings, *, engine: Engine | None = None, guard: Guard | None = None, clock: Clock = time.time
) -> AsyncIterator[App]:
    """Build and start everything; it runs until the block ends.

    Messages are received at once, and answered as soon as the engine is ready.  Raises `BadConfiguration` if
    a part cannot be built as configured.
    """
    async with AsyncExitStack() as stack:
        metrics = _metrics(stack, settings)
        stores = await open_stores(stack, settings, metrics)
        answering = await open_answering(stack, settings, stores, metrics=metrics, engine=engine, guard=guard)
        prompts, line = answering.prompts, answering.line

        news = stores.news
        web = WebChannel(spool=settings.data_dir / "uploads", tell=lambda *words: news.tell("page", *words))
        news.on("page", web.hear)
        stack.push_async_callback(web.close)
        with needing(settings.data_dir):
            await web.open()
        desk, deeds = open_desk(
            settings, stores, answers=answering.answerer, guard=answering.guard, prompts=prompts, clock=clock
        )
        votes = Votes(feedbacks=stores.feedbacks, desk=desk)
        telegram = await attach_telegram(
            stack, settings, stores, desk=desk, votes=votes, prompts=prompts, metrics=metrics
        )
        channels: dict[str, Channel] = {web.name: web}
        channels |= {telegram.channel.name: telegram.channel} if telegram else {}

        sender = Sender(
            channels=channels,
            outbox=stores.outbox,
            metrics=metrics,
            is_held=stores.handoffs.is_known_held,
            photo=stores.photos.read,
            clock=clock,
        )
        trial = open_trial(
            settings,
            stores,
            answering,
            metrics=metrics,
            sender=sender,
            staff=staff_chat(settings),
        )
        stack.push_async_callback(trial.close)
        apps = open_api(settings, stores, in_force=trial.in_force, engine=line, metrics=metrics)
        taker = TurnTaker(
            channels=channels,
            collector=Collector(channels=channels, inbox=stores.inbox, photos=stores.photos, metrics=metrics),
            commands=Commands(
                prompts=prompts,
                transcripts=stores.transcripts,
                handoffs=stores.handoffs,
                erasure=stores.erasure,
            ),
            answerer=Patience(
                trial, line=line, sender=sender, prompts=prompts, is_held=stores.handoffs.is_known_held
            ),
            sender=sender,
            ceilings=_ceilings(settings, stores),
            outbox=stores.outbox,
            window=stores.window,
            handoffs=stores.handoffs,
            feedbacks=stores.feedbacks,
            deeds=deeds,
            prompts=prompts,
            metrics=metrics,
            marks=Marks(engine=line, prompts=prompts, photos=stores.photos, outbox=stores.outbox),
            wake_staff=telegram.wake_group if telegram else None,
            clock=clock,
        )
        worker = Worker(inbox=stores.inbox, take=taker.take, give_up=taker.give_up, name=news.name)
        news.on("arrived", worker.hear)
        metrics.watch_queue(lambda: worker.depth)
        ready = asyncio.Event()

        health = partial(_health, stores, line, answering.guard, worker, trial, telegram, ready)
        second_look = build_second_look(stores, answering, is_busy=lambda: worker.is_busy)
        console = await open_console(
            settings,
            stores,
            desk=desk,
            spool=web.spool,
            prompts=prompts,
            engine=answering.engine,
            second_look=second_look,
            guard=answering.guard,
        )
        site = build_site(
            _chat_page(web, stores, votes),
            health=health,
            waiting=stores.handoffs.waiting,
            metrics=metrics,
            console=console,
            receive=telegram.receive if telegram else None,
            api=apps.api,
        )
        serving = await stack.enter_async_context(serve(site, settings.http_host, settings.http_port))
        stack.push_async_callback(console.close)  # before the server, which waits for open streams
        follow_up = open_follow_up(settings, stores, clock=clock)
        sweeper = build_sweeper(
            settings, db=stores.db, erasure=stores.erasure, me=news.name, metrics=metrics, clock=clock
        )
        receiving = (telegram.receiver, telegram.group) if telegram else ()
        for part in filter(None, (follow_up, sweeper, second_look, *receiving)):
            part.start()
            stack.push_async_callback(part.stop)

        beside = [BackgroundTask("release", trial.run), BackgroundTask("jobs", apps.runner.run)]
        beside += [BackgroundTask("token counts", answering.counts.load)] if answering.counts else []
        working = asyncio.create_task(_work(line, beside, worker, ready), name="worker")
        stack.push_async_callback(_end, working, beside, worker, apps.inquiries)
        yield App(
            url=serving.url,
            stores=stores,
            engine=line,
            second_look=second_look,
            desk=desk,
            metrics=metrics,
            ready=ready,
            working=working,
            serving=serving.task,
        )


async def _work(
    engine: Engine, beside: Sequence[BackgroundTask], worker: Worker, ready: asyncio.Event
) -> None:
    """Start the engine, then answer until told to stop."""
    await engine.start()
    ready.set()
    for work in beside:
        work.start()
    await worker.run()


async def _health(
    stores: Stores,
    engine: Engine,
    guard: Guard,
    worker: Worker,
    trial: Trial,
    telegram: Telegram | None,
    ready: asyncio.Event,
) -> dict[str, Health]:
    states = await stores.health()
    states["engine"], states["guard"] = await asyncio.gather(engine.health(), guard.health())
    states["worker"] = worker.health() if ready.is_set() else Health("degraded", "the engine starts")
    states["release"] = trial.health()
    states["background"] = background.health()
    if telegram is not None:
        states["telegram"] = telegram.receiver.health()
        states |= {"staff's group": telegram.group.health()} if telegram.group else {}
    return states


def _metrics(stack: AsyncExitStack, settings: Settings) -> Metrics:
    metrics = Metrics(version=__version__, traces=_traces(stack, settings))
    if has_gpu():
        metrics.watch_gpus(Gpus().read)
    return metrics


def _traces(stack: AsyncExitStack, settings: Settings) -> Traces | None:
    if not settings.otel_exporter_otlp_endpoint:
        return None
    traces = open_traces(settings.otel_exporter_otlp_endpoint)
    stack.push_async_callback(traces.close)
    return traces


def _ceilings(settings: Settings, stores: Stores) -> Ceilings:
    most = Most(
        messages_per_min=settings.customer_messages_per_min,
        messages_per_day=settings.customer_messages_per_day,
        photos_per_hour=settings.customer_photos_per_hour,
        tokens_per_day=settings.customer_tokens_per_day,
    )
    return Ceilings(Usage(stores.db), most)


def _chat_page(web: WebChannel, stores: Stores, votes: Votes) -> ChatPage:
    async def photo(chat: Chat, sha256: str) -> bytes | None:
        is_theirs = await stores.transcripts.has_photo(chat, sha256)
        return await stores.photos.read(sha256) if is_theirs else None

    return ChatPage(
        web, put=stores.inbox.put, entries=stores.transcripts.entries, photo=photo, cast=votes.cast
    )


async def _end(
    working: asyncio.Task[None], beside: Sequence[BackgroundTask], worker: Worker, inquiries: Inquiries
) -> None:
    await asyncio.gather(worker.stop(GRACE_S), inquiries.settle(GRACE_S), *(work.stop() for work in beside))
    working.cancel()
    await asyncio.gather(working, *(work.stop() for work in beside), return_exceptions=True)
