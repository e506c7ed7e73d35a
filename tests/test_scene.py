"""The scene that the bot exists for, with every engine: a fault, a photo, a second one, and what changed.

In English on the chat page in a real Chromium, in Chinese through Telegram.  `REMOTE` stands in for a model
that sees: it gives its whole answer only for a prompt that holds all of the case.  The rules cannot see, but
know what the customer says of the photos.  The toy model sees, but knows lights and neither modules nor
steps, understands only the questions it was taught, and says what changed when it is asked.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bot.app import App, open_app
from bot.engines import Engine
from bot.engines.demo.drawings import Light, draw, jpeg
from bot.engines.sampling import Sampling
from bot.guard import Guard
from bot.staff.retrace import Retrace
from context.console.conversations import Conversations
from context.templates import Templates
from context.turns import Chat, Language
from prompts.prompts import Prompts
from tests.bot_api import BotApiServer
from tests.chromium import needs_chromium, open_browser, open_tab
from tests.displays import as_jpeg, draw_display
from tests.model_server import ModelServer, Received
from tests.until import PROCESS_S
from tests.world import settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

_DICE = random.Random(5)
BLINKING, STEADY = (jpeg(draw(Light("red", pattern), _DICE, scale=2)) for pattern in ("blinking", "steady"))
SAID: dict[Language, tuple[str, str, str]] = {
    "en": (
        "our AC shows a fault",
        "the red light blinks three times",
        "now it is steady red, I took another one",
    ),
    "zh": ("我家空调出故障了", "红灯闪三下", "现在红灯常亮了，我又拍了一张"),
}
REMOTE: dict[Language, tuple[str, str, str]] = {
    "en": (
        "I am sorry to hear that. Please send a photo of the display or the lights.",
        (
            "In photo 1 a red light is on. Blinking three times points to the communication module.\n"
            "1. Restart it: switch the AC off at the wall, wait a minute, and switch it on again."
        ),
        "The light has changed since photo 1: it blinked then, and is steady red in photo 2.",
    ),
    "zh": (
        "抱歉给您带来不便。请发一张显示屏或指示灯的照片。",
        "照片1中红灯亮着，闪三下说明可能是通信模块的问题。\n1. 重启：断电，等一分钟再通电。",
        "与照片1相比有变化：之前是闪烁，照片2中变为常亮。",
    ),
}
RULES: dict[Language, tuple[str, str, str]] = {
    "en": (
        r"Please send a photo of the display or the lights",
        r"(?s)communication module .* switch the device off at the wall, wait one minute and switch it on",
        r"(?s)\AWhat has changed: with photo 1, red light blinking .* 2, red light steady.*not clear",
    ),
    "zh": (
        r"请发一张显示屏或指示灯的照片",
        r"(?s)通信模块.*断电，等一分钟后重新通电",
        r"(?s)\A(?!.*已经试过)变化：照片1时为红灯闪烁（3下），照片2时为红灯常亮。.*重启没有消除故障",
    ),
}

Line = tuple[str, bytes, str]
"""What the customer says, with which photo, and a pattern for the answer."""


def told(language: Language, answers: Sequence[str]) -> list[Line]:
    return list(zip(SAID[language], (b"", BLINKING, STEADY), answers, strict=True))


SCENES: dict[str, dict[Language, list[Line]]] = {
    "remote": {
        language: told(language, [rf"\A{re.escape(answer)}" for answer in answers])
        for language, answers in REMOTE.items()
    },
    "fallback": {language: told(language, answers) for language, answers in RULES.items()},
    "demo": {
        "en": [
            ("What is wrong with my machine?", b"", r"Please send a photo of the indicator light\."),
            ("What do you see in the photo?", BLINKING, r"The light is red and blinking\."),
            ("And this photo?", STEADY, r"The light is red and steady\."),
            ("Did the light change?", b"", r"\AYes, from red and blinking to red and steady\."),
        ],
        "zh": [
            ("我的机器怎么了？", b"", r"请发一张指示灯的照片。"),
            ("照片里的灯怎么样？", BLINKING, r"红灯闪烁。"),
            ("这张照片呢？", STEADY, r"红灯常亮。"),
            ("灯变了吗？", b"", r"\A变了，从红灯闪烁变成红灯常亮。"),
        ],
    },
}


def sees(request: Received) -> str:
    """A model that sees: its answer to the last question is whole only if the prompt is."""
    language: Language = "zh" if "客服" in request.text else "en"
    asks, suspects, compares = REMOTE[language]
    first, second, third = SAID[language]
    if third in request.last_text:
        whole = all(part in request.text for part in (first, asks, second, suspects.split("\n")[0]))
        return compares if whole and len(request.images) == 2 else "I do not know what this is about."
    return suspects if second in request.last_text and len(request.images) == 1 else asks


@dataclass(frozen=True, slots=True)
class Stage:
    """A running bot with one of the engines."""

    engine: str
    app: App
    telegram: BotApiServer
    model: ModelServer | None


@pytest_asyncio.fixture(params=list(SCENES), scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    engine: str = request.param
    folder: Path = tmp_path_factory.mktemp(engine)
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(BotApiServer())
        model = await stack.enter_async_context(ModelServer(answer=sees)) if engine == "remote" else None
        settings = settings_for(folder, telegram, model, **({"ocr": "always"} if model else {}))
        stack.enter_context(pytest.MonkeyPatch.context()).setattr("bot.app.engines.has_gpu", lambda: False)
        app = await stack.enter_async_context(open_app(settings, engine=toy() if engine == "demo" else None))
        await app.ready.wait()
        yield Stage(engine, app, telegram, model)


def toy() -> Engine:
    """`MODEL=demo`, but always with its likeliest words."""
    pytest.importorskip("torch")
    from bot.engines.local import LocalEngine

    likeliest = Sampling(temperature=0, repetition_penalty=1, max_tokens=48)
    return LocalEngine(model="demo", threads=1, sampling=likeliest)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def play(stage: Stage, language: Language, say: Callable[[str, bytes], Awaitable[str]]) -> None:
    """Say the customer's lines; every answer says what it should."""
    for words, photo, expected in SCENES[stage.engine][language]:
        answer = await say(words, photo)
        assert re.search(expected, answer), answer
    if stage.model is not None:
        check_prompt(stage.model.requests[-1])


def check_prompt(request: Received) -> None:
    """Both photos stand in the last prompt, each with the words it came with, and are not the same."""
    pictures = [base64.b64decode(url.partition(",")[2]) for url in request.images]
    assert len({hashlib.sha256(picture).digest() for picture in pictures}) == 2
    holding = [isinstance(message["content"], list) for message in request.messages]
    assert holding == [False, False, False, True, False, True]


@needs_chromium
@pytest.mark.browser
async def test_the_scene_on_the_chat_page(stage: Stage, browser: Browser) -> None:
    async with open_tab(browser, stage.app.url, locale="en-GB") as (page, watch):
        page.set_default_timeout(PROCESS_S * 1000)  # the first photo loads the text recognition

        async def say(words: str, photo: bytes) -> str:
            answers = page.locator(".row.bot .text")
            before = await answers.count()
            if photo:
                file: Any = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo}
                await page.set_input_files("#photos", file)
            await page.fill("#text", words)
            await page.press("#text", "Enter")
            await answers.nth(before).wait_for()
            return await answers.nth(before).inner_text()

        await play(stage, "en", say)
        if stage.engine != "demo":
            await check_cites(page)
        if stage.engine == "remote":
            await check_cites_of_a_new_case(page, say)
        watch.check()


async def check_cites(page: Page) -> None:
    """Each photo that the last answer names is shown beside its name, and opens from there."""
    tiles = page.locator("a.photo")
    cites = page.locator(".row.bot").last.locator("a.cite")
    await expect(cites).to_have_text(["photo 1", "photo 2"])
    for number in (0, 1):
        address = await tiles.nth(number).get_attribute("href")
        assert address is not None
        await expect(cites.nth(number)).to_have_attribute("href", address)
        await expect(cites.nth(number).locator("img")).to_have_attribute("src", address)
    await cites.last.click()
    await expect(page.locator("#lightbox .caption")).to_have_text("2 / 2")


async def check_cites_of_a_new_case(page: Page, say: Callable[[str, bytes], Awaitable[str]]) -> None:
    """Numbers begin anew: what was photo 2 of the old case is photo 1 of the new one."""
    second = await page.locator("a.photo").nth(1).get_attribute("href")
    await page.keyboard.press("Escape")
    await say("/reset", b"")
    assert "photo 1" in await say(SAID["en"][1], STEADY)
    assert second is not None
    await expect(page.locator(".row.bot").last.locator("a.cite")).to_have_attribute("href", second)


async def test_the_scene_through_telegram(stage: Stage) -> None:
    li = stage.telegram.customer(7001, language="zh")

    async def say(words: str, photo: bytes) -> str:
        if photo:
            li.sends_photo(photo, caption=words)
        else:
            li.says(words)
        (sent,) = await stage.telegram.replies(li.room.id, timeout=PROCESS_S)
        return sent.text

    await play(stage, "zh", say)


@pytest.mark.parametrize("stage", ["remote"], indirect=True)
async def test_with_ocr_always_the_model_is_told_what_stands_on_a_photo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.photos.reading.READING_S", PROCESS_S)  # also on a busy machine
    assert stage.model is not None
    ann = stage.telegram.customer(7002)
    ann.sends_photo(as_jpeg(draw_display("E07")), caption="what is this?")
    await stage.telegram.replies(ann.room.id, timeout=PROCESS_S)
    told = (
        "[photo 1: read on it by text recognition, perhaps wrongly]\n<picture_text>\nE07\n</picture_text>\n"
    )
    assert told in stage.model.requests[-1].last_text
    assert await is_retraced(stage.app, Chat("telegram", "7002")), "staff see another prompt than the model"


async def is_retraced(app: App, chat: Chat) -> bool:
    """Whether the prompt of a chat's last turn can be made again, to the last character."""
    conversations = Conversations(app.stores.db)
    conversation = await conversations.read(chat)
    assert conversation is not None
    retrace = Retrace(
        conversations=conversations,
        templates=Templates(app.stores.db),
        photos=app.stores.photos,
        prompts=Prompts(),
        engines=(),
        guard=Guard(),
        context_turns=5,
    )
    retraced = await retrace.prompt(conversation.exchanges[max(conversation.exchanges)])
    return retraced.is_same is True
