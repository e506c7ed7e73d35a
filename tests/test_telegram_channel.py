from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bot.errors import (
    Again,
    Ambiguous,
    BadConfiguration,
    BadFormatting,
    FileUnavailable,
    NotSent,
    Undeliverable,
)
from bot.telegram import TelegramChannel, open_telegram
from bot.telegram.api import BotApi
from bot.telegram.channel import MAX_FILE
from bot.telegram.limits import Limiter
from context.turns import Attachment, Chat, Entity, Part
from tests.bot_api import BotApiServer, faults

LI = Chat("telegram", "1001")


@pytest.fixture
async def telegram() -> AsyncIterator[BotApiServer]:
    async with BotApiServer() as server:
        server.customer(1001)
        yield server


@pytest.fixture
async def channel(telegram: BotApiServer) -> AsyncIterator[TelegramChannel]:
    opened = TelegramChannel(
        BotApi(telegram.token, url=telegram.url),
        limiter=Limiter(overall_s=0, chat_s=0),
        sleep=quick,
    )
    await opened.open()
    yield opened
    await opened.close()


async def quick(seconds: float) -> None:
    await asyncio.sleep(seconds / 50)


async def test_reply_arrives_as_text_and_entities(telegram: BotApiServer, channel: TelegramChannel) -> None:
    entities = (
        Entity("bold", 0, 2),
        Entity("text_link", 3, 4, url="https://example.org/manual"),
        Entity("pre", 8, 4, language="sh"),
    )
    receipt = await channel.send(LI, Part("😀 link code *_ <b>", entities))
    (sent,) = await telegram.replies(1001)
    assert sent.text == "😀 link code *_ <b>"
    assert sent.entities == [
        {"type": "bold", "offset": 0, "length": 2},
        {"type": "text_link", "offset": 3, "length": 4, "url": "https://example.org/manual"},
        {"type": "pre", "offset": 8, "length": 4, "language": "sh"},
    ]
    assert "parse_mode" not in sent.parameters
    assert sent.parameters["link_preview_options"] == {"is_disabled": True}
    assert receipt.message_id == str(sent.message_id)


async def test_longest_part_passes(telegram: BotApiServer, channel: TelegramChannel) -> None:
    await channel.send(LI, Part("查" * 4096))
    (sent,) = await telegram.replies(1001)
    assert sent.text == "查" * 4096


REFUSALS = [
    (faults.flooded(7), NotSent, 7),
    (faults.page(429, headers={"Retry-After": "4"}), NotSent, 4),
    (faults.unauthorized(), NotSent, 30),
    (faults.missing(), NotSent, 30),
    (faults.page(404), NotSent, 30),
    (faults.page(413), NotSent, 30),
    (faults.page(302, headers={"Location": "http://127.0.0.1:1/"}), NotSent, 30),
    (faults.refused(403, "Forbidden: bot was blocked by the user"), Undeliverable, None),
    (faults.refused(400, "Bad Request: chat not found"), Undeliverable, None),
    (faults.page(403), NotSent, 30),
]


@pytest.mark.parametrize(("fault", "error", "after_s"), REFUSALS)
async def test_what_was_certainly_not_delivered(
    telegram: BotApiServer,
    channel: TelegramChannel,
    fault: faults.Fault,
    error: type[Exception],
    after_s: float | None,
) -> None:
    telegram.faults.on("sendMessage", fault)
    with pytest.raises(error) as raised:
        await channel.send(LI, Part("hello", (Entity("bold", 0, 5),)))
    assert type(raised.value) is error
    assert getattr(raised.value, "after_s", None) == after_s
    assert telegram.sent == []


@pytest.mark.parametrize(
    ("fault", "delivered"),
    [
        (faults.page(502), 0),
        (faults.refused(500, "Internal Server Error: restart"), 0),
        (faults.dropped_before(), 0),
        (faults.dropped_after(), 1),
        (faults.late(2.0), 1),
        (faults.late(2.0, carried_out=False), 0),
        (faults.garbled(), 1),
        (faults.garbled(b'{"ok":true,"result":{"message_id":1}}'), 1),
        (faults.garbled(b'{"ok":true,"result":"sent"}'), 1),
        (faults.garbled(b"[]"), 1),
        (faults.garbled(b"\xff\xfe"), 1),
    ],
)
async def test_what_may_have_been_delivered(
    telegram: BotApiServer, channel: TelegramChannel, fault: faults.Fault, delivered: int
) -> None:
    channel.api.request._answer_s = 0.3
    telegram.faults.on("sendMessage", fault)
    with pytest.raises(Ambiguous):
        await channel.send(LI, Part("hello"))
    assert len(telegram.sent) == delivered


async def test_refused_connection_is_certainly_not_delivered(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    await telegram.stop()
    with pytest.raises(NotSent):
        await channel.send(LI, Part("hello"))


async def test_waiting_for_a_free_connection_is_certainly_not_delivered(telegram: BotApiServer) -> None:
    api = BotApi(telegram.token, url=telegram.url)
    channel = TelegramChannel(api, limiter=Limiter(overall_s=0, chat_s=0))
    await channel.open()
    telegram.faults.on("sendMessage", faults.late(5.0), times=None)
    busy = [asyncio.create_task(channel.send(LI, Part("hello"))) for _ in range(32)]
    await telegram.until(lambda: len(telegram.sent) == 32)
    api.request.connect_s = 0.05
    with pytest.raises(NotSent) as raised:
        await channel.send(LI, Part("one too many"))
    assert telegram.token not in "".join(traceback.format_exception(raised.value))
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    await channel.close()


async def test_two_hundred_with_a_refusal_in_it_counts_as_the_refusal(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    body = b'{"ok": false, "error_code": 403, "description": "Forbidden: user is deactivated"}'
    telegram.faults.on("sendMessage", faults.garbled(body))
    with pytest.raises(Undeliverable):
        await channel.send(LI, Part("hello"))


async def test_refused_formatting_is_told_apart_from_a_refused_chat(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    beyond = Part("short", (Entity("bold", 0, 99),))
    with pytest.raises(BadFormatting):
        await channel.send(LI, beyond)
    with pytest.raises(Undeliverable) as raised:
        await channel.send(Chat("telegram", "404"), beyond)
    assert not isinstance(raised.value, BadFormatting)


async def test_blocked_chat_is_undeliverable(telegram: BotApiServer, channel: TelegramChannel) -> None:
    telegram.customer(1001).blocks()
    with pytest.raises(Undeliverable):
        await channel.send(LI, Part("hello"))


async def test_group_that_became_a_supergroup_is_followed(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    telegram.member(-5).room.moved_to = -100500
    telegram.member(-100500)
    for text in ("one", "two"):
        await channel.send(Chat("telegram", "-5"), Part(text))
    assert [sent.text for sent in await telegram.replies(-100500, 2)] == ["one", "two"]
    assert len(telegram.calls_of("sendMessage", -5)) == 1


async def test_reply_goes_to_its_topic_or_to_the_chat_when_that_is_gone(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    ann = telegram.member(-100200)
    ann.says("@support_bot hi", thread=7)
    await channel.send(Chat("telegram", "-100200", 7), Part("in the topic"))
    ann.room.topics.clear()
    await channel.send(Chat("telegram", "-100200", 7), Part("topic is gone"))
    assert [(sent.text, sent.thread) for sent in await telegram.replies(-100200, 2)] == [
        ("in the topic", 7),
        ("topic is gone", None),
    ]


async def hello(channel: TelegramChannel) -> None:
    await channel.ready(LI)
    await channel.send(LI, Part("hello"))


async def test_flooded_chat_is_handed_back_and_others_go_on(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    telegram.customer(1002)
    telegram.faults.on("sendMessage", faults.flooded(30), chat=1001)
    for _ in range(2):
        with pytest.raises(NotSent) as raised:
            await hello(channel)
        assert 29 < raised.value.after_s <= 30
    assert len(telegram.calls_of("sendMessage", 1001)) == 1  # the second was not even tried
    await channel.send(Chat("telegram", "1002"), Part("hello"))


async def test_fast_answer_shows_no_typing_sign(telegram: BotApiServer, channel: TelegramChannel) -> None:
    async with channel.typing(LI):
        pass
    await channel.send(LI, Part("hello"))
    assert telegram.calls_of("sendChatAction") == []


async def test_typing_sign_is_renewed_until_the_answer(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    async with channel.typing(Chat("telegram", "1001", 7)):
        await telegram.until(lambda: len(telegram.calls_of("sendChatAction")) == 3)
    signs = telegram.calls_of("sendChatAction")
    assert {(call.parameters["action"], call.parameters["message_thread_id"]) for call in signs} == {
        ("typing", 7)
    }
    await quick(10)
    assert len(telegram.calls_of("sendChatAction")) == 3


async def test_typing_sign_ends_by_itself(telegram: BotApiServer) -> None:
    slept: list[float] = []

    async def count(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    api = BotApi(telegram.token, url=telegram.url)
    channel = TelegramChannel(api, limiter=Limiter(overall_s=0, chat_s=0), sleep=count)
    await channel.open()
    async with channel.typing(LI):
        await telegram.until(lambda: sum(slept) >= 180)
        await asyncio.sleep(0.05)
    assert 175 < sum(slept) < 185
    assert len(telegram.calls_of("sendChatAction")) == 40
    await channel.close()


@pytest.mark.parametrize(
    ("fault", "tries_again"),
    [
        (faults.flooded(3), False),
        (faults.missing(), False),
        (faults.refused(403, "Forbidden: bot was blocked by the user"), False),
        (faults.refused(400, "Bad Request: chat not found"), False),
        (faults.page(502), True),
        (faults.dropped_before(), True),
        (faults.garbled(b"null"), True),
    ],
)
async def test_failing_typing_sign_never_reaches_the_turn(
    telegram: BotApiServer, channel: TelegramChannel, fault: faults.Fault, tries_again: bool
) -> None:
    telegram.faults.on("sendChatAction", fault, times=None)
    wanted = 2 if tries_again else 1
    async with channel.typing(LI):
        await telegram.until(lambda: len(telegram.calls_of("sendChatAction")) >= wanted)
        await quick(10)
    assert (len(telegram.calls_of("sendChatAction")) > 1) is tries_again


async def test_photo_is_downloaded(telegram: BotApiServer, channel: TelegramChannel) -> None:
    assert await channel.fetch(attached(telegram, b"\xff\xd8 picture" * 9000)) == b"\xff\xd8 picture" * 9000


async def test_announced_size_over_the_limit_is_not_even_asked_for(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    with pytest.raises(FileUnavailable) as raised:
        await channel.fetch(Attachment("any", MAX_FILE + 1))
    assert raised.value.code == "too_large"
    assert telegram.calls_of("getFile") == []


@pytest.mark.parametrize("announced", [None, 10**12])
async def test_endless_file_is_cut_off(
    telegram: BotApiServer, channel: TelegramChannel, announced: int | None
) -> None:
    telegram.faults.on("download", faults.endless(announced), times=None)
    with pytest.raises(FileUnavailable) as raised:
        await channel.fetch(attached(telegram, b"small"))
    assert raised.value.code == "too_large"


@pytest.mark.parametrize(
    ("method", "fault", "code"),
    [
        ("getFile", faults.refused(400, "Bad Request: file is too big"), "too_large"),
        ("getFile", faults.refused(400, "Bad Request: wrong file_id"), "download_failed"),
        (
            "getFile",
            faults.garbled(b'{"ok":true,"result":{"file_id":"x","file_unique_id":"y"}}'),
            "download_failed",
        ),
        ("download", faults.page(404), "download_failed"),
    ],
)
async def test_file_that_is_not_to_be_had(
    telegram: BotApiServer, channel: TelegramChannel, method: str, fault: faults.Fault, code: str
) -> None:
    telegram.faults.on(method, fault, times=None)
    with pytest.raises(FileUnavailable) as raised:
        await channel.fetch(attached(telegram, b"data"))
    assert raised.value.code == code


@pytest.mark.parametrize("method", ["getFile", "download"])
@pytest.mark.parametrize(
    "fault", [faults.page(502), faults.dropped_before(), faults.late(2.0, carried_out=False)]
)
async def test_download_survives_two_failures_and_asks_for_patience_after_three(
    telegram: BotApiServer, channel: TelegramChannel, method: str, fault: faults.Fault
) -> None:
    channel.api.request._answer_s = 0.5
    attachment = attached(telegram, b"data")
    telegram.faults.on(method, fault, times=2)
    assert await channel.fetch(attachment) == b"data"
    telegram.faults.on(method, fault, times=None)
    with pytest.raises(Again):
        await channel.fetch(attachment)


async def test_flooded_download_says_how_long(telegram: BotApiServer, channel: TelegramChannel) -> None:
    telegram.faults.on("getFile", faults.flooded(9))
    with pytest.raises(Again) as raised:
        await channel.fetch(attached(telegram, b"data"))
    assert raised.value.after_s == 9


async def test_command_menu_is_set_in_both_languages(
    telegram: BotApiServer, channel: TelegramChannel
) -> None:
    await telegram.until(lambda: len(telegram.state.commands) == 2)
    for menu in (telegram.state.commands[""], telegram.state.commands["zh"]):
        names = [command["command"] for command in menu]
        assert names == ["start", "help", "reset", "human", "language", "privacy", "forgetme"]
    assert telegram.state.commands["zh"][3]["description"] == "转人工客服"


async def test_command_menu_is_set_once_telegram_is_in_reach(
    telegram: BotApiServer, channel: TelegramChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.channel._MENU_AGAIN_S", 0.02)
    await telegram.until(lambda: len(telegram.state.commands) == 2)
    await telegram.stop()
    telegram.state.commands.clear()
    publishing = asyncio.create_task(channel._publish_commands())
    await asyncio.sleep(0)
    await telegram.start()
    await publishing
    assert len(telegram.state.commands) == 2


async def test_server_without_side_methods_serves_all_the_same(telegram: BotApiServer) -> None:
    for method in ("setMyCommands", "sendChatAction", "setMessageReaction"):
        telegram.faults.on(method, faults.missing(), times=None)
    channel = await open_telegram(token=telegram.token, api_url=telegram.url + "/")
    async with channel.typing(LI):
        await channel.send(LI, Part("hello"))
    await channel.close()
    assert [sent.text for sent in telegram.sent] == ["hello"]


async def test_closing_twice_is_harmless_and_leaves_nothing_running(telegram: BotApiServer) -> None:
    telegram.faults.on("setMyCommands", faults.late(5.0), times=None)
    channel = await open_telegram(token=telegram.token, api_url=telegram.url)
    before = asyncio.all_tasks()
    await channel.close()
    await channel.close()
    assert len(asyncio.all_tasks()) < len(before)


@pytest.mark.parametrize("wrong", [lambda t: "1:wrong", lambda t: t.token + "x"])
async def test_wrong_token_is_named_at_the_start(
    telegram: BotApiServer, wrong: Callable[[BotApiServer], str]
) -> None:
    with pytest.raises(BadConfiguration, match="TELEGRAM_BOT_TOKEN"):
        await open_telegram(token=wrong(telegram), api_url=telegram.url)


async def test_address_without_a_bot_api_is_named_at_the_start(telegram: BotApiServer) -> None:
    telegram.faults.on("getMe", faults.page(404))
    with pytest.raises(BadConfiguration, match="TELEGRAM_API_URL"):
        await open_telegram(token=telegram.token, api_url=telegram.url)


@pytest.mark.parametrize(
    "fault",
    [
        faults.page(502),
        faults.dropped_before(),
        faults.flooded(60),
        faults.garbled(b'{"ok":true,"result":{}}'),
    ],
)
async def test_unreachable_telegram_does_not_stop_the_start(telegram: BotApiServer, fault: Any) -> None:
    telegram.faults.on("getMe", fault)
    channel = await open_telegram(token=telegram.token, api_url=telegram.url)
    await channel.send(LI, Part("hello"))
    assert (await channel.api.me()).username == "support_bot"
    await channel.close()


def attached(telegram: BotApiServer, data: bytes) -> Attachment:
    telegram.customer(1001).sends_photo(data)
    return Attachment(list(telegram.state.files)[-1], len(data))
