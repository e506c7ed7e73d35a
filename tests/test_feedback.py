"""Buttons below an answer in Telegram, through the whole bot: votes, reasons, a person."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from bot.follow_up import FollowUp
from context.follow_ups import FollowUps
from context.turns import Chat
from tests.bot_api import Person, Sent
from tests.until import until
from tests.web_world import browse
from tests.world import World, picture, world

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
    before = len(w.telegram.calls_of("answerCallbackQuery"))
    li.presses(sent, "👍", query="once")
    li.presses(sent, "👍", query="twice")
    await w.telegram.until(lambda: len(w.telegram.calls_of("answerCallbackQuery")) >= before + 2)
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


async def test_the_chat_pages_buttons_do_the_same(w: World) -> None:
    async with browse(w.app.url, sec_fetch_site="same-origin") as page:
        await page.get("/")
        message = {"id": (None, str(uuid.uuid4())), "text": (None, "it drips c6t1")}
        assert (await page.post("/chat/messages", files=message)).status_code == 202
        entries = await until_asked(page)
        ask = entries[-1]["ask"]
        assert (ask["about"], ask["vote"]) == ("helpful", "")
        ballot = {"turn": ask["turn"], "about": "helpful", "vote": "down", "reason": "unclear"}
        for _ in range(2):
            assert (await page.post("/chat/votes", json=ballot)).status_code == 204
        ask = (await until_asked(page))[-1]["ask"]
        assert (ask["vote"], ask["reason"]) == ("down", "unclear")
        broken = [ballot | {"vote": "sideways"}, ballot | {"reason": "x"}, ballot | {"turn": 1}]
        bad: Any
        for bad in ({}, [], *broken):
            assert (await page.post("/chat/votes", json=bad)).status_code == 400
        endless = '{"turn": 1e999, "about": "helpful", "vote": "up"}'
        assert (await page.post("/chat/votes", content=endless)).status_code == 400
        assert (await page.post("/chat/human")).status_code == 202
    async with browse(w.app.url, sec_fetch_site="cross-site") as elsewhere:
        assert (await elsewhere.post("/chat/votes", json=ballot)).status_code == 403


async def until_asked(page: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The page's lines, once the answer is among them."""
    entries: list[dict[str, Any]] = []

    async def there() -> bool:
        nonlocal entries
        entries = (await page.get("/chat/entries")).json()["entries"]
        return bool(entries) and entries[-1]["ask"] is not None

    await until(there)
    return entries


async def test_the_next_day_it_is_asked_once_whether_it_worked(w: World) -> None:
    number = next(_chats)
    chat, li = Chat("telegram", str(number)), w.telegram.customer(number)
    li.sends_photo(picture((200, 0, 0)), caption="it blinks c7t1")
    await w.telegram.replies(number)
    _, other_chat, _ = await answered(w, "c7t2")  # no photo: no fault that anybody knows of
    db = w.app.stores.db
    follow = FollowUp(follow_ups=FollowUps(db), inbox=w.app.stores.inbox, after_h=24)
    await until(lambda: at_rest(w))
    assert await follow.look() == 0, "not today"
    yesterday = sa.text("UPDATE turns SET opened_at = opened_at - 90000 WHERE chat IN (:one, :two)")
    await db.write(lambda c: c.execute(yesterday, {"one": chat.key, "two": other_chat.key}))
    assert await follow.look() == 1
    assert await follow.look() == 0, "once"
    (sent,) = await w.telegram.replies(number)
    assert sent.text.startswith("Yesterday you asked")
    li.presses(sent, "✅")
    await until(lambda: votes(w, chat))
    assert await votes(w, chat) == [("fixed", "up", "")]
    assert len(w.telegram.sent_to(int(other_chat.address))) == 1


async def at_rest(w: World) -> bool:
    return await w.app.stores.inbox.depth() == 0
