"""The line before the model: who waits for others hears so once, truly, and never after the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from bot.engines import Draft, OnText
from bot.engines.line import Ahead, Line
from bot.errors import EngineUnavailable
from context.health import Health
from context.turns import Chat
from prompts.prompt import Prompt
from prompts.prompts import Prompts
from tests.asked import asked
from tests.bot_api import Person
from tests.clock import Clock
from tests.model_server import ModelServer, Received
from tests.test_web_chat import listening, say
from tests.until import until
from tests.web_world import browse
from tests.world import World, noted, world

LOOK_S = 0.1
_ids = count(71_000)


class Gate:
    """A model that says nothing before it is let."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def __call__(self, request: Received) -> str:
        await self.is_open.wait()
        return noted(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.patience.LOOK_S", LOOK_S)
        async with world(tmp_path_factory.mktemp("world"), model=ModelServer()) as made:
            yield made


@pytest.fixture
def gate(w: World) -> Gate:
    w.model.answer = Gate()
    return w.model.answer


def texts(w: World, person: Person) -> list[str]:
    return [sent.text for sent in w.telegram.sent_to(person.room.id)]


def is_answered(w: World, person: Person) -> bool:
    return "Noted" in "".join(texts(w, person))


async def queued(w: World, number: int) -> list[Person]:
    """Customers whose questions are with the model one after the other, none of them answered."""
    people = []
    for _ in range(number):
        li = w.telegram.customer(next(_ids))
        before = w.model.received
        li.says("E4 c1t1")
        await w.model.until(lambda server, before=before: server.received > before)  # type: ignore[misc]
        people.append(li)
    return people


@pytest.mark.asyncio(loop_scope="module")
async def test_who_waits_behind_others_is_told_once_and_before_the_answer(w: World, gate: Gate) -> None:
    first, second, third = await queued(w, 3)
    for person, before in ((third, 2), (second, 1)):
        (told,) = await w.telegram.replies(person.room.id)
        assert told.text == Prompts().notice("waiting", "en", questions=before, seconds=0)
    async with browse(w.app.url) as client:
        assert "bot_engine_waiting 3.0" in (await client.get("/metrics")).text
        assert "3 questions wait for a first word" in (await client.get("/health")).text
    await asyncio.sleep(3 * LOOK_S)
    gate.is_open.set()
    for person, notes in ((first, 0), (second, 1), (third, 1)):
        await until(partial(is_answered, w, person))
        assert ["⏳" in text for text in texts(w, person)] == [True] * notes + [False]


@pytest.mark.asyncio(loop_scope="module")
async def test_on_the_chat_page_it_stands_where_the_answer_is_written(w: World, gate: Gate) -> None:
    await queued(w, 1)
    async with browse(w.app.url, accept_language="zh") as visitor:
        await visitor.get("/")
        async with listening(visitor) as page:
            await say(visitor, "显示E4怎么办 c2t1")
            seen: list[str] = []
            while "answer" not in seen:
                event: Any = await page.next()
                name, data, _ = event
                if name == "preview" and data["parts"]:
                    seen.append(data["parts"][0]["text"])
                    gate.is_open.set()
                if any(line["who"] == "bot" for line in data.get("entries", ())):
                    seen.append("answer")
    assert seen == ["⏳ 您前面还有1个问题在等待。回答会发到这里。", "answer"]


@pytest.mark.asyncio(loop_scope="module")
async def test_in_a_chat_that_a_person_has_nothing_is_said(
    w: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.patience.LOOK_S", 20 * LOOK_S)  # time to take the chat, on a busy machine
    _, li = await queued(w, 2)
    await w.app.desk.take(Chat("telegram", str(li.room.id)), "mei")
    await asyncio.sleep(21 * LOOK_S)
    gate.is_open.set()
    assert not any("⏳" in text for text in texts(w, li))


class Slow:
    """An engine whose answers begin and end when a test says so."""

    name, model = "slow", "m"

    def __init__(self) -> None:
        self.hearing: list[OnText] = []
        self.ending: list[asyncio.Future[Draft]] = []

    async def start(self) -> None:
        raise NotImplementedError

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        assert on_text is not None
        self.hearing.append(on_text)
        self.ending.append(asyncio.get_running_loop().create_future())
        return await self.ending[-1]

    async def health(self) -> Health:
        return Health("ok", "well")

    async def close(self) -> None:
        raise NotImplementedError


async def test_a_place_is_given_up_with_the_first_word_and_the_pace_is_that_of_the_ends() -> None:
    clock, engine = Clock(), Slow()
    line = Line(engine, clock=clock)
    heard: list[str] = []
    asking = [
        asyncio.create_task(line.draft(asked("E4", affinity=f"c{number}"), on_text=heard.append))
        for number in range(8)
    ]
    await until(lambda: len(engine.ending) == len(asking))
    assert line.ahead("c0") == Ahead(0, None)
    assert line.ahead("c7") == Ahead(7, None)
    assert line.ahead("stranger") is None
    engine.hearing[1]("It")
    assert (heard, line.ahead("c1"), line.ahead("c7")) == (["It"], None, Ahead(6, None))
    for number in range(4):
        clock.move(3)
        engine.ending[number].set_result(Draft("It is fine.", "slow", "m"))
        await asking[number]
    assert line.ahead("c7") == Ahead(3, 12.0)
    assert (await line.health()).detail == "well; 4 questions wait for a first word"
    clock.move(61)
    assert line.ahead("c7") == Ahead(3, None), "a pace of long ago tells nothing"
    asking[4].cancel()
    engine.ending[5].set_exception(EngineUnavailable("gone"))
    await asyncio.gather(*asking[4:6], return_exceptions=True)
    assert line.ahead("c7") == Ahead(1, None)
    engine.hearing[6]("It")
    engine.hearing[7]("It")
    assert (line.waiting, (await line.health()).detail) == (0, "well")
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize(
    ("questions", "seconds", "english", "chinese"),
    [
        (1, 0, "One question is before yours.", "前面还有1个问题在等待。"),
        (6, 40, "it should be your turn in about 40 seconds.", "大约40秒后轮到您。"),
        (60, 130, "in about 3 minutes.", "大约3分钟后轮到您。"),
    ],
)
def test_the_words_say_what_is_known(questions: int, seconds: int, english: str, chinese: str) -> None:
    for language, words in (("en", english), ("zh", chinese)):
        said = Prompts().notice("waiting", language, questions=questions, seconds=seconds)  # type: ignore[arg-type]
        assert words in said
