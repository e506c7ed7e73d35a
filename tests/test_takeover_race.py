"""A person comes in at any moment of an answer: from then on the bot begins no message in that chat.

The ledger, the worker, the road of a turn, the sender and the desk are the real ones; the model and the
channel are played.  At each of their steps, chosen at random, a person takes the chat, and the step waits
for it or goes on beside it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bot.ceilings import Ceilings, Most
from bot.collect import Collector
from bot.commands import Commands
from bot.guard import Guard
from bot.metrics import Metrics
from bot.reveal import OnWords
from bot.sender import Sender
from bot.staff import Deeds, Desk
from bot.staff.canned import Canned
from bot.staff.pack import Packs
from bot.staff.suggest import Suggestions
from bot.stages import Stages
from bot.turn import TurnTaker
from bot.worker import Worker
from context.console.cases import Cases
from context.console.held import HeldReplies
from context.db import Database
from context.feedback import Feedbacks
from context.handoffs import Handoffs
from context.inbox import Inbox
from context.outbox import Outbox
from context.photos import Intake, Photos
from context.readings import Readings
from context.transcripts import Transcripts
from context.turns import Arrival, Attachment, Chat, Kind, Message, Part, Receipt, Reply, Turn
from context.usage import Usage
from context.window import ContextWindow
from prompts.prompts import Prompts
from tests.until import until

BOT = ("bot one ", "bot two ", "bot three ")
"""What the model says, a part each."""
STEPS = 9
"""Looks into the channel and at the model that one answer takes, and some more: then it is over."""


@dataclass
class Race:
    """What happens in one chat."""

    chat: Chat
    at_step: int
    waits: bool
    """Whether the step waits until the person has the chat."""
    steps: int = 0
    is_taken: bool = False
    taking: asyncio.Task[None] | None = None
    said: list[str] = field(default_factory=list)
    begun_after: list[str] = field(default_factory=list)


class Stage:
    """The model and the channel: at every step the race goes on."""

    name = "telegram"

    def __init__(self, take: Callable[[Chat], Any]) -> None:
        self.races: dict[str, Race] = {}
        self._take = take

    async def step(self, chat: Chat) -> None:
        race = self.races[chat.key]
        race.steps += 1
        if race.steps - 1 == race.at_step:
            race.taking = asyncio.create_task(self.take(race))
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        if race.waits and race.taking is not None:
            await asyncio.shield(race.taking)

    async def take(self, race: Race) -> None:
        await self._take(race.chat)
        race.is_taken = True

    async def answer(
        self,
        message: Message,
        turns: Sequence[Turn],
        stages: Stages,
        *,
        show: OnWords | None = None,
    ) -> Reply:
        await self.step(message.chat)
        return Reply("\n\n".join(part + "x" * (40 - len(part)) for part in BOT), "en", "test")

    async def fetch(self, attachment: Attachment) -> bytes:
        raise NotImplementedError

    async def ready(self, chat: Chat) -> None:
        await self.step(chat)

    async def send(self, chat: Chat, part: Part) -> Receipt:
        race = self.races[chat.key]
        if part.text.startswith("bot") and race.is_taken:
            race.begun_after.append(part.text)
        await self.step(chat)
        race.said.append(part.text)
        return Receipt(f"r{len(race.said)}", 1.0)

    @asynccontextmanager
    async def typing(self, chat: Chat) -> AsyncIterator[None]:
        yield


@asynccontextmanager
async def stage(folder: Path, *, looks_last: bool = True) -> AsyncIterator[tuple[Stage, Inbox]]:
    """Everything but the app around it."""
    db = Database(f"sqlite:///{folder}/bot.db")
    inbox, outbox, handoffs, transcripts = Inbox(db), Outbox(db), Handoffs(db), Transcripts(db)
    photos, prompts, guard, metrics = Photos(folder, intake=Intake()), Prompts(), Guard(), Metrics()
    held = HeldReplies(db)
    cases, silent = Cases(db), cast(Any, None)
    desk = Desk(
        inbox=inbox,
        handoffs=handoffs,
        held=held,
        photos=photos,
        guard=guard,
        packs=Packs(cases=cases, readings=Readings(db), prompts=prompts),
        canned=Canned({}),
        suggestions=Suggestions(answers=silent, cases=cases, transcripts=transcripts),
    )
    played = Stage(lambda chat: desk.take(chat, "mei"))
    channels: dict[str, Any] = {"telegram": played}
    answerer: Any = played
    taker = TurnTaker(
        channels=channels,
        collector=Collector(channels=channels, inbox=inbox, photos=photos, metrics=metrics),
        commands=Commands(prompts=prompts, transcripts=transcripts, handoffs=handoffs, erasure=silent),
        answerer=answerer,
        sender=Sender(
            channels=channels,
            outbox=outbox,
            metrics=metrics,
            is_held=handoffs.is_known_held if looks_last else lambda _: False,
        ),
        ceilings=Ceilings(Usage(db), Most()),
        outbox=outbox,
        window=ContextWindow(None, refill=transcripts.turns, namespace="race"),
        handoffs=handoffs,
        feedbacks=Feedbacks(db),
        deeds=Deeds(held=held, transcripts=transcripts, handoffs=handoffs, prompts=prompts),
        prompts=prompts,
        metrics=metrics,
    )
    worker = Worker(inbox=inbox, take=taker.take, give_up=taker.give_up, name="w")
    working = asyncio.create_task(worker.run())
    try:
        yield played, inbox
    finally:
        await worker.stop(5)
        await working
        await db.close()


async def run(played: Stage, inbox: Inbox, count: int, *, at_once: int = 100) -> list[Race]:
    """So many chats, each with a question, a person who comes in, and another question."""
    dice = random.Random(7)
    races = []
    for first in range(0, count, at_once):
        batch = [
            Race(Chat("telegram", str(number)), dice.randrange(STEPS), dice.random() < 0.5)
            for number in range(first + 1, first + 1 + min(at_once, count - first))
        ]
        played.races |= {race.chat.key: race for race in batch}
        await inbox.put([says(race.chat, 1) for race in batch])
        await until(lambda: is_at_rest(inbox))
        for race in batch:  # whoever was not taken in the middle is taken now
            if race.taking is None:
                race.taking = asyncio.create_task(played.take(race))
        await asyncio.gather(*(race.taking for race in batch if race.taking))
        await inbox.put([says(race.chat, 2) for race in batch])
        await until(lambda: is_at_rest(inbox))
        races += batch
    return races


async def is_at_rest(inbox: Inbox) -> bool:
    return await inbox.depth() == 0


def says(chat: Chat, number: int) -> Arrival:
    return Arrival(chat, f"update:{chat.key}:{number}", str(number), Kind.TEXT, text="it drips", sent_at=1.0)


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.markup.PART_UNITS", 45)


async def test_a_thousand_takeovers_and_no_word_of_the_bots_behind_any(tmp_path: Path) -> None:
    async with stage(tmp_path) as (played, inbox):
        races = await run(played, inbox, 1000)
    assert [race.begun_after for race in races if race.begun_after] == []
    assert all(sum("colleague" in text for text in race.said) == 1 for race in races), "told once"
    # It came in at every place: before a word, behind each part, behind all of it.
    parts = Counter(sum(text.startswith("bot") for text in race.said) for race in races)
    assert set(parts) == {0, 1, 2, 3}


async def test_without_the_last_look_it_would_be_seen(tmp_path: Path) -> None:
    async with stage(tmp_path, looks_last=False) as (played, inbox):
        races = await run(played, inbox, 100)
    assert any(race.begun_after for race in races)
