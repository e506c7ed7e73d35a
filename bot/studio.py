"""The studio: prompt, engine and guard for work on pictures that no customer waits for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.answerer import Answerer
from bot.engines import Engine
from bot.guard import Guard
from bot.metrics import Metrics
from context.facts import facts_from
from context.photos import Intake, Photos
from context.turns import Photo, Rejection
from prompts.prompt import PromptImage
from prompts.prompts import Prompts


@dataclass(frozen=True, slots=True)
class Studio:
    """What is available while the studio is open."""

    answerer: Answerer
    intake: Intake


OpenStudio = Callable[[], AbstractAsyncContextManager[Studio]]


async def image_of(data: bytes, intake: Intake) -> PromptImage | Rejection:
    """The picture as the model gets it.  Nothing is stored."""
    taken = await intake.normalise(data)
    if isinstance(taken, Rejection):
        return taken
    try:
        _, flaw = facts_from(taken.facts)
    except ValueError:
        return Rejection("damaged", "the decoder misbehaved")
    sha256 = hashlib.sha256(taken.jpeg).hexdigest()
    return PromptImage(Photo(sha256, taken.width, taken.height, 1, flaw=flaw), taken.jpeg)


@asynccontextmanager
async def open_studio(*, engine: Engine, guard: Guard, photos: Path) -> AsyncIterator[Studio]:
    """Start the intake and the engine; when the block ends, close both and the guard.

    Safe beside a bot that works in the same folders: it writes nothing there.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        stack.push_async_callback(guard.close)
        intake = Intake()
        store = Photos(photos, intake=intake)
        stack.push_async_callback(store.close)
        await store.start()
        await engine.start()
        yield Studio(
            Answerer(prompts=Prompts(), photos=store, engine=engine, guard=guard, metrics=Metrics()), intake
        )
