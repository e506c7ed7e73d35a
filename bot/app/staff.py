"""The staff desk and the follow-up question, built on the stores of the app."""

from __future__ import annotations

from collections.abc import Callable

from bot.app.stores import Stores
from bot.follow_up import FollowUp
from bot.guard import Guard
from bot.hours import Hours
from bot.settings import Settings
from bot.staff import Deeds, Desk
from bot.staff.canned import Canned
from bot.staff.pack import Packs
from bot.staff.suggest import Suggestions
from bot.turn import Answers
from context.console.cases import Cases
from context.console.held import HeldReplies
from context.follow_ups import FollowUps
from prompts.prompts import Prompts


def open_desk(
    settings: Settings,
    stores: Stores,
    *,
    answers: Answers,
    guard: Guard,
    prompts: Prompts,
    clock: Callable[[], float],
) -> tuple[Desk, Deeds]:
    """The desk that accepts what staff do, and what turns it into replies when its turn comes."""
    held, cases = HeldReplies(stores.db), Cases(stores.db)
    desk = Desk(
        inbox=stores.inbox,
        handoffs=stores.handoffs,
        held=held,
        photos=stores.photos,
        guard=guard,
        packs=Packs(cases=cases, readings=stores.readings, prompts=prompts),
        canned=Canned.read(settings.data_dir),
        suggestions=Suggestions(answers=answers, cases=cases, transcripts=stores.transcripts),
        clock=clock,
    )
    deeds = Deeds(
        held=held,
        transcripts=stores.transcripts,
        handoffs=stores.handoffs,
        prompts=prompts,
        hours=Hours.parse(settings.staff_hours, settings.staff_time_zone),
        clock=clock,
    )
    return desk, deeds


def open_follow_up(settings: Settings, stores: Stores, *, clock: Callable[[], float]) -> FollowUp:
    """What asks customers the next day whether the answer worked."""
    return FollowUp(
        follow_ups=FollowUps(stores.db), inbox=stores.inbox, after_h=settings.follow_up_h, clock=clock
    )
