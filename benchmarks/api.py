"""What the API adds to the engine's own time, 200 streams at a time, and a soak beside Telegram's customers.

    python benchmarks/api.py [--part added|streams|jobs|soak] [--minutes 10]

A stub model (20 ms), a local Telegram server and the clients run in this process on one core, the bot
with all its children on another.  The yardsticks of the first part are the same question put to the model
server itself, and the same new photo to an intake of its own on the bot's core, in turn with the bot.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.processes import PeakMemory, cpu_s, keep_bytecode, memory_mb
from benchmarks.turns import ANSWER, CORES, MODEL_S, ROOT, photo
from context.intake.client import Intake
from tests.bot_api import BotApiServer
from tests.model_server import ModelServer

STREAMS = 200
STREAM_S = 5.0
"""How long the model takes for one answer, while the streams are held."""
QUIET_PER_S, PEAK_PER_S = 6.0, 30.0
PEAK_EVERY_S, PEAK_S = 60.0, 10.0
LOST_S = 60.0
ANNOUNCED_S = 5.0
LONG = "\n\n".join([ANSWER, *[f"Step {step}: take the filter out and rinse it." for step in range(1, 16)]])
"""Long enough that its beginning is seen while the rest is written."""
QUESTION = "The AC shows E4 and beeps. What now?"


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and who asks it."""

    bot: str
    pid: int
    model: ModelServer
    telegram: BotApiServer
    client: aiohttp.ClientSession

    async def ask(self, url: str, *, image: str = "", streams: bool = False) -> tuple[float, float, float]:
        """One question; seconds to the first byte of the answer, to its last, and to its first words."""
        content: Any = QUESTION
        if image:
            content = [
                {"type": "image_url", "image_url": {"url": image}},
                {"type": "text", "text": QUESTION},
            ]
        model = "support" if url == self.bot else "stub-model"
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": streams}
        began = time.perf_counter()
        async with self.client.post(f"{url}/chat/completions", json=body) as response:
            first = words = 0.0
            whole = b""
            async for chunk in response.content.iter_any():
                first = first or time.perf_counter() - began
                whole += chunk
                if not words and b"E4 means" in whole:
                    words = time.perf_counter() - began
            if response.status != 200 or b"E4 means" not in whole:
                raise ValueError(f"{response.status} {whole[:200]!r}")
        return first, time.perf_counter() - began, words


@contextlib.asynccontextmanager
async def bench(*, model_s: float, at_once: int, writes_s: float = 0.0) -> AsyncIterator[Bench]:
    """A bot in a process of its own, and everything around it here.

    The model begins to answer after `model_s` and writes for `writes_s`, a hundred pieces.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = await stack.enter_async_context(
            ModelServer(
                answer=lambda _: LONG if writes_s else ANSWER,
                latency_s=model_s,
                chunks=100 if writes_s else 4,
                chunk_delay_s=writes_s / 100,
                keep=0,
            )
        )
        telegram = await stack.enter_async_context(BotApiServer())
        given = {
            "API_AT_ONCE": str(at_once),
            "DATA_DIR": str(folder / "data"),
            "HTTP_PORT": "0",
            "LOG_FORMAT": "text",
            "MODEL": "stub-model",
            "MODEL_URL": model.url,
            "PYTHONPATH": str(ROOT),
            "TELEGRAM_API_URL": telegram.url,
            "TELEGRAM_BOT_TOKEN": telegram.token,
        }
        made = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "bot",
                "keys",
                "add",
                "bench",
                "--requests-per-min",
                "0",
                "--streams",
                "0",
            ),
            env=os.environ | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        key = (await made.communicate())[0].decode().strip()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot"),
            env=os.environ | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        stack.push_async_callback(_end, process)
        os.sched_setaffinity(process.pid, {CORES[0]})
        url = await _address(process)
        reading = asyncio.create_task(_drain(process))
        stack.callback(reading.cancel)
        headers = {"Authorization": f"Bearer {key}"}
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=120)
        client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        )
        ready = Bench(f"{url}/v1", process.pid, model, telegram, client)
        for _ in range(50):
            with contextlib.suppress(ValueError):
                await ready.ask(ready.bot)
                break
            await asyncio.sleep(0.2)
        yield ready


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        if b"chat page: " in line:
            return line.decode().partition("chat page: ")[2].split()[0].rstrip("/")
    raise SystemExit("the bot did not start")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(1 << 16):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await process.wait()


async def added(questions: int) -> None:
    """One question after the other: to the model server, to the intake where a photo is new, to the bot."""
    jpeg = photo()
    print(f"added to the model's time, one client, {questions} questions each")
    print(f"  {'':18}{'model ms':>10}{'intake ms':>11}{'api ms':>10}{'rest ms':>10}  (p50); p95 of the api")
    async with bench(model_s=MODEL_S, at_once=16) as b, intake() as eye:
        for name, kind in (
            ("text", {}),
            ("text, streamed", {"streams": True}),
            ("photo, new", {"image": ""}),
            ("photo, again", {"image": _data_url(jpeg)}),
        ):
            direct, looks, ours = [], [], []
            for number in range(questions):
                if name == "photo, new":
                    kind = {"image": _data_url(_own(jpeg, number))}  # noqa: PLW2901
                    began = time.perf_counter()
                    await eye.normalise(_own(jpeg, number))
                    looks.append((time.perf_counter() - began) * 1000)
                direct.append((await b.ask(b.model.url, **kind))[1] * 1000)  # type: ignore[arg-type]
                ours.append((await b.ask(b.bot, **kind))[1] * 1000)  # type: ignore[arg-type]
            base, look, api = (statistics.median(each or [0.0]) for each in (direct, looks, ours))
            p95 = statistics.quantiles(ours, n=20)[-1]
            print(f"  {name:18}{base:10.1f}{look:11.1f}{api:10.1f}{api - base - look:10.1f}  {p95:10.1f}")


@contextlib.asynccontextmanager
async def intake() -> AsyncIterator[Intake]:
    """What opens strangers' pictures, on the bot's core."""
    own = os.sched_getaffinity(0)
    opened = Intake()
    os.sched_setaffinity(0, {CORES[0]})  # what it starts inherits this
    try:
        await opened.start()
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield opened
    finally:
        await opened.close()


def _own(jpeg: bytes, number: int) -> bytes:
    """The same pixels as a file of its own, by a comment in it."""
    comment = f"{number:08}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


async def streams() -> None:
    """So many streams at once, each with its answer; the same while it is written; with the usual places."""
    for at_once, model_s, writes_s in (
        (STREAMS, STREAM_S, 0.0),
        (STREAMS, MODEL_S, STREAM_S),
        (16, STREAM_S / 10, 0.0),
    ):
        async with bench(model_s=model_s, at_once=at_once, writes_s=writes_s) as b:
            async with PeakMemory(b.pid) as peak:
                cpu, began = cpu_s(b.pid), time.perf_counter()
                done = await asyncio.gather(
                    *(b.ask(b.bot, streams=True) for _ in range(STREAMS)), return_exceptions=True
                )
                took, used = time.perf_counter() - began, cpu_s(b.pid) - cpu
            whole = [each for each in done if not isinstance(each, BaseException)]
            takes = f"writes {len(LONG)} characters in {writes_s:g}" if writes_s else f"takes {model_s:g}"
            print(f"{STREAMS} streams at once, {at_once} places at the model, which {takes} s")
            print(
                f"  whole {len(whole)}, most at the model {b.model.most_in_flight}, all within {took:.1f} s"
            )
            print(f"  first words p50 {statistics.median(each[2] for each in whole):.2f} s, ", end="")
            print(f"last byte p50 {statistics.median(each[1] for each in whole):.2f} s, ", end="")
            print(f"max {max(each[1] for each in whole):.2f} s; CPU {used:.2f} s, peak {peak.mb:.0f} MB")


async def jobs(items: int) -> None:
    """A job of so many photos: how fast it is taken in, and done."""
    image = base64.b64encode(photo()).decode()
    line = json.dumps({"image": image, "prompt": QUESTION}).encode() + b"\n"

    async def lines() -> AsyncIterator[bytes]:
        for _ in range(items):
            yield line

    async with bench(model_s=MODEL_S, at_once=16) as b, PeakMemory(b.pid) as peak:
        cpu, began = cpu_s(b.pid), time.perf_counter()
        headers = {"Content-Type": "application/jsonl"}
        async with b.client.post(f"{b.bot}/jobs", data=lines(), headers=headers) as response:
            job = await response.json()
        taken_s = time.perf_counter() - began
        while job["status"] != "done":
            await asyncio.sleep(0.05)
            async with b.client.get(f"{b.bot}/jobs/{job['id']}") as response:
                job = await response.json()
        took_s, used = time.perf_counter() - began, cpu_s(b.pid) - cpu
    print(f"a job of {items} photos: taken in at {items / taken_s:.1f}/s, done {job['done']}, ", end="")
    print(f"failed {job['failed']}, {items / took_s:.1f}/s from the first byte to the last text")
    print(
        f"  {items / took_s * 86_400 / 1000:.0f} thousand a day; CPU {used / items * 1000:.0f} ms a photo, ",
        end="",
    )
    print(f"peak {peak.mb:.0f} MB")


@dataclass(slots=True)
class Soak:
    """What became of everything that was asked."""

    asked: int = 0
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    unannounced: int = 0
    """Waits of more than `ANNOUNCED_S` without a typing sign, or a comment in the stream."""


async def soak(minutes: float) -> None:
    """Customers and apps in turn at 6 a second, with peaks of 30: nothing lost, waits announced."""
    customers, apps = Soak(), Soak()
    # 16 places and 0.4 s: 40 answers a second, so that a peak is felt and not refused.
    async with bench(model_s=0.4, at_once=16) as b, PeakMemory(b.pid) as peak:
        cpu, began = cpu_s(b.pid), time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        number, due = 0, began
        at_minute: list[float] = []
        while (now := time.perf_counter()) - began < minutes * 60:
            is_peak = (now - began) % PEAK_EVERY_S > PEAK_EVERY_S - PEAK_S
            due = max(due + 1 / (PEAK_PER_S if is_peak else QUIET_PER_S), now - 1)
            await asyncio.sleep(max(0.0, due - now))
            work = _customer(b, customers, number) if number % 2 else _app(b, apps)
            task = asyncio.create_task(work)
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            if now - began >= len(at_minute) * 60 + 30:  # between two peaks
                at_minute.append(await asyncio.to_thread(memory_mb, b.pid))
        await asyncio.gather(*running)
        used, took = cpu_s(b.pid) - cpu, time.perf_counter() - began
    rates = f"{QUIET_PER_S:g}/s, {PEAK_S:g} s of {PEAK_PER_S:g}/s each {PEAK_EVERY_S:g} s"
    print(f"soak of {minutes:g} min, {rates}, model 400 ms")
    for name, part in (("customers (Telegram)", customers), ("apps (streams)", apps)):
        cuts = statistics.quantiles(part.waits_s, n=100)
        print(f"  {name}: asked {part.asked}, answered {part.answered}, lost {len(part.lost)}, ", end="")
        print(f"p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, unannounced waits {part.unannounced}")
        for each in part.lost[:3]:
            print(f"    {each}")
    print(f"  CPU {used / took * 100:.0f} % of a core, peak {peak.mb:.0f} MB")
    print("  MB after each minute, between two peaks:", *(f"{mb:.0f}" for mb in at_minute))


async def _customer(b: Bench, part: Soak, number: int) -> None:
    """One message of one of 400 customers."""
    chat = 1000 + number % 800
    part.asked += 1
    began = time.perf_counter()
    answered = asyncio.create_task(b.telegram.reply(chat, timeout=LOST_S))
    await asyncio.sleep(0)
    signs = len(b.telegram.calls_of("sendChatAction", chat))
    b.telegram.customer(chat).says(QUESTION)
    try:
        await answered
    except TimeoutError:
        part.lost.append(f"chat {chat}")
        return
    part.answered += 1
    part.waits_s.append(time.perf_counter() - began)
    told = len(b.telegram.calls_of("sendChatAction", chat)) > signs
    part.unannounced += part.waits_s[-1] > ANNOUNCED_S and not told


async def _app(b: Bench, part: Soak) -> None:
    part.asked += 1
    try:
        first, whole, _ = await b.ask(b.bot, streams=True)
    except (ValueError, aiohttp.ClientError, TimeoutError) as error:
        part.lost.append(repr(error)[:200])
        return
    part.answered += 1
    part.waits_s.append(whole)
    part.unannounced += first > ANNOUNCED_S


async def main(parts: list[str], *, minutes: float, questions: int) -> None:
    """Measure and print."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, set(CORES[1:]))
    print(
        f"python benchmarks/api.py {' '.join(sys.argv[1:])}, {time.strftime('%Y-%m-%d')}, {len(CORES)} cores"
    )
    if "added" in parts:
        await added(questions)
    if "streams" in parts:
        await streams()
    if "jobs" in parts:
        await jobs(2 * questions)
    if "soak" in parts:
        await soak(minutes)


if __name__ == "__main__":
    keep_bytecode()
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("added", "streams", "jobs", "soak"), action="append")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    uvloop.run(
        main(
            options.part or ["added", "streams", "jobs", "soak"],
            minutes=options.minutes,
            questions=options.questions,
        )
    )
