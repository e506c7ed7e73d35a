"""The inbox: stores what customers send before it is confirmed, and hands it out one chat at a time.

Collecting means reading late.  Nothing waits in memory for an album to be complete: `claim` simply does not
return a chat before it has been quiet long enough for what it contains.  A claim increases the chat's fencing
number, after which an earlier holder can no longer write.  `docs/ledger.md` shows the states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy.engine import Connection

from context import readings
from context.arrivals import First, NoSuchChat, Quiet, store
from context.claims import Claims
from context.db import Database
from context.facts import photo_in, written
from context.open_turns import fail
from context.outbox import LeaseLost
from context.statement import Statement
from context.turns import Arrival, Batch, Chat, Kind, Photo, Rejection
from context.upkeep.erasure import unnamed_among

__all__ = ["ChatErased", "First", "Inbox", "Listener", "NoSuchChat", "Quiet"]

SOON_S = 60.0
"""After a start, chats that are due later than this are due then; longer than a chat may have to be quiet."""

Listener = Callable[[Sequence[Arrival]], None]


class ChatErased(LeaseLost):
    """The chat was erased while it was being processed.

    `photos` are those that no message names any more.
    """

    def __init__(self, chat: Chat, photos: Sequence[str]) -> None:
        super().__init__(f"chat {chat.key} was erased")
        self.photos = tuple(photos)


class Inbox:
    """The incoming half of the ledger.  Every method is one transaction.

    `mask` removes from a customer's words what must never be stored (card and identity numbers, tokens).
    This happens before the first row is written, so no transcript, prompt, export or page can contain it.
    """

    def __init__(
        self,
        db: Database,
        *,
        quiet: Quiet | None = None,
        lease_s: float = 15.0,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._db = db
        self._mask = mask
        self._claims = Claims(is_sqlite=db.is_sqlite)
        self._quiet = quiet or Quiet()
        self.lease_s = lease_s
        self._listeners: list[Listener] = []

    def on_put(self, listener: Listener) -> None:
        """Call `listener` after each commit that stored something new."""
        self._listeners.append(listener)

    async def put(self, arrivals: Sequence[Arrival], *, first: First | None = None) -> int:
        """Store what is new and return how much that was; what was stored before is left alone.

        Returns after the commit: only now may the channel be told that it has been received.
        `first` is done before it in the same transaction; when it returns False, or raises, nothing is
        stored.  What staff wrote is stored as they wrote it; raises `NoSuchChat` where there is nobody to
        hear it.
        Raises `StoreDown`, and then nothing of it is stored.
        """
        if not arrivals:
            return 0
        masked = [
            arrival if arrival.kind is Kind.STAFF else replace(arrival, text=self._mask(arrival.text))
            for arrival in arrivals
        ]

        def work(connection: Connection) -> list[Arrival]:
            now = self._db.now(connection)
            if first is not None and not first(connection, now):
                return []
            return store(connection, masked, now=now, quiet=self._quiet)

        stored = await self._db.write(work)
        if stored:
            for listener in self._listeners:
                listener(stored)
        return len(stored)

    async def set_aside(self, source: str, raw: str, reason: str) -> None:
        """Store an update that could not be read, so that it holds up nobody.  Repeating it is harmless."""
        masked = self._mask(raw)

        def work(connection: Connection) -> None:
            values = {"source": source, "raw": masked, "reason": reason, "at": self._db.now(connection)}
            connection.execute(_ASIDE, values)

        await self._db.write(work)

    async def claim(
        self, worker: str, limit: int, *, may_suspect: bool = True
    ) -> tuple[list[Batch], float | None]:
        """Lease up to `limit` chats that are due and not leased.

        Returns the batches, and the seconds until the next chat is due (None if nothing waits).  A chat whose
        worker stopped renewing is due again when its lease ends.  At most one of the batches is a suspect
        (`Batch.is_suspect`), and none with `may_suspect=False`.
        """
        if limit <= 0:
            return [], None
        return await self._db.write(
            lambda connection: self._claims.take(
                connection,
                worker,
                limit,
                now=self._db.now(connection),
                lease_s=self.lease_s,
                may_suspect=may_suspect,
            )
        )

    async def renew(self, worker: str, chats: Iterable[Chat]) -> None:
        """Renew the leases of chats that are still being answered."""
        keys = [chat.key for chat in chats]

        def work(connection: Connection) -> None:
            until = self._db.now(connection) + self.lease_s
            if not self._db.is_sqlite:
                connection.execute(_LOCK_OWN, {"chats": keys, "worker": worker})
            connection.execute(_RENEW, {"chats": keys, "worker": worker, "until": until})

        if keys:
            await self._db.write(work)

    async def attach(
        self, pictures: Sequence[tuple[Arrival, Photo | Rejection]]
    ) -> tuple[Photo | Rejection, ...]:
        """Record what became of pictures, in order; photos come back with their number within the case.

        A picture that is sent again in the same case keeps its first number: it is the same photo.  Raises
        `ChatErased`, and records nothing, if the messages are gone.
        """

        def work(connection: Connection) -> tuple[Photo | Rejection, ...]:
            attached = tuple(_attach(connection, arrival, taken) for arrival, taken in pictures)
            if None in attached:
                photos = [taken.sha256 for _, taken in pictures if isinstance(taken, Photo)]
                raise ChatErased(pictures[0][0].chat, unnamed_among(connection, photos))
            return tuple(taken for taken in attached if taken is not None)

        return await self._db.write(work) if pictures else ()

    async def recall(
        self, chat: Chat, *, numbers: Sequence[int] = (), message_ids: Sequence[str] = ()
    ) -> tuple[Photo, ...]:
        """Earlier photos of the case, by their numbers or by the messages with which they came, in order."""
        if not numbers and not message_ids:
            return ()
        values = {"chat": chat.key, "numbers": list(numbers) or [0], "message_ids": list(message_ids) or [""]}

        def work(connection: Connection) -> tuple[Photo, ...]:
            return tuple(photo_in(row) for row in connection.execute(_RECALL, values))

        photos = await self._db.read(work)
        return tuple({photo.number: photo for photo in photos}.values())

    async def again(self, batch: Batch, *, after_s: float, blame: bool = True) -> None:
        """Release the chat, to be claimed again in `after_s` seconds.

        With `blame=False` the messages are not at fault (a rate limit, a stop, newer messages), and the claim
        does not count as a failed attempt.
        """

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            connection.execute(
                _AGAIN,
                {
                    "chat": batch.chat.key,
                    "fence": batch.fence,
                    "due": now + after_s,
                    "blame": int(blame),
                },
            )

        await self._db.write(work)

    async def superseded(self, batch: Batch) -> None:
        """Release the chat because newer messages came: the next claim takes both together."""
        values = {"chat": batch.chat.key, "fence": batch.fence}

        def work(connection: Connection) -> None:
            connection.execute(_SUPERSEDED, values | {"now": self._db.now(connection)})

        await self._db.write(work)

    async def bury(self, batch: Batch, reason: str) -> None:
        """Give up for good: the messages are marked dead, and the chat continues behind them."""
        ids = [arrival.id for arrival in batch.arrivals]

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            values = {"chat": batch.chat.key, "fence": batch.fence, "now": now}
            if connection.execute(_BURY_LANE, values).rowcount:
                connection.execute(_BURY, {"ids": ids, "error": reason[:200]})
                if batch.open_turn is not None:
                    fail(connection, batch.open_turn.id, reason[:200], now)

        await self._db.write(work)

    async def release_all(self) -> None:
        """Release all chats: for a start that knows it is the only worker.

        Due times that are too far in the future were set by a wrong clock, and are brought forward.
        """

        def work(connection: Connection) -> None:
            connection.execute(_RELEASE_ALL)
            connection.execute(_COME_BACK, {"soon": self._db.now(connection) + SOON_S})

        await self._db.write(work)

    async def depth(self) -> int:
        """Number of chats with something to answer, including those being answered."""
        return await self._db.read(lambda connection: int(connection.execute(_DEPTH).scalar_one()))


def _attach(connection: Connection, arrival: Arrival, taken: Photo | Rejection) -> Photo | Rejection | None:
    """The picture as it was recorded; None if its message is gone."""
    if isinstance(taken, Rejection):
        kind = Kind.VIDEO if taken.is_clip else arrival.kind
        values = {"id": arrival.id, "rejection": taken.code, "detail": taken.detail, "kind": kind.value}
        return taken if connection.execute(_REJECT, values).rowcount else None
    chat = arrival.chat.key
    number = connection.execute(_SAME_PHOTO, {"chat": chat, "photo": taken.sha256}).scalar()
    if number is None:
        number = connection.execute(_NEXT_PHOTO, {"chat": chat}).scalar()
    if number is None:
        return None
    size = {"width": taken.width, "height": taken.height}
    facts = {"facts": written(taken.clip, taken.flaw) or None}
    values = {"id": arrival.id, "photo": taken.sha256, "number": number} | size | facts
    if not connection.execute(_ATTACH, values).rowcount:
        return None
    readings.expect(connection, taken.sha256)
    return replace(taken, number=number)


_ASIDE = Statement("""
    INSERT INTO asides (source, raw, reason, at) VALUES (:source, :raw, :reason, :at)
    ON CONFLICT DO NOTHING""")

# Rows in the order of their keys, as everybody else locks them; see context/arrivals.py.
_RENEW = Statement("""
    UPDATE lanes SET lease_until = :until
    WHERE worker = :worker AND lease_until IS NOT NULL AND chat IN :chats
    """)
_LOCK_OWN = Statement("""
    SELECT chat FROM lanes WHERE worker = :worker AND lease_until IS NOT NULL AND chat IN :chats
    ORDER BY chat FOR UPDATE""")
_AGAIN = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', not_before = :due,
                     due_at = CASE WHEN due_at > :due THEN due_at ELSE :due END,
                     attempts = attempts + :blame, crashes = crashes - 1
    WHERE chat = :chat AND fence = :fence AND lease_until IS NOT NULL""")
_SUPERSEDED = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', superseded = superseded + 1, crashes = crashes - 1,
                     due_at = COALESCE(due_at, :now)
    WHERE chat = :chat AND fence = :fence AND lease_until IS NOT NULL""")
_BURY_LANE = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', superseded = 0, attempts = 0, crashes = 0,
                     due_at = COALESCE(due_at, :now)
    WHERE chat = :chat AND fence = :fence AND lease_until IS NOT NULL""")
_BURY = Statement("""
    UPDATE messages SET state = 'dead', error = :error WHERE id IN :ids AND state = 'waiting'
    """)
_RELEASE_ALL = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', due_at = COALESCE(due_at, first_at)
    WHERE lease_until IS NOT NULL""")
_COME_BACK = Statement("""
    UPDATE lanes SET due_at = CASE WHEN due_at > :soon THEN :soon ELSE due_at END,
                     not_before = CASE WHEN not_before > :soon THEN :soon ELSE not_before END
    WHERE due_at > :soon OR not_before > :soon""")
_REJECT = Statement("""
    UPDATE messages SET rejection = :rejection, rejection_detail = :detail, kind = :kind WHERE id = :id""")
_SAME_PHOTO = Statement("""
    SELECT photo_number FROM messages
    WHERE chat = :chat AND photo = :photo AND photo_number > 0
      AND turn_id > (SELECT window_after FROM chats WHERE chat = :chat)
    ORDER BY id LIMIT 1""")
_RECALL = Statement("""
    SELECT photo, photo_width, photo_height, photo_number, photo_facts FROM messages
    WHERE chat = :chat AND direction = 'in' AND kind <> 'staff' AND photo IS NOT NULL
      AND turn_id > (SELECT window_after FROM chats WHERE chat = :chat)
      AND (photo_number IN :numbers OR message_id IN :message_ids)
    ORDER BY photo_number""")
_NEXT_PHOTO = Statement("UPDATE chats SET photos = photos + 1 WHERE chat = :chat RETURNING photos")
_ATTACH = Statement("""
    UPDATE messages SET photo = :photo, photo_width = :width, photo_height = :height, photo_number = :number,
                        photo_facts = :facts
    WHERE id = :id""")
_DEPTH = Statement("SELECT COUNT(*) FROM lanes WHERE due_at IS NOT NULL OR lease_until IS NOT NULL")
