"""The staff console, built on the stores, engine and guard of the app."""

from __future__ import annotations

from bot.app.stores import Stores
from bot.engines import Engine
from bot.export import Exporter
from bot.guard import Guard
from bot.photos.second_look import SecondLook
from bot.settings import Settings
from bot.staff import Desk
from bot.staff.pack import Packs
from bot.staff.retrace import Retrace, engines_of
from bot.web.console import Console
from bot.web.uploads import Spool
from context.console.cases import Cases
from context.console.conversations import Conversations
from context.console.reviews import Reviews
from context.templates import Templates
from context.upkeep.extracts import Extracts
from prompts.prompts import Prompts


async def open_console(
    settings: Settings,
    stores: Stores,
    *,
    desk: Desk,
    spool: Spool,
    prompts: Prompts,
    engine: Engine,
    second_look: SecondLook,
    guard: Guard,
) -> Console:
    """The console, which keeps its list up to date until it is closed."""
    templates = Templates(stores.db)
    await templates.keep(prompts.version, prompts.sources)
    console = Console(
        db=stores.db,
        transcripts=stores.transcripts,
        photos=stores.photos,
        handoffs=stores.handoffs,
        desk=desk,
        spool=spool,
        second_look=second_look,
        readings=stores.readings,
        packs=Packs(cases=Cases(stores.db), readings=stores.readings, prompts=prompts),
        exporter=Exporter(
            extracts=Extracts(stores.db), reviews=Reviews(stores.db), read_photo=stores.photos.read
        ),
        exports=settings.data_dir / "exports",
        erasure=stores.erasure,
        retrace=Retrace(
            conversations=Conversations(stores.db),
            templates=templates,
            photos=stores.photos,
            prompts=prompts,
            engines=engines_of(engine),
            guard=guard,
            context_turns=settings.context_turns,
        ),
    )
    console.start()
    return console
