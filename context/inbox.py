"""The inbox: what customers sent, kept before anything is confirmed, handed out one chat at a time.

Collecting is reading late.  Nothing waits in memory for an album to be complete: `claim` simply
does not return a chat before it has been quiet long enough for what it holds.  A claim raises the
chat's fence; whoever held it before can no longer write.  `docs/ledger.md` draws the states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.outbox import read_open_turns
from context.turns import Arrival, Attachment, Batch, Chat, Kind, Photo, Rejection


@dataclass(frozen=True, slots=True)
class Quiet:
    """How long a chat must be quiet before its messages are answered, in seconds.

    Telegram sends an album as separate messages without an end mark, and people type the words
    after the picture; the figures are the field's (0.6 to 2.5 s), see docs/ledger.md.
    """

    album_s: float = 1.0
    lone_photo_s: float = 1.5
    longest_s: float = 8.0
    album_size: int = 10
    """Telegram's largest album: complete, so nothing more is waited for."""


Listener = Callable[[Sequence[Arrival]], None]

BATCH = 20
"""Messages in one turn at most."""
SUPERSEDE_LIMIT = 3
"""Drafts dropped for newer words in a row: past this the customer gets an answer to what there is."""


class Inbox:
    """The incoming half of the ledger.  Every method is one transaction."""

    def __init__(self, db: Database, *, quiet: Quiet | None = None, lease_s: float = 30.0) -> None:
        self._db = db
        self._quiet = quiet or Quiet()
        self.lease_s = lease_s
        self._listeners: list[Listener] = []

    def on_put(self, listener: Listener) -> None:
        """Call `listener` after each commit that brought something new."""
        self._listeners.append(listener)

    async def put(self, arrivals: Sequence[Arrival]) -> int:
        """Store what is new and return how much that was; what was stored before is left alone.

        Returns after the commit: only now may the channel be told that it has been received.
        Raises `StoreDown`, and then nothing of it is stored.
        """
        if not arrivals:
            return 0
        stored = await self._db.write(lambda connection: self._put(connection, arrivals))
        if stored:
            for listener in self._listeners:
                listener(stored)
        return len(stored)

    def _put(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[Arrival]:
        now = self._db.now(connection)
        stored = []
        for arrival in arrivals:
            if self._insert(connection, arrival, now):
                self._schedule(connection, arrival, now)
                stored.append(arrival)
        return stored

    def _insert(self, connection: Connection, arrival: Arrival, now: float) -> bool:
        """True when there is something new to answer."""
        chat = arrival.chat.key
        state, position = "waiting", None
        if arrival.edited:
            original = connection.execute(_ORIGINAL, {"chat": chat, "message_id": arrival.message_id}).first()
            if original is not None:
                position = original.position
                if _words(original.text) == _words(arrival.text):
                    state = "ignored"  # a reaction, a link preview, a comma: nothing to answer again
                elif original.state == "waiting":
                    connection.execute(_REPLACE, {"id": original.id})
        file = arrival.attachment
        row = connection.execute(
            _INSERT,
            {
                "chat": chat,
                "state": state,
                "at": now,
                "text": arrival.text,
                "message_id": arrival.message_id,
                "source": arrival.source,
                "position": position,
                "kind": arrival.kind.value,
                "command": arrival.command,
                "album": arrival.album,
                "hint": arrival.hint,
                "sent_at": arrival.sent_at,
                "edited": int(arrival.edited),
                "file_id": file.file_id if file else None,
                "file_size": file.size if file else None,
            },
        ).first()
        if row is None:
            return False
        connection.execute(_CHAT, {"chat": chat, "sender": arrival.sender[:100], "now": now})
        return state == "waiting"

    def _schedule(self, connection: Connection, arrival: Arrival, now: float) -> None:
        """Set when the chat may be claimed; the newest message decides, within the longest wait."""
        quiet = self._quiet
        wait = 0.0
        if arrival.album:
            album = {"chat": arrival.chat.key, "album": arrival.album}
            size = connection.execute(_ALBUM_SIZE, album).scalar_one()
            wait = 0.0 if size >= quiet.album_size else quiet.album_s
        elif arrival.attachment and not arrival.text:
            wait = quiet.lone_photo_s
        connection.execute(
            _SCHEDULE,
            {"chat": arrival.chat.key, "now": now, "due": now + wait, "longest": quiet.longest_s},
        )

    async def set_aside(self, source: str, raw: str, reason: str) -> None:
        """Keep an update that could not be read, out of everybody's way.  Twice is once."""

        def work(connection: Connection) -> None:
            values = {"source": source, "raw": raw, "reason": reason, "at": self._db.now(connection)}
            connection.execute(_ASIDE, values)

        await self._db.write(work)

    async def claim(self, worker: str, limit: int) -> tuple[list[Batch], float | None]:
        """Take up to `limit` chats that are due and that nobody holds.

        Returns the batches, and in how many seconds the next chat falls due (None: nothing waits).
        A chat whose worker stopped renewing is due again when its lease runs out.
        """
        if limit <= 0:
            return [], None
        return await self._db.write(lambda connection: self._claim(connection, worker, limit))

    def _claim(self, connection: Connection, worker: str, limit: int) -> tuple[list[Batch], float | None]:
        now = self._db.now(connection)
        due = _DUE if self._db.is_sqlite else _DUE_SKIP_LOCKED
        lanes = connection.execute(due, {"now": now, "limit": limit}).all()
        if lanes:
            chats = [lane.chat for lane in lanes]
            connection.execute(_LEASE, {"chats": chats, "worker": worker, "until": now + self.lease_s})
            batches = self._batches(connection, lanes)
            empty = [lane.chat for lane in lanes if lane.chat not in {batch.chat.key for batch in batches}]
            for chat in empty:  # everything in it was withdrawn meanwhile
                connection.execute(_RELEASE, {"chat": chat, "due": None, "not_before": 0.0, "blame": 0})
        else:
            batches = []
        if len(lanes) == limit:
            return batches, 0.0
        next_due = connection.execute(_NEXT_DUE).scalar()
        return batches, None if next_due is None else max(0.0, next_due - now)

    def _batches(self, connection: Connection, lanes: Sequence[Row[Any]]) -> list[Batch]:
        chats = [lane.chat for lane in lanes]
        waiting: dict[str, list[Arrival]] = {}
        for row in connection.execute(_WAITING, {"chats": chats}):
            waiting.setdefault(row.chat, []).append(_arrival(row))
        known = {row.chat: row for row in connection.execute(_KNOWN, {"chats": chats})}
        unsent = read_open_turns(connection, chats)
        batches = []
        for lane in lanes:
            arrivals = _one_turn(waiting.get(lane.chat, []))
            open_turn = unsent.get(lane.chat)
            if not arrivals and open_turn is None:
                continue
            chat = known[lane.chat]
            batches.append(
                Batch(
                    chat=Chat.parse(lane.chat),
                    fence=lane.fence + 1,
                    arrivals=() if open_turn else arrivals,
                    language=chat.language,
                    language_chosen=bool(chat.language_chosen),
                    may_grow=lane.superseded < SUPERSEDE_LIMIT and _may_grow(arrivals),
                    holder=chat.holder,
                    last_turn=chat.last_turn,
                    attempts=lane.attempts,
                    superseded=lane.superseded,
                    open_turn=open_turn,
                )
            )
        return batches

    async def renew(self, worker: str, chats: Iterable[Chat]) -> None:
        """Keep the leases of chats still being answered."""
        keys = [chat.key for chat in chats]

        def work(connection: Connection) -> None:
            until = self._db.now(connection) + self.lease_s
            connection.execute(_RENEW, {"chats": keys, "worker": worker, "until": until})

        if keys:
            await self._db.write(work)

    async def attach(
        self, pictures: Sequence[tuple[Arrival, Photo | Rejection]]
    ) -> tuple[Photo | Rejection, ...]:
        """Record what became of pictures, in order; photos come back with their number within the case.

        The same picture sent again in one case keeps its first number: it is the same photo.
        """

        def work(connection: Connection) -> tuple[Photo | Rejection, ...]:
            return tuple(_attach(connection, arrival, taken) for arrival, taken in pictures)

        return await self._db.write(work) if pictures else ()

    async def again(self, batch: Batch, *, after_s: float, blame: bool = True) -> None:
        """Give the chat back, to be claimed again in `after_s` seconds.

        `blame=False` when the messages are not at fault (a rate limit, a stop, newer words): the
        claim is then not counted as a failed attempt.
        """

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            connection.execute(
                _AGAIN,
                {
                    "chat": batch.chat.key,
                    "fence": batch.fence,
                    "due": now + after_s,
                    "not_before": now + after_s,
                    "blame": int(blame),
                },
            )

        await self._db.write(work)

    async def superseded(self, batch: Batch) -> None:
        """Give the chat back because newer words came: the next claim takes both together."""
        values = {"chat": batch.chat.key, "fence": batch.fence}

        def work(connection: Connection) -> None:
            connection.execute(_SUPERSEDED, values | {"now": self._db.now(connection)})

        await self._db.write(work)

    async def bury(self, batch: Batch, reason: str) -> None:
        """Give up for good: the messages are kept, marked dead, and the chat goes on behind them."""
        ids = [arrival.id for arrival in batch.arrivals]

        def work(connection: Connection) -> None:
            values = {"chat": batch.chat.key, "fence": batch.fence, "now": self._db.now(connection)}
            if connection.execute(_BURY_LANE, values).rowcount:
                connection.execute(_BURY, {"ids": ids, "error": reason[:200]})

        await self._db.write(work)

    async def release_all(self) -> None:
        """Give back every chat that anybody holds: for a start that knows it is the only worker."""
        await self._db.write(lambda connection: connection.execute(_RELEASE_ALL))

    async def depth(self) -> int:
        """Chats with something to answer, running ones included."""
        return await self._db.read(lambda connection: int(connection.execute(_DEPTH).scalar_one()))


def _one_turn(arrivals: list[Arrival]) -> tuple[Arrival, ...]:
    """A command is a turn of its own; everything before it is answered first."""
    if arrivals and arrivals[0].kind is Kind.COMMAND:
        return (arrivals[0],)
    until_command = []
    for arrival in arrivals[:BATCH]:
        if arrival.kind is Kind.COMMAND:
            break
        until_command.append(arrival)
    return tuple(until_command)


def _may_grow(arrivals: tuple[Arrival, ...]) -> bool:
    return 0 < len(arrivals) < BATCH and arrivals[0].kind is not Kind.COMMAND


def _attach(connection: Connection, arrival: Arrival, taken: Photo | Rejection) -> Photo | Rejection:
    if isinstance(taken, Rejection):
        values = {"id": arrival.id, "rejection": taken.code, "detail": taken.detail}
        connection.execute(_REJECT, values)
        return taken
    chat = arrival.chat.key
    number = connection.execute(_SAME_PHOTO, {"chat": chat, "photo": taken.sha256}).scalar()
    if number is None:
        number = connection.execute(_NEXT_PHOTO, {"chat": chat}).scalar_one()
    size = {"width": taken.width, "height": taken.height}
    connection.execute(_ATTACH, {"id": arrival.id, "photo": taken.sha256, "number": number} | size)
    return Photo(taken.sha256, taken.width, taken.height, number)


def _arrival(row: Row[Any]) -> Arrival:
    taken: Photo | Rejection | None = None
    if row.photo:
        taken = Photo(row.photo, row.photo_width, row.photo_height, row.photo_number)
    elif row.rejection:
        taken = Rejection(row.rejection, row.rejection_detail or "")
    return Arrival(
        chat=Chat.parse(row.chat),
        source=row.source,
        message_id=row.message_id,
        kind=Kind(row.kind),
        text=row.text,
        command=row.command,
        attachment=Attachment(row.file_id, row.file_size) if row.file_id else None,
        album=row.album,
        hint=row.hint,
        sent_at=row.sent_at,
        edited=bool(row.edited),
        id=row.id,
        at=row.at,
        taken=taken,
    )


def _words(text: str) -> str:
    """What must differ for an edit to matter: letters and digits, whatever the case and spacing."""
    return "".join(char for char in text.casefold() if char.isalnum())


def _in(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, expanding=True)


_INSERT = sa.text("""
    INSERT INTO messages (chat, direction, state, at, text, message_id, source, position, kind, command,
                          album, hint, sent_at, edited, file_id, file_size)
    VALUES (:chat, 'in', :state, :at, :text, :message_id, :source, :position, :kind, :command,
            :album, :hint, :sent_at, :edited, :file_id, :file_size)
    ON CONFLICT DO NOTHING RETURNING id""")
_ORIGINAL = sa.text("""
    SELECT id, COALESCE(position, id) AS position, text, state FROM messages
    WHERE chat = :chat AND message_id = :message_id AND direction = 'in' ORDER BY id DESC LIMIT 1""")
_REPLACE = sa.text("UPDATE messages SET state = 'replaced' WHERE id = :id")
_CHAT = sa.text("""
    INSERT INTO chats (chat, sender, created_at) VALUES (:chat, :sender, :now)
    ON CONFLICT (chat) DO UPDATE SET sender = excluded.sender, closed_at = NULL
    WHERE chats.sender <> excluded.sender OR chats.closed_at IS NOT NULL""")
_ALBUM_SIZE = sa.text("""
    SELECT COUNT(*) FROM messages WHERE chat = :chat AND album = :album AND state = 'waiting'""")
_SCHEDULE = sa.text("""
    INSERT INTO lanes (chat, first_at, due_at) VALUES (:chat, :now, :due)
    ON CONFLICT (chat) DO UPDATE SET
        first_at = CASE WHEN lanes.due_at IS NULL THEN :now ELSE lanes.first_at END,
        due_at = CASE WHEN lanes.due_at IS NOT NULL AND lanes.first_at + :longest < :due
                      THEN lanes.first_at + :longest ELSE :due END""")
_ASIDE = sa.text("""
    INSERT INTO asides (source, raw, reason, at) VALUES (:source, :raw, :reason, :at)
    ON CONFLICT DO NOTHING""")

_DUE_WHERE = """
    SELECT chat, fence, attempts, superseded FROM lanes
    WHERE (lease_until IS NULL AND due_at <= :now AND not_before <= :now) OR lease_until < :now
    ORDER BY due_at LIMIT :limit"""
_DUE = sa.text(_DUE_WHERE)
_DUE_SKIP_LOCKED = sa.text(_DUE_WHERE + " FOR UPDATE SKIP LOCKED")
_LEASE = sa.text("""
    UPDATE lanes SET fence = fence + 1, attempts = attempts + 1, worker = :worker, lease_until = :until,
                     due_at = NULL, not_before = 0
    WHERE chat IN :chats""").bindparams(_in("chats"))
_NEXT_DUE = sa.text("""
    SELECT MIN(at) FROM (
        SELECT CASE WHEN due_at > not_before THEN due_at ELSE not_before END AS at
        FROM lanes WHERE due_at IS NOT NULL AND lease_until IS NULL
        UNION ALL SELECT lease_until AS at FROM lanes WHERE lease_until IS NOT NULL) AS next""")
_WAITING = sa.text("""
    SELECT id, chat, source, at, message_id, kind, text, command, album, hint, sent_at, edited,
           file_id, file_size, photo, photo_width, photo_height, photo_number, rejection, rejection_detail
    FROM messages WHERE state = 'waiting' AND chat IN :chats
    ORDER BY COALESCE(position, id), id""").bindparams(_in("chats"))
_KNOWN = sa.text("""
    SELECT c.chat, c.language, c.language_chosen, c.last_turn, h.holder
    FROM chats c LEFT JOIN handoffs h ON h.chat = c.chat AND h.closed_at IS NULL
    WHERE c.chat IN :chats""").bindparams(_in("chats"))
_RENEW = sa.text("""
    UPDATE lanes SET lease_until = :until
    WHERE worker = :worker AND lease_until IS NOT NULL AND chat IN :chats""").bindparams(_in("chats"))
_RELEASE = sa.text("""
    UPDATE lanes SET lease_until = NULL, worker = '', due_at = :due, not_before = :not_before,
                     attempts = attempts - 1 + :blame
    WHERE chat = :chat""")
_AGAIN = sa.text(_RELEASE.text + " AND fence = :fence")
_SUPERSEDED = sa.text("""
    UPDATE lanes SET lease_until = NULL, worker = '', superseded = superseded + 1, attempts = attempts - 1,
                     due_at = COALESCE(due_at, :now)
    WHERE chat = :chat AND fence = :fence AND lease_until IS NOT NULL""")
_BURY_LANE = sa.text("""
    UPDATE lanes SET lease_until = NULL, worker = '', superseded = 0, attempts = 0,
                     due_at = COALESCE(due_at, :now)
    WHERE chat = :chat AND fence = :fence AND lease_until IS NOT NULL""")
_BURY = sa.text("""
    UPDATE messages SET state = 'dead', error = :error WHERE id IN :ids AND state = 'waiting'
    """).bindparams(_in("ids"))
_RELEASE_ALL = sa.text("""
    UPDATE lanes SET lease_until = NULL, worker = '', due_at = COALESCE(due_at, first_at)
    WHERE lease_until IS NOT NULL""")
_REJECT = sa.text("UPDATE messages SET rejection = :rejection, rejection_detail = :detail WHERE id = :id")
_SAME_PHOTO = sa.text("""
    SELECT photo_number FROM messages
    WHERE chat = :chat AND photo = :photo AND turn_id > (SELECT window_after FROM chats WHERE chat = :chat)
    ORDER BY id LIMIT 1""")
_NEXT_PHOTO = sa.text("UPDATE chats SET photos = photos + 1 WHERE chat = :chat RETURNING photos")
_ATTACH = sa.text("""
    UPDATE messages SET photo = :photo, photo_width = :width, photo_height = :height, photo_number = :number
    WHERE id = :id""")
_DEPTH = sa.text("SELECT COUNT(*) FROM lanes WHERE due_at IS NOT NULL OR lease_until IS NOT NULL")
