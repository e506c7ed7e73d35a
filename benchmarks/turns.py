"""Messages per second, added latency, CPU and memory of a turn, beside a plain bot in the same run.

    python benchmarks/turns.py [--quick]

A local Telegram server and a stub model (20 ms) run in this process on one core, the bot under test
with all its children on another.  Throughput is a closed loop: every chat sends its next message
when the last is answered.  Latency is an open loop: messages come at a fixed rate whatever the bot
does; the model's 20 ms are taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.processes import PeakMemory, cpu_s, keep_bytecode
from tests.bot_api import BotApiServer, Person
from tests.model_server import ModelServer
from torture.subject import THIS

ROOT = Path(__file__).resolve().parent.parent
MODEL_S = 0.020
LOST_S = 20.0
ROUNDS = 3
ANSWER = (
    "E4 means that the outdoor unit does not answer.\n\n1. Switch it off at the breaker\n"
    "2. Wait five minutes\n3. Switch it on again\n\nDoes the display still show **E4**?"
)
CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot under test."""

    name: str
    command: tuple[str, ...]


BOTS = (
    Bot("plain", (sys.executable, str(ROOT / "benchmarks/naive_bot.py"))),
    Bot("this", (sys.executable, "-m", "bot")),
)


@dataclass(slots=True)
class Figures:
    """Of one closed loop."""

    per_s: float
    cpu_ms: float
    peak_mb: float
    lost: int
    """Messages without an answer in `LOST_S`."""


def photo() -> bytes:
    """A picture of the size Telegram sends (1280 x 960), with enough detail to weigh 150 kB."""
    rng = random.Random(4)
    image = Image.effect_noise((1280, 960), 8).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = rng.randrange(1200), rng.randrange(900)
        draw.rectangle((x, y, x + 80, y + 60), fill=(rng.randrange(256), rng.randrange(256), 90))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=68)
    return file.getvalue()


@contextlib.asynccontextmanager
async def running(bot: Bot, telegram: BotApiServer, model: ModelServer, folder: Path) -> AsyncIterator[int]:
    """The bot as a process of its own; yields its pid once it has answered a message.

    Its Redis is counted for neither.
    """
    socket = folder / "redis.sock"
    redis = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    environment = os.environ | THIS.settings(
        token=telegram.token,
        telegram_url=telegram.url,
        model_url=model.url,
        model="stub-model",
        folder=str(folder),
    )
    environment |= {"PYTHONPATH": str(ROOT), "REDIS_URL": f"unix://{socket}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(bot.command, env=environment, cwd=folder, stdout=log, stderr=log)
    os.sched_setaffinity(process.pid, {CORES[0]})
    try:
        telegram.customer(1).says("are you there?")
        await telegram.replies(1, timeout=60)
        yield process.pid
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
        redis.terminate()
        redis.wait()


Send = Callable[[Person, int], object]


async def closed_loop(
    telegram: BotApiServer, pid: int, *, chats: int, messages: int, send: Send, base: int
) -> Figures:
    """Every chat sends its next message when the last is answered."""
    each = messages // chats
    lost = 0

    async def chat(number: int) -> None:
        nonlocal lost
        customer = telegram.customer(base + number)
        for turn in range(each):
            answered = asyncio.create_task(telegram.reply(base + number, timeout=LOST_S))
            await asyncio.sleep(0)  # it listens from now on
            send(customer, turn)
            try:
                await answered
            except TimeoutError:
                lost += 1

    async with PeakMemory(pid) as peak:
        cpu, began = cpu_s(pid), time.perf_counter()
        await asyncio.gather(*(chat(number) for number in range(chats)))
        seconds = time.perf_counter() - began
        used = cpu_s(pid) - cpu
    answers = each * chats - lost
    return Figures(answers / seconds, used / answers * 1000, peak.mb, lost)


async def latencies(
    telegram: BotApiServer, *, chats: int, per_s: float, messages: int, send: Send, base: int
) -> list[float]:
    """What the bot adds to the model's time, in ms: at a fixed rate, round robin over the chats.

    `per_s` 0: one after the other, with a pause between, as an idle bot meets a single customer.
    """
    began = time.perf_counter()
    added = []

    async def one(number: int) -> None:
        if per_s:
            await asyncio.sleep(began + number / per_s - time.perf_counter())
        chat = base + number % chats
        answered = asyncio.create_task(telegram.reply(chat, timeout=LOST_S))
        await asyncio.sleep(0)
        sent = time.perf_counter()
        send(telegram.customer(chat), number // chats)
        with contextlib.suppress(TimeoutError):
            await answered
        added.append((time.perf_counter() - sent - MODEL_S) * 1000)

    if per_s:
        await asyncio.gather(*(one(number) for number in range(messages)))
    else:
        for number in range(messages):
            await one(number)
            await asyncio.sleep(0.1)
    return added


async def measure(*, scale: float) -> dict[str, dict[str, list[Figures] | list[float]]]:
    """All figures of all bots: in rounds, the bots in turn, so that a noisy minute falls on both."""
    jpeg = photo()

    def text(customer: Person, turn: int) -> None:
        customer.says(f"the AC shows E4 for the {turn + 1}. time")

    def picture(customer: Person, turn: int) -> None:
        customer.sends_photo(jpeg, caption=f"photo number {turn + 1}")

    found: dict[str, dict[str, list[Figures] | list[float]]] = {bot.name: {} for bot in BOTS}
    async with contextlib.AsyncExitStack() as stack:
        model = await stack.enter_async_context(
            ModelServer(answer=lambda _: ANSWER, latency_s=MODEL_S, keep=0)
        )
        bots = []
        for bot in BOTS:
            telegram = await stack.enter_async_context(BotApiServer())
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            pid = await stack.enter_async_context(running(bot, telegram, model, Path(folder)))
            bots.append((bot.name, telegram, pid))
            await closed_loop(telegram, pid, chats=20, messages=100, send=text, base=1_000)  # warm
        base = 10_000
        for _ in range(ROUNDS):
            for name, chats, count, send in (
                ("text, 50 chats", 50, 600, text),
                ("text, 500 chats", 500, 1000, text),
                ("photo, 50 chats", 50, 150, picture),
            ):
                messages = max(chats, int(count * scale))
                base += 1000
                for bot_name, telegram, pid in bots:
                    figures = await closed_loop(
                        telegram, pid, chats=chats, messages=messages, send=send, base=base
                    )
                    found[bot_name].setdefault(name, []).append(figures)  # type: ignore[arg-type]
            for chats, per_s, count in ((1, 0.0, 40), (50, 20.0, 240), (500, 20.0, 500)):
                base += 1000
                for bot_name, telegram, _pid in bots:
                    added = await latencies(
                        telegram,
                        chats=chats,
                        per_s=per_s,
                        messages=max(20, int(count * scale)),
                        send=text,
                        base=base,
                    )
                    found[bot_name].setdefault(f"added ms, {chats} chats", []).extend(added)  # type: ignore[arg-type]
    return found


def show(results: dict[str, dict[str, list[Figures] | list[float]]]) -> None:
    """One table: this bot, the plain one, the ratio.  Of the rounds the median."""
    plain, this = results["plain"], results["this"]
    print(f"{'':24}{'this':>12}{'plain':>12}{'ratio':>9}")
    for name, mine in this.items():
        print(name)
        for (row, one), (_, other) in zip(rows(mine), rows(plain[name]), strict=True):
            ratio = f"{one / other:9.2f}" if other else ""
            print(f"  {row:22}{one:12.1f}{other:12.1f}{ratio}")


def rows(measured: list[Figures] | list[float]) -> list[tuple[str, float]]:
    """The lines of one part of the table."""
    rounds = [figures for figures in measured if isinstance(figures, Figures)]
    if rounds:
        median = statistics.median
        return [
            ("messages/s", median(figures.per_s for figures in rounds)),
            ("CPU ms/message", median(figures.cpu_ms for figures in rounds)),
            # Before any photo was read; behind its turn each of them is, and text recognition stays loaded.
            ("peak MB, first round", rounds[0].peak_mb),
            ("peak MB, all rounds", max(figures.peak_mb for figures in rounds)),
            ("lost", sum(figures.lost for figures in rounds)),
        ]
    added = [value for value in measured if isinstance(value, float)]
    cuts = statistics.quantiles(added, n=100, method="inclusive")
    return [(f"p{percent}", cuts[percent - 1]) for percent in (50, 95, 99)]


async def main(*, quick: bool) -> None:
    """Measure and print."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, set(CORES[1:]))
    results = await measure(scale=0.3 if quick else 1.0)
    print(f"python benchmarks/turns.py{' --quick' if quick else ''}, {time.strftime('%Y-%m-%d')}, ", end="")
    print(f"{len(CORES)} cores, model {MODEL_S * 1000:.0f} ms, photos {len(photo()) // 1000} kB")
    show(results)


if __name__ == "__main__":
    keep_bytecode()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages")
    uvloop.run(main(quick=parser.parse_args().quick))
