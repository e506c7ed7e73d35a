"""Claiming: which chats are due, and what one claim takes out of each.

A claim increases the chat's fencing number and leases the chat for a while.  Chats whose worker died (their
lease has ended) go first.  After a few deaths in a row a chat is a suspect, and a worker has one of these at
a time: otherwise all that are in hand with a message that kills would be condemned with it, and so would all
be by deaths that are no message's fault.  Everything here runs inside one transaction of the inbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.facts import photo_in
from context.open_turns import read_open_turns, silence, withdraw
from context.rows import rejection_in
from context.statement import Statement
from context.turns import Arrival, Attachment, Batch, Chat, Kind, OpenTurn

BATCH = 20
"""Most messages in one turn."""
SUPERSEDE_LIMIT = 3
"""Most drafts in a row that newer messages may supersede; then the customer gets an answer to what there
is."""
SUSPECT = 3
"""Deaths in a row after which a chat is handed out alone.

Under 50 kills on a machine so slow that each life answered few of the 64 chats in hand, the rest was in hand
at ten deaths in a row and was given up: 111 of 1,001 messages.
"""


class Claims:
    """Leases chats that are due.  Its only state is when the next lease could end, or a suspect be due."""

    def __init__(self, *, is_sqlite: bool) -> None:
        skip = "" if is_sqlite else " FOR UPDATE SKIP LOCKED"
        self._due = Statement(_DUE + skip)
        self._expired = Statement(_EXPIRED + skip)
        self._suspect = Statement(_SUSPECT + skip)
        self._next_expiry: float | None = 0.0
        self._next_suspect: float | None = 0.0

    def take(
        self,
        connection: Connection,
        worker: str,
        limit: int,
        *,
        now: float,
        lease_s: float,
        may_suspect: bool = True,
    ) -> tuple[list[Batch], float | None]:
        """Lease up to `limit` chats, one of them a suspect; returns them, and the seconds until one is due.

        `may_suspect` is False for a worker that has a suspect in hand.
        """
        lanes: list[Row[Any]] = []
        is_looked_for = may_suspect and _has_come(self._next_suspect, now)
        if is_looked_for:
            lanes += connection.execute(self._suspect, {"now": now}).all()
            may_suspect = not lanes
        if len(lanes) < limit and _has_come(self._next_expiry, now):
            lanes += connection.execute(self._expired, {"now": now, "limit": limit - len(lanes)}).all()
        if len(lanes) < limit:
            lanes += connection.execute(self._due, {"now": now, "limit": limit - len(lanes)}).all()
        batches: list[Batch] = []
        if lanes:
            chats = [lane.chat for lane in lanes]
            connection.execute(_LEASE, {"chats": chats, "worker": worker, "until": now + lease_s})
            batches = _batches(connection, lanes, now)
            for chat in set(chats) - {batch.chat.key for batch in batches}:
                connection.execute(_NOTHING_THERE, {"chat": chat})  # all of it was withdrawn meanwhile
        if len(lanes) == limit:  # there is more; but the dead are looked for now and then all the same
            soon = now + lease_s / 3
            self._next_expiry = _sooner(self._next_expiry, soon, now)
            self._next_suspect = _sooner(self._next_suspect, soon, now)
            return batches, 0.0
        due, self._next_expiry, self._next_suspect = connection.execute(_NEXT).one()
        if may_suspect and not is_looked_for and _has_come(self._next_suspect, now):  # since the last look
            left = limit - len(lanes)
            more, wait_s = self.take(connection, worker, left, now=now, lease_s=lease_s)
            return batches + more, wait_s
        times = [due, self._next_expiry, self._next_suspect if may_suspect else None]
        known = [time for time in times if time is not None]
        return batches, max(0.0, min(known) - now) if known else None


def _has_come(time: float | None, now: float) -> bool:
    return time is not None and now >= time


def _sooner(known: float | None, soon: float, now: float) -> float:
    """The known time, if it is still to come before `soon`."""
    return soon if known is None or known <= now else min(known, soon)


def _batches(connection: Connection, lanes: Sequence[Row[Any]], now: float) -> list[Batch]:
    chats = [lane.chat for lane in lanes]
    known = {row.chat: row for row in connection.execute(_KNOWN, {"chats": chats})}
    open_turns = read_open_turns(connection, chats)
    waiting = _waiting(connection, chats)
    batches = []
    for lane in lanes:
        chat = known[lane.chat]
        open_turn, superseded = open_turns.get(lane.chat), lane.superseded
        if open_turn is not None and _is_overtaken(open_turn, waiting.get(lane.chat, ()), chat, superseded):
            superseded += _take_back(connection, open_turn, lane.chat, now, is_held=chat.holder is not None)
            waiting |= _waiting(connection, [lane.chat])
            open_turn = None
        arrivals, is_all = _one_turn(waiting.get(lane.chat, []))
        if not arrivals and open_turn is None:
            continue
        batches.append(
            Batch(
                chat=Chat.parse(lane.chat),
                fence=lane.fence + 1,
                arrivals=() if open_turn else arrivals,
                language=chat.language,
                language_chosen=bool(chat.language_chosen),
                may_grow=is_all and superseded < SUPERSEDE_LIMIT,
                settle_s=max(0.0, lane.settles_at - now),
                holder=chat.holder,
                handed_back_at=chat.handed_back_at or 0.0,
                last_turn=chat.last_turn,
                attempts=lane.attempts,
                crashes=lane.crashes,
                is_suspect=lane.crashes >= SUSPECT,
                superseded=superseded,
                open_turn=open_turn,
            )
        )
    return batches


def _is_overtaken(turn: OpenTurn, waiting: Sequence[Arrival], chat: Row[Any], superseded: int) -> bool:
    """Whether a decided reply should not be sent any more, because of a person or of newer messages."""
    if turn.is_always_said:
        return False
    if chat.holder is not None:
        return True
    may_grow = turn.remembered and _is_unsaid(turn) and superseded < SUPERSEDE_LIMIT
    return may_grow and bool(waiting) and waiting[0].kind is not Kind.COMMAND


def _is_unsaid(turn: OpenTurn) -> bool:
    return all(part.state == "pending" and not part.unsure for part in turn.parts)


def _take_back(connection: Connection, turn: OpenTurn, chat: str, now: float, *, is_held: bool) -> int:
    """Withdraw a reply that was not sent, so that its messages wait again; silence the rest of one that was.

    Returns how many drafts that superseded.
    """
    if not _is_unsaid(turn):
        silence(connection, chat, turn.id, now)
        return 0
    withdraw(connection, turn.id, now)
    if is_held:
        return 0
    connection.execute(_SUPERSEDED_ONCE, {"chat": chat})
    return 1


def _waiting(connection: Connection, chats: Sequence[str]) -> dict[str, list[Arrival]]:
    waiting: dict[str, list[Arrival]] = {}
    for row in connection.execute(_WAITING, {"chats": chats}):
        waiting.setdefault(row.chat, []).append(_arrival(row))
    return waiting


def _one_turn(arrivals: list[Arrival]) -> tuple[tuple[Arrival, ...], bool]:
    """The messages of the next turn, and whether newer ones could join it.

    What staff did is a turn of its own and goes first.  A command is a turn of its own too, after everything
    before it.  Albums are not split.
    """
    by_staff = next((arrival for arrival in arrivals if arrival.kind is Kind.STAFF), None)
    if by_staff is not None:
        return (by_staff,), False
    if arrivals and arrivals[0].kind is Kind.COMMAND:
        return (arrivals[0],), False
    end = next((n for n, arrival in enumerate(arrivals) if arrival.kind is Kind.COMMAND), len(arrivals))
    if end <= BATCH:
        return tuple(arrivals[:end]), end < BATCH
    cut = BATCH
    while cut > 1 and arrivals[cut].album and arrivals[cut - 1].album == arrivals[cut].album:
        cut -= 1
    return tuple(arrivals[: cut if cut > 1 else BATCH]), False


def _arrival(row: Row[Any]) -> Arrival:
    taken = photo_in(row) if row.photo else rejection_in(row)
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
        reply_to=row.reply_to,
        sent_at=row.sent_at,
        edited=bool(row.edited),
        staff=row.staff or "",
        id=row.id,
        at=row.at,
        taken=taken,
    )


_LANE = "SELECT chat, fence, attempts, crashes, superseded, settles_at FROM lanes"
_DUE = f"""
    {_LANE} WHERE due_at <= :now AND lease_until IS NULL AND not_before <= :now AND crashes < {SUSPECT}
    ORDER BY due_at LIMIT :limit"""
_EXPIRED = f"""
    {_LANE} WHERE lease_until <= :now AND crashes < {SUSPECT} ORDER BY lease_until LIMIT :limit"""
# The least suspicious first: those that did nothing are answered, and only the one that kills comes back.
_SUSPECT = f"""
    {_LANE} WHERE crashes >= {SUSPECT} AND (
        lease_until <= :now OR (lease_until IS NULL AND due_at <= :now AND not_before <= :now))
    ORDER BY crashes, due_at LIMIT 1"""
_LEASE = Statement("""
    UPDATE lanes SET fence = fence + 1, crashes = crashes + 1, worker = :worker, lease_until = :until,
                     due_at = NULL, not_before = 0
    WHERE chat IN :chats""")
_NOTHING_THERE = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', due_at = NULL, superseded = 0, attempts = 0, crashes = 0
    WHERE chat = :chat""")
_NEXT = Statement(f"""
    SELECT (SELECT MIN(CASE WHEN due_at > not_before THEN due_at ELSE not_before END)
            FROM lanes WHERE due_at IS NOT NULL AND lease_until IS NULL AND crashes < {SUSPECT}),
           (SELECT MIN(lease_until)
            FROM lanes WHERE lease_until IS NOT NULL AND crashes < {SUSPECT}),
           (SELECT MIN(CASE WHEN lease_until IS NOT NULL THEN lease_until
                            WHEN due_at > not_before THEN due_at ELSE not_before END)
            FROM lanes WHERE crashes >= {SUSPECT} AND (due_at IS NOT NULL OR lease_until IS NOT NULL))
""")  # noqa: S608  (constants)
_WAITING = Statement("""
    SELECT id, chat, source, at, message_id, kind, text, command, album, hint, sent_at, edited,
           file_id, file_size, photo, photo_width, photo_height, photo_number, photo_facts, reply_to,
           rejection, rejection_detail, staff
    FROM messages WHERE state = 'waiting' AND chat IN :chats
    ORDER BY COALESCE(position, id), id""")
_KNOWN = Statement("""
    SELECT c.chat, c.language, c.language_chosen, c.last_turn, h.holder,
           (SELECT MAX(closed_at) FROM handoffs AS past WHERE past.chat = c.chat) AS handed_back_at
    FROM chats c LEFT JOIN handoffs h ON h.chat = c.chat AND h.closed_at IS NULL
    WHERE c.chat IN :chats""")
_SUPERSEDED_ONCE = Statement("UPDATE lanes SET superseded = superseded + 1 WHERE chat = :chat")
