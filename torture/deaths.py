"""Scenarios in which the process ends: killed at random, killed at every arrow, stopped under load."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from tests.bot_api import faults
from torture.arena import Arena, Size
from torture.arrows import COMING_IN, GOING_OUT, VARIABLE, Arrow
from torture.crowd import FIRST_CHAT
from torture.stores import own_postgres
from torture.subject import Process

BACK_S = 30.0
"""The longest wait for a first answer after a start, before the next blow."""
REACH_S = 25.0
"""Time to get to an arrow, the start included."""
EARLY = 0.2
"""Share of the kills that come while it starts."""


async def killed(arena: Arena, size: Size, *, processes: int = 1) -> None:
    """`kill -9` at random moments, while customers go on writing."""
    await arena.start(processes=processes)
    for _ in range(size.times):
        talking = asyncio.create_task(arena.crowd.talk(messages=size.messages // size.times, seconds=2.0))
        try:
            victim = arena.random.choice(arena.processes)
            await _random_moment(arena, victim)
            await victim.end(signal.SIGKILL)
            arena.fault_is_over(victim.deaths[-1].at)
        finally:
            await talking


async def killed_on_postgres(arena: Arena, size: Size) -> None:
    """The same with PostgreSQL in place of SQLite."""
    await own_postgres(arena)
    await killed(arena, size)


async def killed_behind_a_webhook(arena: Arena, size: Size) -> None:
    """The same with updates that Telegram pushes; while nobody listens it tries again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arena.environment |= {
        "HTTP_PORT": str(port),
        "TELEGRAM_WEBHOOK_URL": f"http://127.0.0.1:{port}",
        "TELEGRAM_WEBHOOK_SECRET": "torture",
    }
    await killed(arena, size)


async def one_of_two_killed(arena: Arena, size: Size) -> None:
    """Two processes on one PostgreSQL; `kill -9` hits one or the other."""
    await own_postgres(arena)
    await killed(arena, size, processes=2)


async def _random_moment(arena: Arena, victim: Process) -> None:
    """Some time after it answers again, or else while it is still starting."""
    if arena.random.random() < EARLY:
        await asyncio.sleep(arena.random.uniform(0.0, 2.5))
    else:
        await arena.answers_again(since=victim.started_at, timeout_s=BACK_S)
        await asyncio.sleep(arena.random.uniform(0.0, 1.0))


async def stopped(arena: Arena, size: Size) -> None:
    """SIGTERM under load, and a start afterwards; every second time in a hurry, with two signals."""
    await arena.start()
    for time in range(size.times):
        talking = asyncio.create_task(arena.crowd.talk(messages=size.messages // size.times, seconds=2.0))
        try:
            await arena.answers_again(since=arena.process.started_at, timeout_s=BACK_S)
            await asyncio.sleep(arena.random.uniform(0.3, 1.0))
            if time % 2:
                arena.process.send(signal.SIGTERM)
                await asyncio.sleep(0.1)
            await arena.process.end(signal.SIGTERM)
            arena.fault_is_over(arena.process.deaths[-1].at)
        finally:
            await talking


async def killed_coming_in(arena: Arena, _size: Size) -> None:
    """Death at every step of a message on its way in."""
    await _at_each(arena, COMING_IN)


async def killed_going_out(arena: Arena, _size: Size) -> None:
    """Death at every step of an answer on its way out."""
    await _at_each(arena, GOING_OUT)


async def _at_each(arena: Arena, arrows: tuple[Arrow, ...]) -> None:
    """Each process dies at one arrow, and the next one, bound for the next, finds what it left."""
    coming = iter(arrows)
    arena.at_each_start = lambda: {VARIABLE: str(next(coming, ""))}
    await arena.start(command=(sys.executable, "-m", "torture.arrows"), hello=False)
    for number, arrow in enumerate(arrows, start=1):
        await _provoke(arena, arrow)
        if await arena.process.died(number, timeout_s=REACH_S):
            arena.fault_is_over(arena.process.deaths[number - 1].at)
            if not arena.process.deaths[number - 1].was_asked:
                arena.notes.append(f"ended by itself before {arrow}: {arena.process.last_words}")
        else:
            arena.notes.append(f"never came to {arrow} ({arrow.means})")
            await arena.process.end(signal.SIGKILL)


async def _provoke(arena: Arena, arrow: Arrow) -> None:
    crowd, chat = arena.crowd, arena.random.randrange(arena.crowd.chats)
    on = arena.telegram.faults.on
    match arrow.provoke:
        case "flood":
            on("sendMessage", faults.flooded(1))
        case "cut":
            on("sendMessage", faults.dropped_after())
        case "cut twice":  # in a chat that has nothing else to say
            await crowd.until_answered(crowd.said, timeout_s=REACH_S)
            on("sendMessage", faults.dropped_after(), times=2, chat=FIRST_CHAT + chat)
        case "newer":  # while the model works on what came before
            await crowd.until_answered(crowd.said, timeout_s=REACH_S)
            crowd.say(chat)
            await arena.model_server.until(lambda model: model.in_flight > 0, timeout_s=REACH_S)
    crowd.say(chat)
    crowd.say((chat + 1) % crowd.chats, photo=True)
    crowd.say((chat + 2) % crowd.chats, long=True)
