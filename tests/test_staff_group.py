"""The staff's Telegram group, through the whole bot: a topic for every case, in step with the desk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from context.turns import Chat
from prompts.prompts import Prompts
from tests.bot_api import BotApiServer, Person, Sent
from tests.until import until
from tests.world import World, picture, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP, PLAIN = -100777, -100778
_chats = iter(range(7001, 8000))


def open_forum(telegram: BotApiServer, group: int, *, is_forum: bool = True) -> Person:
    ann = telegram.member(group, 2001, name="Ann")
    ann.room.is_forum = is_forum
    return ann


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    telegram = BotApiServer()
    open_forum(telegram, GROUP)
    folder = tmp_path_factory.mktemp("group")
    async with world(folder, telegram=telegram, telegram_staff_chat_id=GROUP) as made:
        yield made


async def waiting(w: World) -> tuple[Person, Chat]:
    """A customer who has asked for a person."""
    number = next(_chats)
    li = w.telegram.customer(number, name=f"Li {number}")
    li.says("the AC drips and shows E4 c1t1")
    await w.telegram.replies(number)
    li.says("/human")
    await w.telegram.replies(number)
    return li, Chat("telegram", str(number))


def in_topic(w: World, thread: int) -> list[Sent]:
    return [sent for sent in w.telegram.sent_to(GROUP) if sent.thread == thread]


async def topic(w: World, chat: Chat) -> int:
    """The topic of a chat, once the case is in it."""

    def found() -> int | None:
        return next(
            (
                sent.thread
                for sent in reversed(w.telegram.sent_to(GROUP))
                if sent.thread is not None and f"{chat.key} " in sent.text
            ),
            None,
        )

    await until(found)
    thread = found()
    assert thread is not None
    return thread


async def told(w: World, thread: int, words: str) -> str:
    await until(lambda: any(words in sent.text for sent in in_topic(w, thread)))
    return next(sent.text for sent in in_topic(w, thread) if words in sent.text)


async def test_a_case_is_worked_in_its_topic_from_the_first_word_to_the_last(w: World) -> None:
    li, chat = await waiting(w)
    thread = await topic(w, chat)
    ann = w.telegram.member(GROUP, 2001, name="Ann")
    pack = await told(w, thread, f"{chat.key} ")
    assert "asked for a person" in pack
    assert "E4" in pack
    assert "Write here" in pack
    ann.says("// who knows this model?", thread=thread)
    ann.says("Hello, I am Ann. Please close the valve.", thread=thread)
    await w.telegram.until(lambda: "Ann. Please" in w.telegram.sent_to(int(chat.address))[-1].text)
    li.says("done, now it hisses c1t2")
    assert "now it hisses" in await told(w, thread, "now it hisses")
    li.sends_photo(picture((9, 9, 200)), caption="like this")
    await told(w, thread, "like this")
    await until(
        lambda: any(c.parameters.get("message_thread_id") for c in w.telegram.calls_of("sendPhoto", GROUP))
    )
    ann.says("/back", thread=thread)
    await told(w, thread, "Done: the assistant")
    await until(lambda: thread in ann.room.closed)
    await w.telegram.until(lambda: "handed this chat back" in w.telegram.sent_to(int(chat.address))[-1].text)
    everything = " ".join(sent.text for sent in w.telegram.sent_to(int(chat.address)))
    assert "who knows this model" not in everything
    mirrored = [sent.text for sent in in_topic(w, thread)]
    assert not any("🧑‍🔧" in text and "close the valve" in text for text in mirrored), "they wrote it here"


async def test_the_group_is_in_step_with_the_console(w: World) -> None:
    _, chat = await waiting(w)
    thread = await topic(w, chat)
    await w.app.desk.say(chat, "mei", "Mei from the console.")
    await told(w, thread, "mei: Mei from the console.")
    await told(w, thread, "mei has this chat")
    ann = w.telegram.member(GROUP, 2001, name="Ann")
    before = len(w.telegram.sent_to(int(chat.address)))
    ann.says("I write too", thread=thread)
    await until(lambda: sum("mei has this chat" in sent.text for sent in in_topic(w, thread)) == 2)
    assert len(w.telegram.sent_to(int(chat.address))) == before, "two colleagues on one case are one voice"
    await w.app.desk.hand_back(chat, "mei")
    await told(w, thread, "Done: the assistant has this chat again (mei)")


async def test_what_was_said_last_is_shown_before_the_topic_closes_however_long_it_was(w: World) -> None:
    _, chat = await waiting(w)
    thread = await topic(w, chat)
    await w.app.desk.say(chat, "mei", "First. " * 400)
    await w.app.desk.say(chat, "mei", "Then. " * 400)
    await w.app.desk.hand_back(chat, "mei")
    await told(w, thread, "Done: the assistant has this chat again (mei)")
    shown = [sent.text[:20] for sent in in_topic(w, thread) if "mei: " in sent.text]
    assert len(shown) == 2, shown


async def test_a_reply_is_suggested_and_canned_ones_are_said(w: World) -> None:
    _, chat = await waiting(w)
    thread = await topic(w, chat)
    assert "Noted: c1t1." in await told(w, thread, "only a suggestion")
    ann = w.telegram.member(GROUP, 2001, name="Ann")
    ann.says("/canned", thread=thread)
    assert "铭牌" in await told(w, thread, "/say plate")
    ann.says("/say restart", thread=thread)
    await w.telegram.until(lambda: "If E4 comes back" in w.telegram.sent_to(int(chat.address))[-1].text)


async def test_a_topic_that_was_deleted_is_made_again(w: World) -> None:
    li, chat = await waiting(w)
    thread = await topic(w, chat)
    ann = w.telegram.member(GROUP, 2001, name="Ann")
    ann.room.topics.discard(thread)
    li.says("are you there? c3t2")
    await w.telegram.replies(int(chat.address))
    again = 0

    async def is_new() -> bool:
        nonlocal again
        again = await topic(w, chat)
        return again != thread

    await until(is_new)
    ann.says("Now I am.", thread=again)
    await w.telegram.until(lambda: w.telegram.sent_to(int(chat.address))[-1].text == "Now I am.")


@pytest.mark.parametrize("who", ["customer", "operator"])
async def test_an_erased_customers_topic_is_deleted_and_the_bot_hears_them_again(w: World, who: str) -> None:
    li, chat = await waiting(w)
    thread = await topic(w, chat)
    ann = w.telegram.member(GROUP, 2001, name="Ann")
    ann.says("What is your address?", thread=thread)
    await w.telegram.until(lambda: "address" in w.telegram.sent_to(int(chat.address))[-1].text)
    assert w.app.stores.handoffs.is_known_held(chat)
    if who == "customer":
        li.says("/forgetme")
        await w.telegram.until(lambda: "/forgetme_yes" in w.telegram.sent_to(int(chat.address))[-1].text)
        li.says("/forgetme_yes")
        done = Prompts().notice("forget_done", "en", messages=0, photos=0)[:6]
        await w.telegram.until(lambda: w.telegram.sent_to(int(chat.address))[-1].text.startswith(done))
    else:  # from another process, which cannot tell this one
        await w.app.stores.erasure.forget(chat, wish="operator")
    await until(lambda: thread not in ann.room.topics)
    li.says("hello again c1t1")
    await w.telegram.until(lambda: "Noted: c1t1" in w.telegram.sent_to(int(chat.address))[-1].text)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"sticker": {"file_id": "s", "file_unique_id": "s"}}, "only words and pictures"),
        ({"text": "/refund"}, "/take"),
    ],
)
async def test_what_cannot_be_passed_on_is_said_to_be_so(
    w: World, what: dict[str, object], says: str
) -> None:
    _, chat = await waiting(w)
    thread = await topic(w, chat)
    w.telegram.member(GROUP, 2001, name="Ann").sends(thread=thread, **what)
    await told(w, thread, says)


async def test_a_group_without_topics_is_told_plainly_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    telegram = BotApiServer()
    open_forum(telegram, PLAIN, is_forum=False)
    folder = tmp_path_factory.mktemp("plain")
    async with world(folder, telegram=telegram, telegram_staff_chat_id=PLAIN) as w:
        li, chat = await waiting(w)
        await until(lambda: w.telegram.sent_to(PLAIN))
        li.says("still there? c9t9")
        await w.telegram.replies(int(chat.address))
        (only,) = w.telegram.sent_to(PLAIN)
    assert "no topics" in only.text
    assert f"{chat.key} " in only.text
