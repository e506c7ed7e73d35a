"""Open turns: replies that are decided but not completely sent.

Everything here is part of another transaction: of a claim, or of the outbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.rows import entities_from, turns_in
from context.statement import Statement
from context.turns import OpenTurn, Part, Photo


def read_open_turns(connection: Connection, chats: Sequence[str]) -> dict[str, OpenTurn]:
    """The open turn of each of these chats, if it has one."""
    turns: dict[str, OpenTurn] = {}
    rows = connection.execute(_OPEN_TURNS, {"chats": chats}).all()
    for row, turn in zip(rows, turns_in(connection, rows), strict=True):
        parts = tuple(_part(part) for part in connection.execute(_PARTS, {"turn": row.id}))
        turns[row.chat] = OpenTurn(
            row.id,
            parts,
            turn,
            row.origin,
            remembered=bool(row.remembered),
            handoff=row.handoff,
            answers=row.answers or 0,
        )
    return turns


def _part(row: Row[Any]) -> Part:
    photo = Photo(row.photo, row.photo_width, row.photo_height) if row.photo else None
    entities = entities_from(row.entities)
    return Part(row.text, entities, row.id, row.number, row.state, row.unsure, row.broken, photo)


def silence(connection: Connection, chat: str, turn_id: int, now: float) -> None:
    """A person took the chat in the middle of an answer: the rest of it is not sent."""
    connection.execute(_SILENCE, {"turn": turn_id})
    close(connection, turn_id, "closed", now)
    connection.execute(_REMEMBER_IF, {"chat": chat, "turn": turn_id})


def withdraw(connection: Connection, turn_id: int, now: float) -> None:
    """Withdraw a reply of which nothing was sent: it counts as superseded, and its messages wait again."""
    connection.execute(_DEAD, {"turn": turn_id, "error": "superseded before it was sent"})
    close(connection, turn_id, "superseded", now)
    connection.execute(_UNTAKE, {"turn": turn_id})


def fail(connection: Connection, turn_id: int, reason: str, now: float) -> None:
    """Give up an open turn for good."""
    connection.execute(_DEAD, {"turn": turn_id, "error": reason})
    close(connection, turn_id, "failed", now)


def close(connection: Connection, turn_id: int, state: str, now: float) -> None:
    """End the turn: `closed`, `superseded` or `failed`."""
    connection.execute(_CLOSE, {"turn": turn_id, "state": state, "now": now})


_OPEN_TURNS = Statement("""
    SELECT id, chat, text, reply, language, opened_at, origin, remembered, handoff, answers
    FROM turns WHERE state = 'open' AND chat IN :chats ORDER BY id
    """)
_PARTS = Statement("""
    SELECT id, text, entities, number, state, unsure, broken, photo, photo_width, photo_height FROM messages
    WHERE turn_id = :turn AND direction = 'out' ORDER BY number""")
# What was edited meanwhile is out of date.
_UNTAKE = Statement("""
    UPDATE messages SET turn_id = NULL, state = CASE WHEN EXISTS (
        SELECT 1 FROM messages AS edit
        WHERE edit.chat = messages.chat AND edit.message_id = messages.message_id
          AND edit.edited = 1 AND edit.id > messages.id AND edit.state <> 'ignored')
    THEN 'replaced' ELSE 'waiting' END
    WHERE turn_id = :turn AND direction = 'in'""")
_SILENCE = Statement("""
    UPDATE messages SET state = CASE WHEN state = 'sending' THEN 'ambiguous' ELSE 'dead' END,
                        unsure = unsure + CASE WHEN state = 'sending' THEN 1 ELSE 0 END,
                        error = 'a person took the chat'
    WHERE turn_id = :turn AND direction = 'out' AND state IN ('pending', 'sending')""")
_DEAD = Statement("""
    UPDATE messages SET state = 'dead', error = :error
    WHERE turn_id = :turn AND direction = 'out' AND state IN ('pending', 'sending')""")
_CLOSE = Statement("UPDATE turns SET state = :state, closed_at = :now WHERE id = :turn")
_REMEMBER_IF = Statement("""
    UPDATE chats SET last_turn = :turn WHERE chat = :chat AND window_after < :turn
      AND EXISTS (SELECT 1 FROM turns WHERE id = :turn AND remembered = 1)""")
