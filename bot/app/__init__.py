"""The composition root: settings become an `App`, and nothing is built anywhere else.

`open_app` owns all lifetimes in one exit stack: what is opened last is closed first.  Tests start the same
app and pass their own parts as arguments.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from bot import __version__
from bot.app.answering import build_second_look, open_answering
from bot.app.api import open_api
from bot.app.channels import open_channels
from bot.app.engines import has_gpu
from bot.app.health import Parts
from bot.app.records import build_sweeper
from bot.app.release import open_trial
from bot.app.site import open_site
from bot.app.staff import open_desk, open_follow_up
from bot.app.stores import Stores, open_stores
from bot.app.telegram import staff_chat
from bot.app.turns import build_sender, build_taker
from bot.engines import Engine
from bot.gpus import Gpus
from bot.guard import Guard
from bot.inquiries.inquiries import Inquiries
from bot.metrics import Metrics
from bot.photos.second_look import SecondLook
from bot.settings import Settings
from bot.staff import Desk
from bot.traces import Traces, open_traces
from bot.turn import TurnTaker
from bot.votes import Votes
from bot.worker import Worker
from context.background import BackgroundTask

GRACE_S = 8.0
"""Time for running turns when the bot stops: container runtimes kill after 10 s, and closing takes a
moment."""

Clock = Callable[[], float]

log = logging.getLogger(__name__)


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
        prompts, guard, line = answering.prompts, answering.guard, answering.line
        desk, deeds = open_desk(
            settings, stores, answers=answering.answerer, guard=guard, prompts=prompts, clock=clock
        )
        votes = Votes(feedbacks=stores.feedbacks, desk=desk)
        channels = await open_channels(
            stack, settings, stores, desk=desk, votes=votes, prompts=prompts, metrics=metrics
        )

        sender = build_sender(stores, channels, metrics=metrics, clock=clock)
        staff = staff_chat(settings)
        trial = open_trial(settings, stores, answering, metrics=metrics, sender=sender, staff=staff)
        stack.push_async_callback(trial.close)
        taker = build_taker(
            settings,
            stores,
            answering,
            channels,
            trial=trial,
            sender=sender,
            deeds=deeds,
            metrics=metrics,
            clock=clock,
        )
        worker = _worker(stores, taker, metrics)
        apps = open_api(settings, stores, in_force=trial.in_force, engine=line, metrics=metrics)
        second_look = build_second_look(stores, answering, is_busy=lambda: worker.is_busy)

        ready = asyncio.Event()
        parts = Parts(stores, line, guard, worker, trial, channels.telegram, ready)
        serving = await open_site(
            stack,
            settings,
            stores,
            answering,
            channels,
            desk=desk,
            votes=votes,
            second_look=second_look,
            api=apps.api,
            health=parts.health,
            metrics=metrics,
        )
        sweeper = build_sweeper(
            settings, db=stores.db, erasure=stores.erasure, me=stores.news.name, metrics=metrics, clock=clock
        )
        follow_up = open_follow_up(settings, stores, clock=clock)
        _start(stack, follow_up, sweeper, second_look, *channels.receivers)
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


def _worker(stores: Stores, taker: TurnTaker, metrics: Metrics) -> Worker:
    worker = Worker(inbox=stores.inbox, take=taker.take, give_up=taker.give_up, name=stores.news.name)
    stores.news.on("arrived", worker.hear)
    metrics.watch_queue(lambda: worker.depth)
    return worker


class _Service(Protocol):
    """Something that works by itself between its start and its stop."""

    def start(self) -> None: ...
    async def stop(self) -> None: ...


def _start(stack: AsyncExitStack, *services: _Service) -> None:
    for service in services:
        service.start()
        stack.push_async_callback(service.stop)


async def _work(
    engine: Engine, beside: Sequence[BackgroundTask], worker: Worker, ready: asyncio.Event
) -> None:
    """Start the engine, then answer until told to stop."""
    await engine.start()
    ready.set()
    state = await engine.health()
    if state.state == "ok":
        log.info("ready to answer: %s", state.detail)
    else:
        log.warning("the model has a problem (try `python3 run check --online`): %s", state.detail)
    for work in beside:
        work.start()
    await worker.run()


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


async def _end(
    working: asyncio.Task[None], beside: Sequence[BackgroundTask], worker: Worker, inquiries: Inquiries
) -> None:
    await asyncio.gather(worker.stop(GRACE_S), inquiries.settle(GRACE_S), *(work.stop() for work in beside))
    working.cancel()
    await asyncio.gather(working, *(work.stop() for work in beside), return_exceptions=True)
