"""Staff: accounts, who is signed in, and who opened what.

A session is a row; the browser holds its token, the table only the token's hash, so that a copy of
the database signs nobody in.  What passwords look like is not known here: they come hashed.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.db import Database
from context.turns import Language

Role = Literal["viewer", "agent", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "agent", "admin")
"""Each may do what those before it may: look; answer and review; export, erase, read the access log."""

SESSION_S = 30 * 24 * 3600.0
"""Longest session."""
IDLE_S = 12 * 3600.0
"""Longest time without a request in a session."""
SEEN_EVERY_S = 60.0
"""Accuracy of the time of the last request; recording it is a write."""

FAILURES_S = 15 * 60.0
"""How long a failed sign-in counts."""
FAILURES_PER_ACCOUNT = 10
FAILURES_PER_ADDRESS = 30
"""More than for an account, since a whole office may share one address."""


class NoSuchAccount(Exception):
    """There is no account of this name."""


class NameTaken(Exception):
    """The name is taken."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the console."""

    name: str
    role: Role
    language: Language | None = None
    """The chosen language of the console; None follows the browser."""
    created_at: float = 0.0

    def may(self, role: Role) -> bool:
        """Whether this account may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Access:
    """One line of the access log."""

    at: float
    name: str
    action: str
    """`opened`, `photo`, `replied`, `released`, ..."""
    chat: str
    """Key of the chat; empty if there is none."""
    detail: str
    """Ids, such as a photo's hash or a turn's number; nobody's words."""


@dataclass(frozen=True, slots=True)
class View:
    """A saved view: a filter with a title."""

    title: str
    query: str
    """The URL's query string, as `bot.web.console.filters` reads it."""


class Staff:
    """Accounts, sessions and the access log.  Every method is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, name: str, role: Role, password: str) -> None:
        """A new account; `password` is a hash.  Raises `NameTaken`."""

        def work(connection: Connection) -> bool:
            values = {"name": name, "role": role, "password": password, "now": self._db.now(connection)}
            return connection.execute(_ADD, values).first() is not None

        if not await self._db.write(work):
            raise NameTaken(name)

    async def set_password(self, name: str, password: str) -> None:
        """A new password, which signs the account out everywhere.  Raises `NoSuchAccount`."""

        def work(connection: Connection) -> int:
            connection.execute(_END_ALL, {"name": name})
            return connection.execute(_PASSWORD, {"name": name, "password": password}).rowcount

        if not await self._db.write(work):
            raise NoSuchAccount(name)

    async def remove(self, name: str) -> None:
        """Close an account and sign it out; what it did stays on record.  Raises `NoSuchAccount`."""

        def work(connection: Connection) -> int:
            connection.execute(_END_ALL, {"name": name})
            connection.execute(_REMOVE_VIEWS, {"name": name})
            return connection.execute(_REMOVE, {"name": name}).rowcount

        if not await self._db.write(work):
            raise NoSuchAccount(name)

    async def accounts(self) -> list[Account]:
        """All accounts, by name."""
        return await self._db.read(
            lambda connection: [
                Account(row.name, row.role, row.language or None, row.created_at)
                for row in connection.execute(_ACCOUNTS)
            ]
        )

    async def password(self, name: str) -> str | None:
        """The hash of an account's password; None if there is no such account."""
        return await self._db.read(
            lambda connection: connection.execute(_HASH, {"name": name}).scalar_one_or_none()
        )

    async def try_sign_in(self, name: str, address: str) -> bool:
        """Whether an attempt is looked at: not when too many failed of late, by account or by address.

        It counts as failed until `sign_in` says otherwise, so that many at once gain nothing.
        """

        def work(connection: Connection) -> bool:
            now = self._db.now(connection)
            connection.execute(_DROP_FAILURES, {"before": now - FAILURES_S})
            for who, most in (
                (f"account:{name}", FAILURES_PER_ACCOUNT),
                (f"address:{address}", FAILURES_PER_ADDRESS),
            ):
                if connection.execute(_FAILURES, {"who": who}).scalar_one() >= most:
                    return False
            connection.execute(
                _FAIL, [{"who": f"account:{name}", "now": now}, {"who": f"address:{address}", "now": now}]
            )
            return True

        return await self._db.write(work)

    async def sign_in(self, name: str, address: str = "") -> str:
        """Begin a session and return its token: for the browser, and shown nowhere else.

        The attempt has not failed after all; those of others from the same address still count.
        """
        token = secrets.token_urlsafe(32)

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            connection.execute(_DROP_SESSIONS, {"begun": now - SESSION_S, "seen": now - IDLE_S})
            connection.execute(_DROP_FAILURE, {"who": f"account:{name}"})
            connection.execute(_DROP_ATTEMPT, {"who": f"address:{address}"})
            connection.execute(_BEGIN, {"token": _hash(token), "name": name, "now": now})
            _note(connection, now, name, "signed in")

        await self._db.write(work)
        return token

    async def who(self, token: str) -> Account | None:
        """The account of a session; None if there is none, or it has ended."""

        def work(connection: Connection) -> tuple[Account | None, bool]:
            now = self._db.now(connection)
            values = {"token": _hash(token), "begun": now - SESSION_S, "seen": now - IDLE_S}
            row = connection.execute(_SESSION, values).first()
            if row is None:
                return None, False
            account = Account(row.name, row.role, row.language or None, row.created_at)
            return account, row.seen_at < now - SEEN_EVERY_S

        account, is_stale = await self._db.read(work)
        if is_stale:
            await self._db.write(
                lambda connection: connection.execute(
                    _SEEN, {"token": _hash(token), "now": self._db.now(connection)}
                )
            )
        return account

    async def sign_out(self, token: str) -> None:
        """End this session.  One that has ended is no error."""
        await self._db.write(lambda connection: connection.execute(_END, {"token": _hash(token)}))

    async def sign_out_everywhere(self, name: str) -> None:
        """End every session of an account."""
        await self._db.write(lambda connection: connection.execute(_END_ALL, {"name": name}))

    async def choose_language(self, name: str, language: Language) -> None:
        """Show this account the console in this language from now on."""
        values = {"name": name, "language": language}
        await self._db.write(lambda connection: connection.execute(_LANGUAGE, values))

    async def note(self, name: str, action: str, chat: str | None = None, detail: str = "") -> None:
        """Add a line to the access log."""
        await self._db.write(
            lambda connection: _note(connection, self._db.now(connection), name, action, chat, detail)
        )

    async def accesses(self, chat: str | None = None, *, limit: int = 100) -> list[Access]:
        """The newest lines of the access log, newest first; of one chat, or of all."""
        statement = _ACCESSES if chat is None else _ACCESSES_OF
        return await self._db.read(
            lambda connection: [
                Access(row.at, row.name, row.action, row.chat or "", row.detail)
                for row in connection.execute(statement, {"chat": chat, "limit": limit})
            ]
        )

    async def views(self, name: str) -> list[View]:
        """The saved views of an account, by title."""
        return await self._db.read(
            lambda connection: [
                View(row.title, row.query) for row in connection.execute(_VIEWS, {"name": name})
            ]
        )

    async def save_view(self, name: str, view: View) -> None:
        """Save a view, replacing one of the same title."""
        values = {"name": name, "title": view.title, "query": view.query}
        await self._db.write(lambda connection: connection.execute(_SAVE_VIEW, values))

    async def drop_view(self, name: str, title: str) -> None:
        """Remove a view.  One that is not there is no error."""
        values = {"name": name, "title": title}
        await self._db.write(lambda connection: connection.execute(_DROP_VIEW, values))


def _note(
    connection: Connection, now: float, name: str, action: str, chat: str | None = None, detail: str = ""
) -> None:
    values = {"now": now, "name": name, "action": action, "chat": chat, "detail": detail}
    connection.execute(_ACCESS, values)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


_ADD = sa.text("""
    INSERT INTO staff (name, role, password, created_at) VALUES (:name, :role, :password, :now)
    ON CONFLICT DO NOTHING RETURNING name""")
_PASSWORD = sa.text("UPDATE staff SET password = :password WHERE name = :name")
_REMOVE = sa.text("DELETE FROM staff WHERE name = :name")
_REMOVE_VIEWS = sa.text("DELETE FROM staff_views WHERE name = :name")
_ACCOUNTS = sa.text("SELECT name, role, language, created_at FROM staff ORDER BY name")
_HASH = sa.text("SELECT password FROM staff WHERE name = :name")
_LANGUAGE = sa.text("UPDATE staff SET language = :language WHERE name = :name")
_FAILURES = sa.text("SELECT COUNT(*) FROM staff_failures WHERE who = :who")
_FAIL = sa.text("INSERT INTO staff_failures (who, at) VALUES (:who, :now)")
_DROP_FAILURES = sa.text("DELETE FROM staff_failures WHERE at < :before")
_DROP_FAILURE = sa.text("DELETE FROM staff_failures WHERE who = :who")
_DROP_ATTEMPT = sa.text("""
    DELETE FROM staff_failures WHERE id = (SELECT MAX(id) FROM staff_failures WHERE who = :who)""")
_BEGIN = sa.text("""
    INSERT INTO staff_sessions (token, name, created_at, seen_at) VALUES (:token, :name, :now, :now)""")
_SESSION = sa.text("""
    SELECT a.name, a.role, a.language, a.created_at, s.seen_at
    FROM staff_sessions s JOIN staff a ON a.name = s.name
    WHERE s.token = :token AND s.created_at > :begun AND s.seen_at > :seen""")
_SEEN = sa.text("UPDATE staff_sessions SET seen_at = :now WHERE token = :token")
_END = sa.text("DELETE FROM staff_sessions WHERE token = :token")
_END_ALL = sa.text("DELETE FROM staff_sessions WHERE name = :name")
_DROP_SESSIONS = sa.text("DELETE FROM staff_sessions WHERE created_at < :begun OR seen_at < :seen")
_ACCESS = sa.text("""
    INSERT INTO staff_access (at, name, action, chat, detail)
    VALUES (:now, :name, :action, :chat, :detail)""")
_ACCESSES = sa.text("SELECT at, name, action, chat, detail FROM staff_access ORDER BY id DESC LIMIT :limit")
_ACCESSES_OF = sa.text("""
    SELECT at, name, action, chat, detail FROM staff_access WHERE chat = :chat
    ORDER BY id DESC LIMIT :limit""")
_VIEWS = sa.text("SELECT title, query FROM staff_views WHERE name = :name ORDER BY title")
_SAVE_VIEW = sa.text("""
    INSERT INTO staff_views (name, title, query) VALUES (:name, :title, :query)
    ON CONFLICT (name, title) DO UPDATE SET query = excluded.query""")
_DROP_VIEW = sa.text("DELETE FROM staff_views WHERE name = :name AND title = :title")
