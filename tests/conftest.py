"""The small world that tests live in: a clock that is moved, a ledger on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from context.db import Database
from tests.clock import Clock
from tests.postgres import Postgres, find_binaries, serve_postgres
from tests.real_redis import PROGRAMS, RealRedis

LONGEST = ("test_torture.py", "test_local_engine.py")
"""Files that mostly wait: begun first, so that they do not keep one core busy when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


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
