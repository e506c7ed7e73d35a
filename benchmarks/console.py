"""The staff console on a million turns: list, filters, search, live rows, and what open consoles cost.

`python -m benchmarks.console [--turns N] [--folder DIR]`; a folder that is kept is built once (some minutes).
Everything is measured over HTTP, rendering included.  The yardstick of the last part is the same bot, in the
same process, with nobody looking.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import context.console.keeper
from bot import passwords
from bot.app import App, open_app
from bot.engines import Draft, Usage
from bot.settings import Settings
from context.console.accounts import Staff
from context.console.keeper import Keeper
from context.console.search import index_in
from context.db import Database
from context.health import Health
from context.turns import Arrival, Chat, Kind

PASSWORD = "correct horse battery"
NO_CEILINGS = {"customer_messages_per_min": 0, "customer_messages_per_day": 0}
CHATS_PER_TURN = 5
CONSOLES = 200
LOAD = 600
ROUNDS = 3
ASKED = (
    "空调显示 {code}，红灯一直亮，室外机不转，怎么办？",
    "滤网清洗了以后还是报 {code}，有异响，绿灯闪烁",
    "The display shows {code} and the red light blinks, serial {serial}",
    "My heater stopped, error {code}, what should I check first?",
)
SAID = (
    "照片1上显示 {code}：室内温度传感器断路。请先断电，五分钟后再试；如果红灯仍然常亮，请拍一张铭牌。",
    "{code} means that the fan does not turn. Switch it off at the breaker, see whether something blocks it.",
    "请检查排水管是否堵塞，再清洗滤网；过热保护需要等待二十分钟。",
)
SEARCHES = (
    "红灯",
    "灯",
    "E47",
    "过热保护",
    "fan breaker",
    "滤网 异响",
    "serial",
    "SN004217",
    "nothing",
    "绿灯闪烁",
)
TURNS = sa.text("SELECT id, chat, text, reply, origin, record FROM turns WHERE id >= :first AND id < :end")
CHIPS = ("all", "waiting", "flagged", "fallback", "photo", "failed", "mine")


class Stub:
    """An engine that answers at once."""

    name, model = "stub", "stub-model"

    async def start(self) -> None:
        """Nothing to do."""

    async def draft(self, _prompt: object, **_options: object) -> Draft:
        """The same answer to everything."""
        return Draft("Please send a photo of the display.", "stub", "stub-model", usage=Usage(100, 10))

    async def health(self) -> Health:
        """Always well."""
        return Health("ok")

    async def close(self) -> None:
        """Nothing to do."""


def build(folder: Path, turns: int) -> None:
    """A database with so many turns, five a chat: written in bulk, listed and indexed as the bot does it."""
    began = time.perf_counter()
    asyncio.run(Database(f"sqlite:///{folder}/bot.db").close())
    connection = sqlite3.connect(folder / "bot.db")
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    draw, start = random.Random(7), time.time() - 90 * 86_400
    step = 90 * 86_400 / turns
    chats = max(1, turns // CHATS_PER_TURN)
    connection.executemany(
        "INSERT INTO chats (chat, sender, language, created_at) VALUES (?, ?, ?, ?)",
        ((f"telegram:{n}", f"Customer {n}", ("zh", "en")[n % 2], start) for n in range(chats)),
    )
    connection.executemany(
        """INSERT INTO turns (id, chat, state, fence, opened_at, closed_at, text, reply, language, origin,
                              remembered, record) VALUES (?, ?, ?, 1, ?, ?, ?, ?, 'zh', ?, 1, ?)""",
        (_turn(draw, n, chats, start + n * step) for n in range(1, turns + 1)),
    )
    for direction, column in (("in", "text"), ("out", "reply")):
        state = "taken" if direction == "in" else "sent"
        connection.execute(
            f"""INSERT INTO messages (chat, direction, state, turn_id, at, text, photo, source)
                SELECT chat, '{direction}', '{state}', id, opened_at, {column},
                       CASE WHEN '{direction}' = 'in' AND id % 3 = 0 THEN 'x' END,
                       CASE WHEN '{direction}' = 'in' THEN 'b:' || id END FROM turns ORDER BY id"""
        )
    connection.execute(
        """INSERT INTO handoffs (chat, reason, asked_at)
           SELECT chat, 'asked', created_at FROM chats WHERE rowid % 997 = 0"""
    )
    for _, statement in triggers:
        connection.execute(statement)
    connection.execute("DELETE FROM changes")
    connection.execute("INSERT INTO changes (chat) SELECT chat FROM chats")
    connection.commit()
    connection.close()
    print(f"{turns:,} turns written in {time.perf_counter() - began:.0f} s", flush=True)
    asyncio.run(_list_and_index(folder, turns))
    print(f"listed and indexed after {time.perf_counter() - began:.0f} s", flush=True)


def _turn(draw: random.Random, n: int, chats: int, at: float) -> tuple[object, ...]:
    values = {"code": f"E{draw.randrange(90)}", "serial": f"SN{draw.randrange(9999):06d}"}
    action = "hold" if n % 101 == 0 else "allow"
    record = {"model": "m", "prompt": "support@1", "verdict": {"action": action, "reasons": []}}
    origin = "fallback" if n % 10 == 0 else "remote"
    state = "failed" if n % 503 == 0 else "closed"
    # A chat's turns are spread over the whole time, as they are in life.
    chat = f"telegram:{n % chats}"
    text, reply = draw.choice(ASKED).format(**values), draw.choice(SAID).format(**values)
    return n, chat, state, at, at + 4, text, reply, origin, json.dumps(record)


def _index(connection: Connection, *, first: int) -> None:
    found = connection.execute(TURNS, {"first": first, "end": first + 4000})
    index_in(connection, found.all())


async def _list_and_index(folder: Path, turns: int) -> None:
    db = Database(f"sqlite:///{folder}/bot.db")
    for first in range(1, turns + 1, 4000):
        await db.write(partial(_index, first=first))
    most = context.console.keeper.BATCH, context.console.keeper.CHATS
    context.console.keeper.BATCH = context.console.keeper.CHATS = 2000
    keeper = Keeper(db)
    while await keeper.catch_up():
        pass
    context.console.keeper.BATCH, context.console.keeper.CHATS = most
    await db.close()


@asynccontextmanager
async def bot(folder: Path) -> AsyncIterator[App]:
    settings = Settings(data_dir=folder, http_port=0, log_level="ERROR", **NO_CEILINGS)
    async with open_app(settings, engine=Stub()) as app:  # type: ignore[arg-type]
        await app.ready.wait()
        yield app


async def sign_in(app: App) -> httpx.AsyncClient:
    staff = Staff(app.stores.db)
    if await staff.password("mei") is None:
        await staff.add("mei", "admin", passwords.hashed(PASSWORD))
    client = httpx.AsyncClient(base_url=app.url, verify=False, timeout=60)
    await client.post("/staff/login", data={"name": "mei", "password": PASSWORD})
    return client


async def p95(ask: Callable[[], Awaitable[object]], times: int = 40) -> tuple[float, float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), sorted(took)[int(len(took) * 0.95)]


async def speed(client: httpx.AsyncClient) -> None:
    print("\n| what | p50 ms | p95 ms |\n| --- | --- | --- |")
    addresses = {f"list, chip {chip}": f"/staff/list?chip={chip}" for chip in CHIPS}
    addresses |= {f"search {words}": f"/staff/list?q={words}" for words in SEARCHES}
    addresses["search 红灯, flagged only"] = "/staff/list?q=红灯&chip=flagged"
    addresses["search 红灯, 30 days ago"] = "/staff/list?q=红灯&until=" + time.strftime(
        "%Y-%m-%d", time.gmtime(time.time() - 30 * 86_400)
    )
    addresses["verdict hold"] = "/staff/list?verdict=hold"
    addresses["first page"] = "/staff"
    addresses["a conversation"] = "/staff/c/telegram:7/pane"
    for name, address in addresses.items():
        median, worst = await p95(lambda a=address: client.get(a))  # type: ignore[misc]
        print(f"| {name} | {median:.1f} | {worst:.1f} |", flush=True)
    page = await client.get("/staff")
    files = re.findall(r'(?:src|href)="(/static/[^"#]+)"', page.text)
    answers = [await client.get(path) for path in files]
    sizes = [len(page.content), *(int(answer.headers["content-length"]) for answer in answers)]
    print(f"\nfirst page: {sizes[0]:,} bytes of HTML in one answer; {sum(sizes):,} with styles and scripts")


def arrival(chat: int, number: int) -> Arrival:
    return Arrival(Chat("web", f"b{chat}"), f"web:{number}", f"m{number}", Kind.TEXT, text="it shows E4")


async def latency(app: App, client: httpx.AsyncClient) -> None:
    took, first = [], time.time_ns() // 1_000_000
    async with client.stream("GET", "/staff/live") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        for number in range(20):
            await asyncio.sleep(0.3)
            began = time.perf_counter()
            await app.stores.inbox.put([arrival(first + number, first + number)])
            async for line in lines:
                if f"web:b{first + number}" in line:
                    break
            took.append(time.perf_counter() - began)
    print(f"live row: p50 {statistics.median(took) * 1000:.0f} ms, worst of 20 {max(took) * 1000:.0f} ms")


async def throughput(app: App, first: int) -> tuple[float, float]:
    """Turns a second from many chats at once, and the bot's own CPU ms a turn."""
    began, used = time.perf_counter(), time.process_time()
    for number in range(first, first + LOAD):
        await app.stores.inbox.put([arrival(number % 300, number)])
    for _ in range(2000):
        if not await app.stores.inbox.depth():
            break
        await asyncio.sleep(0.05)
    return LOAD / (time.perf_counter() - began), (time.process_time() - used) / LOAD * 1000


WATCH = """
import asyncio, sys, httpx
async def main(url, cookie, count):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    options = {"verify": False, "limits": limits, "timeout": None, "cookies": {"staff": cookie}}
    async with httpx.AsyncClient(base_url=url, **options) as client:
        async def look():
            async with client.stream("GET", "/staff/live") as stream:
                async for _ in stream.aiter_raw():
                    pass
        tasks = [asyncio.create_task(look()) for _ in range(count)]
        print("watching", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks: task.cancel()
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def consoles(app: App, client: httpx.AsyncClient) -> None:
    alone, watched = [], []
    number = time.time_ns() // 1_000_000  # a folder that is kept has those of earlier runs
    await throughput(app, number)  # warm-up
    for _ in range(ROUNDS):
        number += LOAD
        alone.append(await throughput(app, number))
        watching = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WATCH,
            app.url,
            client.cookies["staff"],
            str(CONSOLES),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert watching.stdout is not None
        await watching.stdout.readline()
        await asyncio.sleep(2)
        number += LOAD
        watched.append(await throughput(app, number))
        await watching.communicate(b"\n")
    print(f"\n| {CONSOLES} open consoles | turns/s | the bot's CPU ms a turn |\n| --- | --- | --- |")
    medians = [[statistics.median(column) for column in zip(*runs, strict=True)] for runs in (alone, watched)]
    for name, (speed_, cpu) in zip(("none open", "open"), medians, strict=True):
        print(f"| {name} | {speed_:.0f} | {cpu:.1f} |")
    rounds = [f"{with_[0] / without[0]:.2f}" for with_, without in zip(watched, alone, strict=True)]
    print(f"| ratio | {medians[1][0] / medians[0][0]:.2f} | {medians[1][1] / medians[0][1]:.2f} |")
    print(f"rounds: {', '.join(rounds)}")


async def measure(folder: Path, *, consoles_only: bool) -> None:
    async with bot(folder) as app:
        client = await sign_in(app)
        if not consoles_only:
            await speed(client)
            await latency(app, client)
        await consoles(app, client)
        await client.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--consoles-only", action="store_true", help="only what open consoles cost")
    parser.add_argument("--folder", type=Path, help="kept between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as other:
        folder = options.folder or Path(other)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "bot.db").exists():
            build(folder, options.turns)
        asyncio.run(measure(folder, consoles_only=options.consoles_only))


if __name__ == "__main__":
    main()
