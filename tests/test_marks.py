"""Asked "this one?" about a photo, the answer comes with the place marked on a copy; or as it is."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from bot.engines.structured import json_in
from bot.photos.marks import SCHEMA, Box, asked_about, boxes_in, drawn
from context.turns import Arrival, Batch, Chat, Clip, Kind, Message, OpenTurn, Photo, Turn
from prompts.prompts import Prompts
from tests.model_server import ModelServer, Received
from tests.test_web_chat import lines, say
from tests.until import until
from tests.web_world import browse
from tests.world import World, picture, world

GREY = (150, 150, 150)
SAID = "Press the round button on the right."
_ids = count(61_000)


class Pointing:
    """A model that answers, and names places as written: one text per question for a place."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.asked: list[Received] = []

    def __call__(self, request: Received) -> str:
        if "bbox_2d" not in request.last_text:
            return SAID
        self.asked.append(request)
        return self.places.pop(0)


@pytest.fixture(scope="module")
def model() -> Pointing:
    return Pointing()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory, model: Pointing) -> AsyncIterator[World]:
    server = ModelServer(answer=model, dialect="vllm")
    async with world(tmp_path_factory.mktemp("world"), model=server) as made:
        yield made


@pytest.fixture(autouse=True)
def fresh(model: Pointing) -> None:
    model.places.clear()
    model.asked.clear()


def boxed(*sides: int) -> str:
    return json.dumps({"boxes": [{"bbox_2d": list(sides)}]})


def stored(w: World) -> list[Path]:
    return sorted(w.app.stores.photos._folder.glob("??/*.jpg"))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_marked_copy_comes_before_the_words_in_telegram(w: World, model: Pointing) -> None:
    model.places = [boxed(600, 400, 800, 600)]
    li = w.telegram.customer(next(_ids))
    li.sends_photo(picture(GREY), caption="Is it this one?")
    shown, said = await w.telegram.replies(li.room.id, 2)
    assert shown.parameters["photo"]
    assert said.text == f"{SAID}\n\n{Prompts().notice('marked', 'en', number=1)}"
    assert said.parameters["reply_markup"], "what may be pressed stands below the words"
    (request,) = model.asked
    assert request.body["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)
    assert request.body["temperature"] == 0
    assert SAID in request.last_text
    assert len(request.images) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_it_is_seen_on_the_chat_page_where_the_model_pointed(w: World, model: Pointing) -> None:
    model.places = [f"```json\n{json.dumps([{'bbox_2d': [500, 500, 700, 700], 'label': 'x'}])}\n```"]
    async with browse(w.app.url, accept_language="zh") as visitor:
        await visitor.get("/")
        assert (await say(visitor, "请问是这个吗", picture(GREY))).status_code == 202
        found: list[dict[str, Any]] = []

        async def both() -> bool:
            found[:] = [line for line in await lines(visitor) if line["who"] == "bot"]
            return len(found) == 2

        await until(both)
        shown, said = found
        assert said["text"].endswith("是这里吗？如果不是，请告诉我。")
        jpeg = (await visitor.get(f"/chat/photos/{shown['photos'][0]['sha256']}.jpg")).content
    with Image.open(io.BytesIO(jpeg)) as copy:
        assert copy.size == (320, 240)
        reddish = [
            (x, y)
            for x in range(copy.width)
            for y in range(copy.height)
            if copy.getpixel((x, y))[0] - copy.getpixel((x, y))[1] > 60  # type: ignore[index]
        ]
    assert (min(x for x, _ in reddish), max(x for x, _ in reddish)) == pytest.approx((159, 225), abs=4)
    assert (min(y for _, y in reddish), max(y for _, y in reddish)) == pytest.approx((119, 169), abs=4)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "places",
    [
        ["It is on the right.", "There: (600, 400)"],
        [boxed(10, 10, 4000, 90), boxed(90, 90, 10, 10)],
        [json.dumps({"boxes": []})],
    ],
)
async def test_a_model_that_cannot_point_costs_nothing(w: World, model: Pointing, places: list[str]) -> None:
    model.places = [*places]
    before = len(stored(w))
    li = w.telegram.customer(next(_ids))
    li.sends_photo(picture((90, 90, next(_ids) % 200)), caption="Which button is it?")
    (said,) = await w.telegram.replies(li.room.id)
    assert said.text == SAID
    assert not model.places
    assert len(stored(w)) == before + 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_refused_answer_and_another_question_are_not_marked(w: World, model: Pointing) -> None:
    li = w.telegram.customer(next(_ids))
    li.sends_photo(picture(GREY), caption="The display shows E4, and now?")
    (said,) = await w.telegram.replies(li.room.id)
    assert said.text == SAID
    w.model.answer = lambda _: "I guarantee a full refund today."
    try:
        li.says("this one?")
        (said,) = await w.telegram.replies(li.room.id)
    finally:
        w.model.answer = model
    assert "refund" not in said.text
    assert not model.asked


@pytest.mark.asyncio(loop_scope="module")
async def test_a_copy_that_is_not_said_after_all_is_not_kept(w: World, model: Pointing) -> None:
    li = w.telegram.customer(next(_ids))
    before = len(stored(w))

    opening = w.app.stores.outbox.open
    kept: list[int] = []

    async def overtaken(batch: Batch, *others: Any) -> OpenTurn:
        kept.append(len(stored(w)) - before)
        if len(kept) == 1:  # newer words come at the last moment
            words = Arrival(batch.chat, "t:newer", "9", Kind.TEXT, "where is the filter?", sent_at=1e9)
            await w.app.stores.inbox.put([words])
        return await opening(batch, *others)

    model.places = [boxed(100, 100, 300, 300), boxed(500, 500, 700, 700)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(w.app.stores.outbox, "open", overtaken)
        li.sends_photo(picture((1, 99, 120)), caption="Where is the reset button?")
        await w.telegram.replies(li.room.id, 2)
    assert (kept[0], len(kept)) == (2, 2)
    await until(lambda: len(stored(w)) - before == 2)  # the photo, and the copy that was said


ONE, TWO = Photo("a" * 64, 300, 200, 1), Photo("b" * 64, 300, 200, 2)


@pytest.mark.parametrize(
    "text",
    [
        "this one?",
        "Is it that button?",
        "which of these?",
        "Where is the filter",
        "是这个吗",
        "是不是这里？",
        "哪个按钮",
        "滤网在哪里",
        "指的是那颗螺丝吗",
    ],
)
def test_who_asks_for_a_place_is_understood(text: str) -> None:
    assert asked_about(Message(Chat("web", "v"), text, "en", photos=(ONE,)), ()) == ONE


@pytest.mark.parametrize(
    "text",
    [
        *("E4, what now?", "everyone says so", "it beeps", "Yes, this one.", "that button is broken"),
        *("显示E4怎么办", "谢谢", "对，是这个", "那个灯不亮了"),
    ],
)
def test_other_questions_are_left_alone(text: str) -> None:
    assert asked_about(Message(Chat("web", "v"), text, "en", photos=(ONE,)), ()) is None


def test_the_photo_is_the_one_that_can_only_be_meant() -> None:
    asked = Message(Chat("web", "v"), "this one?", "en")
    turns = [Turn(1, "look", "ok", (ONE,)), Turn(2, "hm", "ok")]
    assert asked_about(asked, turns) == ONE
    assert asked_about(replace(asked, photos=(TWO,)), turns) == TWO
    assert asked_about(replace(asked, recalled=(TWO,)), turns) == TWO
    assert asked_about(replace(asked, photos=(ONE, TWO)), turns) is None
    assert asked_about(replace(asked, photos=(ONE,), recalled=(TWO,)), turns) is None
    assert asked_about(replace(asked, photos=(replace(ONE, clip=Clip(3.0)),)), turns) is None
    assert asked_about(asked, []) is None


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        ({"boxes": [{"bbox_2d": [1, 2, 30, 40]}]}, (Box(1, 2, 30, 40),)),
        ([{"bbox_2d": [0, 0, 500, 1000], "label": "call 555-0100"}], (Box(0, 0, 500, 1000),)),
        ([], ()),
        ([{"bbox_2d": [0, 0, 1000, 1000]}], None),
        ([{"bbox_2d": [1, 2, 3, 4]}], None),
        ([{"bbox_2d": [-1, 2, 30, 40]}], None),
        ([{"bbox_2d": [1, 2, 30, 1001]}], None),
        ([{"bbox_2d": [1, 2, 30.5, 40]}], None),
        ([{"bbox_2d": [True, 2, 30, 40]}], None),
        ([{"bbox_2d": [1, 2, 30]}], None),
        ([{"bbox_2d": [1, 2, 30, 40]}] * 4, None),
        ([{"bbox_2d": [1, 2, 30, 40]}, {"bbox_2d": "no"}], None),
        ({"box": [1, 2, 3, 4]}, None),
        ("[1, 2, 30, 40]", None),
        (None, None),
    ],
)
def test_a_place_that_is_not_sound_is_none(value: object, boxes: tuple[Box, ...] | None) -> None:
    assert boxes_in(value) == boxes


@pytest.mark.parametrize("size", [(16, 16), (3000, 40), (40, 3000)])
def test_any_photo_can_be_drawn_on(size: tuple[int, int]) -> None:
    with Image.open(
        io.BytesIO(drawn(picture(GREY, size=size), [Box(0, 0, 5, 5), Box(500, 1, 1000, 990)]))
    ) as copy:
        assert copy.size == size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('<think>{"a": 2}</think>\n{"a": 1}', {"a": 1}),
        ("```\n[1]\n```", [1]),
        ("Here: [1]", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_json_is_the_whole_answer_or_none(text: str, value: object) -> None:
    assert json_in(text) == value
