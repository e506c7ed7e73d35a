"""What may or may not have been said: an outage, deaths in a row, a clock that is set."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import pytest

from bot.channel import Channel
from bot.errors import Again, Ambiguous, NotSent
from bot.metrics import Metrics
from bot.sender import RESENDS, RESENDS_AFTER_FAILURE, Sender
from bot.telegram import TelegramChannel
from bot.telegram.api import BotApi
from bot.telegram.limits import Limiter
from context.db import Database, Work
from context.inbox import SOON_S, Inbox
from context.outbox import Outbox
from context.turns import Chat, Part
from tests.bot_api import BotApiServer, faults
from tests.clock import Clock
from tests.ledger import ANNA, Ledger, says
from tests.mouth import Mouth

T = TypeVar("T")


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


async def say_until_settled(ledger: Ledger, mouth: Mouth, *, outbox: Outbox | None = None) -> None:
    """Claim and send, over and over, as workers do; `CancelledError` is the death of one."""
    channels: Mapping[str, Channel] = {"telegram": mouth}
    sender = Sender(channels=channels, outbox=outbox or ledger.outbox, metrics=Metrics())
    batch = await ledger.claim_one()
    turn = await ledger.open(batch)
    for _ in range(20):
        try:
            await sender.send(batch, turn)
        except asyncio.CancelledError:
            await ledger.inbox.release_all()
        except Again as error:
            await ledger.inbox.again(batch, after_s=0, blame=error.blame)
        else:
            return
        batches = await ledger.claim()
        if not batches:  # it died behind its last write
            return
        (batch,) = batches
        assert batch.open_turn is not None
        turn = batch.open_turn


FAILED, BROKE, DIED = "failed", "broke", "died"


def fate(name: str) -> Exception | asyncio.CancelledError:
    if name == DIED:
        return asyncio.CancelledError()
    return Ambiguous("?", is_seldom=name == FAILED)


@pytest.mark.parametrize(
    ("fates", "tries", "is_said"),
    [
        ([], 1, True),
        ([BROKE] * RESENDS, 1 + RESENDS, True),
        ([BROKE] * 9, 1 + RESENDS, False),
        ([FAILED] * RESENDS_AFTER_FAILURE, 1 + RESENDS_AFTER_FAILURE, True),
        ([FAILED] * 9, 1 + RESENDS_AFTER_FAILURE, False),
        ([DIED] * RESENDS_AFTER_FAILURE, 1 + RESENDS_AFTER_FAILURE, True),
        ([DIED] * 9, 10, True),
        ([DIED] * 6 + [BROKE], 8, True),
        ([DIED] * 6 + [BROKE] * 9, 7 + RESENDS, False),
        ([DIED] * 6 + [FAILED] * 9, 7 + RESENDS_AFTER_FAILURE, False),
        ([BROKE, DIED, FAILED], 4, True),
        ([FAILED, BROKE], 3, True),
        ([DIED, FAILED, BROKE, BROKE], 4, False),
    ],
)
async def test_the_less_likely_it_arrived_the_more_often_it_is_said(
    ledger: Ledger, fates: list[str], tries: int, is_said: bool
) -> None:
    mouth = Mouth(*map(fate, fates))
    await ledger.inbox.put([says(ANNA, "it blinks")])
    await say_until_settled(ledger, mouth)
    assert mouth.tried == tries
    assert mouth.said == (["answer"] if is_said else [])
    assert await ledger.claim() == []  # either way the chat goes on


class Dying:
    """The database as a process sees it that dies behind one of its writes."""

    def __init__(self, db: Database, *, behind: int) -> None:
        self._db = db
        self._writes_left = behind
        self.now = db.now

    async def write(self, work: Work[T]) -> T:
        result = await self._db.write(work)
        self._writes_left -= 1
        if not self._writes_left:
            raise asyncio.CancelledError
        return result


async def test_a_death_behind_any_write_leaves_nothing_unsaid(ledger: Ledger, db: Database) -> None:
    """A doubt was one write and what follows from it the next: a death between them lost the answer."""
    for number, (kind, behind) in enumerate(itertools.product([FAILED, DIED], range(1, 10))):
        mouth, dying = Mouth(fate(kind), fate(kind)), cast("Database", Dying(db, behind=behind))
        await ledger.inbox.put([says(Chat("telegram", str(number)), "it blinks")])
        await say_until_settled(ledger, mouth, outbox=Outbox(dying))
        assert mouth.said == ["answer"], (kind, behind)
        assert await ledger.claim() == []


async def test_after_a_send_in_doubt_nothing_is_handed_over_before_telegram_answers() -> None:
    async with BotApiServer() as telegram:
        api = BotApi(telegram.token, url=telegram.url)
        channel = TelegramChannel(api, limiter=Limiter(overall_s=0, chat_s=0))
        await channel.open()
        chats = [Chat("telegram", str(telegram.customer(n).room.id)) for n in range(1, 9)]
        telegram.faults.on("*", faults.page(502), times=None)
        with pytest.raises(Ambiguous):
            await channel.send(chats[0], Part("hello"))
        told = await asyncio.gather(*(channel.ready(chat) for chat in chats), return_exceptions=True)
        assert [type(error) for error in told] == [NotSent] * len(chats)
        assert len(telegram.calls_of("getMe")) == 2  # at the start, and one for all
        assert len(telegram.calls_of("sendMessage")) == 1
        telegram.faults.clear()
        await asyncio.sleep(2.1)
        await channel.ready(chats[0])
        await channel.send(chats[0], Part("hello"))
        assert [sent.text for sent in telegram.sent] == ["hello"]
        await channel.close()


@pytest.mark.parametrize("jump_s", [7200, -7200])
async def test_setting_the_clock_neither_ends_a_lease_nor_delays_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    inbox, true = Inbox(db), time.time
    await inbox.put([says(ANNA, "it blinks")])
    (batch,), _ = await inbox.claim("w", 10)
    monkeypatch.setattr(time, "time", lambda: true() + jump_s)
    assert (await inbox.claim("w", 10))[0] == []
    await inbox.again(batch, after_s=0)
    monkeypatch.undo()
    assert len((await inbox.claim("w", 10))[0]) == 1
    await db.close()


async def test_a_chat_due_by_a_clock_that_was_wrong_is_answered_soon_after_a_start(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.inbox.put([says(ANNA, "it blinks")])
    clock.move(-7200)
    assert await ledger.claim() == []
    await ledger.inbox.release_all()
    clock.move(SOON_S)
    assert len(await ledger.claim()) == 1
