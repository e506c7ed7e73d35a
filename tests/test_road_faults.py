"""What goes wrong on the road, end to end: bad pictures, a failing model, Telegram, store, guard or bot.

The rule behind all of them: the customer gets one answer, in order, and never silence.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bot.engines.first_available import FirstAvailable
from bot.engines.line import Line
from bot.engines.rules import RULES, load_rules
from bot.guard import Guard, load_policy
from bot.telegram import channel as telegram_channel
from bot.telegram.api import BotApi
from context.db import Database
from context.turns import Chat
from prompts.prompts import Prompts
from tests.bot_api import BotApiServer, Person, faults
from tests.bot_api.faults import Fault as TelegramFault
from tests.model_faults import Fault
from tests.model_server import ModelServer
from tests.pictures import HOSTILE, Hostile
from tests.real_redis import RealRedis
from tests.until import PROCESS_S, until
from tests.world import Script, World, asked, colours, noted, picture, same_colour, tags, world

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED, GREEN = (200, 30, 30), (30, 160, 60)
PRELIMINARY = load_rules(RULES).frame["preliminary"]["en"]

_ids = count(30_000)


@pytest.fixture(scope="module")
def apis() -> Iterator[list[BotApi]]:
    """The bots' ends of Telegram, as they are made."""
    made: list[BotApi] = []

    def make(*args: Any, **named: Any) -> BotApi:
        made.append(BotApi(*args, **named))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telegram_channel, "BotApi", make)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def w(tmp_path_factory: pytest.TempPathFactory, apis: list[BotApi]) -> AsyncIterator[World]:
    """One bot for the faults that concern one chat."""
    folder, model = tmp_path_factory.mktemp("world"), ModelServer(answer=Script())
    async with world(folder, model=model) as made:
        yield made


@contextmanager
def impatient(w: World) -> Iterator[None]:
    """In the block the bot waits half a second for its model."""
    line = w.app.engine
    assert isinstance(line, Line)
    assert isinstance(line._engine, FirstAvailable)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line._engine.engines[0], "_timeout_s", 0.5)
        yield


@pytest.fixture
def script(w: World) -> Iterator[dict[str, str]]:
    assert isinstance(w.model.answer, Script)
    yield w.model.answer.answers
    w.model.answer.answers.clear()


@pytest.fixture
def li(w: World) -> Person:
    return w.telegram.customer(next(_ids))


async def reply(w: World, person: Person) -> str:
    (sent,) = await w.telegram.replies(person.room.id)
    return sent.text


def notice(name: str, **values: object) -> str:
    return Prompts().notice(name, "en", **values)


def refused(code: str, *, number: int = 1, total: int = 1) -> str:
    return notice("photo_rejected", code=code, number=number, total=total)


# Bad pictures

CLIPS = {"mp4", "gif and jar"}
"""These begin as clips do, and are looked at as such: tests/test_clips.py."""
OPENS_HEIC = importlib.util.find_spec("pi_heif") is not None


def code_of(bad: Hostile) -> str:
    """Its reason from this bot: with the extra `heic` a phone's own format is opened, and found damaged."""
    return "damaged" if OPENS_HEIC and bad.name == "heic" else bad.code


@pytest.mark.parametrize("as_file", [False, True], ids=["photo", "file"])
async def test_every_bad_picture_alone_gets_its_reason_and_never_reaches_the_model(
    w: World, *, as_file: bool
) -> None:
    asked_before = w.model.received

    async def send(bad: Hostile) -> tuple[str, str]:
        customer = w.telegram.customer(next(_ids))
        if as_file:
            customer.sends_file(bad.make(), name="IMG_1.jpg", mime="image/jpeg")
        else:
            customer.sends_photo(bad.make())
        (sent,) = await w.telegram.replies(customer.room.id)
        return bad.name, sent.text

    pictures = [bad for bad in HOSTILE if bad.name not in CLIPS]
    answers = dict(await asyncio.gather(*(send(bad) for bad in pictures)))
    ask = notice("photo_only_rejected")
    assert answers == {bad.name: f"{refused(code_of(bad))}\n\n{ask}" for bad in pictures}
    assert w.model.received == asked_before


CODES = sorted({code_of(bad) for bad in HOSTILE})


async def test_bad_pictures_in_an_album_are_named_by_number_and_the_rest_is_answered(w: World) -> None:
    async def send(number: int, code: str) -> None:
        bad = next(bad for bad in HOSTILE if code_of(bad) == code)
        customer, mark = w.telegram.customer(next(_ids)), f"c{number}t1"
        await customer.sends_album([picture(RED), bad.make(), picture(GREEN)], caption=f"look {mark}")
        (sent,) = await w.telegram.replies(customer.room.id)
        assert sent.text == f"{refused(code, number=2, total=3)}\n\nNoted: {mark}."
        (request,) = asked(w, mark)
        first, second = colours(request)
        assert same_colour(first, RED)
        assert same_colour(second, GREEN)
        assert "picture 2 of this message" in request.last_text

    await asyncio.gather(*(send(number, code) for number, code in enumerate(CODES)))


async def test_several_bad_pictures_are_each_named(w: World, li: Person) -> None:
    await li.sends_album([b"", picture(RED), b"%PDF-1.7"], caption="three c50t0")
    reasons = [refused("empty", number=1, total=3), refused("not_a_picture", number=3, total=3)]
    assert await reply(w, li) == "\n\n".join([*reasons, "Noted: c50t0."])


async def test_a_file_larger_than_announced_is_not_read_to_its_end(w: World, li: Person) -> None:
    li.sends_photo(b"\xff\xd8\xff" + bytes(25 << 20), size=4000, caption="big c51t0")
    assert await reply(w, li) == f"{refused('too_large')}\n\nNoted: c51t0."


async def test_the_next_photo_after_a_bad_one_is_photo_one(w: World, li: Person) -> None:
    li.sends_photo(b"nonsense")
    await reply(w, li)
    li.sends_photo(picture(RED), caption="again c52t0")
    assert await reply(w, li) == "Noted: c52t0."
    assert "photo 1" in asked(w, "c52t0")[0].last_text


async def test_a_download_that_fails_now_and_then_still_arrives(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for fault in (faults.dropped_before(), faults.page(502)):
            w.telegram.faults.on("download", fault)
        li = w.telegram.customer(1)
        li.sends_photo(picture(RED), caption="look c1t0")
        assert await reply(w, li) == "Noted: c1t0."
        assert len(asked(w, "c1t0")[0].images) == 1


async def test_a_download_that_never_works_is_said_so_and_the_words_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_channel, "_UNREACHABLE_S", 0.1)
    async with world(tmp_path) as w:
        w.telegram.faults.on("download", faults.page(500), times=None)
        li = w.telegram.customer(1)
        li.sends_photo(picture(RED), caption="look c1t0")
        (sent,) = await w.telegram.replies(1)
        assert sent.text == f"{refused('download_failed')}\n\nNoted: c1t0."


# The model


@pytest.mark.parametrize(
    "fault",
    [
        Fault.HTML_502,
        Fault.EMPTY,
        Fault.GARBAGE,
        Fault.HALF_STREAM,
        Fault.CUT_STREAM,
        Fault.STALL,
        Fault.HANG,
        Fault.WRONG_SHAPE,
        Fault.TOO_LONG,
        Fault.BAD_KEY,
    ],
)
async def test_a_failing_model_means_a_labelled_answer_and_a_well_one_answers_again(
    w: World, li: Person, fault: Fault
) -> None:
    w.model.fail_always(fault)
    try:
        with impatient(w) if fault in {Fault.STALL, Fault.HANG} else nullcontext():
            li.says("The AC shows E4")
            answer = await reply(w, li)
    finally:
        w.model.fail_always(None)
    assert answer.endswith(PRELIMINARY)
    assert "E4" in answer
    assert "Half of" not in answer
    li.says("and now c60t0")
    assert await reply(w, li) == "Noted: c60t0."


async def test_a_model_that_never_ends_is_cut_off_and_its_loop_held_for_a_person(
    w: World, li: Person
) -> None:
    w.model.fail(Fault.ENDLESS)
    li.says("The AC shows E4")
    assert (await reply(w, li)).startswith(notice("held"))


async def test_a_model_slower_than_its_time_limit_is_not_waited_for(w: World, li: Person) -> None:
    w.model.latency_s = 3600
    try:
        with impatient(w):
            li.says("The AC shows E4")
            assert (await reply(w, li)).endswith(PRELIMINARY)
    finally:
        w.model.latency_s = 0
    li.says("c61t0")
    await reply(w, li)


async def test_a_model_server_that_is_gone_costs_nobody_the_answer_and_is_used_when_it_is_back(
    w: World, li: Person
) -> None:
    port = int(w.model.address.rpartition(":")[2])
    await w.model.close()
    try:
        li.says("The AC shows E4")
        assert (await reply(w, li)).endswith(PRELIMINARY)
    finally:
        await w.model.start(port=port)
    li.says("c62t0")
    assert await reply(w, li) == "Noted: c62t0."


async def test_without_a_model_from_the_start_the_bot_comes_up_and_answers(tmp_path: Path) -> None:
    async with world(tmp_path, model_url="http://127.0.0.1:9/v1") as w:
        li = w.telegram.customer(1)
        li.says("The AC shows E4")
        assert (await reply(w, li)).endswith(PRELIMINARY)


# Telegram


NOT_CARRIED_OUT: dict[str, TelegramFault] = {
    "429": faults.flooded(1),
    "500": faults.refused(500, "Internal Server Error"),
    "502 page": faults.page(502),
    "504 page": faults.page(504),
    "429 page": faults.page(429, headers={"Retry-After": "1"}),
    "broken before": faults.dropped_before(),
}
CARRIED_OUT: dict[str, TelegramFault] = {
    "broken after": faults.dropped_after(),
    "garbled": faults.garbled(),
}


@pytest.fixture
def hanging(w: World, apis: list[BotApi]) -> Callable[..., TelegramFault]:
    """Makes the server keep one request for itself, and the bot give this one up after half a second."""
    api = apis[0]

    def fault(*, carried_out: bool) -> TelegramFault:
        usual, api.request._answer_s = api.request._answer_s, 0.5
        keeps = faults.late(600, carried_out=carried_out)

        async def keep(request: Any, carry_out: Any) -> Any:
            api.request._answer_s = usual  # whatever follows may take its time
            return await keeps(request, carry_out)

        return keep

    return fault


async def test_a_reply_that_telegram_did_not_take_arrives_once(
    w: World, hanging: Callable[..., TelegramFault]
) -> None:
    async def check(name: str, fault: TelegramFault) -> None:
        li = w.telegram.customer(next(_ids))
        w.telegram.faults.on("sendMessage", fault, chat=li.room.id)
        first, second = f"c{li.room.id}t0", f"c{li.room.id}t1"
        li.says(f"E4 {first}")
        assert await reply(w, li) == f"Noted: {first}.", name
        li.says(f"E5 {second}")
        assert await reply(w, li) == f"Noted: {second}.", name
        assert len(w.telegram.sent_to(li.room.id)) == 2, name
        assert len(asked(w, first)) == 1, f"{name}: only the sending is repeated"
        assert tags(asked(w, second)[-1]) == [[first], [second]], name

    await asyncio.gather(*(check(name, fault) for name, fault in NOT_CARRIED_OUT.items()))
    await check("hanging before", hanging(carried_out=False))


async def test_a_reply_that_may_have_arrived_is_doubled_at_most_once_and_counted(
    w: World, hanging: Callable[..., TelegramFault]
) -> None:
    async def is_at_rest() -> bool:
        return await w.app.stores.inbox.depth() == 0

    await until(is_at_rest)  # what the tests before this one sent is counted, too
    counted = {"channel": "telegram", "outcome": "ambiguous"}
    before = w.app.metrics.value("bot_sends_total", **counted)

    async def check(name: str, fault: TelegramFault) -> None:
        li = w.telegram.customer(next(_ids))
        w.telegram.faults.on("sendMessage", fault, chat=li.room.id)
        first, second = f"c{li.room.id}t0", f"c{li.room.id}t1"
        li.says(f"E4 {first}")
        await w.telegram.replies(li.room.id, 2)
        li.says(f"E5 {second}")
        await w.telegram.replies(li.room.id)
        texts = [sent.text for sent in w.telegram.sent_to(li.room.id)]
        assert texts == [f"Noted: {first}.", f"Noted: {first}.", f"Noted: {second}."], name

    await asyncio.gather(*(check(name, fault) for name, fault in CARRIED_OUT.items()))
    await check("hanging after", hanging(carried_out=True))
    assert w.app.metrics.value("bot_sends_total", **counted) == before + len(CARRIED_OUT) + 1


async def test_a_telegram_that_never_acknowledges_gets_two_copies_and_no_more(w: World, li: Person) -> None:
    w.telegram.faults.on("sendMessage", faults.dropped_after(), chat=li.room.id, times=None)
    li.says("E4 c72t0")
    await w.telegram.replies(li.room.id, 2)
    li.says("E5 c72t1")
    await w.telegram.replies(li.room.id, 2)
    texts = [sent.text for sent in w.telegram.sent_to(li.room.id)]
    assert texts == ["Noted: c72t0."] * 2 + ["Noted: c72t1."] * 2


async def test_parts_stay_in_order_whatever_happens_between_them(w: World, script: dict[str, str]) -> None:
    steps = "\n".join(f"Step {n}: press key {n} and read what it shows." for n in range(1, 120))

    async def check(name: str) -> None:
        li = w.telegram.customer(next(_ids))
        first, second = f"c{li.room.id}t0", f"c{li.room.id}t1"
        script[first] = steps
        failing, calls = NOT_CARRIED_OUT[name], count()

        async def second_fails(request: Any, carry_out: Any) -> Any:
            return await (failing(request, carry_out) if next(calls) == 1 else carry_out())

        w.telegram.faults.on("sendMessage", second_fails, chat=li.room.id, times=2)
        li.says(f"How? {first}")
        await w.telegram.until(lambda: bool(w.telegram.sent_to(li.room.id)))
        li.says(f"And then? {second}")
        *parts, last = [sent.text for sent in await w.telegram.replies(li.room.id, 3)]
        assert "\n".join(parts) == steps, name
        assert last == f"Noted: {second}.", name

    await asyncio.gather(*(check(name) for name in ("429", "500", "broken before")))


@pytest.mark.parametrize("fault", [faults.page(502), faults.dropped_after()], ids=["502 page", "broken"])
async def test_a_failing_poll_loses_and_doubles_nothing(w: World, li: Person, fault: TelegramFault) -> None:
    w.telegram.faults.on("getUpdates", fault)
    li.says("E4 c74t0")
    await w.telegram.until(lambda: bool(asked(w, "c74t0")))
    li.says("E5 c74t1")
    await w.telegram.until(lambda: any("c74t1" in sent.text for sent in w.telegram.sent_to(li.room.id)))
    texts = [sent.text for sent in w.telegram.sent_to(li.room.id)]
    assert texts in (["Noted: c74t0.", "Noted: c74t1."], ["Noted: c74t0 c74t1."])


async def test_telegram_away_for_a_while_costs_only_the_while(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        li = w.telegram.customer(1)
        li.says("E4 c1t0")
        await reply(w, li)
        await w.telegram.stop()
        li.says("E5 c1t1")
        await w.telegram.start()
        assert await reply(w, li) == "Noted: c1t1."
        assert len(w.telegram.sent_to(1)) == 2


async def test_a_server_without_side_methods_stops_neither_the_start_nor_a_turn(tmp_path: Path) -> None:
    telegram = BotApiServer()
    for method in ("setMyCommands", "sendChatAction", "deleteWebhook", "sendMessageDraft"):
        telegram.faults.on(method, faults.missing(), times=None)
    async with world(tmp_path, telegram=telegram, model=ModelServer(answer=noted, latency_s=0.5)) as w:
        li = telegram.customer(1)
        li.says("E4 c1t0")
        assert await reply(w, li) == "Noted: c1t0."


# Updates that nobody can read


def poison(number: int) -> list[object]:
    """Updates of every odd shape, then numbers for those that can carry one."""
    chat = {"id": 9, "type": "private"}
    good = {"message_id": 1, "date": 1, "chat": chat, "text": "c80t9"}
    odd: list[dict[str, object]] = [
        {"message": None},
        {"message": "hello"},
        {"message": []},
        {"message": {}},
        {"message": good | {"chat": None}},
        {"message": good | {"text": {"a": 1}}},
        {"message": good | {"message_id": "1"}},
        {"message": good | {"message_id": 10**30}},
        {"message": good | {"date": None}},
        {"message": good | {"photo": [{"width": "wide"}]}},
        {"message": good | {"photo": [[]]}},
        {"message": good | {"document": 7}},
        {"message": good | {"from": "me"}},
        {"message": good | {"text": "\ud800 c80t8", "media_group_id": "\udfff", "message_id": 7}},
        {"message": good | {"text": "c80t7 \x00", "from": {"first_name": "\x00\ud800"}, "message_id": 8}},
        {"edited_message": {"text": "?"}},
        {"my_chat_member": {"chat": chat}},
        {"callback_query": {"id": "1"}},
        {"something_of_next_year": {"id": 1}},
        {},
    ]
    return [{"update_id": number + place} | update for place, update in enumerate(odd)] + [None, "x", 7, []]


async def test_poison_and_unknown_updates_hold_up_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.telegram.customer(9)
        for update in poison(100):
            w.telegram.push(update)
        li = w.telegram.customer(1)
        li.says("E4 c1t0")
        assert await reply(w, li) == "Noted: c1t0."
        await w.telegram.until(lambda: w.telegram.pending == 0)
        assert w.app.metrics.value("bot_updates_aside_total") >= 15
        assert len(asked(w, "c80t8")) + len(asked(w, "c80t7")) >= 1, "odd characters cost only themselves"


# Redis


async def ask_turns(w: World, person: Person, first: int, last: int) -> None:
    """Ask turns `first` to `last`; each must be answered in the light of exactly the five before it."""
    for turn in range(first, last + 1):
        person.says(f"E4 c1t{turn}")
        assert await reply(w, person) == f"Noted: c1t{turn}."
        assert tags(w.model.requests[-1]) == [[f"c1t{n}"] for n in range(max(0, turn - 5), turn + 1)]


async def test_answers_go_on_from_sql_while_redis_is_dead_and_use_it_when_it_is_back(
    tmp_path: Path, redis: RealRedis
) -> None:
    async with world(tmp_path, redis_url=f"unix://{redis.socket}") as w:
        li, client = w.telegram.customer(1), redis.client()
        await ask_turns(w, li, 0, 2)
        await turns_in(client, 3)
        redis.kill()
        await ask_turns(w, li, 3, 5)
        redis.start()
        await redis_is_used_again(w)
        await ask_turns(w, li, 6, 7)
        await turns_in(client, 5)
        await client.flushall()
        await ask_turns(w, li, 8, 8)
        await client.aclose()


async def redis_is_used_again(w: World) -> None:
    async def is_used() -> bool:
        return (await w.app.stores.window.health()).state == "ok"

    await until(is_used)


async def turns_in(client: Any, expected: int) -> None:
    """Until the one chat's window holds so many turns: a turn is pushed a moment after it is sent."""

    async def are_there() -> bool:
        return bool(expected == sum([await client.llen(key) for key in await client.keys("*")]))

    await until(are_there)


async def test_the_private_redis_may_be_killed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        li = w.telegram.customer(1)
        await ask_turns(w, li, 0, 1)
        redis = w.app.stores.redis
        assert redis.kind == "private"
        os.kill((await redis.client.info("server"))["process_id"], signal.SIGKILL)
        await ask_turns(w, li, 2, 6)


# The database


async def test_a_locked_database_delays_and_loses_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        li = w.telegram.customer(1)
        with closing(sqlite3.connect(tmp_path / "data" / "bot.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            li.says("E4 c1t0")
            await asyncio.sleep(0.3)
            assert w.telegram.pending == 1, "what is not stored is not confirmed"
            other.execute("ROLLBACK")
        assert await reply(w, li) == "Noted: c1t0."
        await w.telegram.until(lambda: w.telegram.pending == 0)


@asynccontextmanager
async def full_disk(db: Database) -> AsyncIterator[None]:
    """As SQLite meets a full disk: no page more than there are."""
    pages = await db.write(lambda c: int(c.exec_driver_sql("PRAGMA page_count").scalar_one()))
    await db.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    try:
        yield
    finally:
        await db.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1073741823"))


async def test_on_a_full_disk_nothing_is_confirmed_and_it_comes_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        li = w.telegram.customer(1)
        async with full_disk(w.app.stores.db):
            li.says("E4 c1t0 " + "x" * 3900)
            li.says("E5 c1t1 " + "x" * 3900)
            polls = len(w.telegram.calls_of("getUpdates"))
            await w.telegram.until(lambda: len(w.telegram.calls_of("getUpdates")) > polls + 1)
            assert w.telegram.pending == 2
            assert w.telegram.sent == []
        assert await reply(w, li) == "Noted: c1t0 c1t1."
        await w.telegram.until(lambda: w.telegram.pending == 0)
        assert len(w.telegram.sent_to(1)) == 1


# The guard


class Broken:
    """A second check with a bug."""

    shadow = False
    is_suspended = False

    async def opinion(self, asked: str, **_: object) -> Any:
        raise ZeroDivisionError(asked)

    async def close(self) -> None:
        pass


async def test_a_crash_in_the_guard_holds_the_answer_and_asks_for_a_person(tmp_path: Path) -> None:
    guard = Guard(policy=load_policy(), second=Broken())
    async with world(tmp_path, guard=guard) as w:
        li = w.telegram.customer(1)
        li.says("E4 c1t0")
        assert (await reply(w, li)).startswith(notice("held"))
        await w.telegram.until(
            lambda: w.app.metrics.value("bot_turns_total", engine="notice:held", outcome="answered") == 1
        )
        handoff = await w.app.stores.handoffs.current(Chat("telegram", "1"))
        assert handoff is not None
        assert handoff.reason.startswith("held: ")


async def test_what_the_guard_refuses_never_leaves(w: World, li: Person, script: dict[str, str]) -> None:
    script["c90t0"] = "We promise a full refund, pay 200 USD first at https://pay.evil.example/now"
    li.says("Help me please c90t0")
    assert (await reply(w, li)).startswith(
        (notice("blocked"), notice("held"))
    )  # then the place in line, if any


# Webhook


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_webhook_confirms_what_is_stored_and_gets_the_rest_again(tmp_path: Path) -> None:
    port = free_port()
    hook: dict[str, Any] = {
        "telegram_webhook_url": f"http://127.0.0.1:{port}",
        "telegram_webhook_secret": "s3cret",
    }
    telegram = BotApiServer(webhook_retry_s=0.05)
    async with world(tmp_path, telegram=telegram, http_port=port, **hook) as w:
        queue = telegram.state.queue
        await telegram.until(lambda: bool(queue.webhook))
        li, wang = telegram.customer(1), telegram.customer(2)
        li.says("E4 c1t0")
        assert await reply(w, li) == "Noted: c1t0."
        await wang.sends_album([picture(RED), picture(GREEN)], caption="two c2t0")
        assert await reply(w, wang) == "Noted: c2t0."
        assert len(asked(w, "c2t0")[0].images) == 2
        for update in (*poison(1000)[:-4], b'{"update_id": 2000, "message"'):
            telegram.push(update)
        await telegram.until(lambda: telegram.pending == 0)

        async with full_disk(w.app.stores.db):
            li.says("E5 c1t1 " + "x" * 4000)
            await telegram.until(lambda: sum(status == 503 for _, status in queue.deliveries) >= 2)
            assert telegram.pending == 1
        assert await reply(w, li) == "Noted: c1t1."
        await telegram.until(lambda: telegram.pending == 0)

        async with aiohttp.ClientSession() as stranger:
            forged = {"update_id": 5000, "message": {"text": "c1t9"}}
            for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": "guess"}):
                async with stranger.post(
                    f"{w.app.url}/telegram/webhook", json=forged, headers=headers
                ) as answer:
                    assert answer.status == 403
        assert [sent.text for sent in telegram.sent_to(1)] == ["Noted: c1t0.", "Noted: c1t1."]


# The bot itself


async def test_a_bot_that_was_killed_answers_at_its_next_start_once(tmp_path: Path) -> None:
    model = ModelServer(answer=noted)
    async with BotApiServer() as telegram, model:
        environment = {
            **{name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON"))},
            "HOME": str(tmp_path),
            "DATA_DIR": str(tmp_path / "data"),
            "HTTP_PORT": str(free_port()),
            "TELEGRAM_BOT_TOKEN": telegram.token,
            "TELEGRAM_API_URL": telegram.url,
            "MODEL_URL": model.url,
            "MODEL": "stub-model",
        }

        async def start() -> asyncio.subprocess.Process:
            words = [sys.executable, "-m", "bot"]
            return await asyncio.create_subprocess_exec(
                *words, env=environment, stdout=asyncio.subprocess.DEVNULL
            )

        bot = await start()
        li = telegram.customer(1)
        li.says("E4 c1t0")
        await telegram.replies(1, timeout=PROCESS_S)
        model.latency_s = 3600
        li.sends_photo(picture(RED), caption="E5 c1t1")
        await model.until(lambda s: s.received == 2)
        bot.kill()
        await bot.wait()
        model.latency_s = 0
        bot = await start()
        (sent,) = await telegram.replies(1, timeout=PROCESS_S)
        assert sent.text == "Noted: c1t1."
        assert tags(model.requests[-1]) == [["c1t0"], ["c1t1"]]
        bot.terminate()
        assert await bot.wait() == 0
        assert len(telegram.sent_to(1)) == 2
