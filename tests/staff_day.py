"""A service desk on an ordinary day, for the pictures in README: believable customers, over some hours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa

from bot.app import open_app
from context.console.accounts import Staff
from context.feedback import Feedbacks
from context.turns import Chat
from tests.ac_panel import as_jpeg, draw_panel, draw_plate
from tests.bot_api import BotApiServer
from tests.model_faults import Fault
from tests.model_server import ModelServer, Received
from tests.staff_world import Desk
from tests.world import World, settings_for

MODEL = "Qwen3-VL-8B-Instruct"
LIN, BEN, FANG, CHEN, SOFIA, ZHAO, PRIYA = (Chat("telegram", str(number)) for number in range(2101, 2108))
NAMES = {LIN: "Lin Wei", BEN: "Ben Carter", FANG: "方女士", CHEN: "陈建国", SOFIA: "Sofia Rossi"}
NAMES |= {ZHAO: "赵敏", PRIYA: "Priya Nair"}
AGO_MIN = {FANG: 6, LIN: 9, BEN: 14, CHEN: 27, SOFIA: 52, ZHAO: 95, PRIYA: 160}
"""How long ago each of them wrote last."""

ANSWERS = {
    "stopped cooling": (
        "On photo 1 the display shows E4: the unit no longer hears its indoor temperature sensor. "
        "Photo 2 says that it is a KFR-35GW.\n\n"
        "1. Switch the unit off at the breaker and wait five minutes.\n"
        "2. Switch it on again and let it run for ten minutes.\n"
        "3. If E4 comes back, the sensor or its plug has to be checked by a technician."
    ),
    "ten minutes": (
        "Then the sensor itself is the likely cause, and that is nothing to open at home. "
        "Please leave the unit off at the breaker. Shall a colleague arrange a visit?"
    ),
    "money back": "I am sorry, Ben. You will get a full refund of 300 yuan within three days, I promise.",
    "红灯一直": (
        "照片1上运行灯是红色常亮，显示 E6：室内机与室外机之间没有通信。\n\n"
        "1. 请先关闭空调专用空气开关，等待五分钟。\n"
        "2. 重新合闸开机，观察十分钟。\n"
        "3. 如果仍然显示 E6，请不要自行拆机，回复“转人工”，我们安排师傅上门。"
    ),
    "还是E6": "已经重启过仍是 E6，说明通信线路或主板需要检测。请保持断电，我为您转接同事预约上门。",
    "滤网": "可以的。先断电，向上掀开面板，取出滤网，用清水冲洗并晾干后装回。每两到四周清洗一次即可。",
    "remote": "Please take both batteries out for a minute, then hold ON/OFF for five seconds.",
    "漏水": "照片1上可以看到接水盘边缘有水迹。请先断电，检查排水管是否打折，再把室内机左侧稍微垫高。",
    "铭牌": "照片1上的型号是 KFR-35GW，序列号清晰可见。请稍候，同事为您核对保修期。",
}


def answer(request: Received) -> str:
    """What the model says to a question that holds a word."""
    return next(
        (said for word, said in ANSWERS.items() if word in request.last_text), "Could you send a photo?"
    )


@asynccontextmanager
async def open_day(folder: Path) -> AsyncIterator[Desk]:
    """The desk; `mei` is an agent, `ana` an admin."""
    model = ModelServer(answer=answer, models=(MODEL,), latency_s=0.8)
    async with BotApiServer() as api, model:
        settings = settings_for(folder, api, model).model_copy(update={"model": MODEL})
        async with open_app(settings) as app:
            await app.ready.wait()
            desk = Desk(World(app, api, model), app.url, Staff(app.stores.db))
            await asyncio.gather(desk.account("mei", "agent"), desk.account("ana", "admin"))
            await _customers(desk)
            await _move(desk)
            for chat, minutes in AGO_MIN.items():
                await desk.until_listed(chat, lambda line, m=minutes: line.at < time.time() - m * 60)
            yield desk


async def _customers(desk: Desk) -> None:
    telegram, model = desk.world.telegram, desk.world.model
    people = {
        chat: telegram.customer(int(chat.address), name=name, language="en" if name.isascii() else "zh")
        for chat, name in NAMES.items()
    }
    e4, e6, plate = (as_jpeg(picture) for picture in (draw_panel("E4"), draw_panel("E6"), draw_plate()))

    async def reply(chat: Chat) -> None:
        await telegram.replies(int(chat.address))

    model.fail_always(Fault.ERROR_500)
    people[PRIYA].sends_photo(e4, caption="What does this code mean?")
    await reply(PRIYA)
    model.fail_always(None)
    people[ZHAO].sends_photo(e6, caption="室内机漏水怎么办？")
    await reply(ZHAO)
    people[ZHAO].says("滤网可以自己洗吗？")
    await reply(ZHAO)
    people[SOFIA].says("The remote does nothing at all")
    await reply(SOFIA)
    people[CHEN].sends_photo(plate, caption="这是铭牌，还在保修期吗？")
    await reply(CHEN)
    people[BEN].says("I was told a technician comes on Monday. Nobody came. I want my money back.")
    await reply(BEN)
    await people[LIN].sends_album([e4, plate], caption="Our bedroom AC stopped cooling. What can I do?")
    await reply(LIN)
    people[LIN].says("I waited ten minutes, it shows E4 again.")
    await reply(LIN)
    people[FANG].sends_photo(e6, caption="红灯一直亮，不制冷了")
    await reply(FANG)
    people[FANG].says("重启过了，还是E6")
    await reply(FANG)
    people[FANG].says("/human")
    await reply(FANG)
    for chat in NAMES:
        await desk.until_listed(chat)
    async with desk.signed_in("mei") as mei:
        assert (await mei.post(f"/staff/c/{CHEN.key}/take")).status_code == 200
    db = desk.world.app.stores.db
    for chat, vote in ((ZHAO, "up"), (SOFIA, "down"), (LIN, "up")):
        turn = await db.read(
            lambda c, chat=chat: c.execute(  # type: ignore[misc]
                sa.text("SELECT MIN(id) FROM turns WHERE chat = :chat"), {"chat": chat.key}
            ).scalar_one()
        )
        await Feedbacks(db).keep(chat, turn, "helpful", vote)  # type: ignore[arg-type]


DILATED = 18
"""How many seconds a second of the world's becomes."""
_AGES = (
    "UPDATE messages SET at = :now - (:last - at) * :dilated - :ago WHERE chat = :chat",
    """UPDATE turns SET closed_at = :now - (:last - opened_at) * :dilated - :ago + closed_at - opened_at,
                        opened_at = :now - (:last - opened_at) * :dilated - :ago WHERE chat = :chat""",
    "UPDATE handoffs SET asked_at = :now - (:last - asked_at) * :dilated - :ago WHERE chat = :chat",
)


async def _move(desk: Desk) -> None:
    """Spread over the day what was said within seconds."""

    def move(connection: sa.Connection) -> None:
        now = time.time()
        for chat, minutes in AGO_MIN.items():
            values = {"chat": chat.key}
            last = connection.execute(
                sa.text("SELECT MAX(at) FROM messages WHERE chat = :chat"), values
            ).scalar_one()
            for statement in _AGES:
                given = values | {"now": now, "last": last, "dilated": DILATED, "ago": minutes * 60}
                connection.execute(sa.text(statement), given)

    await desk.world.app.stores.db.write(move)
