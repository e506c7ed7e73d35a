"""The server that the other tests and the benchmarks believe in keeps Telegram's rules itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.telegram.api import BotApi
from bot.telegram.poll import Poller
from context.turns import Arrival
from tests.bot_api import BotApiServer, faults
from tests.until import PROCESS_S


class Client:
    """A bot of few words: one method call, one answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self.session = session
        self.base = f"{url}/bot{token}"

    async def call(self, method: str, **parameters: object) -> tuple[int, Any]:
        async with self.session.post(f"{self.base}/{method}", json=parameters) as answer:
            body = await answer.json()
            return answer.status, body.get("result", body)

    async def updates(self, **parameters: object) -> list[int]:
        status, result = await self.call("getUpdates", **parameters)
        assert status == 200
        return [update["update_id"] for update in result]


@pytest.fixture
async def telegram() -> AsyncIterator[BotApiServer]:
    async with BotApiServer() as server:
        yield server


@pytest.fixture
async def bot(telegram: BotApiServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, telegram.url, telegram.token)


async def test_asking_with_an_offset_forgets_what_is_below(telegram: BotApiServer, bot: Client) -> None:
    for number in range(4):
        telegram.customer().says(f"m{number}")
    assert await bot.updates() == [1, 2, 3, 4]
    assert await bot.updates(limit=2) == [1, 2]
    assert await bot.updates(offset=3) == [3, 4]
    assert await bot.updates(offset=1) == [3, 4]
    assert await bot.updates(offset=5) == []
    assert telegram.pending == 0


async def test_second_poller_ends_the_first_with_a_conflict(telegram: BotApiServer, bot: Client) -> None:
    first = asyncio.create_task(bot.call("getUpdates", timeout=50))
    await telegram.until(lambda: len(telegram.calls) == 1)
    second = asyncio.create_task(bot.updates(timeout=50))
    assert (await first)[0] == 409
    telegram.customer().says("hello")
    assert await second == [1]


async def test_polling_is_refused_while_a_webhook_is_set(telegram: BotApiServer, bot: Client) -> None:
    await bot.call("setWebhook", url="http://127.0.0.1:9/")
    status, answer = await bot.call("getUpdates")
    assert (status, "webhook is active" in answer["description"]) == (409, True)


async def test_only_kinds_that_were_asked_for_are_queued(telegram: BotApiServer, bot: Client) -> None:
    await bot.updates(allowed_updates=["message"])
    telegram.customer().edits(telegram.customer().says("a"), "b")
    assert len(await bot.updates()) == 1


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"chat_id": 1001, "text": "x" * 4096}, 200, ""),
        ({"chat_id": 1001, "text": "😀" * 2048}, 200, ""),
        ({"chat_id": 1001, "text": "x" * 4097}, 400, "message is too long"),
        ({"chat_id": 1001, "text": "😀" * 2048 + "x"}, 400, "message is too long"),
        ({"chat_id": 1001, "text": " \n"}, 400, "message text is empty"),
        ({"chat_id": 1001}, 400, "message text is empty"),
        ({"chat_id": 9, "text": "x"}, 400, "chat not found"),
        ({"chat_id": "me", "text": "x"}, 400, "chat not found"),
        ({"chat_id": 1001, "text": "😀", "entities": [{"type": "bold", "offset": 0, "length": 2}]}, 200, ""),
        (
            {"chat_id": 1001, "text": "😀", "entities": [{"type": "bold", "offset": 1, "length": 1}]},
            400,
            "in a middle of a UTF-16 symbol",
        ),
        (
            {"chat_id": 1001, "text": "ab", "entities": [{"type": "bold", "offset": 1, "length": 2}]},
            400,
            "ends after the end of the text",
        ),
        ({"chat_id": 1001, "text": "ab", "message_thread_id": 7}, 400, "message thread not found"),
    ],
)
async def test_send_message_is_as_strict_as_telegrams(
    telegram: BotApiServer, bot: Client, parameters: dict[str, object], status: int, words: str
) -> None:
    telegram.customer(1001)
    got, answer = await bot.call("sendMessage", **parameters)
    assert (got, words in str(answer)) == (status, True)


async def test_wrong_token_and_unknown_method(telegram: BotApiServer, bot: Client) -> None:
    assert (await bot.call("sendSmell"))[0] == 404
    bot.base += "x"
    assert (await bot.call("getMe"))[0] == 401


async def test_edit_to_the_same_text_is_not_modified(telegram: BotApiServer, bot: Client) -> None:
    telegram.customer(1001)
    _, sent = await bot.call("sendMessage", chat_id=1001, text="a")
    edit = {"chat_id": 1001, "message_id": sent["message_id"], "text": "b"}
    assert [(await bot.call("editMessageText", **edit))[0] for _ in range(2)] == [200, 400]


async def test_fault_is_used_up_and_hits_only_its_chat(telegram: BotApiServer, bot: Client) -> None:
    telegram.customer(1)
    telegram.customer(2)
    telegram.faults.on("sendMessage", faults.flooded(1), chat=1, times=2)
    got = [(await bot.call("sendMessage", chat_id=chat, text="x"))[0] for chat in (1, 2, 1, 1)]
    assert got == [429, 200, 429, 200]


async def test_chance_faults_are_the_same_every_time() -> None:
    def strikes() -> list[bool]:
        some = faults.Faults(seed=3)
        some.on("*", faults.unauthorized(), times=None, probability=0.3)
        return [some.next("getMe", None) is not None for _ in range(200)]

    assert strikes() == strikes()
    assert 40 < sum(strikes()) < 80


async def test_stand_alone_process_holds_conversations() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bot_api", stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), PROCESS_S)).decode()
        url, token = (word.partition("=")[2] for word in line.split())
        talk = await _converse(url, token, {"chats": 20, "turns": 3, "photos": True})
    finally:
        process.terminate()
        await process.wait()
    assert (talk["turns"], talk["answered"]) == (60, 60)
    assert 0 < talk["latency_ms"]["p50"] <= talk["latency_ms"]["max"]


async def _converse(url: str, token: str, options: dict[str, object]) -> dict[str, Any]:
    """Let an echo bot answer the customers of another process."""
    api = BotApi(token, url=url)
    await api.open()

    async def echo(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            await api.bot.send_message(arrival.chat.address, arrival.text)

    async def never(*_: str) -> None:
        raise AssertionError("nothing here is unreadable")

    poller = Poller(api, put=echo, set_aside=never)
    poller.start()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/control/converse", data=json.dumps(options)) as answer,
    ):
        talk: dict[str, Any] = await answer.json()
    await poller.stop()
    await api.close()
    return talk
