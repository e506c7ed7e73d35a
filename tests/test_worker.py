"""The worker claims what is due as soon as there is room, and never goes deaf without a sound."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from bot.worker import Worker
from context.db import Database
from context.inbox import Inbox
from context.turns import Batch, Chat
from tests.ledger import says
from tests.until import PATIENCE_S


@pytest.fixture(autouse=True)
def _sleeps_until_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up that is lost shows."""
    monkeypatch.setattr("bot.worker.IDLE_S", 3600.0)


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    database = Database(f"sqlite:///{tmp_path}/bot.db")
    yield Inbox(database)
    await database.close()


def worker_of(inbox: Inbox, answered: asyncio.Queue[Chat], *, capacity: int = 64) -> Worker:
    async def take(batch: Batch, _newer: asyncio.Event) -> None:
        await inbox.bury(batch, "answered")  # the shortest way of settling it
        answered.put_nowait(batch.chat)

    async def give_up(batch: Batch, reason: str) -> None:
        raise AssertionError(f"{batch.chat.key}: {reason}")

    return Worker(inbox=inbox, take=take, give_up=give_up, name="w", capacity=capacity)


async def test_a_turn_that_ends_makes_room_for_the_next_at_once(inbox: Inbox) -> None:
    await inbox.put([says(Chat("web", str(number)), "E4") for number in range(5)])
    answered: asyncio.Queue[Chat] = asyncio.Queue()
    worker = worker_of(inbox, answered, capacity=1)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(5):
            await answered.get()
    await worker.stop(1)
    await running


async def test_a_closed_turn_finishes_while_the_next_of_its_chat_begins(inbox: Inbox) -> None:
    chat = Chat("web", "1")
    finished: list[str] = []
    second_began = asyncio.Event()

    async def take(batch: Batch, _newer: asyncio.Event) -> None:
        text = batch.arrivals[0].text
        await inbox.bury(batch, "answered")
        if text == "first":
            await inbox.put([says(chat, "second")])
            await second_began.wait()  # its aftermath: the window, a word to staff
        else:
            second_began.set()
        finished.append(text)

    async def give_up(batch: Batch, reason: str) -> None:
        raise AssertionError(f"{batch.chat.key}: {reason}")

    worker = Worker(inbox=inbox, take=take, give_up=give_up, name="w")
    running = asyncio.create_task(worker.run())
    await inbox.put([says(chat, "first")])
    async with asyncio.timeout(PATIENCE_S):
        await second_began.wait()
    await worker.stop(PATIENCE_S)
    await running
    assert sorted(finished) == ["first", "second"]


class CannotClaim(Inbox):
    async def claim(
        self, worker: str, limit: int, *, may_suspect: bool = True
    ) -> tuple[list[Batch], float | None]:
        raise LookupError("a bug of ours")


class CannotRenew(Inbox):
    async def renew(self, worker: str, chats: Iterable[Chat]) -> None:
        raise LookupError("a bug of ours")


@pytest.mark.parametrize("kind", [CannotClaim, CannotRenew])
async def test_a_bug_that_would_leave_messages_unanswered_ends_the_worker(
    tmp_path: Path, kind: type[Inbox]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        database = Database(f"sqlite:///{tmp_path}/bot.db")
        stack.push_async_callback(database.close)
        worker = worker_of(kind(database, lease_s=0.1), asyncio.Queue())
        with pytest.RaisesGroup(LookupError):
            async with asyncio.timeout(PATIENCE_S):
                await worker.run()
