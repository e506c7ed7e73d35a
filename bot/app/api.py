"""The HTTP API, built on the stores and the answerer of the app."""

from __future__ import annotations

from dataclasses import dataclass

from bot.app.stores import Stores
from bot.engines import Engine
from bot.engines.fallback import FallbackEngine
from bot.inquiries.inquiries import InForce, Inquiries, Room
from bot.inquiries.jobs import Runner
from bot.inquiries.pictures import Pictures
from bot.metrics import Metrics
from bot.settings import Settings
from bot.web.api import Api, Keyring
from bot.web.api.keyring import keys_from
from context.api.jobs import Jobs
from context.api.keys import ApiKeys
from context.api.ledger import ApiLedger
from prompts.house_styles import HouseStyles

LINE = 1000
"""Most questions that wait for a place; beyond it clients are asked to come again."""


@dataclass(frozen=True, slots=True)
class ForApps:
    """The parts of the API that the app uses."""

    api: Api
    inquiries: Inquiries
    runner: Runner


def open_api(
    settings: Settings,
    stores: Stores,
    *,
    in_force: InForce,
    engine: Engine,
    metrics: Metrics,
) -> ForApps:
    """Build everything under `/v1`, and the runner of the jobs."""
    ledger = ApiLedger(stores.db, verdicts=stores.verdicts)
    styles = HouseStyles()
    room = Room(settings.api_at_once, line=LINE, patience_s=settings.model_timeout_s)
    metrics.watch_api(lambda: room.waiting)
    inquiries = Inquiries(
        in_force=in_force,
        styles=styles,
        pictures=Pictures(stores.intake, metrics=metrics),
        ledger=ledger,
        room=room,
        metrics=metrics,
    )
    keyring = Keyring(own=keys_from(settings.api_key_list), store=ApiKeys(stores.db))
    jobs = Jobs(stores.db, ledger=ledger)

    async def is_spent(key_id: str) -> bool:
        key = await keyring.find(key_id)
        return key is not None and keyring.is_spent(key)

    runner = Runner(
        jobs=jobs,
        inquiries=inquiries,
        is_spent=is_spent,
        metrics=metrics,
        at_once=max(1, settings.api_at_once // 2),
        is_alone=stores.db.is_sqlite,
    )
    api = Api(
        inquiries,
        keyring=keyring,
        jobs=jobs,
        runner=runner,
        styles=styles,
        model=lambda: "" if engine.name == FallbackEngine.name else engine.model,
        metrics=metrics,
    )
    return ForApps(api, inquiries, runner)
