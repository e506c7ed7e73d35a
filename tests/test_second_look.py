"""Photos are read behind their turns; what is found reaches the next prompt, the rules, and staff."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO

import pytest
import pytest_asyncio
from PIL import Image

from bot.engines.fallback import FallbackEngine
from bot.engines.ocr import Enough
from bot.engines.rules import load_rules
from bot.photos import second_look
from bot.photos.plates import Plates
from bot.photos.second_look import SecondLook
from context.console.conversations import Conversations
from context.duties import Duties
from context.fingerprints import fingerprint
from context.turns import Chat, Fact, Line
from prompts.prompts import Prompts
from tests.ac_panel import as_jpeg, draw_panel, draw_plate
from tests.asked import asked
from tests.model_server import Received
from tests.staff_world import ANSWERS, CHAT, Desk, open_desk
from tests.test_scene import is_retraced
from tests.until import until
from tests.world import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk")) as made:
        while await made.world.app.second_look.look():
            pass
        yield made


async def test_what_was_read_is_told_with_the_next_question_of_the_case(desk: Desk) -> None:
    w = desk.world
    serial = 'photo 2: serial number "8K2207M1194"'
    answered = [request.text for request in w.model.requests if "which its serial number" not in request.text]
    assert serial not in str(answered), "no answer waits for a reading"
    lin = w.telegram.customer(101)
    lin.says("what now?")
    await w.telegram.replies(101)
    told = w.model.requests[-1].last_text
    assert f'photo 1: code "E4"; photo 2: model "KFR-35GW"; {serial}]' in told
    assert await is_retraced(w.app, CHAT)
    lin.says("/reset")
    await w.telegram.replies(101)
    lin.says("another thing")
    await w.telegram.replies(101)
    assert serial not in w.model.requests[-1].last_text


async def test_what_a_plate_does_not_name_the_model_does_and_only_what_stands_there_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = desk.world
    said = {"brand": "Great Cool", "model": "GC-260O/B", "serial": "AB9912345"}
    monkeypatch.setitem(ANSWERS, "which its serial number", json.dumps(said))
    gus = w.telegram.customer(204)
    gus.sends_photo(
        as_jpeg(draw_plate(("GREAT COOL", "GC-2600/B", "220 V ~ 50 Hz", "R32"))), caption="it leaks"
    )
    await w.telegram.replies(204)
    while await w.app.second_look.look():
        pass
    asked = next(request for request in w.model.requests if "which its serial number" in request.text)
    assert "<picture_text>" in asked.text
    assert len(asked.images) == 1
    gus.says("what now?")
    await w.telegram.replies(204)
    told = w.model.requests[-1].last_text
    assert 'photo 1: brand "Great Cool"; photo 1: model "GC-260O/B"]' in told, "no serial number is on it"


async def test_the_overlay_has_lines_and_facts_with_their_places(desk: Desk) -> None:
    conversation = await Conversations(desk.world.app.stores.db).read(CHAT)
    assert conversation is not None
    panel, plate, *_ = (said.photo for said in conversation.said if said.photo)
    assert panel is not None
    assert plate is not None
    async with desk.signed_in("vic") as vic:
        shown = {
            photo.number: (await vic.client.get(f"/staff/c/{CHAT.key}/photos/{photo.sha256}/text")).json()
            for photo in (panel, plate)
        }
    assert ("code", "E4") in [(fact["kind"], fact["value"]) for fact in shown[1]["facts"]]
    assert [(fact["name"], fact["value"]) for fact in shown[2]["facts"]] == [
        ("model number", "KFR-35GW"),
        ("serial number", "8K2207M1194"),
    ]
    boxes = [line["box"] for line in shown[2]["lines"]]
    assert all(fact["place"] in boxes for fact in shown[2]["facts"])


async def test_staff_are_shown_similar_earlier_cases_of_others(desk: Desk) -> None:
    fang = Chat("telegram", "103")
    conversation = await Conversations(desk.world.app.stores.db).read(fang)
    assert conversation is not None
    async with desk.signed_in("vic") as vic:
        page = (await vic.client.get(f"/staff/turn/{min(conversation.exchanges)}")).text
        pane = (await vic.client.get(f"/staff/c/{fang.key}/pane")).text
    assert f'href="/staff/c/{CHAT.key.replace(":", "%3A")}?turn=' in page
    assert "Our bedroom AC stopped cooling" in page
    assert "<li>4. Seen: E4</li>" in pane, "nobody wrote the code: it stands on the photo"


async def test_lamp_on_and_lamp_off_look_alike_and_get_two_answers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = desk.world
    lit, dark = draw_panel("E4"), draw_panel("E4").copy()
    dark.paste((244, 244, 241), (862, 330, 894, 382))
    assert fingerprint(as_jpeg(lit)).is_near(fingerprint(as_jpeg(dark)))
    monkeypatch.setattr(w.model, "answer", lambda request: f"Lit: {is_lit(request)}.")
    said = []
    for number, panel in enumerate((lit, dark), start=205):
        w.telegram.customer(number).sends_photo(as_jpeg(panel), caption="what about this lamp?")
        said += [sent.text for sent in await w.telegram.replies(number)]
    assert said == ["Lit: True.", "Lit: False."]


def is_lit(request: Received) -> bool:
    """Whether the lamp beside the display is, on the photo of a request."""
    picture = Image.open(BytesIO(base64.b64decode(request.images[-1].partition(",")[2])))
    red, green, _ = picture.convert("RGB").getpixel(
        (878 * picture.width // 1200, 350 * picture.height // 900)
    )  # type: ignore[misc]
    return int(red) > int(green) + 60


class Glances:
    """Reads nothing, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
        self.count += 1
        return ()

    async def close(self) -> None:
        pass


async def test_it_waits_until_no_turn_runs_but_not_for_ever(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, busy, reader, at_once = desk.world.app.stores, True, Glances(), Glances()
    look = SecondLook(
        photos=stores.photos,
        readings=stores.readings,
        reader=reader,
        reader_for_staff=at_once,
        labels=load_rules().labels,
        plates=Plates(engine=desk.world.app.engine, prompts=Prompts()),
        duties=Duties(stores.db),
        me="a test",
        is_busy=lambda: busy,
        mask=str,
    )
    for name, seconds in (("EVERY_S", 0.02), ("QUIET_S", 0.06), ("PATIENCE_S", 3600.0)):
        monkeypatch.setattr(second_look, name, seconds)
    ann = desk.world.telegram.customer(203)
    ann.sends_photo(picture((200, 30, 30)), caption="what is this?")
    await desk.world.telegram.replies(203)
    look.start()
    await asyncio.sleep(0.3)
    assert reader.count == 0
    panel = as_jpeg(draw_panel("E7"))
    await asyncio.gather(*(look.of("a photo that colleagues opened", panel) for _ in range(3)))
    assert (reader.count, at_once.count) == (0, 1)
    busy = False
    await until(lambda: reader.count)
    busy, before = True, reader.count
    monkeypatch.setattr(second_look, "PATIENCE_S", 0.1)
    ann.sends_photo(picture((30, 200, 30)), caption="and this?")
    await until(lambda: reader.count > before)
    await look.stop()


async def test_without_a_model_the_next_answer_still_knows_the_device() -> None:
    engine = FallbackEngine(reader=None)
    assert "which device it is" in (await engine.draft(asked("and now?"))).text
    known = Fact("model", "KFR-35GW", 0.98)
    text = (await engine.draft(replace(asked("and now?"), facts=((1, known),)))).text
    assert "model KFR-35GW" in text
    assert "which device it is" not in text
