"""A fire drill: what a bot knew is backed up while it works, burnt and restored, and it goes on as before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.app.stores import audit_key, clear_copies
from bot.cli import audit, backup, restore
from bot.errors import BadConfiguration, BotError
from bot.settings import Settings
from context.console.accounts import Staff
from context.db import Database
from context.photos import photo_in
from context.turns import Photo
from context.upkeep import lock
from tests.bot_api import BotApiServer, Person
from tests.ledger import ANNA, Ledger, says
from tests.postgres import Postgres
from tests.until import PROCESS_S, until
from tests.world import World, colours, picture, same_colour, settings_for, tags, world

RED, BLUE = (200, 20, 20), (20, 20, 200)
TABLES = ("chats", "messages", "turns", "verdicts", "staff", "staff_access", "handoffs")


async def rows_of(db: Database) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: await db.read(
            lambda connection, table=table: [  # type: ignore[misc]
                tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1"))
            ]
        )
        for table in TABLES
    }


async def is_idle(db: Database) -> bool:
    busy = sa.text("SELECT COUNT(*) FROM lanes WHERE due_at IS NOT NULL OR lease_until IS NOT NULL")
    return not await db.read(lambda connection: connection.execute(busy).scalar_one())


async def talk(w: World, li: Person) -> None:
    li.sends_photo(picture(RED), caption="this one c1t1")
    await w.telegram.replies(li.room.id, 1)
    for turn in range(2, 6):
        li.says(f"and then c1t{turn}, 灯还在闪")
        await w.telegram.replies(li.room.id, 1)


@contextmanager
def ben_keeps_writing(url: str) -> Iterator[None]:
    """From another process, as fast as the database takes it: what a backup may not be confused by."""
    script = f"""
import asyncio
from tests.ledger import *
async def main():
    ledger = Ledger(Database({url!r}))
    while True:
        await ledger.inbox.put([says(Chat("web", "ben"), "x" * 2000)])
        print(flush=True)
asyncio.run(main())
"""
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield
        finally:
            process.kill()


def settings_of(folder: Path, url: str) -> Settings:
    return settings_for(folder, None, None, database_url=url)


async def restored(settings: Settings, path: Path, *, replace: bool = False) -> int:
    return await restore.run(
        settings.database,
        settings.data_dir,
        path,
        replace=replace,
        clear=lambda: clear_copies(settings),
    )


async def test_after_a_fire_the_bot_goes_on_as_it_was(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data, vault = tmp_path / "data", tmp_path / "vault"
    settings, telegram = settings_of(tmp_path, database_url), BotApiServer()
    async with world(tmp_path, telegram=telegram, database_url=database_url) as w:
        stores = w.app.stores
        await Staff(stores.db).add("mia", "admin", "a hash")
        li = w.telegram.customer(71, name="Li")
        await talk(w, li)
        await until(lambda: is_idle(stores.db))
        await stores.verdicts.seal()
        await stores.verdicts.seal()
        head = await stores.verdicts.head()
        photo = next(data.glob("photos/*/*.jpg")).read_bytes()
        assert await backup.run(settings.database, data, vault) == 0
        with pytest.raises(BotError, match=r"stop .* first"):
            await restored(settings, vault, replace=True)
        before = await rows_of(stores.db)
    shutil.rmtree(data)
    url = database_url
    if url.startswith("sqlite"):
        (tmp_path / "bot.db").unlink()
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database()
    settings = settings_of(tmp_path, url)

    assert await restored(settings, vault) == 0
    assert head is not None
    assert await audit.run(url, key=audit_key(settings), head=f"{head.number}:{head.seal}") == 0
    async with world(tmp_path, telegram=telegram, database_url=url) as w:
        after = await rows_of(w.app.stores.db)
        assert after == before
        assert [account.name for account in await Staff(w.app.stores.db).accounts()] == ["mia"]
        li.says("what do you see? c1t6")
        await w.telegram.replies(li.room.id, 1)
        request_ = w.model.requests[-1]
        assert tags(request_) == [[f"c1t{turn}"] for turn in range(1, 7)]
        (colour,) = colours(request_)
        assert same_colour(colour, RED)
        assert next(data.glob("photos/*/*.jpg")).read_bytes() == photo
    # A second drill over what is there now: only when it is given up, and then of that moment again.
    with pytest.raises(BotError, match="--replace gives them up"):
        await restored(settings, vault)
    assert await restored(settings, vault, replace=True) == 0
    db = Database(url)
    assert (await rows_of(db))["messages"] == before["messages"]
    await db.close()


# --- What goes wrong


async def small(database_url: str, folder: Path) -> Settings:
    """A database with one message and a photo, without a bot."""
    settings = settings_of(folder, database_url)
    db = Database(database_url)
    await Ledger(db).inbox.put([says(ANNA, "the lamp\nblinks \\. 灯\t红")])
    (batch,) = await Ledger(db).claim()
    jpeg = picture(BLUE)
    sha256 = hashlib.sha256(jpeg).hexdigest()
    await Ledger(db).inbox.attach([(batch.arrivals[0], Photo(sha256, 320, 240))])
    await db.close()
    photo = photo_in(settings.data_dir / "photos", sha256)
    photo.parent.mkdir(parents=True)
    photo.write_bytes(jpeg)
    for name in ("policy.yaml", "company.md"):
        (settings.data_dir / name).write_text("{}")
    return settings


async def test_a_backup_made_while_others_write_is_of_one_moment(database_url: str, tmp_path: Path) -> None:
    settings, vault = await small(database_url, tmp_path), tmp_path / "vault"
    with ben_keeps_writing(database_url):
        for _ in range(3):
            assert await backup.run(settings.database, settings.data_dir, vault, keep=2) == 0
    assert await backup.verify(vault) == 0
    older, newer = backup.backups(vault)
    counts = [backup.read_manifest(path).snapshot.tables["messages"] for path in (older, newer)]
    assert 1 < counts[0] < counts[1], "somebody was writing"
    assert await restored(settings, older, replace=True) == 0
    db = Database(database_url)
    rows = await rows_of(db)
    assert len(rows["messages"]) == counts[0]
    # What is written now comes behind what is there.
    await Ledger(db).inbox.put([says(ANNA, "once more", source="later", message_id="later")])
    assert len((await rows_of(db))["messages"]) == counts[0] + 1
    await db.close()


def killed_at(what: str, settings: Settings, *command: str) -> None:
    """Run a command that dies by kill -9 where it would call this."""
    script = f"""
import os, sys
import bot.cli.backup, bot.cli.restore
def die(*_): os.kill(os.getpid(), 9)
{what} = die
from bot.__main__ import main
main(sys.argv[1:])
"""
    environment = os.environ | {"DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database}
    words = [sys.executable, "-c", script, *command]
    done = subprocess.run(
        words, env=environment, cwd=Path(__file__).parent.parent, check=False, timeout=PROCESS_S
    )
    assert done.returncode == -signal.SIGKILL


async def test_what_kill_9_cut_off_is_swept_up_and_done_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data/bot.db"
    settings, vault = await small(url, tmp_path), tmp_path / "vault"
    killed_at("bot.cli.backup.copy_photo", settings, "backup", str(vault))
    assert len(list(vault.glob(".unfinished-*"))) == 1
    with pytest.raises(BotError, match="no backup is there"):
        await restored(settings, vault)
    assert await backup.run(settings.database, settings.data_dir, vault) == 0
    assert list(vault.glob(".unfinished-*")) == []
    shutil.rmtree(settings.data_dir)
    for moment in ("bot.cli.restore.copy_photo", "bot.cli.restore.copy_file"):
        killed_at(moment, settings, "restore", str(vault))
        with pytest.raises(BadConfiguration, match="a restore did not come to its end"):
            async with world(tmp_path):
                pass
    assert await restored(settings, vault) == 0
    for name in ("policy.yaml", "company.md"):
        assert (settings.data_dir / name).read_text() == "{}"
    async with world(tmp_path) as w:
        assert len((await rows_of(w.app.stores.db))["messages"]) >= 1


async def test_damage_is_found_and_named_and_nothing_is_restored_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/data/bot.db"
    settings, vault = await small(url, tmp_path), tmp_path / "vault"
    assert await backup.run(settings.database, settings.data_dir, vault) == 0
    (path,) = backup.backups(vault)
    sums = ["sha256sum", "--check", "--quiet", backup.SUMS]
    subprocess.run(sums, cwd=path, check=True, timeout=PROCESS_S)  # noqa: ASYNC221
    (photo,) = vault.glob("photos/*/*.jpg")
    photo.write_bytes(b"x" * photo.stat().st_size)
    assert await backup.verify(vault) == 1
    assert f"photo {photo.stem} is missing or damaged" in capsys.readouterr().out
    before = (settings.data_dir / "bot.db").read_bytes()
    with pytest.raises(BotError, match="nothing was changed"):
        await restored(settings, vault, replace=True)
    assert (settings.data_dir / "bot.db").read_bytes() == before
    assert not lock.is_restore_unfinished(settings.data_dir)
    assert await backup.run(settings.database, settings.data_dir, vault) == 0
    assert await backup.verify(vault) == 1  # a photo of the same size is taken for whole until it is read
    photo.unlink()
    assert await backup.run(settings.database, settings.data_dir, vault) == 0
    assert await backup.verify(vault) == 0
    (path / "bot.db").write_bytes(before[:-1])
    assert await backup.verify(vault) == 1
    for wrong, words in (
        ({"snapshot": {"kind": "postgresql", "schema": 1, "tables": {}}}, "DATABASE_URL names sqlite"),
        ({"snapshot": {"kind": "sqlite", "schema": 999, "tables": {}}}, "newer version"),
        ({"format": 2}, "another format"),
        ({"photos": None, "more": 1}, "no backup of ours"),
    ):
        file = path / backup.MANIFEST
        text = file.read_text()
        file.write_text(json.dumps(json.loads(text) | wrong))
        with pytest.raises(BotError, match=words):
            await restored(settings, path)
        file.write_text(text)
    with pytest.raises(BotError, match="nothing was ever kept"):
        await backup.run(f"sqlite:///{tmp_path}/none.db", settings.data_dir, vault)
    (settings.data_dir / "photos").rename(tmp_path / "lost")
    shutil.rmtree(vault / "photos")
    assert await backup.run(settings.database, settings.data_dir, vault) == 1, (
        "the photo is lost, and it says so"
    )
    (tmp_path / "file").touch()
    with pytest.raises(BotError, match="file"):
        await backup.run(settings.database, settings.data_dir, tmp_path / "file")
