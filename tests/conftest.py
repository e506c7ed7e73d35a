"""The small world that tests live in: a clock that is moved, a ledger on either database."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from context.db import Database
from tests.clock import Clock
from tests.postgres import Postgres, find_binaries, serve_postgres
from tests.real_redis import PROGRAMS, RealRedis

LONGEST = (
    "test_torture.py",
    "test_local_loop.py",
    "test_run.py",
    "test_clips.py",
    "test_staff_pages.py",
    "test_road_faults.py",
    "test_api.py",
    "test_chat_page.py",
    "test_local_engine.py",
    "test_demo.py",
    "test_shapes.py",
    "test_describe.py",
    "test_fallback_engine.py",
    "test_check.py",
    "test_ledger_properties.py",
    "test_road.py",
    "test_forget.py",
    "test_jobs.py",
    "test_backup.py",
    "test_deploy.py",
    "test_takeover_race.py",
    "test_workers.py",
    "test_scene.py",
    "test_engines.py",
    "test_local_batches.py",
    "test_intake_process.py",
    "test_window.py",
)
"""Begun first, in this order, so that none of them is left to one core when the others are done.

The torture mostly waits.  Only one of the first ones needs torch, which it compiles for those that follow.
"""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The first process collects alone; the others then find compiled what all of them import.

    Without bytecode that is 22 s of CPU, with it 8.  What is imported here stays for good, so that garbage
    collections skip it, now and in the tests; `bot.run` does the same.
    """
    gc.disable()
    lock = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        return (yield)
    finally:
        os.close(lock)
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _no_second_look() -> Iterator[None]:
    """Photos are read when a test says so: half a second of CPU each, in every app that lives for a while.

    And with the priority of everything else: on a machine full of tests, lower means never.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.photos.second_look.EVERY_S", 3600.0)
        patch.setattr("bot.app.answering.BEHIND", 0)
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    with serve_postgres(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bot.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
async def db(database_url: str, clock: Clock) -> AsyncIterator[Database]:
    database = Database(database_url, clock=clock)
    yield database
    await database.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RealRedis]:
    if not PROGRAMS:
        pytest.skip("no Redis server is installed")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RealRedis(PROGRAMS[0], folder)
    server.start()
    yield server
    server.kill()
