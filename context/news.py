"""Messages between the processes that share a database, so that each looks at once when there is news.

Nothing depends on them: everything that is announced is in the database already, and every process looks
there now and then.  On PostgreSQL they travel by LISTEN and NOTIFY, which are available whenever there is
work at all.  Announcements of a few milliseconds are sent together, apart from the transactions that they are
about: PostgreSQL commits transactions with a NOTIFY one after the other
(https://www.postgresql.org/docs/current/sql-notify.html), and ours should not have to queue.  With SQLite
there is only one process, and nobody to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from context.background import BackgroundTask
from context.db import Database, StoreDown
from context.health import Health
from context.turns import Arrival, Kind

if TYPE_CHECKING:
    from psycopg import AsyncConnection

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[str]], None]

CHANNEL = "bot_news"
HELLO = "hello"
GATHER_S = 0.005
MAX_BYTES = 7000
"""PostgreSQL takes less than 8,000."""
PING_S = 20.0
ALONE_S = 60.0
"""After so long without a word from anybody, this process counts as alone, and announces nothing."""
ANSWER_S = 5.0
RETRY_S = 1.0


class News:
    """Tells the other processes, and hears them, from `start` to `close`."""

    def __init__(self, db: Database, *, name: str) -> None:
        self._db = db
        self.name = name
        """Identifies this process among those that share the database."""
        self._listeners: dict[str, list[Listener]] = {}
        self._untold: list[list[str]] = []
        self._something = asyncio.Event()
        self._background = (
            BackgroundTask("news in", self._keep_listening),
            BackgroundTask("news out", self._keep_telling),
        )
        self._trouble = ""
        self._others: dict[str, float] = {}

    def on(self, topic: str, listener: Listener) -> None:
        """Call `listener` with the words of each message on this topic from another process.

        A call without words means that messages may have been missed.
        """
        self._listeners.setdefault(topic, []).append(listener)

    def tell(self, topic: str, *words: str) -> None:
        """Tell the other processes, if there are any, in a moment.  Returns at once and never fails."""
        if self._others:
            self._say(topic, *words)

    def tell_of_arrivals(self, stored: Sequence[Arrival]) -> None:
        """Tell the other workers which chats have new messages.

        A command's chat is not named, since a command supersedes no turn.
        """
        if self._others:
            for arrival in stored:
                self.tell("arrived", *(() if arrival.kind is Kind.COMMAND else (arrival.chat.key,)))

    async def start(self) -> None:
        """Begin to listen; with SQLite there is nothing to do."""
        if not self._db.is_sqlite:
            self._trouble = self._trouble or "not listening yet"
            for work in self._background:
                work.start()

    async def close(self) -> None:
        """Stop; calling twice is harmless."""
        await asyncio.gather(*(work.stop() for work in self._background))

    def health(self) -> Health:
        """Whether messages of the other processes arrive."""
        if self._db.is_sqlite:
            return Health("ok", "one process works alone")
        if self._trouble:
            return Health("degraded", f"other processes are not heard ({self._trouble}): they are slower")
        return Health("ok", f"other processes: {len(self._others)}")

    def _say(self, topic: str, *words: str) -> None:
        self._untold.append([topic, *words])
        self._something.set()

    async def _keep_telling(self) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER_S)
            self._something.clear()
            untold, self._untold = self._untold, []
            payloads = _payloads(self.name, untold)
            try:
                await self._db.write(partial(_notify, payloads=payloads))
            except StoreDown as error:
                log.warning("news could not be told", extra={"reason": str(error)})

    async def _keep_listening(self) -> None:
        import psycopg  # noqa: PLC0415 - comes with the extra `postgres`

        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    connection = await psycopg.AsyncConnection.connect(self._db.address, autocommit=True)
                async with connection:
                    await self._listen(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                reason = type(error).__name__
                if reason != self._trouble:
                    log.warning("other processes are not heard", extra={"reason": reason})
                self._trouble = reason
            await asyncio.sleep(RETRY_S)

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")
        self._trouble = ""
        self._say(HELLO)
        for listeners in self._listeners.values():
            for listener in listeners:
                listener(())
        while True:
            async for heard in connection.notifies(timeout=PING_S):
                self._hear(heard.payload)
            async with asyncio.timeout(ANSWER_S):  # a connection that died without a word
                await connection.execute("SELECT 1")
            now = asyncio.get_running_loop().time()
            self._others = {name: at for name, at in self._others.items() if now - at < ALONE_S}
            self._say(HELLO)

    def _hear(self, payload: str) -> None:
        with contextlib.suppress(ValueError, TypeError):  # another version's, or somebody else's
            teller, pieces = json.loads(payload)
            if teller != self.name:
                if teller not in self._others:
                    self._say(HELLO)
                self._others[teller] = asyncio.get_running_loop().time()
                for topic, *words in pieces:
                    for listener in self._listeners.get(topic, ()):
                        listener(words)


def _payloads(name: str, pieces: list[list[str]]) -> list[str]:
    """As few payloads as possible.  Of repeated pieces only the last is kept."""
    last: dict[tuple[str, ...], None] = {}
    for piece in map(tuple, pieces):
        last.pop(piece, None)
        last[piece] = None
    batches: list[list[tuple[str, ...]]] = [[]]
    size = 0
    for piece in last:
        length = len(json.dumps(piece)) + 2
        if batches[-1] and size + length > MAX_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(piece)
        size += length
    return [json.dumps([name, batch]) for batch in batches]


def _notify(connection: Connection, payloads: list[str]) -> None:
    for payload in payloads:
        connection.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})


# Not worth waiting for a disk.
_NOTIFY = sa.text("SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, :payload)")
