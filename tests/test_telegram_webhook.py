from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from bot.telegram.api import UPDATES, BotApi
from bot.telegram.webhook import MAX_BODY, Webhook
from tests.bot_api import BotApiServer, faults
from tests.test_telegram_poll import Store

SECRET = "s3cret-of-the-webhook"


class World:
    """A webhook behind a small web server, and Telegram pushing to it."""

    def __init__(self, telegram: BotApiServer) -> None:
        self.telegram = telegram
        self.store = Store()
        self.api = BotApi(telegram.token, url=telegram.url)
        self.looks = asyncio.Semaphore(0)
        self.webhook = self.at("http://127.0.0.1:9/hook")

    def at(self, url: str) -> Webhook:
        return Webhook(
            self.api,
            url=url,
            secret=SECRET,
            put=self.store.put,
            set_aside=self.store.set_aside,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        """Until somebody wants the webhook to look after itself again."""
        await self.looks.acquire()

    async def serve(self) -> None:
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.runner = runner
        self.webhook = self.at(f"http://127.0.0.1:{runner.addresses[0][1]}/hook")

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        header = request.headers.get("X-Telegram-Bot-Api-Secret-Token")
        return web.Response(status=await self.webhook.receive(await request.read(), header))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with BotApiServer(webhook_retry_s=0.01) as telegram:
        made = World(telegram)
        await made.api.open()
        await made.serve()
        made.webhook.start()
        await telegram.until(lambda: bool(telegram.state.queue.webhook))
        yield made
        await made.webhook.stop()
        await made.runner.cleanup()
        await made.api.close()


async def test_pushed_updates_are_stored_in_order_of_each_chat(world: World) -> None:
    for number in range(20):
        world.telegram.customer(1001 + number % 3).says(f"m{number}")
    await world.telegram.until(lambda: world.telegram.pending == 0)
    for chat in range(3):
        told = [a.text for a in world.store.arrivals.values() if a.chat.address == str(1001 + chat)]
        assert told == [f"m{number}" for number in range(20) if number % 3 == chat]
    assert {status for _, status in world.telegram.state.queue.deliveries} == {200}


async def test_registration_asks_for_what_we_read_and_drops_nothing(world: World) -> None:
    (call,) = world.telegram.calls_of("setWebhook")
    assert call.parameters["secret_token"] == SECRET
    assert not call.parameters.get("drop_pending_updates")
    assert world.telegram.state.queue.allowed == set(UPDATES)
    await world.telegram.until(lambda: world.webhook.health().state == "ok")


async def test_two_hundred_only_after_the_store_has_it(world: World) -> None:
    world.store.is_down = True
    world.telegram.customer().says("hello")
    await world.telegram.until(lambda: len(world.telegram.state.queue.deliveries) >= 3)
    assert {status for _, status in world.telegram.state.queue.deliveries} == {503}
    world.store.is_down = False
    await world.telegram.until(lambda: world.telegram.pending == 0)
    assert world.store.texts == ["hello"]


async def test_message_that_the_store_chokes_on_is_kept_aside_and_does_not_come_for_ever(
    world: World,
) -> None:
    world.store.chokes_on = "hi"
    assert await world.webhook.receive(MESSAGE, SECRET) == 200
    assert list(world.store.aside) == ["update:5"]


async def test_a_full_store_is_not_the_fault_of_the_message(world: World) -> None:
    world.store.is_full = True
    assert await world.webhook.receive(MESSAGE, SECRET) == 503
    assert world.store.aside == {}


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET.upper(), "密"])
async def test_wrong_secret_is_turned_away(world: World, secret: str | None) -> None:
    assert await world.webhook.receive(b'{"update_id": 1}', secret) == 403
    assert world.store.batches == []


MESSAGE = b'{"update_id":5,"message":{"message_id":1,"date":1,"chat":{"id":4,"type":"private"},"text":"hi"}}'


@pytest.mark.parametrize(
    ("body", "status", "aside"),
    [
        (MESSAGE, 200, []),
        (MESSAGE[:-2], 200, ["update:5"]),
        (MESSAGE.replace(b"hi", b"\xff\xfe"), 200, ["update:5"]),
        (b'{"update_id":6,"message":{"chat":7}}', 200, ["update:6"]),
        (b'{"update_id":7,"poll_answer":{}}', 200, []),
        (b"[" * 100_000, 400, []),
        (b"", 400, []),
        (b"hello", 400, []),
        (b" " * (MAX_BODY + 1), 413, []),
    ],
)
async def test_status_for_every_sort_of_body(
    world: World, body: bytes, status: int, aside: list[str]
) -> None:
    assert await world.webhook.receive(body, SECRET) == status
    assert list(world.store.aside) == aside


async def test_same_update_twice_is_stored_once(world: World) -> None:
    assert [await world.webhook.receive(MESSAGE, SECRET) for _ in range(2)] == [200, 200]
    assert world.store.texts == ["hi"]


async def test_hanging_store_is_answered_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.telegram.webhook._STORE_S", 0.05)
    world.store.holds = asyncio.Event()
    assert await world.webhook.receive(MESSAGE, SECRET) == 503


async def test_webhook_that_somebody_removed_is_set_again(world: World) -> None:
    await world.telegram.until(lambda: world.webhook.health().state == "ok")
    await world.telegram.state.queue.set_webhook({})
    world.looks.release()
    await world.telegram.until(lambda: bool(world.telegram.state.queue.webhook))


async def test_an_address_that_does_not_stay_is_set_again_without_haste(world: World) -> None:
    await world.telegram.until(lambda: world.webhook.health().state == "ok")
    info = {"url": "https://other.example", "has_custom_certificate": False, "pending_update_count": 0}
    elsewhere = json.dumps({"ok": True, "result": info}).encode()
    world.telegram.faults.on("getWebhookInfo", faults.garbled(elsewhere), times=None)
    world.looks.release()
    await world.telegram.until(lambda: "another address" in world.webhook.health().detail)
    assert len(world.telegram.calls_of("setWebhook")) == 2
    world.telegram.faults.clear()
    world.looks.release()
    await world.telegram.until(lambda: world.webhook.health().state == "ok")


@pytest.mark.parametrize(
    "fault", [faults.page(502), faults.unauthorized(), faults.flooded(3), faults.garbled()]
)
async def test_registration_is_tried_until_it_works(fault: faults.Fault) -> None:
    async with BotApiServer() as telegram:
        world = World(telegram)
        await world.api.open()
        telegram.faults.on("setWebhook", fault)
        world.webhook.start()
        await telegram.until(lambda: "cannot ask" in world.webhook.health().detail)
        world.looks.release()
        await telegram.until(lambda: world.webhook.health().state == "ok")
        await world.webhook.stop()
        await world.api.close()
        assert world.webhook.health().state == "down"


async def test_webhook_without_a_secret_is_refused() -> None:
    async with BotApiServer() as telegram:
        api = BotApi(telegram.token, url=telegram.url)
        with pytest.raises(ValueError, match="secret"):
            Webhook(api, url="https://example.org", secret="", put=Store().put, set_aside=Store().set_aside)
