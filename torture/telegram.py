"""Scenarios in which Telegram misbehaves, in the ways it is known to."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.bot_api import faults
from tests.bot_api.faults import CarryOut, Fault
from torture.arena import Arena, Size
from torture.crowd import FIRST_CHAT

SPELL_S = 4.0
"""How long a bad spell lasts."""
HANG_S = 90.0
"""Longer than anybody waits for an answer."""
NOTICED_S = 75.0
"""The longest wait for a bot that has to notice a dead connection by itself."""


async def well(arena: Arena, size: Size) -> None:
    """Nothing goes wrong: what the card looks like at its best."""
    await arena.start()
    await arena.crowd.talk(messages=size.messages, seconds=SPELL_S)


async def repeated(arena: Arena, size: Size) -> None:
    """Updates come twice and three times, in any order within a batch, old ones among them."""
    await arena.start()
    arena.telegram.faults.on("getUpdates", shuffled(arena.random), times=None)
    await _spell(arena, size)


async def flooded(arena: Arena, size: Size) -> None:
    """429: for single chats at first, then for everybody."""
    await arena.start()
    for chat in range(0, arena.crowd.chats, 3):
        arena.telegram.faults.on("sendMessage", faults.flooded(2), times=2, chat=FIRST_CHAT + chat)
    arena.telegram.faults.on("sendMessage", faults.flooded(1), times=None, probability=0.2)
    await _spell(arena, size)


async def cut_off(arena: Arena, size: Size) -> None:
    """Connections break: once under every chat's next answer, before or after it is taken, and elsewhere."""
    await arena.start()
    on = arena.telegram.faults.on
    for chat in range(arena.crowd.chats):
        fault = faults.dropped_after() if chat % 2 else faults.dropped_before()
        on("sendMessage", fault, chat=FIRST_CHAT + chat)
    for method in ("getUpdates", "getFile", "download", "getMe", "sendChatAction"):
        on(method, faults.dropped_before(), times=None, probability=0.2)
    await _spell(arena, size)


async def unreachable(arena: Arena, size: Size) -> None:
    """Nobody listens at Telegram's address."""
    await arena.start()
    await arena.telegram.stop()
    await arena.crowd.talk(messages=size.messages, seconds=SPELL_S)
    await arena.telegram.start()
    arena.fault_is_over()
    await _go_on(arena, size)


async def bad_gateway(arena: Arena, size: Size) -> None:
    """502 pages in place of answers: every other one at first, then all of them."""
    await arena.start()
    arena.telegram.faults.on("*", faults.page(502), times=None, probability=0.5)
    await arena.crowd.talk(messages=size.messages // 2, seconds=SPELL_S)
    arena.telegram.faults.clear()
    arena.telegram.faults.on("*", faults.page(502), times=None)
    await _spell(arena, size)


async def hanging(arena: Arena, size: Size) -> None:
    """Requests to send are taken and never answered, some of them carried out."""
    await arena.start()
    on = arena.telegram.faults.on
    on("sendMessage", faults.late(HANG_S), times=2)
    on("sendMessage", faults.late(HANG_S, carried_out=False), times=2)
    on("download", faults.late(HANG_S, carried_out=False), times=1)
    await arena.crowd.talk(messages=size.messages, seconds=SPELL_S)
    arena.fault_is_over()
    await _go_on(arena, size)


def refused(refusal: Callable[[], Fault]) -> Callable[[Arena, Size], Any]:
    """Polling is refused a few times in a row, and then works again as if nothing had been."""

    async def play(arena: Arena, size: Size) -> None:
        await arena.start()
        for _ in range(size.times):
            used = asyncio.Event()
            arena.telegram.faults.on("getUpdates", _noting(refusal(), used), times=2)
            arena.telegram.state.queue.end_poll()
            await arena.crowd.talk(messages=size.messages // size.times, seconds=1.0)
            await asyncio.wait_for(used.wait(), NOTICED_S)
            arena.fault_is_over()
            said = arena.crowd.say_something()
            await arena.crowd.until_answered([said], timeout_s=NOTICED_S)

    play.__doc__ = refused.__doc__
    return play


async def half_open(arena: Arena, size: Size) -> None:
    """The connection of the running poll dies without a word; what customers write waits behind it."""
    await arena.start()
    used = asyncio.Event()
    arena.telegram.faults.on("getUpdates", _noting(faults.late(HANG_S * 2, carried_out=False), used), times=1)
    await arena.crowd.until_answered([arena.crowd.say_something()], timeout_s=NOTICED_S)
    await asyncio.wait_for(used.wait(), NOTICED_S)
    arena.fault_is_over()  # it could notice from here on
    await _go_on(arena, size)
    await arena.crowd.until_answered(arena.crowd.said, timeout_s=NOTICED_S)


def shuffled(rng: random.Random) -> Fault:
    """Every batch holds its updates one to three times, with older ones, in any order."""
    seen: list[Any] = []

    async def fault(_request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        answer = await carry_out()
        body = answer.body if isinstance(answer, web.Response) else b""
        batch = json.loads(body if isinstance(body, bytes) else b"{}").get("result")
        if not batch:
            return answer
        old = rng.sample(seen, min(5, len(seen)))
        seen.extend(batch)
        updates = [update for update in batch for _ in range(rng.randint(1, 3))] + old
        rng.shuffle(updates)
        return web.json_response({"ok": True, "result": updates})

    return fault


def _noting(fault: Fault, used: asyncio.Event) -> Fault:
    async def noted(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        used.set()
        return await fault(request, carry_out)

    return noted


async def _spell(arena: Arena, size: Size) -> None:
    """Customers write while the faults are on; then they end, and the customers go on."""
    await arena.crowd.talk(messages=size.messages, seconds=SPELL_S)
    arena.telegram.faults.clear()
    arena.fault_is_over()
    await _go_on(arena, size)


async def _go_on(arena: Arena, size: Size) -> None:
    await arena.crowd.talk(messages=max(1, size.messages // 4), seconds=1.0)
