"""What carries a turn from the inbox to the customer, built on the stores, the answerer and the channels."""

from __future__ import annotations

from collections.abc import Callable

from bot.app.answering import Answering
from bot.app.channels import Channels
from bot.app.stores import Stores
from bot.ceilings import Ceilings, Most
from bot.collect import Collector
from bot.commands import Commands
from bot.metrics import Metrics
from bot.patience import Patience
from bot.photos.marks import Marks
from bot.release.trial import Trial
from bot.sender import Sender
from bot.settings import Settings
from bot.staff import Deeds
from bot.turn import TurnTaker
from context.usage import Usage


def build_sender(
    stores: Stores, channels: Channels, *, metrics: Metrics, clock: Callable[[], float]
) -> Sender:
    """What delivers replies, through every channel."""
    return Sender(
        channels=channels.by_name,
        outbox=stores.outbox,
        metrics=metrics,
        is_held=stores.handoffs.is_known_held,
        photo=stores.photos.read,
        clock=clock,
    )


def build_taker(
    settings: Settings,
    stores: Stores,
    answering: Answering,
    channels: Channels,
    *,
    trial: Trial,
    sender: Sender,
    deeds: Deeds,
    metrics: Metrics,
    clock: Callable[[], float],
) -> TurnTaker:
    """What takes turns.  `trial` answers them; `answering` has the parts around its answers."""
    prompts, line = answering.prompts, answering.line
    return TurnTaker(
        channels=channels.by_name,
        collector=Collector(
            channels=channels.by_name, inbox=stores.inbox, photos=stores.photos, metrics=metrics
        ),
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
        wake_staff=channels.telegram.wake_group if channels.telegram else None,
        clock=clock,
    )


def _ceilings(settings: Settings, stores: Stores) -> Ceilings:
    most = Most(
        messages_per_min=settings.customer_messages_per_min,
        messages_per_day=settings.customer_messages_per_day,
        photos_per_hour=settings.customer_photos_per_hour,
        tokens_per_day=settings.customer_tokens_per_day,
    )
    return Ceilings(Usage(stores.db), most)
