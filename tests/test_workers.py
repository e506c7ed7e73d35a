"""Several processes on one PostgreSQL: who hears what, who is on duty, and that they share the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.telegram.duty import OnDuty
from bot.web.chat import WebChannel
from context.db import Database
from context.duties import Duties
from context.health import Health
from context.news import MAX_BYTES, News, _payloads
from context.turns import Chat, Part
from tests.bot_api import BotApiServer
from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.processes import bot, fetch, free_ports, is_ready, parts_of
from tests.real_redis import RealRedis
from tests.until import PROCESS_S, until
from tests.world import noted

VISITOR = Chat("web", "anna")


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


@asynccontextmanager
async def news(db: Database, name: str) -> AsyncIterator[News]:
    """As a process of its own would have it."""
    news = News(db, name=name)
    await news.start()
    await until(lambda: news.health().state == "ok")
    try:
        yield news
    finally:
        await news.close()


@asynccontextmanager
async def two_processes(db: Database) -> AsyncIterator[tuple[News, News]]:
    async with news(db, "one") as one, news(db, "two") as two:
        for its in (one, two):
            await until(lambda its=its: its.health().detail == "other processes: 1")  # type: ignore[misc]
        yield one, two


# -- news -------------------------------------------------------------------------------------------


async def test_the_others_hear_what_is_told_and_the_teller_does_not(db: Database) -> None:
    async with two_processes(db) as (one, two):
        heard: dict[str, list[Sequence[str]]] = {"one": [], "two": []}
        one.on("arrived", heard["one"].append)
        two.on("arrived", heard["two"].append)
        one.tell("arrived", "telegram:1")
        one.tell("page", "nobody listens to this")
        one.tell("arrived", "telegram:2")
        one.tell("arrived", "telegram:1")
        await until(lambda: heard["two"])
        two.tell("arrived", "telegram:3")
        await until(lambda: heard["one"])
    assert heard == {"one": [["telegram:3"]], "two": [["telegram:2"], ["telegram:1"]]}


async def test_much_news_goes_out_in_pieces_that_postgresql_takes(db: Database) -> None:
    assert (
        max(map(len, _payloads("one", [["arrived", f"telegram:{n}"] for n in range(2000)]))) < MAX_BYTES + 100
    )
    async with two_processes(db) as (one, two):
        heard: set[str] = set()
        two.on("arrived", heard.update)
        for number in range(2000):
            one.tell("arrived", f"telegram:{number}")
        await until(lambda: len(heard) == 2000)


async def test_a_broken_connection_is_mended_and_everybody_looks_for_what_was_missed(db: Database) -> None:
    async with two_processes(db) as (one, two):
        heard: list[Sequence[str]] = []
        two.on("arrived", heard.append)
        await db.write(
            lambda c: c.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
            ).all()
        )
        await until(lambda: () in heard)
        one.tell("arrived", "telegram:1")
        await until(lambda: ["telegram:1"] in heard)


async def test_a_page_hears_of_an_answer_that_another_process_gives(db: Database, tmp_path: Path) -> None:
    async with two_processes(db) as (one, two):
        works = WebChannel(spool=tmp_path, tell=lambda *words: one.tell("page", *words))
        shows = WebChannel(spool=tmp_path)
        two.on("page", shows.hear)
        with shows.listen(VISITOR) as page:
            async with works.typing(VISITOR):
                await until(lambda: page.typing)
                await works.send(VISITOR, Part("hello", id=7))
            await until(lambda: page.newest == 7 and not page.typing)


async def test_a_process_alone_tells_nobody(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with news(db, "one") as one:
        await asyncio.sleep(0)  # its greeting is out of the way
        await until(lambda: not one._untold)
        one.tell("arrived", "telegram:1")
        assert one._untold == []


async def test_connections_that_died_cost_no_transaction(db: Database) -> None:
    """A server that was restarted, a firewall that forgot: nothing of it had been done."""
    await asyncio.gather(*(db.write(lambda c: c.exec_driver_sql("SELECT pg_sleep(0.01)")) for _ in range(8)))
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await db.write(lambda c: c.exec_driver_sql(others).all())
    one = await asyncio.gather(
        *(db.write(lambda c: c.exec_driver_sql("SELECT 1").scalar_one()) for _ in range(20))
    )
    assert one == [1] * 20


# -- duties -----------------------------------------------------------------------------------------


class Receiver:
    def __init__(self) -> None:
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False

    def health(self) -> Health:
        return Health("ok", "polling")


async def test_one_is_on_duty_and_the_next_follows_at_once_when_it_stops(db: Database) -> None:
    async with two_processes(db) as (first_news, second_news):
        receivers = [Receiver(), Receiver()]
        duties = [
            OnDuty(receiver, Duties(db), its, name="polling", me=its.name)
            for receiver, its in zip(receivers, (first_news, second_news), strict=True)
        ]
        duties[0].start()
        await until(lambda: receivers[0].is_running)
        duties[1].start()
        await until(lambda: "one is on duty" in duties[1].health().detail)
        assert not receivers[1].is_running
        assert duties[0].health() == Health("ok", "polling")
        await duties[0].stop()
        assert not receivers[0].is_running
        await until(lambda: receivers[1].is_running)
        await duties[1].stop()


async def test_a_duty_whose_holder_died_is_taken_over_after_a_while(db: Database) -> None:
    await Duties(db).take("polling", "dead", seconds=0.3)
    async with news(db, "heir") as its:
        receiver = Receiver()
        duty = OnDuty(receiver, Duties(db), its, name="polling", me="heir", seconds=0.3)
        duty.start()
        assert duty.health().state == "degraded"
        await until(lambda: receiver.is_running)
        await duty.stop()


async def test_who_cannot_renew_lets_go_before_somebody_else_may_begin(url: str) -> None:
    db = Database(url)
    async with news(db, "one") as its:
        receiver = Receiver()
        duty = OnDuty(receiver, Duties(db), its, name="polling", me="one", seconds=0.6)
        duty.start()
        await until(lambda: receiver.is_running)
        await db.write(lambda c: c.exec_driver_sql("ALTER TABLE duties RENAME TO gone"))
        await until(lambda: not receiver.is_running)
        await db.write(lambda c: c.exec_driver_sql("ALTER TABLE gone RENAME TO duties"))
        await until(lambda: receiver.is_running)
        await duty.stop()
    await db.close()


# -- processes --------------------------------------------------------------------------------------


async def turns_of(port: int) -> float:
    lines = (await fetch(port, "/metrics")).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("bot_turns_total"))


CHATS = 60


async def test_two_processes_share_the_chats_and_one_polls(
    url: str, redis: RealRedis, tmp_path: Path
) -> None:
    ports = free_ports(2)
    settings = {"DATABASE_URL": url, "REDIS_URL": f"unix://{redis.socket}"}
    async with (
        BotApiServer() as telegram,
        ModelServer(answer=noted, latency_s=0.3) as model,  # both have turns at the same time
    ):
        with (
            bot(telegram, model, tmp_path, HTTP_PORT=str(ports[0]), **settings) as one,
            bot(telegram, model, tmp_path, HTTP_PORT=str(ports[1]), **settings) as two,
        ):
            for port in ports:
                await until(lambda port=port: is_ready(port), timeout_s=PROCESS_S)  # type: ignore[misc]

            async def converse(chat: int) -> None:
                for turn in range(3):
                    telegram.customer(1000 + chat).says(f"c{chat}t{turn}")
                    (reply,) = await telegram.replies(1000 + chat)
                    assert reply.text == f"Noted: c{chat}t{turn}."

            await asyncio.gather(*(converse(chat) for chat in range(CHATS)))

            async def shares() -> list[float]:
                return [await turns_of(port) for port in ports]

            async def are_counted() -> bool:  # the last ones a moment after they are sent
                return sum(await shares()) == 3 * CHATS

            await until(are_counted)
            assert min(await shares()) > 0.1 * 3 * CHATS
            polls = telegram.calls_of("getUpdates")
            assert {call.status for call in polls} <= {200, 0}, "two of them polled"

            # Newer words find the turn wherever it runs: stored by the one that polls, superseded by all.
            model.latency_s = 3600
            for chat in range(10):
                telegram.customer(2000 + chat).says(f"c{chat}t0")
            await until(lambda: model.received >= 3 * CHATS + 10)
            model.latency_s = 0
            for chat in range(10):
                telegram.customer(2000 + chat).says(f"c{chat}t1")
            for chat in range(10):
                (reply,) = await telegram.replies(2000 + chat)
                assert reply.text == f"Noted: c{chat}t0 c{chat}t1."

            # The one on duty stops, the other goes on at once.
            standing = [(await parts_of(port))["telegram"]["detail"] for port in ports]
            on_duty = next(number for number, detail in enumerate(standing) if "last poll" in detail)
            (one, two)[on_duty].terminate()
            telegram.customer(3000).says("c0t0")
            (reply,) = await telegram.replies(3000)
            assert reply.text == "Noted: c0t0."
    assert len(telegram.sent) == 3 * CHATS + 10 + 1
