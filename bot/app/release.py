"""Gray releases: builds a candidate with its own model, templates or policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.answerer import Answerer
from bot.app.answering import Answering
from bot.app.engines import build_model, keeping
from bot.app.guard import build_guard
from bot.app.stores import Stores
from bot.engines import Engine
from bot.engines.fallback import FallbackEngine
from bot.engines.first_available import FirstAvailable
from bot.engines.ocr import Reader
from bot.errors import BadConfiguration
from bot.guard import Guard
from bot.metrics import Metrics
from bot.release.trial import Trial
from bot.screen import Screen
from bot.sender import Sender
from bot.settings import Settings
from context.duties import Duties
from context.releases import Release, Releases
from context.templates import Templates
from context.turns import Chat


def open_trial(
    settings: Settings,
    stores: Stores,
    answering: Answering,
    *,
    metrics: Metrics,
    sender: Sender,
    staff: Chat | None,
) -> Trial:
    """What answers customers: the current version, and a candidate while a release is running."""

    @asynccontextmanager
    async def open_candidate(release: Release) -> AsyncIterator[Answerer]:
        wish = release.candidate
        its_prompts, its_guard = answering.prompts, answering.guard
        its_engine: Engine = answering.line
        if wish.templates is not None:
            its_prompts = answering.prompts.worded(wish.templates)
            await Templates(stores.db).keep(its_prompts.version, its_prompts.sources)
        try:
            if wish.policy:
                its_guard = _guard(settings, release)
                await its_guard.start()
            if wish.model or wish.model_url:
                its_engine = await _engine(
                    settings, stores, release, reader=answering.reader, guard=its_guard, metrics=metrics
                )
            yield Answerer(
                prompts=its_prompts,
                photos=stores.photos,
                engine=its_engine,
                guard=its_guard,
                metrics=metrics,
                screen=Screen(its_guard, reader=answering.reader),
                reading=answering.reading,
                condenser=answering.answerer.condenser,
            )
        finally:
            if its_engine is not answering.line:
                await its_engine.close()
            if its_guard is not answering.guard:
                await its_guard.close()

    async def tell(words: str) -> None:
        if staff is not None:
            await sender.tell(staff, words)

    return Trial(
        answering.answerer,
        releases=Releases(stores.db),
        duties=Duties(stores.db),
        me=stores.news.name,
        open_candidate=open_candidate,
        tell=tell,
    )


def _guard(settings: Settings, release: Release) -> Guard:
    folder = settings.data_dir / "releases"
    file = folder / f"{release.id}.yaml"
    try:
        folder.mkdir(exist_ok=True)
        file.write_text(release.candidate.policy, encoding="utf-8")
    except OSError as error:
        raise BadConfiguration([f"DATA_DIR: {file} cannot be written: {error.strerror}"]) from error
    return build_guard(settings, file)


async def _engine(
    settings: Settings,
    stores: Stores,
    release: Release,
    *,
    reader: Reader,
    guard: Guard,
    metrics: Metrics,
) -> Engine:
    """The candidate's model with the rules behind it.  It has to start before it gets any chat."""
    wish = release.candidate
    changed = {"model_url": wish.model_url or settings.model_url, "model": wish.model or settings.model}
    its_settings = settings.model_copy(update=changed)
    model = build_model(its_settings)
    if model is None:
        raise BadConfiguration(["the candidate names no model, and there is no GPU"])
    try:
        await model.start()
        kept = keeping(its_settings, model, redis=stores.redis, guard=guard, metrics=metrics)
        both = FirstAvailable([kept, FallbackEngine(reader=reader)], patience_s=settings.model_timeout_s)
        await both.start()
    except BaseException:
        await model.close()
        raise
    return both
