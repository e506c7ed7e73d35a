"""Earlier photos come back when the customer replies to them or names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from bot.photos.mentions import photos_mentioned
from context.console.conversations import Conversations
from context.turns import Chat
from tests.bot_api import Person
from tests.world import World, asked, colours, noted, picture, same_colour, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED, GREEN = (200, 30, 30), (30, 160, 60)
_ids = count(30_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("world")) as made:
        yield made


async def with_an_old_photo(w: World) -> tuple[Person, int]:
    """A customer whose red photo 1 is older than the last five turns; also its message id."""
    li = w.telegram.customer(next(_ids))
    message_id = li.sends_photo(picture(RED), caption="look c1t0")
    await w.telegram.replies(li.room.id)
    for number in range(1, 7):
        li.says(f"and then? c1t{number}")
        await w.telegram.replies(li.room.id)
    return li, message_id


async def test_a_photo_that_is_replied_to_is_shown_again(w: World) -> None:
    li, message_id = await with_an_old_photo(w)
    li.says("what was wrong here? c2t0", reply_to_message=quoted(li, message_id))
    await w.telegram.replies(li.room.id)
    (request,) = asked(w, "c2t0")
    (colour,) = colours(request)
    assert same_colour(colour, RED)
    assert "[photo 1: sent earlier, shown again because the customer refers to it]" in request.last_text


async def test_a_photo_that_is_named_is_shown_again_beside_the_new_one(w: World) -> None:
    li, _ = await with_an_old_photo(w)
    li.sends_photo(picture(GREEN), caption="is it the same as in photo 1? c3t0")
    await w.telegram.replies(li.room.id)
    (request,) = asked(w, "c3t0")
    first, second = colours(request)
    assert same_colour(first, RED)
    assert same_colour(second, GREEN)
    assert "Photos above, in this order: photo 1, photo 2" in request.last_text


async def test_after_a_reset_the_numbers_of_the_old_case_bring_nothing_back(w: World) -> None:
    li, message_id = await with_an_old_photo(w)
    li.says("/reset")
    await w.telegram.replies(li.room.id)
    li.says("and photo 1? c4t0", reply_to_message=quoted(li, message_id))
    await w.telegram.replies(li.room.id)
    (request,) = asked(w, "c4t0")
    assert not request.images


async def test_the_record_of_a_reply_says_which_photos_it_cites(w: World) -> None:
    li = w.telegram.customer(next(_ids))
    w.model.answer = lambda _: "Photo 2 shows E4; 照片1 is too dark. c5t0"
    try:
        li.sends_photo(picture(RED), caption="one c5t0")
        await w.telegram.replies(li.room.id)
    finally:
        w.model.answer = noted
    chat = Chat("telegram", str(li.room.id))
    conversation = await Conversations(w.app.stores.db).read(chat)
    assert conversation is not None
    (exchange,) = conversation.exchanges.values()
    assert exchange.record["cites"] == [2, 1]


def quoted(person: Person, message_id: int) -> dict[str, object]:
    chat = {"id": person.room.id, "type": "private"}
    return {"message_id": message_id, "date": 0, "chat": chat}


@pytest.mark.parametrize(
    ("text", "has_own", "numbers"),
    [
        ("what is in photo 2?", False, (2,)),
        ("Compare picture #3 with Photo1", True, (3, 1)),
        ("照片2和图 4 有什么不同", False, (2, 4)),
        ("the first picture", False, (1,)),
        ("the first picture", True, ()),
        ("第二张照片里是什么", False, (2,)),
        ("第12张", False, (12,)),
        ("photos 5 and six; photo 2024; the photo", False, ()),
        ("photo 0", False, ()),
        ("photo 1 photo 2 photo 3 photo 4 photo 5", False, (1, 2, 3, 4)),
    ],
)
async def test_photos_are_named_in_many_ways(text: str, has_own: bool, numbers: tuple[int, ...]) -> None:
    assert photos_mentioned(text, has_own=has_own) == numbers
