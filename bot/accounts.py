"""`python -m bot staff`: who may use the console.  It may run beside a bot that is at work."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bot import passwords
from bot.errors import BotError
from context.db import Database, StoreDown
from context.staff import NameTaken, NoSuchAccount, Role, Staff

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


async def add(database_url: str, name: str, role: Role) -> int:
    """Ask for a password and make the account.  Raises BotError when that cannot be."""
    if not _NAME.fullmatch(name):
        raise BotError("a name is made of a-z, 0-9, dot, dash and underscore, at most 32 of them")
    password = _asked()
    async with _staff(database_url) as staff:
        try:
            await staff.add(name, role, passwords.hashed(password))
        except NameTaken:
            raise BotError(f"there is an account {name!r}; `staff passwd {name}` sets its password") from None
    print(f"{name} may sign in at /staff as {role}")
    return 0


async def set_password(database_url: str, name: str) -> int:
    """Ask for a new password; the account is signed out everywhere.  Raises BotError."""
    password = _asked()
    async with _staff(database_url) as staff:
        try:
            await staff.set_password(name, passwords.hashed(password))
        except NoSuchAccount:
            raise BotError(f"there is no account {name!r}") from None
    print(f"{name} has a new password and is signed out everywhere")
    return 0


async def remove(database_url: str, name: str) -> int:
    """Close the account and sign it out.  Raises BotError."""
    async with _staff(database_url) as staff:
        try:
            await staff.remove(name)
        except NoSuchAccount:
            raise BotError(f"there is no account {name!r}") from None
    print(f"{name} is removed and signed out")
    return 0


async def show(database_url: str) -> int:
    """Print every account with its role."""
    async with _staff(database_url) as staff:
        accounts = await staff.accounts()
    for account in accounts:
        since = datetime.fromtimestamp(account.created_at, UTC).date()
        print(f"{account.name:32}  {account.role:6}  since {since}")
    if not accounts:
        print("nobody yet: python -m bot staff add NAME --role admin")
    return 0


def _asked() -> str:
    """A password, typed twice on a terminal or read from a pipe; it never stands in a command line."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise BotError("the two were different")
    if problem := passwords.complaint(password):
        raise BotError(problem)
    return password


@asynccontextmanager
async def _staff(database_url: str) -> AsyncIterator[Staff]:
    db = None
    try:
        db = Database(database_url)
        yield Staff(db)
    except StoreDown as error:
        raise BotError(str(error)) from error
    finally:
        if db is not None:
            await db.close()
