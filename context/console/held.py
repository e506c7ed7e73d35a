"""Held replies: answers that the guard stopped for a person to check, and what the person decided.

    open -> released   sent to the customer, as drafted or with other words
         -> refused    never sent

Each is decided once, by whoever is first.  A reply is not sent any more if the conversation has moved on.
The texts are in the turn's record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.engine import Connection, Row

from context.arrivals import First
from context.db import Database
from context.statement import Statement
from context.turns import Chat, Language

State = Literal["open", "released", "refused"]
Moved = Literal["", "answered", "reset", "withdrawn", "closed"]


class NotDecided(Exception):
    """The reply stays as it is; see the subclasses."""


class NoSuchReply(NotDecided):
    """No reply is held for this turn."""


class DecidedAlready(NotDecided):
    """Somebody else has decided already."""

    def __init__(self, held: Held) -> None:
        super().__init__(f"reply {held.turn_id} was {held.state} by {held.decided_by}")
        self.held = held


class MovedOn(NotDecided):
    """The conversation has moved on, so the reply cannot be sent; `why` says how.

    `answered`: the customer was told something else since; `reset`: they began a new case; `withdrawn`: newer
    messages superseded the draft, or the notice about it could not be sent; `closed`: they blocked the bot.
    """

    def __init__(self, why: Moved) -> None:
        super().__init__(f"the conversation has moved on: {why}")
        self.why = why


class InOtherHands(NotDecided):
    """Somebody else holds the chat."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"{holder} holds the chat")
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Held:
    """One held reply."""

    turn_id: int
    """The turn that it answers; it also identifies the held reply."""
    chat: Chat
    state: State
    at: float
    """When it was held, Unix seconds."""
    question: str
    draft: str
    """The text that would be sent."""
    language: Language
    reasons: tuple[str, ...]
    """The guard's rules that held it: `promise.refund`."""
    moved_on: Moved
    """How the conversation has moved on; empty while the reply may be released."""
    decided_by: str
    decided_at: float | None
    why: str
    """Comment of the person who decided."""
    words: str
    """The text that was sent instead of the draft; empty if it was sent as drafted, or not at all."""


class HeldReplies:
    """Reads and refuses held replies.

    Releasing one is `release_in`, part of the transaction that sends it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def open(self, *, limit: int = 100) -> list[Held]:
        """Replies that wait for a decision and may still be sent, oldest first."""

        def work(connection: Connection) -> list[Held]:
            return [_held(row) for row in connection.execute(_OPEN, {"limit": limit})]

        return await self._db.read(work)

    async def of_chat(self, chat: Chat) -> list[Held]:
        """All held replies of a chat, decided or not, oldest first."""

        def work(connection: Connection) -> list[Held]:
            return [_held(row) for row in connection.execute(_OF_CHAT, {"chat": chat.key})]

        return await self._db.read(work)

    async def one(self, turn_id: int) -> Held | None:
        """The held reply of a turn."""

        def work(connection: Connection) -> Held | None:
            row = connection.execute(_ONE, {"turn": turn_id}).first()
            return _held(row) if row is not None else None

        return await self._db.read(work)

    async def refuse(self, turn_id: int, by: str, why: str = "") -> Held:
        """Decide never to send it.  Raises `NoSuchReply` or `DecidedAlready`."""

        def work(connection: Connection) -> Held:
            held = read_in(connection, turn_id)
            _decide(connection, held, "refused", by, why, None, self._db.now(connection))
            return held

        return await self._db.write(work)


def hold_in(connection: Connection, chat: str, turn_id: int, now: float) -> None:
    """Hold a reply, within the transaction that opens its turn."""
    connection.execute(_HOLD, {"turn": turn_id, "chat": chat, "now": now})


def release_in(
    connection: Connection, turn_id: int, by: str, *, why: str, words: str | None, now: float
) -> Held:
    """Decide to send it now, within the transaction that stores it for sending.

    This also closes a handoff that was requested because of it, unless a person has taken it.  Raises
    `NoSuchReply`, `DecidedAlready`, `MovedOn` or `InOtherHands`.
    """
    held = read_in(connection, turn_id)
    _decide(connection, held, "released", by, why, words, now)
    if held.moved_on:
        raise MovedOn(held.moved_on)
    holder = connection.execute(_HOLDER, {"chat": held.chat.key}).scalar()
    if holder is not None and holder != by:
        raise InOtherHands(holder)
    connection.execute(_SETTLE_HANDOFF, {"chat": held.chat.key, "by": by, "now": now})
    return held


def releasing(turn_id: int, by: str, *, why: str, words: str | None) -> First:
    """`release_in` for `Inbox.put`."""

    def first(connection: Connection, now: float) -> bool:
        release_in(connection, turn_id, by, why=why, words=words, now=now)
        return True

    return first


def read_in(connection: Connection, turn_id: int) -> Held:
    """The held reply of a turn.  Raises `NoSuchReply`."""
    row = connection.execute(_ONE, {"turn": turn_id}).first()
    if row is None:
        raise NoSuchReply(f"no reply is held under {turn_id}")
    return _held(row)


def _decide(
    connection: Connection, held: Held, state: State, by: str, why: str, words: str | None, now: float
) -> None:
    values = {"turn": held.turn_id, "state": state, "by": by, "why": why, "words": words, "now": now}
    # The condition in the statement is the gate: of two that come at once one changes the row.
    if not connection.execute(_DECIDE, values).rowcount:
        raise DecidedAlready(read_in(connection, held.turn_id))


def _held(row: Row[Any]) -> Held:
    record = json.loads(row.record)
    verdict = record.get("verdict")
    reasons: Sequence[Any] = verdict.get("reasons", ()) if isinstance(verdict, dict) else ()
    return Held(
        turn_id=row.turn_id,
        chat=Chat.parse(row.chat),
        state=row.state,
        at=row.at,
        question=row.text,
        draft=str(record.get("mended") or record.get("draft") or ""),
        language=row.language,
        reasons=tuple(str(one.get("rule", "")) for one in reasons if isinstance(one, dict)),
        moved_on=_moved(row),
        decided_by=row.decided_by or "",
        decided_at=row.decided_at,
        why=row.why,
        words=row.words or "",
    )


def _moved(row: Row[Any]) -> Moved:
    if row.state != "open":
        return ""
    if row.turn_state not in ("open", "closed"):
        return "withdrawn"
    if row.is_answered:
        return "answered"
    if row.window_after >= row.turn_id:
        return "reset"
    return "closed" if row.closed_at is not None else ""


_HOLD = Statement("INSERT INTO held (turn_id, chat, state, at) VALUES (:turn, :chat, 'open', :now)")
_DECIDE = Statement("""
    UPDATE held SET state = :state, decided_by = :by, decided_at = :now, why = :why, words = :words
    WHERE turn_id = :turn AND state = 'open'""")
_HOLDER = Statement("SELECT holder FROM handoffs WHERE chat = :chat AND closed_at IS NULL")
_SETTLE_HANDOFF = Statement("""
    UPDATE handoffs SET closed_at = :now, closed_by = :by
    WHERE chat = :chat AND closed_at IS NULL AND holder IS NULL AND reason LIKE 'held%'""")
# Remembered is what a customer was told in substance; `staff:` turns that only announce somebody are not.
LEFT_BEHIND = """EXISTS (
    SELECT 1 FROM turns AS later WHERE later.chat = h.chat AND later.id > h.turn_id
      AND later.remembered = 1 AND later.state IN ('open', 'closed'))"""
_SELECT = f"""
    SELECT h.turn_id, h.chat, h.state, h.at, h.decided_by, h.decided_at, h.why, h.words,
           t.text, t.language, t.record, t.state AS turn_state, c.window_after, c.closed_at,
           CASE WHEN {LEFT_BEHIND} THEN 1 ELSE 0 END AS is_answered
    FROM held h JOIN turns t ON t.id = h.turn_id JOIN chats c ON c.chat = h.chat"""  # noqa: S608  (constants)
MAY_BE_SAID = f"""h.state = 'open' AND t.state IN ('open', 'closed') AND c.window_after < h.turn_id
      AND c.closed_at IS NULL AND NOT {LEFT_BEHIND}"""
_OPEN = Statement(f"{_SELECT} WHERE {MAY_BE_SAID} ORDER BY h.turn_id LIMIT :limit")
_OF_CHAT = Statement(f"{_SELECT} WHERE h.chat = :chat ORDER BY h.turn_id")
_ONE = Statement(f"{_SELECT} WHERE h.turn_id = :turn")
HELD_IN_CHAT = Statement(f"""
    SELECT 1 FROM held h JOIN turns t ON t.id = h.turn_id JOIN chats c ON c.chat = h.chat
    WHERE h.chat = :chat AND {MAY_BE_SAID} LIMIT 1""")  # noqa: S608  (constants)
"""Whether a reply in this chat waits for a decision, for the list of conversations."""
