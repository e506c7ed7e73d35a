"""From the bot to a person and back, through the whole bot: takeovers, staff's words, held replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from context.console.held import DecidedAlready, InOtherHands, MovedOn, NoSuchReply
from context.handoffs import NotWaiting
from context.transcripts import Entry
from context.turns import Chat
from tests.bot_api import Person
from tests.model_faults import Fault
from tests.model_server import ModelServer, Received
from tests.real_redis import RealRedis
from tests.until import until
from tests.world import World, asked, noted, picture, world

HELD = "You will get a full refund of 300 yuan within 3 days, I promise."
"""A promise that only the company may make: the guard holds it."""


def answer(request: Received) -> str:
    if "hold me" in request.last_text:
        return HELD
    return noted(request)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("handoff"), model=ModelServer(answer=answer)) as made:
        yield made


_chats = iter(range(5001, 6000))


def customer(w: World) -> tuple[Person, Chat]:
    number = next(_chats)
    return w.telegram.customer(number), Chat("telegram", str(number))


async def hears(w: World, chat: Chat) -> str:
    (sent,) = await w.telegram.replies(int(chat.address))
    return sent.text


async def at_rest(w: World) -> None:
    async def is_at_rest() -> bool:
        return await w.app.stores.inbox.depth() == 0

    await until(is_at_rest)


async def lines(w: World, chat: Chat) -> list[Entry]:
    return await w.app.stores.transcripts.entries(chat)


async def test_a_person_takes_writes_and_hands_back_and_all_of_it_is_told_and_remembered(w: World) -> None:
    li, chat = customer(w)
    li.says("the AC drips c1t1")
    await hears(w, chat)
    await w.app.desk.take(chat, "mei")
    assert "A colleague has joined" in await hears(w, chat)
    li.says("are you a person? c1t2")
    await at_rest(w)
    assert await w.app.desk.say(chat, "mei", "Yes, I am Mei. *Close the valve* 2*3 times.") == ()
    assert await hears(w, chat) == "Yes, I am Mei. *Close the valve* 2*3 times."
    assert await w.app.desk.hand_back(chat, "mei")
    assert "handed this chat back" in await hears(w, chat)
    li.says("and now? c1t3")
    assert await hears(w, chat) == "Noted: c1t3."
    (request,) = asked(w, "c1t3")
    words = str(request.messages)
    assert "c1t2" in words
    assert "I am Mei" in words
    who = [line.who for line in await lines(w, chat)]
    assert who == ["customer", "bot", "staff", "customer", "staff", "bot", "customer", "bot"]


async def test_a_chat_is_one_persons_at_a_time(w: World) -> None:
    li, chat = customer(w)
    li.says("c2t1")
    await hears(w, chat)
    await asyncio.gather(w.app.desk.take(chat, "mei"), w.app.desk.take(chat, "mei"))
    with pytest.raises(NotWaiting) as refused:
        await w.app.desk.take(chat, "ben")
    assert refused.value.holder == "mei"
    for deed in (w.app.desk.say(chat, "ben", "hello"), w.app.desk.hand_back(chat, "ben")):
        with pytest.raises(NotWaiting):
            await deed
    await w.app.desk.hand_back(chat, "mei")
    await w.app.desk.say(chat, "ben", "Ben here.")
    await at_rest(w)
    assert [line.text for line in await lines(w, chat) if line.who == "staff"][-1] == "Ben here."


async def test_a_message_sent_twice_under_one_name_is_one_message(w: World) -> None:
    li, chat = customer(w)
    li.says("c3t1")
    await hears(w, chat)
    same = (w.app.desk.say(chat, "mei", "Once.", once="form-1") for _ in range(2))
    await asyncio.gather(*same)
    await at_rest(w)
    assert [line.text for line in await lines(w, chat) if line.who == "staff"] == ["Once."]


async def test_a_picture_of_staffs_arrives_and_one_that_cannot_be_used_is_named(w: World) -> None:
    li, chat = customer(w)
    li.says("c4t1")
    await hears(w, chat)
    refused = await w.app.desk.say(chat, "mei", "See here:", [picture((0, 90, 0)), b"no picture"], once="p")
    assert [one.code for one in refused] == ["not_a_picture"]
    assert await hears(w, chat) == "See here:"
    await at_rest(w)
    (photo,) = [line for line in await lines(w, chat) if line.who == "staff" and line.photos]
    assert await w.app.stores.photos.read(photo.photos[0].sha256)
    (call,) = w.telegram.calls_of("sendPhoto", int(chat.address))
    assert call.parameters["photo"]


async def test_the_draft_under_way_is_dropped_the_moment_a_person_comes(tmp_path: Path) -> None:
    thinking, go = asyncio.Event(), asyncio.Event()

    async def slow(request: Received) -> str:
        thinking.set()
        await go.wait()
        return "too late"

    async with world(tmp_path, model=ModelServer(answer=slow)) as w:
        li, chat = customer(w)
        li.says("c5t1")
        await thinking.wait()
        await w.app.desk.take(chat, "mei")
        assert "A colleague has joined" in await hears(w, chat)  # the model still thinks
        go.set()
        await at_rest(w)
        assert [sent.text for sent in w.telegram.sent_to(int(chat.address))][1:] == []


async def test_what_a_person_had_in_hand_asks_for_nobody_again(w: World) -> None:
    li, chat = customer(w)
    li.says("/human")
    await hears(w, chat)
    await w.app.desk.take(chat, "mei")
    await hears(w, chat)
    li.says("I want to talk to a human agent please c6t1")
    await at_rest(w)
    await w.app.desk.hand_back(chat, "mei")
    await hears(w, chat)
    assert await w.app.stores.handoffs.current(chat) is None
    li.says("thanks c6t2")
    assert await hears(w, chat) == "Noted: c6t2."
    assert await w.app.stores.handoffs.current(chat) is None


async def test_two_tries_that_failed_bring_a_person(w: World) -> None:
    li, chat = customer(w)
    li.says("it drips c7t1")
    await hears(w, chat)
    li.says("I did that, still not working c7t2")
    assert await hears(w, chat) == "Noted: c7t2."
    li.says("同样的问题，还是不行 c7t3")
    told = await hears(w, chat)
    assert "c7t3" in told
    assert "同事" in told
    await at_rest(w)
    waiting = await w.app.stores.handoffs.current(chat)
    assert waiting is not None
    assert waiting.reason == "two_tries"


async def hold(w: World, mark: str) -> tuple[Person, Chat, int]:
    """A customer whose answer is held."""
    li, chat = customer(w)
    li.says(f"hold me {mark}")
    assert "colleague is checking" in await hears(w, chat)
    (held,) = await w.app.desk.held.of_chat(chat)
    assert held.draft == HELD
    assert held.moved_on == ""
    assert held.reasons
    return li, chat, held.turn_id


async def test_a_held_reply_is_released_once_whoever_presses(w: World) -> None:
    _, chat, turn = await hold(w, "c8t1")
    both = (w.app.desk.release(turn, who, why="agreed with the shop") for who in ("mei", "ben"))
    results = await asyncio.gather(*both, return_exceptions=True)
    (refused,) = [result for result in results if result is not None]
    assert isinstance(refused, DecidedAlready)
    assert await hears(w, chat) == HELD
    await at_rest(w)
    (held,) = await w.app.desk.held.of_chat(chat)
    assert (held.state, held.decided_by, held.why) == (
        "released",
        refused.held.decided_by,
        "agreed with the shop",
    )
    assert [line.who for line in await lines(w, chat)] == ["customer", "bot", "staff"]
    assert await w.app.stores.handoffs.current(chat) is None  # nobody waits for it any more


async def test_an_edited_reply_is_said_to_the_letter_and_remembered(w: World) -> None:
    li, chat, turn = await hold(w, "c9t1")
    found = w.app.desk.objections("I promise a full refund.", asked="hold me", language="en")
    assert [one.category for one in found] == ["promise"]
    await w.app.desk.release(turn, "mei", words="Please write to us here.")
    assert await hears(w, chat) == "Please write to us here."
    li.says("thank you c9t2")
    await hears(w, chat)
    (request,) = asked(w, "c9t2")
    assert "Please write to us here." in str(request.messages)
    assert "hold me c9t1" in str(request.messages)
    (held,) = await w.app.desk.held.of_chat(chat)
    assert held.words == "Please write to us here."


async def test_a_reply_that_the_conversation_left_behind_is_not_said_any_more(w: World) -> None:
    li, chat, turn = await hold(w, "c10t1")
    li.says("another question c10t2")
    await hears(w, chat)
    with pytest.raises(MovedOn) as refused:
        await w.app.desk.release(turn, "mei")
    assert refused.value.why == "answered"
    (held,) = await w.app.desk.held.of_chat(chat)
    assert (held.state, held.moved_on) == ("open", "answered")
    assert turn not in [one.turn_id for one in await w.app.desk.held.open()]
    await w.app.desk.refuse(turn, "mei", why="stale")
    with pytest.raises(DecidedAlready):
        await w.app.desk.release(turn, "mei")
    await at_rest(w)
    assert HELD not in [line.text for line in await lines(w, chat)]


async def test_a_reply_is_not_released_into_another_persons_chat(w: World) -> None:
    _, chat, turn = await hold(w, "c11t1")
    await w.app.desk.take(chat, "ben")
    with pytest.raises(InOtherHands):
        await w.app.desk.release(turn, "mei")
    await w.app.desk.release(turn, "ben")
    await hears(w, chat)
    assert await hears(w, chat) == HELD
    with pytest.raises(NoSuchReply):
        await w.app.desk.release(10**9, "ben")


async def test_it_works_with_the_model_and_redis_down(tmp_path: Path, redis: RealRedis) -> None:
    async with world(tmp_path, redis_url=f"unix://{redis.socket}") as w:
        li, chat = customer(w)
        redis.kill()
        w.model.fail_always(Fault.DROP)
        li.says("I want to talk to a human agent please c12t1")
        await hears(w, chat)
        await at_rest(w)
        assert await w.app.stores.handoffs.current(chat) is not None
        await w.app.desk.take(chat, "mei")
        await hears(w, chat)
        await w.app.desk.say(chat, "mei", "I am here.")
        assert await hears(w, chat) == "I am here."
        assert await w.app.desk.hand_back(chat, "mei")
        assert "handed this chat back" in await hears(w, chat)
