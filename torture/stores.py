"""Scenarios in which what the bot stands on gives way: Redis, PostgreSQL, the disk, the clock."""

from __future__ import annotations

import asyncio
import errno
import resource
from pathlib import Path

from tests.postgres import Postgres, find_binaries, serve_postgres
from torture.arena import Arena, CannotRun, Size

DOWN_S = 2.0
DISK_MB = 24
FAKETIME = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
JUMPS_S = (3600, -7200, 90, 0)
"""From the true time."""


async def redis_killed(arena: Arena, size: Size) -> None:
    """`kill -9` of the Redis server, and a new one two seconds later."""
    server = await arena.own_redis()
    await arena.start()
    for _ in range(size.times):
        talking = asyncio.create_task(arena.crowd.talk(messages=size.messages // size.times, seconds=4.0))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(server.start)
        arena.fault_is_over()
        await talking


async def postgres_restarted(arena: Arena, size: Size) -> None:
    """PostgreSQL is shut down at once, as by a power cut, and comes back two seconds later."""
    server = await own_postgres(arena)
    await arena.start()
    for _ in range(size.times):
        talking = asyncio.create_task(arena.crowd.talk(messages=size.messages // size.times, seconds=4.0))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(server.start)
        arena.fault_is_over()
        await talking


async def own_postgres(arena: Arena) -> Postgres:
    """A PostgreSQL server for the bot, with an empty database in it."""
    binaries = find_binaries()
    if binaries is None:
        raise CannotRun("no PostgreSQL server is installed")
    serving = serve_postgres(binaries)
    server = await asyncio.to_thread(serving.__enter__)
    arena.at_the_end(lambda: asyncio.to_thread(serving.__exit__, None, None, None))
    arena.database_url = await asyncio.to_thread(server.database)
    arena.environment["DATABASE_URL"] = arena.database_url
    return server


async def disk_full(arena: Arena, size: Size) -> None:
    """No byte can be written in the data folder for a while; what arrives then must not be confirmed."""
    disk = await _disk(arena)
    await arena.start()
    for _ in range(size.times):
        await arena.crowd.talk(messages=size.messages // size.times // 2, seconds=1.0)
        disk.fill(arena)
        await arena.crowd.talk(messages=size.messages // size.times // 2, seconds=3.0)
        disk.empty(arena)
        arena.fault_is_over()
        said = arena.crowd.say_something()
        await arena.crowd.until_answered([said], timeout_s=30.0)


class _Limit:
    """The disk's end as the kernel's limit on the size of files; where nothing can be mounted."""

    def fill(self, arena: Arena) -> None:
        resource.prlimit(arena.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def empty(self, arena: Arena) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(arena.process.pid, resource.RLIMIT_FSIZE, unlimited)


class _SmallDisk:
    """A small file system of its own for the data folder."""

    def __init__(self, balloon: Path) -> None:
        self._balloon = balloon

    def fill(self, _arena: Arena) -> None:
        with self._balloon.open("ab", buffering=0) as file:
            for size in (2**16, 2**12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self, _arena: Arena) -> None:
        self._balloon.unlink()


async def _disk(arena: Arena) -> _Limit | _SmallDisk:
    folder = arena.folder / "data"
    folder.mkdir()
    if await _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "torture", str(folder)):
        return _Limit()
    arena.at_the_end(lambda: _run("umount", "-l", str(folder)))
    return _SmallDisk(folder / "balloon")


async def _run(*words: str) -> int:
    """The exit code of a system program; 127 where there is none."""
    try:
        program = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    except FileNotFoundError:
        return 127
    return await program.wait()


async def clock_jumps(arena: Arena, size: Size) -> None:
    """The machine's clock is set an hour ahead, then two hours back, then right, while the bot runs."""
    library = _faketime()
    clock = arena.folder / "clock"
    clock.write_text("+0")
    arena.environment |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",  # seconds; reading the file at every look is what would be measured
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # A workaround for glibc 2.25 to 2.29: beyond, each wait of a thread for Python's lock ends at once.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
    arena.at_the_end(lambda: asyncio.to_thread(_leave_nothing, arena))
    await arena.start()
    for jump in JUMPS_S:
        talking = asyncio.create_task(arena.crowd.talk(messages=size.messages // len(JUMPS_S), seconds=2.0))
        await asyncio.sleep(0.5)
        new = clock.with_suffix(".new")
        new.write_text(f"{jump:+d}")
        new.replace(clock)
        arena.fault_is_over()
        await talking


def _leave_nothing(arena: Arena) -> None:
    """What the library leaves in memory when its process is killed."""
    for process in arena.processes:
        for name in (f"faketime_shm_{process.pid}", f"sem.faketime_sem_{process.pid}"):
            Path("/dev/shm", name).unlink(missing_ok=True)


def _faketime() -> Path:
    """The library that shows a process a clock of ours."""
    for pattern in FAKETIME:
        for path in Path("/").glob(pattern.lstrip("/")):
            return path
    raise CannotRun("libfaketime is not installed (apt install libfaketime)")
