"""The composition root: what cannot be used is named, and what ends the work ends the bot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.app import open_app
from bot.engines.fallback import FallbackEngine
from bot.errors import BadConfiguration, BotError
from tests.until import PATIENCE_S
from tests.world import settings_for


@pytest.mark.parametrize("name", ["photos", "uploads", "lock"])
async def test_a_data_folder_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if name == "lock":
        (data / name).mkdir()
    else:
        (data / name).touch()
    with pytest.raises(BadConfiguration) as caught:
        async with open_app(settings_for(tmp_path, None, None)):
            pytest.fail("it started all the same")
    (problem,) = caught.value.problems
    assert problem.startswith(f"DATA_DIR: {data / name} cannot be used: ")


class Stillborn(FallbackEngine):
    async def start(self) -> None:
        raise LookupError("a bug of ours")


async def test_a_bot_that_can_answer_nobody_ends_and_says_why(tmp_path: Path) -> None:
    async with open_app(settings_for(tmp_path, None, None), engine=Stillborn()) as app:
        with pytest.raises(LookupError):
            await asyncio.wait_for(app.work_until(asyncio.Event()), PATIENCE_S)


async def test_a_bot_whose_web_server_fails_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_server: object, _count: int) -> bool:
        raise LookupError("a bug of uvicorn's")

    with pytest.raises(LookupError):  # noqa: PT012  # the block ends with it, too
        async with open_app(settings_for(tmp_path, None, None)) as app:
            monkeypatch.setattr("bot.web.server._Server.on_tick", broken)
            await asyncio.wait_for(app.work_until(asyncio.Event()), PATIENCE_S)


async def test_a_database_server_that_is_away_is_no_wrong_setting(tmp_path: Path) -> None:
    """Service managers do not start a bot again whose settings are wrong (78)."""
    away = settings_for(tmp_path, None, None, database_url="postgresql://bot:hunter2@127.0.0.1:1/bot")
    with pytest.raises(BotError, match=r"^DATABASE_URL: database postgresql.*refused") as caught:
        async with open_app(away):
            pytest.fail("it started all the same")
    assert not isinstance(caught.value, BadConfiguration)
    assert "hunter2" not in str(caught.value)


async def test_a_bot_that_is_told_to_stop_ends_without_complaint(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    async with open_app(settings_for(tmp_path, None, None)) as app:
        await asyncio.wait_for(app.work_until(stop), PATIENCE_S)
