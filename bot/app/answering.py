"""The answerer and its parts: prompts, guard, OCR, engine and the line in front of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bot.answerer import Answerer
from bot.app.engines import build_counts, build_engine, keeping
from bot.app.guard import build_guard
from bot.app.stores import Stores, namespace
from bot.company import read_company
from bot.condensing import Condenser
from bot.engines import Engine
from bot.engines.line import Line
from bot.engines.ocr import Ocr, Reader
from bot.engines.read_once import Memory, ReadOnce
from bot.engines.rules import load_rules
from bot.errors import BadConfiguration
from bot.guard import Guard
from bot.guard.mask import mask
from bot.metrics import Metrics
from bot.photos.plates import Plates
from bot.photos.reading import CaseReading
from bot.photos.second_look import SecondLook
from bot.screen import Screen
from bot.settings import Settings
from context.cache import DraftCache
from context.duties import Duties
from context.keys import WINDOW_AGE_S
from prompts.prompts import Prompts

if TYPE_CHECKING:
    from bot.engines.local.counting import ModelCounts


BEHIND = 10
"""Niceness of what is read behind the turns: a tenth of a core that others want."""
BEHIND_IDLE_S = 60.0
"""Its models leave memory soon: whoever comes next does not wait for them."""


@dataclass(frozen=True, slots=True)
class Answering:
    """The answerer, and those of its parts that are used elsewhere."""

    answerer: Answerer
    prompts: Prompts
    guard: Guard
    reader: Reader
    reader_behind: Reader
    """Reads with low priority what nobody waits for."""
    reading: CaseReading
    """What machines read on the photos of a case, for whoever makes prompts of it."""
    engine: Engine
    """The engine behind the line, for staff, who do not wait in it."""
    line: Line
    counts: ModelCounts | None
    """The local model's token counter, not loaded yet; None for any other model."""


async def open_answering(
    stack: AsyncExitStack,
    settings: Settings,
    stores: Stores,
    *,
    metrics: Metrics,
    engine: Engine | None,
    guard: Guard | None,
) -> Answering:
    """Build all of it, except an engine or guard that is given.  The engine is not started."""
    counts = build_counts(settings) if engine is None else None
    company = await asyncio.to_thread(read_company, settings.data_dir)
    prompts = Prompts(company=company, context_tokens=settings.context_tokens, counts=counts)
    if problems := prompts.lint():
        raise BadConfiguration([f"prompts: {problem}" for problem in problems])
    guard = guard or build_guard(settings)
    stack.push_async_callback(guard.close)
    await guard.start()
    memory: Memory = OrderedDict()
    reader = ReadOnce(Ocr(), memory)
    stack.push_async_callback(reader.close)
    behind = ReadOnce(Ocr(niceness=BEHIND, idle_s=BEHIND_IDLE_S), memory)
    stack.push_async_callback(behind.close)
    engine = engine or build_engine(
        settings,
        keep=partial(keeping, settings, redis=stores.redis, guard=guard, metrics=metrics),
        reader=reader,
    )
    stack.push_async_callback(engine.close)
    line = Line(engine)
    reading = CaseReading(readings=stores.readings, reader=reader if settings.ocr == "always" else None)
    metrics.watch_line(lambda: line.waiting)
    condenser = Condenser(
        engine=engine,
        prompts=prompts,
        cache=DraftCache(stores.redis.client, namespace=namespace(settings), ttl_s=WINDOW_AGE_S),
        is_busy=lambda: line.waiting > 0,
    )
    stack.push_async_callback(condenser.close)
    answerer = Answerer(
        prompts=prompts,
        photos=stores.photos,
        engine=line,
        guard=guard,
        metrics=metrics,
        screen=Screen(guard, reader=reader),
        reading=reading,
        condenser=condenser,
    )
    return Answering(answerer, prompts, guard, reader, behind, reading, engine, line, counts)


def build_second_look(stores: Stores, answering: Answering, *, is_busy: Callable[[], bool]) -> SecondLook:
    """What reads photos behind their turns, with the words that the rules know labels by."""
    return SecondLook(
        photos=stores.photos,
        readings=stores.readings,
        reader=answering.reader_behind,
        reader_for_staff=answering.reader,
        labels=load_rules().labels,
        plates=Plates(engine=answering.engine, prompts=answering.prompts),
        duties=Duties(stores.db),
        me=stores.news.name,
        is_busy=is_busy,
        mask=mask,
    )
