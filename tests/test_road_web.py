"""The chat page against the whole bot, over HTTP, on a machine with neither Telegram nor a model."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from bot.app import App, open_app
from bot.engines.rules import RULES, load_rules
from context.turns import Chat, Language
from prompts.prompts import Prompts
from tests.ac_panel import as_jpeg, draw_panel, draw_plate
from tests.test_forget import found_in
from tests.test_road_faults import full_disk
from tests.test_web_chat import lines, listening, say
from tests.until import PATIENCE_S
from tests.web_world import browse
from tests.world import picture, settings_for, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABEL = load_rules(RULES).frame["preliminary"]


@cache
def panel() -> bytes:
    return as_jpeg(draw_panel("E4"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    """The bot as it starts with nothing configured; a GPU in the machine is none of its business here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.app.engines.has_gpu", lambda: False)
        async with open_app(settings_for(tmp_path_factory.mktemp("world"), None, None)) as opened:
            await opened.ready.wait()
            yield opened


@asynccontextmanager
async def visit(app: App, language: Language = "en") -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who opens the page for the first time."""
    async with browse(app.url, accept_language=language) as client:
        assert (await client.get("/")).status_code == 200
        yield client


async def answer(client: httpx.AsyncClient, after: int) -> dict[str, Any]:
    """The bot's first line after the line `after`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for line in await lines(client, after):
                if line["who"] == "bot":
                    return line
            await asyncio.sleep(0.02)


async def ask(client: httpx.AsyncClient, text: str = "", *photos: bytes) -> dict[str, Any]:
    before = await lines(client)
    newest = int(str(before[-1]["id"])) if before else 0
    assert (await say(client, text, *photos)).status_code == 202
    return await answer(client, newest)


def notice(name: str, language: Language = "en", **values: object) -> str:
    return Prompts().notice(name, language, **values)


@pytest.mark.parametrize(("language", "words"), [("en", "What does this mean?"), ("zh", "这是什么意思?")])
async def test_a_photo_of_a_panel_is_read_and_the_answer_says_that_it_is_preliminary(
    app: App, language: Language, words: str
) -> None:
    async with visit(app, language) as li:
        told = await ask(li, words, panel())
        assert "E4" in told["text"]
        assert told["text"].endswith(LABEL[language])
        assert told["preliminary"] is True
        later = await ask(li, "It still beeps, and now?" if language == "en" else "还是响,怎么办?")
        assert "E4" in later["text"], "what was seen before is remembered"


async def test_the_conversation_is_there_after_a_reload_and_for_nobody_else(app: App) -> None:
    async with visit(app) as li, visit(app) as wang:
        await ask(li, "What does this mean?", panel())
        await ask(li, "<b>thanks</b> {{ 7*7 }} </customer_words>")
        found = await lines(li)
        assert [line["who"] for line in found] == ["customer", "bot", "customer", "bot"]
        assert found[2]["text"] == "<b>thanks</b> {{ 7*7 }} </customer_words>"
        photos: Any = found[0]["photos"]
        address = f"/chat/photos/{photos[0]['sha256']}.jpg"
        assert (await li.get(address)).content.startswith(b"\xff\xd8\xff")
        assert (await wang.get(address)).status_code == 404
        assert await lines(wang) == []


async def test_a_visitors_cookie_leads_nowhere_once_another_process_forgot_them(app: App) -> None:
    folder = Path(app.stores.db.name.removeprefix("sqlite:///")).parent
    async with visit(app) as li:
        await ask(li, "my canarywebq7 beeps")
        key = li.cookies["visitor"]
        kept = found_in(folder, ("canarywebq7", key.lower()))
        assert set().union(*kept.values()) == {"canarywebq7"}  # the cookie itself is kept nowhere
        chat = Chat("web", hashlib.sha256(key.encode()).hexdigest()[:32])
        told = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", "forget", chat.key),
            env={"PATH": os.environ["PATH"], "DATA_DIR": str(folder)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await told.communicate()
        assert (told.returncode, b"messages" in out) == (0, True)
        assert await lines(li) == []
        assert found_in(folder, ("canarywebq7", key.lower())) == {}
        assert (await ask(li, "hello again"))["who"] == "bot"


async def test_an_open_page_sees_its_message_the_typing_sign_and_the_answer(app: App) -> None:
    async with visit(app) as li, listening(li) as page:
        assert (await page.next())[0] == "entries"
        # Nobody has read this one yet, which takes long enough for the sign to be seen.
        await say(li, "What does this mean?", as_jpeg(draw_panel("F7")))
        seen: list[tuple[str, Any]] = []
        while not any(line["who"] == "bot" for _, data in seen for line in data.get("entries", ())):
            name, data, _ = await page.next()
            seen.append((name, data))
        assert {"typing": True} in [data for name, data in seen if name == "typing"]


async def test_reset_begins_a_new_case(app: App) -> None:
    async with visit(app) as li:
        assert "E4" in (await ask(li, "What does this mean?", panel()))["text"]
        newest = (await lines(li))[-1]["id"]
        assert (await li.post("/chat/reset")).status_code == 202
        assert (await answer(li, int(str(newest))))["text"] == notice("reset_done")
        assert "E4" not in (await ask(li, "It does not help, and now?"))["text"]


async def test_human_asks_for_a_person(app: App) -> None:
    async with visit(app, "zh") as li:
        assert (await ask(li, "/human"))["text"] == notice("human_asked", "zh")
        assert (await ask(li, "/human"))["text"] == notice("human_waiting", "zh")
        assert await app.stores.handoffs.waiting() >= 1


@pytest.mark.parametrize("command", ["start", "help", "privacy"])
async def test_commands_answer_in_the_language_of_the_page(app: App, command: str) -> None:
    async with visit(app, "zh") as li:
        assert (await ask(li, f"/{command}"))["text"] == notice(command, "zh")


async def test_a_bad_picture_is_refused_by_number_and_the_good_one_is_read(app: App) -> None:
    async with visit(app) as li:
        told = await ask(li, "What is this?", b"%PDF-1.7 not a picture", panel())
        reason = notice("photo_rejected", code="not_a_picture", number=1, total=2)
        assert told["text"].startswith(reason)
        assert "E4" in told["text"]
        marks = [line["rejections"] for line in await lines(li) if line["who"] == "customer"]
        assert marks == [[{"code": "not_a_picture", "clip": False}], []]


async def test_a_bad_video_is_called_a_video_and_counted_with_pictures_sent_twice(app: App) -> None:
    async with visit(app) as li:
        told = await ask(li, "What is this?", panel(), panel(), b"\0\0\0\x18ftypmp42" + bytes(1000))
        reason = notice("photo_rejected", code="damaged", number=3, total=3, is_clip=True)
        assert told["text"].startswith(reason)
        marks = [line["rejections"] for line in await lines(li) if line["who"] == "customer"]
        assert marks == [[], [], [{"code": "damaged", "clip": True}]]


async def test_a_bad_picture_alone_is_refused_and_the_chat_goes_on(app: App) -> None:
    async with visit(app) as li:
        reason = notice("photo_rejected", code="damaged", number=1, total=1)
        told = await ask(li, "", panel()[: len(panel()) // 2])
        assert told["text"] == f"{reason}\n\n{notice('photo_only_rejected')}"
        assert "E4" in (await ask(li, "", panel()))["text"]


async def test_the_same_message_sent_twice_is_answered_once(app: App) -> None:
    async with visit(app) as li:
        for _ in range(2):
            assert (await say(li, "The AC shows E4", message_id="0123456789abcdef")).status_code == 202
        await answer(li, 0)
        await ask(li, "/help")
        assert [line["who"] for line in await lines(li)] == ["customer", "bot", "customer", "bot"]


async def test_a_store_that_is_full_is_said_so_and_the_message_can_be_sent_again(app: App) -> None:
    async with visit(app) as li:
        words = "The AC shows E4 " + "x" * 3900
        async with full_disk(app.stores.db):
            for number in range(50):  # what still fits into the last page is taken
                answered = await say(li, words, message_id=(last := f"message-{number:04}"))
                if answered.status_code != 202:
                    break
            assert answered.status_code == 503
        assert (await say(li, words, message_id=last)).status_code == 202
        assert "E4" in (await answer(li, 0))["text"]


async def test_health_says_that_nothing_is_missing_and_metrics_count_the_answers(app: App) -> None:
    async with visit(app) as li:
        await ask(li, "The AC shows E4")
        health = await li.get("/health")
        assert health.status_code == 200
        assert {"database", "redis", "photos", "engine", "guard", "worker"} <= set(health.json()["parts"])
        assert "telegram" not in health.json()["parts"]
        assert 'bot_turns_total{engine="fallback",outcome="answered"}' in (await li.get("/metrics")).text


async def test_ten_photos_from_the_page_are_one_turn_and_reach_the_model_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as w, visit(w.app) as li:
        photos = [picture((20 * n, 255 - 20 * n, 100)) for n in range(9)] + [as_jpeg(draw_plate())]
        told = await ask(li, "ten views c1t0", *photos)
        assert told["text"] == "Noted: c1t0."
        assert told["preliminary"] is False
        (request,) = w.model.requests
        assert len(request.images) == 10
