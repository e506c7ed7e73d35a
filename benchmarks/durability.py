"""What it costs that nothing is lost, and how fast the bot is back: CPU, updates a second, backlog, workers.

    python benchmarks/durability.py [--quick] [cost] [ingest] [backlog] [workers]

`cost` and `ingest` drive the ledger in this process; `backlog` and `workers` start the bot between
a local Telegram server and a stub model.  Every figure stands beside a yardstick of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.processes import PeakMemory, cpu_s, keep_bytecode
from bot.telegram.intake import Intake
from bot.telegram.updates import Me
from context.db import Database
from context.inbox import Inbox
from context.outbox import Outbox
from context.turns import Arrival, Batch, Chat, Kind, Message, OpenTurn, Part, Receipt, Reply, Turn
from tests.bot_api import BotApiServer
from tests.model_server import ModelServer
from tests.postgres import find_binaries, serve_postgres
from tests.real_redis import PROGRAMS, RealRedis
from torture.arena import Arena
from torture.crowd import Model
from torture.subject import THIS, Process

_HAS_MEMORY_DISK = Path("/dev/shm").is_dir()

# --- What a message pays for being safe


class MemoryLedger:
    """The yardstick: the same road without durability, in dictionaries; a crash loses all of it."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Arrival]] = {}
        self._seen: set[str] = set()
        self._turns = 0

    async def put(self, arrivals: Sequence[Arrival]) -> int:
        """What `Inbox.put` does."""
        new = [arrival for arrival in arrivals if arrival.source not in self._seen]
        for arrival in new:
            self._seen.add(arrival.source)
            self._waiting.setdefault(arrival.chat.key, []).append(arrival)
        return len(new)

    async def claim(self, _worker: str, limit: int) -> tuple[list[Batch], float | None]:
        """What `Inbox.claim` does."""
        keys = list(self._waiting)[:limit]
        return [Batch(Chat.parse(key), 1, tuple(self._waiting.pop(key))) for key in keys], None

    async def open(self, _batch: Batch, message: Message, reply: Reply, parts: Sequence[Part]) -> OpenTurn:
        """What `Outbox.open` does."""
        self._turns += 1
        turn = Turn(self._turns, message.text, reply.text, (), time.time(), message.language)
        return OpenTurn(self._turns, tuple(parts), turn, reply.origin)

    async def sent(self, _batch: Batch, _turn: OpenTurn, _part: Part, _receipt: Receipt) -> None:
        """What `Outbox.sent` does: nothing is left to be noted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one message: stored, claimed, its turn opened, its receipt written."""

    cpu_ms: float
    per_s: float


async def walk(
    inbox: Inbox | MemoryLedger, outbox: Outbox | MemoryLedger, *, chats: int, rounds: int
) -> Cost:
    """The ledger's part of the road, many chats at once, as poller and worker drive it."""

    async def turn(batch: Batch) -> None:
        text = "\n".join(arrival.text for arrival in batch.arrivals)
        message, reply = Message(batch.chat, text, "en"), Reply("Switch it off and on again.", "en", "remote")
        opened = await outbox.open(batch, message, reply, [Part(reply.text)])
        await outbox.sent(batch, opened, opened.parts[0], Receipt("1", time.time()))

    async def one_round(number: int) -> None:
        arrivals = [_arrival(chat, number) for chat in range(chats)]
        await asyncio.gather(*(inbox.put(arrivals[at : at + 10]) for at in range(0, chats, 10)))
        left = chats
        while left:
            batches, _ = await inbox.claim("w", 64)
            await asyncio.gather(*(turn(batch) for batch in batches))
            left -= len(batches)

    await one_round(0)  # warm
    cpu, began = time.process_time(), time.perf_counter()
    for number in range(1, rounds + 1):
        await one_round(number)
    messages = chats * rounds
    cost = (time.process_time() - cpu) / messages * 1000
    return Cost(cost, messages / (time.perf_counter() - began))


def _arrival(chat: int, number: int) -> Arrival:
    text, source = "the display shows E4", f"update:{chat}:{number}"
    return Arrival(Chat("telegram", str(chat)), source, str(number), Kind.TEXT, text, sent_at=time.time())


async def cost(*, quick: bool) -> None:
    rounds = 4 if quick else 20
    memory = MemoryLedger()
    found = {"in memory (lost with the process)": await walk(memory, memory, chats=100, rounds=rounds)}
    places: dict[str, str | None] = {"SQLite": None}
    if _HAS_MEMORY_DISK:
        places["SQLite, no disk behind it"] = "/dev/shm"
    for name, place in places.items():
        with tempfile.TemporaryDirectory(dir=place) as folder:
            found[name] = await _measured(f"sqlite:///{folder}/bot.db", rounds)
    binaries = find_binaries()
    if binaries is not None:
        with serve_postgres(binaries) as server:
            found["PostgreSQL (its own CPU not counted)"] = await _measured(server.database(), rounds)
    print(f"\n{'cost of a message in the ledger':38}{'CPU ms':>9}{'added ms':>10}{'messages/s':>12}")
    for name, figures in found.items():
        added = figures.cpu_ms - next(iter(found.values())).cpu_ms
        print(f"  {name:36}{figures.cpu_ms:9.3f}{added:10.3f}{figures.per_s:12.0f}")


async def _measured(url: str, rounds: int) -> Cost:
    db = Database(url)
    try:
        return await walk(Inbox(db), Outbox(db), chats=100, rounds=rounds)
    finally:
        await db.close()


# --- How many updates a second can be taken in


async def ingest(*, quick: bool) -> None:
    count = 2_000 if quick else 20_000
    updates = [_update(number) for number in range(count)]
    print(f"\n{'ingest alone':38}{'updates/s':>12}{'CPU us each':>13}")
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/bot.db")
        inbox = Inbox(db)

        async def me() -> Me:
            return Me(1, "support_bot")

        for name, size, at_once in (("polled, 100 at a time", 100, 1), ("webhook, 40 connections", 1, 40)):
            intake = Intake(me=me, put=inbox.put, set_aside=inbox.set_aside)
            cpu, began = time.process_time(), time.perf_counter()
            batches = iter([updates[at : at + size] for at in range(0, count, size)])
            await asyncio.gather(*(_take(intake, batches) for _ in range(at_once)))
            seconds = time.perf_counter() - began
            each = (time.process_time() - cpu) / count * 1e6
            print(f"  {name:36}{count / seconds:12.0f}{each:13.0f}")
            updates = [_update(count + number) for number in range(count)]
        await db.close()


async def _take(intake: Intake, batches: Iterator[list[dict[str, object]]]) -> None:
    for batch in batches:
        await intake.take(batch)


def _update(number: int) -> dict[str, object]:
    user = {"id": number % 500 + 1, "is_bot": False, "first_name": "Li", "language_code": "zh"}
    message = {
        "message_id": number,
        "from": user,
        "chat": {"id": number % 500 + 1, "type": "private", "first_name": "Li"},
        "date": int(time.time()),
        "text": "空调显示 E4，遥控器没有反应",
    }
    return {"update_id": number, "message": message}


# --- How soon a backlog is answered


async def backlog(*, quick: bool) -> None:
    chats, each = (100, 20) if quick else (500, 20)
    print(f"\n{'backlog at a start':38}{'first answer s':>15}{'all s':>8}{'disorder':>10}{'peak MB':>9}")
    for name, messages in (("nothing waits", 0), (f"{chats * each} messages, {chats} chats", each)):
        with tempfile.TemporaryDirectory() as folder:
            arena = Arena(THIS, Path(folder), chats=chats, model_s=0.02)
            async with arena:
                url = f"sqlite:///{folder}/data/bot.db"
                await _fill(arena, url, chats=chats, each=messages)
                began = time.time()
                process = Process(THIS.command, arena._settings, arena.folder)  # noqa: SLF001
                arena.at_the_end(process.close)
                await process.start()
                async with PeakMemory(process.pid) as peak:
                    if not messages:
                        arena.crowd.say(0)
                    await arena.crowd.until_answered(arena.crowd.said, timeout_s=120)
                    await asyncio.sleep(1.0)
                counts = await arena.counts()
                first, last = arena.telegram.sent[0].at - began, arena.telegram.sent[-1].at - began
            assert counts.lost == counts.doubled == counts.foreign == 0, counts
            print(f"  {name:36}{first:15.2f}{last:8.1f}{counts.disordered:10}{peak.mb:9.0f}")


async def _fill(arena: Arena, url: str, *, chats: int, each: int) -> None:
    """What customers wrote while the bot was away, straight into its inbox; nothing is left at Telegram."""
    db = Database(url)
    inbox = Inbox(db)
    for number in range(each):
        arrivals = []
        for chat in range(chats):
            said = arena.crowd.say(chat)
            address = str(1000 + chat)
            arrivals.append(
                Arrival(
                    Chat("telegram", address), f"b:{chat}:{number}", f"b{number}", Kind.TEXT,
                    f"{said.marks[0]}: the display shows E4", sent_at=time.time(),
                )
            )  # fmt: skip
        await inbox.put(arrivals)
    await db.close()
    arena.telegram.state.queue.forget_all()


# --- What a second worker brings

SHARE, PERIOD_S = 0.25, 0.1
"""Of a core that each worker gets, as a container limited to a quarter of a CPU does: it is stopped for the
rest of each period.  On a machine of two cores the benchmark's own servers would be measured otherwise.  They
run one after the other in each period, because on two machines neither would wait for the other's core."""
PAIRS = 3


async def workers(*, quick: bool) -> None:
    binaries = find_binaries()
    if binaries is None or not PROGRAMS:
        print("\nworkers: not run, it needs an installed PostgreSQL and Redis server")
        return
    seconds, pairs = (8.0, 1) if quick else (20.0, PAIRS)
    print(f"\n{f'workers with {SHARE:.0%} of a core each':38}{'answers/s':>12}{'CPU ms':>9}{'ratio':>8}")
    ratios = []
    for _ in range(pairs):
        first = 0.0
        for count in (1, 2):
            with serve_postgres(binaries) as server, tempfile.TemporaryDirectory() as folder:
                answers, cpu_ms = await _answers_per_s(count, server.database(), Path(folder), seconds)
            first = first or answers
            name = f"{count} on PostgreSQL, model 300 ms"
            print(f"  {name:36}{answers:12.1f}{cpu_ms:9.1f}{answers / first:8.2f}")
        ratios.append(answers / first)
    print(f"  {'median ratio':36}{statistics.median(ratios):29.2f}")


async def _answers_per_s(count: int, url: str, folder: Path, seconds: float) -> tuple[float, float]:
    chats = 150
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(BotApiServer())
        server = ModelServer(answer=Model().answer, latency_s=0.3, keep=0)
        await stack.enter_async_context(server)
        redis = RealRedis(PROGRAMS[0], folder)
        await asyncio.to_thread(redis.start)
        stack.callback(redis.kill)
        settings = THIS.settings(
            token=telegram.token,
            telegram_url=telegram.url,
            model_url=server.url,
            model="stub-model",
            folder=str(folder),
        )
        settings |= {
            "DATABASE_URL": url,
            "REDIS_URL": f"unix://{redis.socket}",
            "LOG_LEVEL": "WARNING",
        }
        processes = []
        for number in range(count):
            (folder / str(number)).mkdir()
            process = Process(THIS.command, lambda: settings, folder / str(number))
            stack.push_async_callback(process.close)
            await process.start()
            processes.append(process)
        telegram.customer(1).says("c1m1")
        await telegram.replies(1, timeout=60)
        await asyncio.sleep(6.0)  # the second one is up as well
        for number, process in enumerate(processes):
            await stack.enter_async_context(_held_back(process.pid, after_s=number * PERIOD_S / count))
        talking = [asyncio.create_task(_talk(telegram, 1000 + chat)) for chat in range(chats)]
        await asyncio.sleep(3.0)  # warm
        before, cpu = len(telegram.sent), sum(cpu_s(process.pid) for process in processes)
        await asyncio.sleep(seconds)
        answers = len(telegram.sent) - before
        cpu = sum(cpu_s(process.pid) for process in processes) - cpu
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
    return answers / seconds, cpu / max(1, answers) * 1000


async def _talk(telegram: BotApiServer, chat: int) -> None:
    customer = telegram.customer(chat)
    for number in range(10_000):
        answered = asyncio.create_task(telegram.reply(chat, timeout=60))
        await asyncio.sleep(0)
        customer.says(f"c{chat}m{number}")
        await answered


@contextlib.asynccontextmanager
async def _held_back(pid: int, *, after_s: float) -> AsyncIterator[None]:
    """Let the process run for `SHARE` of the time only, beginning after so many seconds."""

    async def hold() -> None:
        await asyncio.sleep(after_s)
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(PERIOD_S * (1 - SHARE))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(PERIOD_S * SHARE)

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        os.kill(pid, signal.SIGCONT)


PARTS = {"cost": cost, "ingest": ingest, "backlog": backlog, "workers": workers}


async def main(names: Sequence[str], *, quick: bool) -> None:
    words = " ".join(["python benchmarks/durability.py", *(["--quick"] if quick else []), *names])
    load = os.getloadavg()[0]
    print(f"{words}, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {load:.1f} before it began")
    for name in names or PARTS:
        await PARTS[name](quick=quick)


if __name__ == "__main__":
    keep_bytecode()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these")
    arguments = parser.parse_args()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # what is stopped hangs up on it
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    uvloop.run(main(arguments.parts, quick=arguments.quick))
