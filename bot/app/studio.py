"""Model and guard as customers get them, for commands that work on pictures (`bot.studio`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.app.engines import build_model, keeping
from bot.app.guard import build_guard
from bot.app.stores import open_store
from bot.errors import BadConfiguration
from bot.metrics import Metrics
from bot.settings import Settings
from bot.studio import Studio, open_studio


@asynccontextmanager
async def open_studio_of(settings: Settings) -> AsyncIterator[Studio]:
    """The studio that the settings ask for.  Rules never replace the model.

    Safe beside a running bot.  Raises BadConfiguration where the settings name no model.
    """
    model = build_model(settings)
    if model is None:
        raise BadConfiguration(["MODEL_URL or MODEL is needed: OCR and rules cannot describe a picture"])
    guard = build_guard(settings)
    async with AsyncExitStack() as stack:
        if settings.cache_ttl_s:
            redis = await open_store(stack, settings)
            model = keeping(settings, model, redis=redis, guard=guard, metrics=Metrics())
        photos = settings.data_dir / "photos"
        yield await stack.enter_async_context(open_studio(engine=model, guard=guard, photos=photos))
