"""Opening Redis: a private server that survives what happens to servers, or the operator's, or memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis
from redis.exceptions import RedisError

from context import redis_child
from context.health import Health
from context.redis_child import RedisChild
from context.redis_server import RedisRefuses, RedisServer, open_redis
from tests.real_redis import PROGRAMS, RealRedis, free_port, serve_cluster
from tests.until import PATIENCE_S, until

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="no Redis server is installed")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # short: pytest's own are too long for a socket
        yield Path(folder) / "redis"


async def eventually(client: aioredis.Redis, key: str) -> object:
    """The value, as soon as a server answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await client.get(key)
            except (RedisError, OSError):
                await asyncio.sleep(0.01)


async def until_health(holds: Callable[[Health], bool], server: RedisServer) -> None:
    async def is_so() -> bool:
        return holds(await server.health())

    await until(is_so)


async def pid_of(server: RedisServer) -> int:
    found = re.search(r"process (\d+)$", (await server.health()).detail)
    assert found, await server.health()
    return int(found[1])


def written_in(folder: Path) -> Path:
    """The append-only file with the commands in it."""
    return max(folder.rglob("*.aof"), key=lambda path: path.stat().st_size)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"$2000", b"$20x0", 1))


def tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 17)


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def has_private_server(folder: Path) -> bool:
    return (folder / "redis.lock").exists()


def is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


async def test_what_was_stored_is_there_after_a_restart(folder: Path) -> None:
    async with open_redis(None, folder) as server:
        assert server.kind == "private"
        assert (await server.health()).state == "ok"
        pid = await pid_of(server)
        await server.client.set("a", "1")
    assert is_gone(pid)
    async with open_redis(None, folder) as server:
        assert await server.client.get("a") == b"1"


@pytest.mark.parametrize("program", PROGRAMS)
async def test_every_server_found_here_takes_our_options(program: str, folder: Path) -> None:
    child = RedisChild(folder, programs=[program])
    await child.start()
    try:
        async with contextlib.aclosing(aioredis.Redis(unix_socket_path=str(child.socket))) as client:
            settings = await client.config_get("append*")
            assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
            assert (await client.config_get("port"))["port"] == "0"
        assert (folder / "redis.sock").stat().st_mode & 0o077 == 0
    finally:
        await child.close()
        await child.close()


async def test_a_killed_server_comes_back_with_what_it_had_acknowledged(folder: Path) -> None:
    async with open_redis(None, folder) as server:
        for round_ in range(3):
            await server.client.set("a", round_)
            os.kill(await pid_of(server), signal.SIGKILL)
            assert await eventually(server.client, "a") == str(round_).encode()
            await until_health(lambda health: health.state == "ok", server)


async def test_a_second_process_uses_the_same_server_and_does_not_end_it(folder: Path) -> None:
    async with open_redis(None, folder) as owner:
        async with open_redis(None, folder) as guest:
            assert "another process" in (await guest.health()).detail
            await guest.client.set("a", "1")
        assert await owner.client.get("a") == b"1"


async def test_whoever_shared_a_server_keeps_going_when_its_owner_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_child, "TAKE_OVER_EVERY_S", 0.02)
    owner = contextlib.AsyncExitStack()
    first = await owner.enter_async_context(open_redis(None, folder))
    await first.client.set("a", "1")
    async with open_redis(None, folder) as second:
        await owner.aclose()
        assert await eventually(second.client, "a") == b"1"
        await until_health(lambda health: health.state == "ok" and "another" not in health.detail, second)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_damaged_file_is_set_aside_and_the_server_starts_afresh(program: str, folder: Path) -> None:
    child = RedisChild(folder, programs=[program])
    await child.start()
    async with contextlib.aclosing(aioredis.Redis(unix_socket_path=str(child.socket))) as client:
        await client.set("a", "x" * 2_000)
        await client.set("b", "y" * 2_000)
    await child.close()
    damage(written_in(folder))
    child = RedisChild(folder, programs=[program])
    await child.start()
    try:
        async with contextlib.aclosing(aioredis.Redis(unix_socket_path=str(child.socket))) as client:
            assert await client.set("a", "1")
        assert b"$20x0" in written_in(folder / "refused").read_bytes()
        assert child.health().state == "ok"
    finally:
        await child.close()


async def test_a_torn_end_of_the_file_is_taken_as_it_is(folder: Path) -> None:
    async with open_redis(None, folder) as server:
        await server.client.set("a", "1")
        await server.client.set("b", "2" * 100)
    tear(written_in(folder))
    async with open_redis(None, folder) as server:
        assert await server.client.get("a") == b"1"


async def test_a_folder_whose_path_is_too_long_for_a_socket_works(folder: Path) -> None:
    deep = folder / ("x" * 60) / ("错误" * 12)
    async with open_redis(None, deep) as server:
        await server.client.set("a", "1")
        async with open_redis(None, deep) as other:
            assert await other.client.get("a") == b"1"
    assert any(deep.rglob("*.aof"))


_BOT = """
import asyncio, sys
from pathlib import Path
from context.redis_server import open_redis

async def main():
    async with open_redis(None, Path(sys.argv[1])) as server:
        await server.client.set("a", "1")
        print((await server.health()).detail.split()[-1], flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server is found again at the next start")
def test_the_server_ends_with_a_killed_bot(folder: Path) -> None:
    bot = subprocess.Popen([sys.executable, "-c", _BOT, str(folder)], stdout=subprocess.PIPE)
    assert bot.stdout is not None
    with bot.stdout:
        pid = int(bot.stdout.readline())
    bot.kill()
    bot.wait()
    deadline = time.monotonic() + PATIENCE_S
    while not is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    async def stored() -> object:
        async with open_redis(None, folder) as server:
            return await server.client.get("a")

    assert asyncio.run(stored()) == b"1"


async def test_no_secret_of_the_bot_is_in_the_servers_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:secret")
    async with open_redis(None, folder) as server:
        assert b"secret" not in environment_of(await pid_of(server))


# --- without a private server ---


async def test_where_no_server_runs_values_live_in_memory_and_health_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_child, "programs", list)
    async with open_redis(None, folder) as server:
        assert server.kind == "memory"
        await server.client.set("a", "1")
        assert await server.client.get("a") == b"1"
        health = await server.health()
        assert health.state == "degraded"
        assert "apt install redis-server" in health.detail


@pytest.mark.parametrize("program", ["/bin/false", "/nonexistent/redis-server"])
async def test_a_server_that_cannot_start_is_passed_over(
    program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_child, "programs", lambda: [program, PROGRAMS[0]])
    async with open_redis(None, folder) as server:
        assert server.kind == "private"


# --- the operator's server ---


@pytest.fixture
def late(folder: Path) -> Iterator[RealRedis]:
    """A server that has not been started."""
    folder.mkdir()
    server = RealRedis(PROGRAMS[0], folder)
    yield server
    server.kill()


@pytest.fixture
def named(late: RealRedis) -> RealRedis:
    late.start()
    return late


async def test_a_named_server_is_used_and_none_is_started(named: RealRedis, folder: Path) -> None:
    async with open_redis(f"unix://{named.socket}", folder) as server:
        assert server.kind == "server"
        assert await server.client.ping()
        assert (await server.health()).state == "ok"
        named.kill()
        health = await server.health()
        assert health.state == "degraded"
        assert "no answer" in health.detail
    assert not has_private_server(folder)


@pytest.mark.parametrize(
    "url", ["redis://user:hunter2@127.0.0.1:1/0", "unix:///nonexistent.sock?password=hunter2"]
)
async def test_a_named_server_that_is_away_is_waited_for_without_telling_its_password(
    url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_redis(url, folder) as server:
        assert (await server.health()).state == "degraded"
    assert "does not answer, the bot works without it" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_named_server_that_comes_later_is_used(
    late: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context.redis_server.MEET_AGAIN_S", 0.02)
    async with open_redis(f"unix://{late.socket}", late.folder) as server:
        with pytest.raises(RedisError):
            await server.client.get("a")
        late.start()
        assert await eventually(server.client, "a") is None
        assert await server.client.set("a", "1")
        assert (await server.health()).state == "ok"


async def test_a_server_that_comes_later_and_refuses_us_is_logged_once_and_tried_again(
    late: RealRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("context.redis_server.MEET_AGAIN_S", 0.02)
    caplog.set_level("INFO", "context.redis_server")
    async with open_redis(f"unix://:hunter2@{late.socket}", late.folder) as server:
        late.start("--requirepass", "right")
        async with aioredis.Redis(unix_socket_path=str(late.socket), password="right") as operator:

            async def was_tried() -> bool:
                return bool((await operator.info("stats"))["total_connections_received"] > 5)

            await until(was_tried)
            await operator.config_set("requirepass", "hunter2")
        await until(lambda: "Redis answers" in caplog.text)
        assert await server.client.get("a") is None
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Redis does not answer, the bot works without it",
        "Redis refuses the bot, the bot works without it",
        "Redis answers",
    ]
    assert "hunter2" not in caplog.text


async def test_a_cluster_that_comes_later_is_used_as_one(
    late: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context.redis_server.MEET_AGAIN_S", 0.02)
    port = free_port()
    async with open_redis(f"redis://127.0.0.1:{port}", late.folder) as server:
        with serve_cluster(late.program, late.folder, nodes=1, port=port):
            await until_health(lambda health: health.detail.endswith("(cluster)"), server)
            assert await server.client.set("a", "1")
            assert isinstance(server.client.get_primaries(), list)  # type: ignore[attr-defined]


async def test_a_named_server_that_refuses_us_ends_the_start(named: RealRedis, folder: Path) -> None:
    client = named.client()
    await client.config_set("requirepass", "right")
    await client.aclose()
    with pytest.raises(RedisRefuses, match="refuses: invalid") as raised:
        async with open_redis(f"unix://:hunter2@{named.socket}", folder):
            pytest.fail("opened")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__
