"""Values from rows of the ledger's tables: turns with their photos, and entities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.facts import photo_in
from context.statement import Statement
from context.turns import Entity, Kind, Photo, Rejection, Turn


def turns_in(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Turn, ...]:
    """The turns in rows of `turns`, in the order of the rows, with their photos."""
    photos = photos_of(connection, [row.answers or row.id for row in rows])
    return tuple(
        Turn(row.id, row.text, row.reply, photos.get(row.answers or row.id, ()), row.opened_at, row.language)
        for row in rows
    )


def photos_of(connection: Connection, turn_ids: Sequence[int]) -> dict[int, tuple[Photo, ...]]:
    """The photos that came with each of these turns, in the order in which they were sent.

    Turns without photos are left out.
    """
    photos: dict[int, tuple[Photo, ...]] = {}
    if turn_ids:
        for row in connection.execute(_PHOTOS, {"turns": list(turn_ids)}):
            photos[row.turn_id] = (*photos.get(row.turn_id, ()), photo_in(row))
    return photos


def rejection_in(row: Row[Any], *, number: int = 0) -> Rejection | None:
    """The rejection in a row of `messages`; None if it has none."""
    if not row.rejection:
        return None
    return Rejection(row.rejection, row.rejection_detail or "", number, is_clip=row.kind == Kind.VIDEO)


def entities_from(text: str) -> tuple[Entity, ...]:
    """Read entities as the outbox stores them."""
    return tuple(Entity(*row) for row in json.loads(text))


_PHOTOS = Statement("""
    SELECT turn_id, photo, photo_width, photo_height, photo_number, photo_facts FROM messages
    WHERE turn_id IN :turns AND direction = 'in' AND kind <> 'staff' AND photo IS NOT NULL
    ORDER BY COALESCE(position, id), id
    """)
