"""What becomes of a reply for each answer of a channel, on the real ledger."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import Again, Ambiguous, BadFormatting, NotSent, Undeliverable
from bot.metrics import Metrics
from bot.sender import LONGEST_BACKOFF_S, Sender
from context.db import Database
from context.handoffs import Handoffs
from context.outbox import LeaseLost, Superseded
from context.turns import Batch, Entity, OpenTurn
from tests.clock import Clock
from tests.ledger import ANNA, Ledger, says
from tests.mouth import Mouth

BOLD = (Entity("bold", 0, 3),)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """What the sender does is the same on both."""
    return f"sqlite:///{tmp_path}/bot.db"


class Desk:
    """A ledger, a mouth, and a customer who has asked something."""

    def __init__(self, db: Database, clock: Clock, *fates: Exception | None) -> None:
        self.db, self.clock = db, clock
        self.ledger = Ledger(db)
        self.mouth = Mouth(*fates)
        self.metrics = Metrics()
        self.sender = Sender(
            channels={"telegram": self.mouth},
            outbox=self.ledger.outbox,
            metrics=self.metrics,
            clock=clock,
        )

    async def decide(self, *texts: str) -> tuple[Batch, OpenTurn]:
        await self.ledger.inbox.put([says(ANNA, "hello")])
        batch = await self.ledger.claim_one()
        return batch, await self.ledger.open(batch, parts=texts)

    async def send_all(self, batch: Batch, turn: OpenTurn, *, tries: int = 10) -> bool:
        """As the worker does: again and again while it may work later."""
        for _ in range(tries):
            try:
                return await self.sender.send(batch, turn)
            except Again as error:
                await self.ledger.inbox.again(batch, after_s=error.after_s, blame=error.blame)
                self.clock.move(error.after_s)
                batch = await self.ledger.claim_one()
                assert batch.attempts == 0
                assert batch.open_turn is not None
                turn = batch.open_turn
        raise AssertionError("it never ends")

    async def parts(self) -> list[tuple[str, str, int]]:
        rows = await self.db.read(
            lambda c: c.exec_driver_sql(
                "SELECT text, state, unsure FROM messages WHERE direction = 'out' ORDER BY id"
            ).all()
        )
        return [(row.text, row.state, row.unsure) for row in rows]


@pytest.mark.parametrize(
    ("fates", "said", "parts"),
    [
        ([None, None], ["a", "b"], [("a", "sent", 0), ("b", "sent", 0)]),
        # Certainly not sent: again, as often as it takes, and the part before is not said twice.
        (
            [None, *[NotSent("refused", after_s=1)] * 5, None],
            ["a", "b"],
            [("a", "sent", 0), ("b", "sent", 0)],
        ),
        # In doubt: once more, and then it is taken for said; the next part follows either way.
        ([Ambiguous("cut"), None, None], ["a", "b"], [("a", "sent", 1), ("b", "sent", 0)]),
        ([Ambiguous("cut"), Ambiguous("cut"), None], ["b"], [("a", "ambiguous", 2), ("b", "sent", 0)]),
        # Refused for good in the middle: what was said stays said.
        ([None, Undeliverable("blocked")], ["a"], [("a", "sent", 0), ("b", "dead", 0)]),
    ],
)
async def test_each_answer_of_a_channel_has_one_meaning(
    db: Database,
    clock: Clock,
    fates: list[Exception | None],
    said: list[str],
    parts: list[tuple[str, str, int]],
) -> None:
    desk = Desk(db, clock, *fates)
    was_said = await desk.send_all(*await desk.decide("a", "b"))
    assert (desk.mouth.said, await desk.parts()) == (said, parts)
    assert was_said == (parts[-1][1] != "dead")
    assert await desk.ledger.claim() == []
    doubts = sum(isinstance(fate, Ambiguous) for fate in fates)
    assert desk.metrics.value("bot_sends_total", channel="telegram", outcome="ambiguous") == doubts


async def test_refused_formatting_is_said_plain(db: Database, clock: Clock) -> None:
    desk = Desk(db, clock, BadFormatting("entities"))
    batch, turn = await desk.decide("bold words")
    turn = replace(turn, parts=(replace(turn.parts[0], entities=BOLD),))
    assert await desk.send_all(batch, turn)
    assert (desk.mouth.said, desk.mouth.formatted) == (["bold words"], [False])


async def test_a_text_that_is_refused_even_plain_asks_for_a_person_and_the_chat_stays_open(
    db: Database, clock: Clock
) -> None:
    desk = Desk(db, clock, BadFormatting("too long"))
    assert not await desk.send_all(*await desk.decide("words"))
    assert await Handoffs(db).waiting() == 1
    assert await closed_chats(db) == 0


async def test_a_chat_that_was_closed_is_open_again_when_the_customer_writes(
    db: Database, clock: Clock
) -> None:
    desk = Desk(db, clock, Undeliverable("blocked by the user"))
    assert not await desk.send_all(*await desk.decide("words"))
    assert (await closed_chats(db), await Handoffs(db).waiting()) == (1, 0)
    assert await desk.send_all(*await desk.decide("welcome back"))
    assert (await closed_chats(db), desk.mouth.said) == (0, ["welcome back"])


async def closed_chats(db: Database) -> int:
    query = "SELECT COUNT(*) FROM chats WHERE closed_at IS NOT NULL"
    return await db.read(lambda c: int(c.exec_driver_sql(query).scalar_one()))


async def test_what_cannot_be_sent_is_tried_ever_more_rarely(db: Database, clock: Clock) -> None:
    desk = Desk(db, clock, *[NotSent("refused", after_s=2)] * 12)
    began = clock.now
    times = []
    batch, turn = await desk.decide("words")
    for _ in range(12):
        times.append(clock.now - began)
        with pytest.raises(NotSent) as raised:
            await desk.sender.send(batch, turn)
        await desk.ledger.inbox.again(batch, after_s=raised.value.after_s, blame=False)
        clock.move(raised.value.after_s)
        batch = await desk.ledger.claim_one()
        assert batch.open_turn is not None
        turn = batch.open_turn
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] == 2
    assert gaps[-1] > 10
    assert max(gaps) <= LONGEST_BACKOFF_S * 1.25


async def test_a_flood_is_waited_for_exactly(db: Database, clock: Clock) -> None:
    desk = Desk(db, clock, NotSent("429", after_s=77))
    with pytest.raises(NotSent) as raised:
        await desk.sender.send(*await desk.decide("words"))
    assert raised.value.after_s == 77


async def test_a_person_who_took_the_chat_while_a_reply_waited_hears_nothing_of_it(
    db: Database, clock: Clock
) -> None:
    desk = Desk(db, clock, NotSent("429", after_s=5))
    batch, turn = await desk.decide("words")
    with pytest.raises(NotSent):
        await desk.sender.send(batch, turn)
    await desk.ledger.inbox.again(batch, after_s=0, blame=False)
    batch = await desk.ledger.claim_one()
    assert batch.open_turn is not None
    await Handoffs(db).take(ANNA, "mei")  # between the claim and the first word
    with pytest.raises(Superseded):
        await desk.sender.send(batch, batch.open_turn)
    batch = await desk.ledger.claim_one()
    assert (batch.holder, len(batch.arrivals), desk.mouth.said) == ("mei", 1, [])


async def test_a_worker_that_lost_the_chat_says_nothing_more(db: Database, clock: Clock) -> None:
    desk = Desk(db, clock)
    batch, turn = await desk.decide("a", "b")
    clock.move(desk.ledger.inbox.lease_s + 1)
    await desk.ledger.claim_one("other")
    with pytest.raises(LeaseLost):
        await desk.sender.send(batch, turn)
    assert desk.mouth.said == ["a"]  # handed over when the claim still held, as far as anybody knew


async def test_a_side_message_is_tried_once(db: Database, clock: Clock) -> None:
    desk = Desk(db, clock, Ambiguous("cut"))
    assert not await desk.sender.tell(ANNA, "for staff")
    assert desk.mouth.tried == 1
    assert await desk.sender.tell(ANNA, "for staff")
