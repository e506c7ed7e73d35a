"""The window: the last turns, all of them and no other, whatever becomes of Redis.

The contract runs against fakeredis and against every real server on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio as aioredis
from fakeredis import FakeAsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from context import keys
from context.cache import DraftCache
from context.redis_server import open_redis
from context.turns import Chat, Photo, Turn
from context.window import ContextWindow
from tests.clock import Clock
from tests.real_redis import PROGRAMS, RealRedis, serve_cluster
from tests.until import PATIENCE_S

CHAT = Chat("telegram", "42")
OTHER = Chat("telegram", "-1001", 7)
KEY = keys.window("bot", CHAT)


class Ledger:
    """The SQL side: closed turns by chat, and how often they were read."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Turn]] = defaultdict(list)
        self.reads = 0
        self._ids = 0

    async def refill(self, chat: Chat, limit: int) -> Sequence[Turn]:
        self.reads += 1
        return self.turns[chat.key][-limit:]

    def close(self, chat: Chat, text: str = "还是 E4") -> Turn:
        self._ids += 1
        photos = (Photo("ab" * 32, 1280, 960, self._ids),) if self._ids % 2 else ()
        turn = Turn(self._ids, text, f"answer {self._ids}", photos, 1.5 * self._ids, "zh")
        self.turns[chat.key].append(turn)
        return turn

    def newest(self, chat: Chat) -> int:
        turns = self.turns[chat.key]
        return turns[-1].id if turns else 0


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="module", params=["fakeredis", *PROGRAMS])
def server(request: pytest.FixtureRequest) -> Iterator[RealRedis | None]:
    if request.param == "fakeredis":
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = RealRedis(request.param, Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def client(server: RealRedis | None) -> AsyncIterator[aioredis.Redis]:
    client = server.client() if server else FakeAsyncRedis()
    await client.flushall()
    yield client
    await client.aclose()


def window_of(
    client: aioredis.Redis | None,
    ledger: Ledger,
    *,
    turns: int = 5,
    trim: int = 1,
    clock: Clock | None = None,
    timeout_s: float = PATIENCE_S,
) -> ContextWindow:
    return ContextWindow(
        client,
        refill=ledger.refill,
        namespace="bot",
        turns=turns,
        trim=trim,
        clock=clock or Clock(),
        timeout_s=timeout_s,
    )


@pytest.fixture
def window(client: aioredis.Redis, ledger: Ledger) -> ContextWindow:
    return window_of(client, ledger)


async def take_turns(window: ContextWindow, ledger: Ledger, chat: Chat, count: int) -> None:
    for _ in range(count):
        newest = ledger.newest(chat)
        await window.last(chat, newest=newest)
        await window.push(chat, ledger.close(chat), after=newest)


async def last(window: ContextWindow, ledger: Ledger, chat: Chat = CHAT) -> list[Turn]:
    return list(await window.last(chat, newest=ledger.newest(chat)))


# --- the contract ---


async def test_a_new_chat_has_nothing_behind_it(window: ContextWindow, ledger: Ledger) -> None:
    assert await last(window, ledger) == []
    assert ledger.reads == 0


async def test_the_last_five_turns_come_back_oldest_first_and_whole(
    window: ContextWindow, ledger: Ledger
) -> None:
    await take_turns(window, ledger, CHAT, 7)
    assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
    assert ledger.reads == 0


async def test_older_turns_leave_redis(window: ContextWindow, ledger: Ledger, client: aioredis.Redis) -> None:
    await take_turns(window, ledger, CHAT, 9)
    assert await client.llen(KEY) == 5


async def test_a_chat_sees_its_own_turns_only(window: ContextWindow, ledger: Ledger) -> None:
    for _ in range(6):
        await take_turns(window, ledger, CHAT, 1)
        await take_turns(window, ledger, OTHER, 1)
    assert await last(window, ledger, CHAT) == ledger.turns[CHAT.key][-5:]
    assert await last(window, ledger, OTHER) == ledger.turns[OTHER.key][-5:]


async def test_a_lost_window_is_read_from_sql_and_put_back(
    window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 7)
    await client.delete(KEY)
    assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
    assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
    assert ledger.reads == 1


async def test_a_push_onto_a_lost_window_does_not_hide_what_was_before(
    window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 4)
    await last(window, ledger)
    await client.delete(KEY)
    await window.push(CHAT, ledger.close(CHAT), after=4)
    assert await last(window, ledger) == ledger.turns[CHAT.key]


async def test_a_window_that_missed_a_push_is_not_taken_for_the_whole(
    window: ContextWindow, ledger: Ledger
) -> None:
    await take_turns(window, ledger, CHAT, 3)
    ledger.close(CHAT, "said, but the bot died before the push")
    assert await last(window, ledger) == ledger.turns[CHAT.key]


async def test_a_push_after_a_missed_one_does_not_close_the_gap(
    window: ContextWindow, ledger: Ledger
) -> None:
    await take_turns(window, ledger, CHAT, 3)
    missed = ledger.close(CHAT, "missed")
    await window.push(CHAT, ledger.close(CHAT), after=missed.id)
    assert await last(window, ledger) == ledger.turns[CHAT.key]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_push_whose_place_is_unknown_makes_the_next_reader_ask_sql(
    lost: bool, window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 3)
    if lost:
        await client.delete(KEY)
    await window.push(CHAT, ledger.close(CHAT))
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert ledger.reads == 1


async def test_a_turn_that_another_worker_sends_to_its_end_is_appended(
    client: aioredis.Redis, ledger: Ledger
) -> None:
    one, two = window_of(client, ledger), window_of(client, ledger)
    await take_turns(one, ledger, CHAT, 2)
    await last(one, ledger)
    await two.push(CHAT, ledger.close(CHAT), after=2)
    assert await last(one, ledger) == ledger.turns[CHAT.key]
    assert ledger.reads == 0


async def test_a_reset_chat_begins_with_nothing_even_if_redis_still_has_the_old_case(
    window: ContextWindow, ledger: Ledger
) -> None:
    await take_turns(window, ledger, CHAT, 4)
    ledger.turns[CHAT.key].clear()
    assert await last(window, ledger) == []
    await window.push(CHAT, ledger.close(CHAT, "the new case"), after=0)
    assert await last(window, ledger) == ledger.turns[CHAT.key]


async def test_the_same_turn_pushed_often_is_there_once(window: ContextWindow, ledger: Ledger) -> None:
    await take_turns(window, ledger, CHAT, 2)
    await last(window, ledger)
    turn = ledger.close(CHAT)
    for _ in range(3):
        await window.push(CHAT, turn, after=2)
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert ledger.reads == 0


async def test_two_workers_pushing_the_same_turns_at_once_leave_each_once(
    client: aioredis.Redis, ledger: Ledger
) -> None:
    one, two = window_of(client, ledger), window_of(client, ledger)
    for _ in range(12):
        await asyncio.gather(last(one, ledger), last(two, ledger))
        newest = ledger.newest(CHAT)
        turn = ledger.close(CHAT)
        await asyncio.gather(*(window.push(CHAT, turn, after=newest) for window in (one, two, one, two)))
        assert await last(one, ledger) == ledger.turns[CHAT.key][-5:]
    assert ledger.reads == 0


async def test_a_late_push_of_an_old_turn_changes_nothing(window: ContextWindow, ledger: Ledger) -> None:
    await take_turns(window, ledger, CHAT, 4)
    await window.push(CHAT, ledger.turns[CHAT.key][1], after=1)
    assert await last(window, ledger) == ledger.turns[CHAT.key]


async def test_an_old_reading_put_back_late_is_noticed(client: aioredis.Redis, ledger: Ledger) -> None:
    window = window_of(client, ledger)
    await take_turns(window, ledger, CHAT, 2)
    await client.delete(KEY)
    going, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(chat: Chat, limit: int) -> Sequence[Turn]:
        read = list(await ledger.refill(chat, limit))
        going.set()
        await may_go_on.wait()
        return read

    stalled = ContextWindow(client, refill=slow, namespace="bot", timeout_s=PATIENCE_S)
    late = asyncio.create_task(stalled.last(CHAT, newest=2))
    await going.wait()
    await take_turns(window, ledger, CHAT, 2)
    may_go_on.set()
    await late
    assert await last(window, ledger) == ledger.turns[CHAT.key]


@pytest.mark.parametrize(
    "element",
    [
        b"3 not json",
        b"no number {}",
        b'3 {"v":2}',
        b'3 {"v":1,"of":5,"text":1,"reply":"","photos":[],"at":0,"language":"en"}',
        b'3 {"v":1,"of":5,"text":"","reply":"","photos":[["x",1,2]],"at":0,"language":"en"}',
        b'3 {"v":1,"of":5,"text":"","reply":"","photos":[["x",1,2,"3"]],"at":0,"language":"en"}',
        b'3 {"v":1,"of":5,"text":"","reply":"","photos":[],"at":0,"language":"fr"}',
        b'3 {"v":1,"of":5,"text":"","reply":"","photos":[],"at":0}',
        b"\xff\xfe",
        b"",
    ],
)
async def test_what_another_version_wrote_is_read_from_sql(
    element: bytes, window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 3)
    await client.rpop(KEY)
    await client.rpush(KEY, element)
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert ledger.reads == 1


async def test_something_else_under_the_key_is_no_window(
    window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    ledger.close(CHAT)
    await client.set(KEY, b"not a list")
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert await last(window, ledger) == ledger.turns[CHAT.key]
    assert ledger.reads == 1


@pytest.mark.parametrize(("before", "after"), [(5, 8), (8, 5), (1, 3)])
async def test_a_window_of_another_size_is_read_from_sql(
    before: int, after: int, client: aioredis.Redis, ledger: Ledger
) -> None:
    await take_turns(window_of(client, ledger, turns=before), ledger, CHAT, 9)
    assert await last(window_of(client, ledger, turns=after), ledger) == ledger.turns[CHAT.key][-after:]


async def test_turns_can_leave_several_at_a_time(client: aioredis.Redis, ledger: Ledger) -> None:
    window = window_of(client, ledger, trim=3)
    seen = []
    for _ in range(12):
        await take_turns(window, ledger, CHAT, 1)
        turns = await last(window, ledger)
        assert turns == ledger.turns[CHAT.key][-len(turns) :], "the newest, none left out"
        seen.append(len(turns))
    assert seen == [1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3]
    assert ledger.reads == 0


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 5)])
async def test_a_window_trimmed_otherwise_is_read_from_sql(
    before: int, after: int, client: aioredis.Redis, ledger: Ledger
) -> None:
    await take_turns(window_of(client, ledger, trim=before), ledger, CHAT, 9)
    assert await last(window_of(client, ledger, trim=after), ledger) == ledger.turns[CHAT.key][-5:]


async def test_no_turns_wanted_means_none_kept(client: aioredis.Redis, ledger: Ledger) -> None:
    window = window_of(client, ledger, turns=0)
    await take_turns(window, ledger, CHAT, 2)
    assert await last(window, ledger) == []
    assert await client.keys() == []


async def test_a_window_goes_with_its_age(
    window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 2)
    assert keys.WINDOW_AGE_S * 1000 - 60_000 < await client.pttl(KEY) <= keys.WINDOW_AGE_S * 1000
    await client.delete(KEY)
    await last(window, ledger)
    assert await client.pttl(KEY) > 0


async def test_a_forgotten_chat_leaves_nothing_in_redis_and_takes_nothing_late(
    window: ContextWindow, ledger: Ledger, client: aioredis.Redis
) -> None:
    await take_turns(window, ledger, CHAT, 2)
    erased = ledger.turns[CHAT.key][-1]
    assert await window.forget(CHAT, erased.id)
    assert await client.keys() == [b"gone:{bot:" + CHAT.key.encode() + b"}"]
    await window.push(CHAT, erased, after=0)  # it was still being said
    await last(window, ledger)  # and this was read before
    assert await client.keys() == [b"gone:{bot:" + CHAT.key.encode() + b"}"]
    ledger.turns[CHAT.key].clear()
    await take_turns(window, ledger, CHAT, 1)
    assert await last(window, ledger) == ledger.turns[CHAT.key]


@pytest.mark.parametrize("text", ["", "\ud800 half", "\x00", "🫨" * 3_000, '{"v":1} 7 ', "字\n\u2028"])
async def test_any_text_comes_back_as_it_was(text: str, window: ContextWindow, ledger: Ledger) -> None:
    turn = replace(ledger.close(CHAT), text=text, reply=text)
    await window.push(CHAT, turn, after=0)
    assert await window.last(CHAT, newest=turn.id) == (turn,)
    assert ledger.reads == 0


async def test_all_keys_of_a_chat_lie_on_one_cluster_node() -> None:
    assert keys.window("bot", OTHER) == "ctx:{bot:telegram:-1001:7}"


# --- Redis as it really is ---


async def test_five_hundred_chats_at_once_are_served_by_few_connections(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "context.redis_server.ANSWER_TIMEOUT_S", PATIENCE_S
    )  # on a loaded machine they wait longer
    with tempfile.TemporaryDirectory() as folder:
        async with open_redis(None, Path(folder)) as server:
            window = window_of(server.client, ledger)
            chats = [Chat("telegram", str(number)) for number in range(500)]
            for _ in range(2):
                await asyncio.gather(*(take_turns(window, ledger, chat, 1) for chat in chats))
            seen = await asyncio.gather(*(last(window, ledger, chat) for chat in chats))
            assert seen == [ledger.turns[chat.key] for chat in chats]
            assert ledger.reads == 0
            assert (await server.client.info("clients"))["connected_clients"] <= 33


async def test_a_killed_redis_costs_no_turn_and_is_used_again_when_it_is_back(
    redis: RealRedis, ledger: Ledger, clock: Clock
) -> None:
    async with contextlib.aclosing(redis.client()) as client:
        client.set_retry(Retry(ExponentialBackoff(), 0))
        window = window_of(client, ledger, clock=clock)
        await take_turns(window, ledger, CHAT, 6)
        redis.kill()
        await take_turns(window, ledger, CHAT, 2)
        assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
        assert (await window.health()).state == "degraded"
        assert ledger.reads == 3

        redis.start()  # its file still has the window as it was before those two
        clock.move(60)
        assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
        assert (await window.health()).state == "ok"
        assert ledger.reads == 4
        await take_turns(window, ledger, CHAT, 2)
        assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
        assert ledger.reads == 4


async def test_a_redis_cluster_serves_every_chat_and_may_lose_a_node(
    tmp_path: Path, ledger: Ledger, clock: Clock
) -> None:
    if not PROGRAMS:
        pytest.skip("no Redis server is installed")
    chats = [Chat("telegram", str(number)) for number in range(30)]
    with serve_cluster(PROGRAMS[0], tmp_path) as nodes:
        async with open_redis(f"redis://127.0.0.1:{nodes[1].port}", tmp_path) as server:
            assert (await server.health()).detail.endswith("(cluster)")
            window = window_of(server.client, ledger, clock=clock)
            cache = DraftCache(server.client, namespace="bot", ttl_s=60)
            for chat in chats:
                await take_turns(window, ledger, chat, 7)
                assert await last(window, ledger, chat) == ledger.turns[chat.key][-5:]
                await cache.put("key", b"draft", alias=chat.alias)
            assert ledger.reads == 0
            assert all(node.ask("DBSIZE") != "0" for node in nodes)
            assert await cache.get("key") == b"draft"
            assert await cache.forget(chats[0], 0)
            assert await window.forget(chats[0], ledger.turns[chats[0].key][-1].id)
            assert await window.clear()
            for chat in chats[1:]:
                await take_turns(window, ledger, chat, 1)
            nodes[0].kill()
            for chat in chats[1:]:
                clock.move(60)
                await take_turns(window, ledger, chat, 1)
                assert await last(window, ledger, chat) == ledger.turns[chat.key][-5:]


@pytest.mark.parametrize(
    ("refuse", "accept", "reason"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OutOfMemoryError"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "ReadOnlyError"),
    ],
    ids=["full", "read-only"],
)
async def test_a_redis_that_takes_no_turns_is_asked_on_but_not_believed(
    redis: RealRedis, ledger: Ledger, caplog: pytest.LogCaptureFixture, refuse: str, accept: str, reason: str
) -> None:
    caplog.set_level("INFO", "context.window")
    async with contextlib.aclosing(redis.client()) as client:
        window = window_of(client, ledger)
        await take_turns(window, ledger, CHAT, 3)
        await client.execute_command(*refuse.split())  # type: ignore[no-untyped-call]
        await take_turns(window, ledger, CHAT, 3)
        for _ in range(3):
            assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
            health = await window.health()
            assert health.state == "degraded"
            assert f"takes no turns ({reason})" in health.detail
        assert [record.levelname for record in caplog.records] == ["WARNING"], "once, not with every turn"
        await client.execute_command(*accept.split())  # type: ignore[no-untyped-call]
        assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
        ledger.reads = 0
        await take_turns(window, ledger, CHAT, 1)
        assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
        assert ledger.reads == 0
        assert (await window.health()).state == "ok"


async def test_a_silent_redis_is_waited_for_once_and_not_by_every_turn(ledger: Ledger, clock: Clock) -> None:
    asked = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with contextlib.aclosing(aioredis.Redis(port=port, socket_timeout=PATIENCE_S)) as client:
            window = ContextWindow(client, refill=ledger.refill, namespace="bot", timeout_s=0.5, clock=clock)
            await take_turns(window, ledger, CHAT, 20)
            assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
            assert asked == 1


async def test_a_turn_called_off_while_it_probes_redis_leaves_the_next_one_to_try(
    ledger: Ledger, clock: Clock
) -> None:
    asked: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with contextlib.aclosing(aioredis.Redis(port=port, socket_timeout=0.5)) as client:
            window = window_of(client, ledger, clock=clock, timeout_s=2)
            failing = asyncio.create_task(window.last(CHAT, newest=1))
            (await asked.get()).close()
            await failing
            clock.move(60)
            for _ in range(2):
                probing = asyncio.create_task(window.last(CHAT, newest=1))
                await asyncio.wait_for(asked.get(), PATIENCE_S)
                probing.cancel()
                await asyncio.wait([probing])


async def test_answers_lost_on_the_way_store_no_turn_twice(redis: RealRedis, ledger: Ledger) -> None:
    """A client that repeats what was not answered must not append twice."""
    dropped = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        there, back = await asyncio.open_unix_connection(str(redis.socket))
        answers = 0
        with contextlib.suppress(ConnectionError):
            while command := await reader.read(65_536):
                back.write(command)
                answer = await there.read(65_536)
                answers += 1
                if answers % 7 == 0:
                    dropped += 1
                    break
                writer.write(answer)
        for stream in (writer, back):
            stream.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        retry = Retry(ExponentialBackoff(cap=0.001, base=0.001), 5)
        async with contextlib.aclosing(aioredis.Redis(port=port, retry=retry)) as client:
            window = window_of(client, ledger)
            await take_turns(window, ledger, CHAT, 60)
            assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
    assert dropped > 5
    assert ledger.reads == 0


async def test_without_redis_everything_comes_from_sql(ledger: Ledger) -> None:
    window = window_of(None, ledger)
    await take_turns(window, ledger, CHAT, 7)
    assert await last(window, ledger) == ledger.turns[CHAT.key][-5:]
    assert (await window.health()).state == "degraded"
    assert await window.forget(CHAT, 7)  # there is no copy


async def test_sql_being_down_is_not_hidden(window: ContextWindow) -> None:
    async def down(chat: Chat, limit: int) -> Sequence[Turn]:
        raise OSError("the database is gone")

    broken = ContextWindow(None, refill=down, namespace="bot")
    with pytest.raises(OSError, match="database"):
        await broken.last(CHAT, newest=3)
