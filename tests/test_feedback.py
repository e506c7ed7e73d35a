"""Buttons below an answer in Telegram, through the whole bot: votes, reasons, a person."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from context.turns import Chat
from tests.bot_api import Person, Sent
from tests.until import until
from tests.world import World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("feedback")) as made:
        yield made


_chats = iter(range(6001, 7000))


async def answered(w: World, mark: str) -> tuple[Person, Chat, Sent]:
    """A customer with an answer before them."""
    number = next(_chats)
    li = w.telegram.customer(number)
    li.says(f"it drips {mark}")
    (sent,) = await w.telegram.replies(number)
    return li, Chat("telegram", str(number)), sent


async def votes(w: World, chat: Chat) -> list[tuple[str, str, str]]:
    return [(one.question, one.vote, one.reason) for one in await w.app.stores.feedbacks.of_chat(chat)]


def buttons(sent: Sent) -> str:
    return str(sent.parameters.get("reply_markup") or "")


async def test_a_thumb_is_kept_once_acknowledged_and_its_buttons_go(w: World) -> None:
    li, chat, sent = await answered(w, "c1t1")
    li.presses(sent, "👍", query="once")
    li.presses(sent, "👍", query="twice")
    await w.telegram.until(lambda: len(w.telegram.calls_of("answerCallbackQuery")) >= 2)
    assert await votes(w, chat) == [("helpful", "up", "")]
    await w.telegram.until(lambda: not buttons(sent))


async def test_no_help_asks_why_and_a_person_stays_to_be_had(w: World) -> None:
    li, chat, sent = await answered(w, "c2t1")
    li.presses(sent, "👎")
    await w.telegram.until(lambda: "did_not_help" in buttons(sent))
    li.presses(sent, "I did it")
    await w.telegram.until(lambda: "did_not_help" not in buttons(sent))
    assert await votes(w, chat) == [("helpful", "down", "did_not_help")]
    li.presses(sent, "🧑")
    (said,) = await w.telegram.replies(int(chat.address))
    assert said.text.startswith("I have asked a colleague")
    await until(lambda: w.app.stores.handoffs.current(chat))


async def test_two_thumbs_down_bring_a_person_and_the_customer_is_told(w: World) -> None:
    li, chat, first = await answered(w, "c3t1")
    li.says("and c3t2")
    (second,) = await w.telegram.replies(int(chat.address))
    li.presses(first, "👎")
    li.presses(second, "👎")
    (said,) = await w.telegram.replies(int(chat.address))
    assert said.text.startswith("I have asked a colleague")
    await until(lambda: w.app.stores.handoffs.current(chat))
    handoff = await w.app.stores.handoffs.current(chat)
    assert handoff is not None
    assert handoff.reason == "two_tries"


@pytest.mark.parametrize("data", ["", "up:1:en", "up:99999999999999999:en", "why-nonsense:1:en", "💥" * 10])
async def test_a_made_up_press_is_acknowledged_and_changes_nothing(w: World, data: str) -> None:
    li, chat, sent = await answered(w, "c4t1")
    before = len(w.telegram.calls_of("answerCallbackQuery"))
    li.calls_back(sent.message_id, data)
    await w.telegram.until(lambda: len(w.telegram.calls_of("answerCallbackQuery")) > before)
    assert await votes(w, chat) == []


async def test_notices_and_staff_have_no_buttons(w: World) -> None:
    li, chat, sent = await answered(w, "c5t1")
    assert buttons(sent)
    li.says("/help")
    (notice,) = await w.telegram.replies(int(chat.address))
    await w.app.desk.say(chat, "mei", "Mei here.")
    (said,) = await w.telegram.replies(int(chat.address))
    assert not buttons(notice)
    assert not buttons(said)
