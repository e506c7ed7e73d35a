from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from bot.telegram.api import BotApi
from bot.telegram.intake import Ears
from bot.telegram.poll import Poller
from context.db import StoreDown
from context.turns import Arrival, Kind
from tests.bot_api import BotApiServer, faults


class Store:
    """Keeps every source once, as the inbox does, and fails when told to."""

    def __init__(self) -> None:
        self.arrivals: dict[str, Arrival] = {}
        self.aside: dict[str, tuple[str, str]] = {}
        self.batches: list[list[str]] = []
        self.is_down = False
        self.is_full = False
        """Has room for small things only."""
        self.chokes_on = ""
        self.holds: asyncio.Event | None = None

    async def put(self, arrivals: Sequence[Arrival]) -> int:
        self.batches.append([arrival.text for arrival in arrivals])
        if self.holds is not None:
            await self.holds.wait()
        if self.is_full:
            raise StoreDown("database or disk is full")
        if self.is_down or any(self.chokes_on and self.chokes_on in item.text for item in arrivals):
            raise RuntimeError("database is locked")
        new = {item.source: item for item in arrivals if item.source not in self.arrivals}
        self.arrivals |= new
        return len(new)

    async def set_aside(self, source: str, raw: str, reason: str) -> None:
        if self.is_down:
            raise RuntimeError("database is locked")
        self.aside[source] = (raw, reason)

    @property
    def texts(self) -> list[str]:
        return [arrival.text for arrival in self.arrivals.values()]


class World:
    """A poller on a server, whose back-off passes at once and is written down."""

    def __init__(self, telegram: BotApiServer) -> None:
        self.telegram = telegram
        self.store = Store()
        self.slept: list[float] = []
        self.now = 0.0
        self.api = BotApi(telegram.token, url=telegram.url)
        self.poller = self.new_poller()

    def new_poller(self, *, timeout_s: int = 30) -> Poller:
        return Poller(
            self.api,
            put=self.store.put,
            set_aside=self.store.set_aside,
            timeout_s=timeout_s,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.002)

    async def until(self, condition: Callable[[], bool]) -> None:
        await self.telegram.until(condition)

    async def has(self, *texts: str) -> None:
        await self.until(lambda: set(texts) <= set(self.store.texts))


@pytest.fixture
async def telegram() -> AsyncIterator[BotApiServer]:
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def world(telegram: BotApiServer) -> AsyncIterator[World]:
    made = World(telegram)
    await made.api.open()
    made.poller.start()
    yield made
    await made.poller.stop()
    await made.api.close()


async def test_what_waits_is_stored_in_one_call_and_then_confirmed(telegram: BotApiServer) -> None:
    world = World(telegram)
    for number in range(5):
        telegram.customer(1001 + number % 2).says(f"m{number}")
    await world.api.open()
    world.poller.start()
    await world.until(lambda: telegram.pending == 0)
    assert world.store.batches == [["m0", "m1", "m2", "m3", "m4"]]
    await world.poller.stop()
    await world.api.close()


async def test_long_poll_brings_a_message_at_once(telegram: BotApiServer, world: World) -> None:
    await world.until(lambda: len(telegram.calls_of("getUpdates")) == 1)
    telegram.customer().says("the AC shows E4")
    await world.has("the AC shows E4")
    assert world.slept == []


async def test_nothing_is_confirmed_before_it_is_stored(telegram: BotApiServer, world: World) -> None:
    world.store.holds = asyncio.Event()
    telegram.customer().says("hello")
    await world.until(lambda: world.store.batches != [])
    await asyncio.sleep(0.05)
    assert telegram.pending == 1
    assert all("offset" not in call.parameters for call in telegram.calls_of("getUpdates"))
    world.store.holds.set()
    await world.until(lambda: telegram.pending == 0)


async def test_an_offset_is_named_only_to_confirm(telegram: BotApiServer, world: World) -> None:
    """Held for ever it would hide updates that Telegram numbers anew, after a week without any."""
    telegram.customer().says("hello")
    await world.until(lambda: telegram.pending == 0)
    asked = len(telegram.calls_of("getUpdates"))
    telegram.state.queue.end_poll()
    await world.until(lambda: len(telegram.calls_of("getUpdates")) > asked)
    confirming, resting = telegram.calls_of("getUpdates")[-2:]
    assert "offset" in confirming.parameters
    assert "offset" not in resting.parameters


async def test_what_the_store_refused_comes_again(telegram: BotApiServer, world: World) -> None:
    world.store.is_down = True
    telegram.customer().says("one")
    await world.until(lambda: len(world.store.batches) >= 8)
    telegram.customer().says("two")
    assert telegram.pending >= 1
    assert world.store.aside == {}
    world.store.is_down = False
    await world.has("one", "two")
    await world.until(lambda: telegram.pending == 0)
    assert world.slept[0] > 0.7  # never at once: Telegram slows down who asks twice with one offset
    assert max(world.slept) <= 30 * 1.25


async def test_killed_before_confirming_the_next_start_gets_it_again_and_stores_it_once(
    telegram: BotApiServer, world: World
) -> None:
    world.store.holds = asyncio.Event()
    telegram.customer().says("hello")
    await world.until(lambda: world.store.batches != [])
    stopping = asyncio.create_task(world.poller.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()  # the batch in hand is stored first
    world.store.holds.set()
    await stopping
    assert (world.store.texts, telegram.pending) == (["hello"], 1)
    world.poller = world.new_poller()
    world.poller.start()
    await world.until(lambda: telegram.pending == 0)
    assert (world.store.texts, len(world.store.batches)) == (["hello"], 2)


async def test_stopping_while_the_store_fails_confirms_nothing(telegram: BotApiServer, world: World) -> None:
    world.store.holds = asyncio.Event()
    world.store.is_down = True
    telegram.customer().says("hello")
    await world.until(lambda: world.store.batches != [])
    stopping = asyncio.create_task(world.poller.stop())
    await asyncio.sleep(0.01)
    world.store.holds.set()
    await stopping
    assert telegram.pending == 1


async def test_unreadable_update_is_kept_aside_and_blocks_nobody(
    telegram: BotApiServer, world: World
) -> None:
    telegram.customer().says("before")
    telegram.push({"update_id": 2, "message": {"message_id": 5, "text": "no chat"}})
    telegram.push({"message": "no id"})
    telegram.push("not even an object")
    telegram.customer().says("after")
    await world.has("before", "after")
    await world.until(lambda: telegram.pending == 0)
    assert world.store.aside["update:2"] == (
        '{"update_id": 2, "message": {"message_id": 5, "text": "no chat"}}',
        "chat is not an object",
    )
    assert len(world.store.aside) == 3


async def test_message_that_the_store_chokes_on_is_kept_aside_in_the_end(
    telegram: BotApiServer, world: World
) -> None:
    world.store.chokes_on = "poison"
    for text in ("before", "poison", "after"):
        telegram.customer().says(text)
    await world.has("before", "after")
    await world.until(lambda: telegram.pending == 0)
    assert world.store.texts == ["before", "after"]
    ((raw, reason),) = world.store.aside.values()
    assert json.loads(raw)["message"]["text"] == "poison"
    assert reason == "the store refused it: RuntimeError"


async def test_a_full_store_confirms_nothing_however_long_it_is_full(
    telegram: BotApiServer, world: World
) -> None:
    world.store.is_full = True
    telegram.customer().says("hello")
    await world.until(lambda: len(world.store.batches) > 8)
    assert (telegram.pending, world.store.aside) == (1, {})
    world.store.is_full = False
    await world.has("hello")


@pytest.mark.parametrize(
    ("fault", "least_s"),
    [
        (faults.unauthorized(), 0.7),
        (faults.missing(), 0.7),
        (faults.page(404), 0.7),
        (faults.refused(409, "Conflict: terminated by other getUpdates request"), 5),
        (faults.flooded(9), 9),
        (faults.page(502), 0.7),
        (faults.refused(500, "Internal Server Error"), 0.7),
        (faults.dropped_before(), 0.7),
        (faults.garbled(), 0.7),
        (faults.garbled(b'{"ok":true,"result":5}'), 0.7),
        (faults.garbled(b"<html>"), 0.7),
    ],
)
async def test_no_storm_ends_polling(telegram: BotApiServer, fault: faults.Fault, least_s: float) -> None:
    world = World(telegram)
    await world.api.open()
    telegram.faults.on("getUpdates", fault, times=20)
    telegram.customer().says("still there?")
    world.poller.start()
    await world.has("still there?")
    assert len(world.slept) >= 10
    assert min(world.slept) >= least_s
    assert world.poller.health().state == "ok"
    await world.poller.stop()
    await world.api.close()


async def test_one_refusal_costs_a_second_and_many_cost_half_a_minute_each(telegram: BotApiServer) -> None:
    world = World(telegram)
    await world.api.open()
    telegram.faults.on("getUpdates", faults.unauthorized(), times=20)
    telegram.customer().says("still there?")
    world.poller.start()
    await world.has("still there?")
    assert world.slept[0] <= 1.25
    assert 20 <= max(world.slept) <= 30 * 1.25
    await world.poller.stop()
    await world.api.close()


async def test_hanging_server_is_given_up_and_asked_again(telegram: BotApiServer) -> None:
    world = World(telegram)
    world.api = BotApi(telegram.token, url=telegram.url, answer_s=0.5)
    world.poller = world.new_poller(timeout_s=0)
    await world.api.open()
    telegram.faults.on("getUpdates", faults.late(60, carried_out=False))
    telegram.customer().says("hello")
    world.poller.start()
    await world.has("hello")
    await world.poller.stop()
    await world.api.close()


async def test_server_that_goes_away_and_comes_back(telegram: BotApiServer, world: World) -> None:
    await world.until(lambda: len(telegram.calls_of("getUpdates")) == 1)
    await telegram.stop()
    await world.until(lambda: len(world.slept) > 3)
    assert world.poller.health().state == "degraded"
    await telegram.start()
    telegram.customer().says("back")
    await world.has("back")
    assert world.poller.health().state == "ok"


async def test_bug_of_ours_does_not_end_polling(
    telegram: BotApiServer, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(**_: object) -> list[object]:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(world.api, "updates", broken)
        telegram.customer().says("one")  # ends the poll that is under way
        await world.until(lambda: len(world.slept) >= 2)
    assert "unexpected error" in caplog.text
    telegram.customer().says("two")
    await world.has("one", "two")


async def test_webhook_is_taken_down_without_losing_what_waits(telegram: BotApiServer) -> None:
    world = World(telegram)
    telegram.customer().says("came while we were away")
    await telegram.state.queue.set_webhook({"url": "http://127.0.0.1:9/", "secret_token": "s"})
    await world.api.open()
    world.poller.start()
    await world.has("came while we were away")
    await telegram.state.queue.set_webhook({"url": "http://127.0.0.1:9/", "secret_token": "s"})
    telegram.customer().says("and again")
    await world.has("and again")
    assert telegram.state.queue.webhook == {}
    await world.poller.stop()
    await world.api.close()


async def test_start_without_telegram_and_without_delete_webhook(telegram: BotApiServer) -> None:
    world = World(telegram)
    telegram.faults.on("deleteWebhook", faults.missing(), times=None)
    await world.api.open()
    telegram.customer().says("hello")
    world.poller.start()
    await world.has("hello")
    await world.poller.stop()
    await world.api.close()


async def test_health_tells_age_and_trouble(telegram: BotApiServer, world: World) -> None:
    await world.until(lambda: len(telegram.calls_of("getUpdates")) == 1)
    telegram.customer().says("hello")
    await world.has("hello")
    world.now = 20
    assert (world.poller.health().state, world.poller.health().detail) == ("ok", "last poll 20 s ago")
    world.now = 95
    assert world.poller.health().state == "down"
    telegram.faults.on("getUpdates", faults.unauthorized(), times=None)
    telegram.customer().says("wakes the poll")
    await world.until(lambda: len(world.slept) > 0)
    world.now = 100
    assert "Unauthorized" in world.poller.health().detail
    await world.poller.stop()
    assert world.poller.health().state == "down"


async def test_stopping_is_prompt_and_can_be_repeated(telegram: BotApiServer, world: World) -> None:
    await world.until(lambda: len(telegram.calls_of("getUpdates")) == 1)
    async with asyncio.timeout(20):  # the poll that is running takes 30 s
        await world.poller.stop()
        await world.poller.stop()


async def test_blocking_is_told(telegram: BotApiServer) -> None:
    world = World(telegram)
    told: list[tuple[str, bool]] = []

    async def note(change: object) -> None:
        told.append((change.chat.key, change.blocked))  # type: ignore[attr-defined]

    poller = Poller(
        world.api,
        put=world.store.put,
        set_aside=world.store.set_aside,
        ears=Ears(on_membership=note),
        sleep=world.sleep,
    )
    await world.api.open()
    poller.start()
    telegram.customer().blocks()
    await world.until(lambda: told != [])
    assert told == [("telegram:1001", True)]
    await poller.stop()
    await world.api.close()


async def test_other_kinds_of_chat_life_pass_by(telegram: BotApiServer, world: World) -> None:
    telegram.customer().sends_kind("sticker")
    telegram.member(-100200).says("talk among people")
    telegram.customer().says("hello")
    await world.has("hello")
    assert [item.kind for item in world.store.arrivals.values()] == [Kind.STICKER, Kind.TEXT]


async def test_album_in_a_group_counts_whole_when_its_caption_mentions_the_bot(
    telegram: BotApiServer, world: World
) -> None:
    ann = telegram.member(-100200)
    await ann.sends_album([b"1", b"2", b"3"], caption="@support_bot these", gap=0.01)
    await ann.sends_album([b"4", b"5"], caption="holiday photos")
    telegram.customer().says("done")
    await world.has("done")
    assert world.store.texts == ["these", "", "", "done"]


async def test_customers_words_are_not_logged(
    telegram: BotApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(telegram)
    await world.api.open()
    world.poller.start()
    telegram.push({"update_id": 1, "message": {"message_id": 5, "text": "my secret"}})
    telegram.customer().says("my other secret")
    await world.has("my other secret")
    await world.poller.stop()
    await world.api.close()
    assert "secret" not in caplog.text
    assert "update:1 kept aside" in caplog.text
