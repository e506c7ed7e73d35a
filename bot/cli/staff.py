"""`python -m bot staff`: the accounts of the staff console.  Safe beside a running bot."""

from __future__ import annotations

import getpass
import re
import sys
from datetime import UTC, datetime

from bot import passwords
from bot.cli.database import open_database
from bot.errors import BotError
from context.console.accounts import NameTaken, NoSuchAccount, Role, Staff

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


async def add(database_url: str, name: str, role: Role) -> int:
    """Ask for a password and create the account.  Raises BotError if that is impossible."""
    if not _NAME.fullmatch(name):
        raise BotError("a name is made of a-z, 0-9, dot, dash and underscore, at most 32 of them")
    password = _asked()
    async with open_database(database_url) as db:
        try:
            await Staff(db).add(name, role, passwords.hashed(password))
        except NameTaken:
            raise BotError(f"there is an account {name!r}; `staff passwd {name}` sets its password") from None
    print(f"{name} may sign in at /staff as {role}")
    return 0


async def set_password(database_url: str, name: str) -> int:
    """Ask for a new password, and sign the account out everywhere.  Raises BotError."""
    password = _asked()
    async with open_database(database_url) as db:
        try:
            await Staff(db).set_password(name, passwords.hashed(password))
        except NoSuchAccount:
            raise BotError(f"there is no account {name!r}") from None
    print(f"{name} has a new password and is signed out everywhere")
    return 0


async def remove(database_url: str, name: str) -> int:
    """Remove the account and sign it out.  Raises BotError."""
    async with open_database(database_url) as db:
        try:
            await Staff(db).remove(name)
        except NoSuchAccount:
            raise BotError(f"there is no account {name!r}") from None
    print(f"{name} is removed and signed out")
    return 0


async def show(database_url: str) -> int:
    """Print every account with its role."""
    async with open_database(database_url) as db:
        accounts = await Staff(db).accounts()
    for account in accounts:
        since = datetime.fromtimestamp(account.created_at, UTC).date()
        print(f"{account.name:32}  {account.role:6}  since {since}")
    if not accounts:
        print("nobody yet: python -m bot staff add NAME --role admin")
    return 0


def _asked() -> str:
    """A password, typed twice on a terminal or read from a pipe; never taken from the command line."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise BotError("the two were different")
    if problem := passwords.complaint(password):
        raise BotError(problem)
    return password
