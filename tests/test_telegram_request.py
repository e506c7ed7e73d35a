from __future__ import annotations

import asyncio
import logging
import traceback

import pytest

from bot.errors import BadConfiguration, BotError
from bot.telegram import TelegramChannel
from bot.telegram.api import BotApi
from bot.telegram.limits import Limiter
from bot.telegram.poll import Poller
from bot.telegram.request import environment_proxy
from context.turns import Attachment, Chat, Part
from tests.bot_api import BotApiServer, faults
from tests.test_telegram_poll import Store

EVERY_FAULT = [
    faults.page(400),
    faults.page(401),
    faults.page(403),
    faults.page(404),
    faults.page(409),
    faults.page(429),
    faults.page(500),
    faults.page(502),
    faults.page(302, headers={"Location": "/elsewhere"}),
    faults.page(200),
    faults.unauthorized(),
    faults.flooded(1),
    faults.garbled(),
    faults.dropped_before(),
    faults.late(0.6, carried_out=False),
]


async def quick(seconds: float) -> None:
    await asyncio.sleep(0.001)


@pytest.mark.parametrize("fault", EVERY_FAULT)
async def test_token_is_in_no_log_and_no_exception(
    fault: faults.Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with BotApiServer() as telegram:
        secret = telegram.token.partition(":")[2]
        telegram.customer().sends_photo(b"data")
        api = BotApi(telegram.token, url=telegram.url, answer_s=0.15)
        channel = TelegramChannel(api, limiter=Limiter(overall_s=0, chat_s=0), sleep=quick)
        store = Store()
        poller = Poller(api, put=store.put, set_aside=store.set_aside, sleep=quick)
        telegram.faults.on("*", fault, times=None)
        for call in (
            channel.open(),
            api.open(),
            channel.send(Chat("telegram", "1001"), Part("words for one customer")),
            channel.fetch(Attachment("file-1")),
        ):
            try:
                await call
            except (BotError, Exception) as error:  # noqa: BLE001 - whatever it is, it must not tell
                told += traceback.format_exception(error)
                told.append(repr(error) + repr(error.__cause__) + repr(error.__context__))
        telegram.faults.clear()
        telegram.faults.on("download", fault, times=None)
        await api.open()
        try:
            await channel.fetch(Attachment("file-1"))
        except BotError as error:
            told += traceback.format_exception(error)
        telegram.faults.on("getUpdates", fault, times=3)
        poller.start()
        await telegram.until(lambda: len(telegram.calls_of("getUpdates")) > 3)
        told.append(poller.health().detail)
        await poller.stop()
        await channel.close()
    told.append(caplog.text)
    assert "words for one customer" not in caplog.text
    assert secret not in "".join(told)


async def test_unreachable_server_is_told_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    channel = TelegramChannel(BotApi("123456:THE-SECRET", url="http://127.0.0.1:1"), sleep=quick)
    await channel.open()
    with pytest.raises(BotError) as raised:
        await channel.send(Chat("telegram", "1"), Part("hello"))
    await channel.close()
    assert "THE-SECRET" not in caplog.text + "".join(traceback.format_exception(raised.value))
    assert "no connection" in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://[broken", "ftp://127.0.0.1:1", "http://127.0.0.1:99999", "api.telegram.org", "http://x?y"]
)
def test_address_that_cannot_be_one_is_named(url: str) -> None:
    with pytest.raises(BadConfiguration, match="TELEGRAM_API_URL"):
        BotApi("123456:THE-SECRET", url=url)


async def test_many_chats_are_served_over_few_connections() -> None:
    async with BotApiServer(latency_s=0.005) as telegram:
        channel = TelegramChannel(
            BotApi(telegram.token, url=telegram.url), limiter=Limiter(overall_s=0, chat_s=0)
        )
        await channel.open()
        for chat in range(200):
            telegram.customer(chat + 1)
        await asyncio.gather(
            *(channel.send(Chat("telegram", str(n + 1)), Part(f"to {n}")) for n in range(200))
        )
        assert {sent.text for sent in telegram.sent} == {f"to {n}" for n in range(200)}
        await channel.close()


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://api.telegram.org", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.telegram.org", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "http://127.0.0.1:8081", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://api.telegram.org", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "telegram.org"}, "https://api.telegram.org", None),
    ],
)
def test_proxy_comes_from_the_environment(
    environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(url) == proxy


def test_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy:1080")
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(BadConfiguration, match="HTTPS_PROXY"):
        environment_proxy("https://api.telegram.org")


async def test_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with BotApiServer() as telegram:  # a plain-http proxy is asked for the absolute address
        monkeypatch.setenv("http_proxy", telegram.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        api = BotApi(telegram.token, url="http://telegram.invalid")
        await api.open()
        assert (await api.me()).username == "support_bot"
        await api.close()
