"""A message walks the whole road, from Telegram to the transcript, and an answer walks back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from context.turns import Chat
from tests.bot_api import BotApiServer
from tests.bot_api.people import Person
from tests.model_server import ModelServer, Received
from tests.until import until
from tests.world import Colour, colours, noted, picture, same_colour, tags, world

CHATS, TURNS, WINDOW = 50, 7, 5


def colour_of(chat: int, turn: int, item: int = 0) -> Colour:
    return (chat * 5, turn * 36, 20 + item * 70)


async def ask(customer: Person, chat: int, turn: int) -> int:
    """Send the turn's message, a kind for each turn; returns how many photos it has."""
    mark = f"c{chat}t{turn}"
    match turn % 3:
        case 0:
            customer.says(f"The AC shows E4, {mark}")
            return 0
        case 1:
            customer.sends_photo(picture(colour_of(chat, turn)), caption=f"look at {mark}")
            return 1
        case _:
            photos = [picture(colour_of(chat, turn, item)) for item in range(2)]
            await customer.sends_album(photos, caption=f"two views of {mark}")
            return 2


async def converse(telegram: BotApiServer, chat: int) -> list[int]:
    customer = telegram.customer(1000 + chat)
    shown = []
    for turn in range(TURNS):
        shown.append(await ask(customer, chat, turn))
        await telegram.replies(1000 + chat)
    return shown


def check_prompt(request: Received, chat: int, turn: int, shown: list[int]) -> None:
    """Exactly the last five turns of this chat, then the question; and only this chat's photos, in order."""
    first = max(0, turn - WINDOW)
    assert tags(request) == [[f"c{chat}t{t}"] for t in range(first, turn + 1)]
    mine = [colour_of(chat, t, item) for t in range(first, turn + 1) for item in range(shown[t])]
    seen = colours(request)
    assert len(seen) <= len(mine)
    expected = mine[len(mine) - len(seen) :] if seen else []
    assert all(same_colour(one, other) for one, other in zip(seen, expected, strict=True)), (seen, expected)
    now = shown[turn]
    assert len(seen) >= now


async def test_many_chats_are_answered_once_in_order_with_their_own_last_five_turns(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        shown = await asyncio.gather(*(converse(w.telegram, chat) for chat in range(CHATS)))
        counted = {"engine": "remote", "outcome": "answered"}  # the last ones a moment after they are sent
        await w.telegram.until(lambda: w.app.metrics.value("bot_turns_total", **counted) == CHATS * TURNS)
        requests: dict[str, Received] = {}
        for request in w.model.requests:
            mark = tags(request)[-1][0]
            assert mark not in requests, "the model was asked twice"
            requests[mark] = request
        for chat in range(CHATS):
            replies = [sent.text for sent in w.telegram.sent_to(1000 + chat)]
            assert replies == [f"Noted: c{chat}t{turn}." for turn in range(TURNS)]
            for turn in range(TURNS):
                check_prompt(requests[f"c{chat}t{turn}"], chat, turn, shown[chat])
        assert len(requests) == CHATS * TURNS

        entries = await w.app.stores.transcripts.entries(Chat("telegram", "1007"))
        assert [entry.who for entry in entries if entry.who == "bot"] == ["bot"] * TURNS
        assert sum(len(entry.photos) for entry in entries) == sum(shown[7])


async def test_a_burst_is_answered_once_and_a_newer_message_supersedes(tmp_path: Path) -> None:
    async with world(tmp_path, model=ModelServer(answer=noted, latency_s=3600)) as w:
        customer = w.telegram.customer(1)
        customer.says("It blinks, c1t0")
        await w.telegram.until(lambda: w.model.received == 1)
        w.model.latency_s = 0
        customer.says("sorry, steady, c1t1")
        (reply,) = await w.telegram.replies(1)
        assert reply.text == "Noted: c1t0 c1t1."
        assert w.model.hung_up == 1

        async def is_at_rest() -> bool:
            return await w.app.stores.inbox.depth() == 0

        await until(is_at_rest)
        assert len(w.telegram.sent_to(1)) == 1
