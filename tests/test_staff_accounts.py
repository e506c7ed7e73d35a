"""Accounts of staff: made on the command line, kept hashed, signed out when they change."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bot import passwords
from bot.cli import staff as accounts
from bot.errors import BotError
from context.console.accounts import (
    FAILURES_PER_ACCOUNT,
    FAILURES_PER_ADDRESS,
    FAILURES_S,
    IDLE_S,
    Staff,
    View,
)
from context.db import Database
from tests.clock import Clock


def types(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))


async def test_an_account_is_made_changed_and_removed_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/bot.db"
    await accounts.show(url)
    assert "staff add NAME" in capsys.readouterr().out
    types(monkeypatch, "correct horse")
    await accounts.add(url, "mei", "admin")
    for name, password, complaint in (
        ("mei", "correct horse", "there is an account"),
        ("Mei", "correct horse", "a-z"),
        ("bob", "short", "at least 10"),
    ):
        types(monkeypatch, password)
        with pytest.raises(BotError, match=complaint):
            await accounts.add(url, name, "viewer")
    types(monkeypatch, "battery staple")
    await accounts.set_password(url, "mei")
    with pytest.raises(BotError, match="no account 'bob'"):
        await accounts.remove(url, "bob")
    capsys.readouterr()
    await accounts.show(url)
    assert capsys.readouterr().out.split()[:2] == ["mei", "admin"]

    db = Database(url)
    stored = await Staff(db).password("mei")
    await db.close()
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert passwords.is_right("battery staple", stored)
    assert not passwords.is_right("correct horse", stored)
    assert not passwords.is_right("battery staple", None)
    await accounts.remove(url, "mei")


async def test_sessions_end(db: Database, clock: Clock) -> None:
    staff = Staff(db)
    await staff.add("mei", "agent", "hash")
    token = await staff.sign_in("mei")
    account = await staff.who(token)
    assert account is not None
    assert (account.name, account.may("viewer"), account.may("agent"), account.may("admin")) == (
        "mei",
        True,
        True,
        False,
    )
    assert await staff.who(token + "x") is None
    clock.move(IDLE_S - 1)
    assert await staff.who(token) is not None
    clock.move(IDLE_S - 1)
    assert await staff.who(token) is not None  # used in between
    clock.move(IDLE_S + 1)
    assert await staff.who(token) is None

    other, third = await staff.sign_in("mei"), await staff.sign_in("mei")
    await staff.sign_out(other)
    assert await staff.who(other) is None
    assert await staff.who(third) is not None
    await staff.set_password("mei", "new hash")
    assert await staff.who(third) is None
    last = await staff.sign_in("mei")
    await staff.remove("mei")
    assert await staff.who(last) is None
    assert [line.action for line in await staff.accesses()] == ["signed in"] * 4


async def test_failures_to_sign_in_are_counted_for_a_while(db: Database, clock: Clock) -> None:
    staff = Staff(db)
    for _ in range(FAILURES_PER_ACCOUNT):
        assert await staff.try_sign_in("mei", "10.0.0.1")
    assert not await staff.try_sign_in("mei", "10.0.0.2")
    assert await staff.try_sign_in("bob", "10.0.0.1")
    clock.move(FAILURES_S + 1)
    assert await staff.try_sign_in("mei", "10.0.0.1")
    await staff.add("mei", "agent", "hash")
    await staff.sign_in("mei")
    for _ in range(FAILURES_PER_ACCOUNT):
        assert await staff.try_sign_in("mei", "10.0.0.1")


async def test_a_whole_office_signs_in_from_one_address_and_its_guesses_still_count(db: Database) -> None:
    staff, office = Staff(db), "10.0.0.7"
    await staff.add("mei", "agent", "hash")
    assert await staff.try_sign_in("guess", office)
    for _ in range(FAILURES_PER_ADDRESS + 5):
        assert await staff.try_sign_in("mei", office)
        await staff.sign_in("mei", office)
    for number in range(FAILURES_PER_ADDRESS - 1):
        assert await staff.try_sign_in(f"guess {number}", office)
    assert not await staff.try_sign_in("mei", office)


async def test_views_belong_to_their_account(db: Database) -> None:
    staff = Staff(db)
    await staff.save_view("mei", View("night", "chip=waiting"))
    await staff.save_view("mei", View("night", "chip=held"))
    assert await staff.views("mei") == [View("night", "chip=held")]
    assert await staff.views("bob") == []
    await staff.drop_view("mei", "night")
    assert await staff.views("mei") == []
