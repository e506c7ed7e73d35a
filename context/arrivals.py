"""Storing incoming messages: once, in conversation order, with the time at which their chat is due.

Everything here runs inside one transaction of the inbox.  Rows are locked chat by chat in the order of their
keys, and within a chat first its messages, then its lane, then the chat itself, so that transactions on
PostgreSQL wait for each other instead of deadlocking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy.engine import Connection, Row

from context.facts import written
from context.statement import Statement
from context.turns import Arrival, Kind, Photo


@dataclass(frozen=True, slots=True)
class Quiet:
    """How long a chat must be quiet before its messages are answered, in seconds.

    Telegram sends an album as separate messages without an end mark, and people type their words after the
    picture.  The figures come from measurements of others (0.6 to 2.5 s); see docs/ledger.md.
    """

    album_s: float = 1.0
    album_late_s: float = 3.2
    """Wait for the rest of an album that arrives slowly.  An answer to the beginning of an album is written
    meanwhile, but not sent before this time has passed."""
    lone_photo_s: float = 1.5
    longest_s: float = 8.0
    album_size: int = 10
    """Size of Telegram's largest album: it is complete, so nothing more is waited for."""

    @property
    def longest_album_s(self) -> float:
        """Longest wait for an album.  It may be longer than for other messages, since an album ends."""
        return self.album_size * self.album_late_s


First = Callable[[Connection, float], bool]
"""Runs before arrivals are stored, in the same transaction and with its time; False stores nothing."""


class NoSuchChat(Exception):
    """Nobody has written in this chat, or it was erased: nobody would read a message to it."""


def store(connection: Connection, arrivals: Sequence[Arrival], *, now: float, quiet: Quiet) -> list[Arrival]:
    """Insert new messages, and set when their chats are due.  Returns the messages that need an answer.

    Only customers start a chat: raises `NoSuchChat` if staff write to one that does not exist.
    """
    answerable: list[Arrival] = []
    for arrival in arrivals:
        if (
            arrival.kind is Kind.STAFF
            and connection.execute(_THERE, {"chat": arrival.chat.key}).first() is None
        ):
            raise NoSuchChat(arrival.chat.key)
    for chat, of_chat in groupby(sorted(arrivals, key=_chat), key=_chat):
        stored = [(arrival, _insert(connection, arrival, now)) for arrival in of_chat]
        waiting = [arrival for arrival, state in stored if state == "waiting"]
        if waiting:
            _schedule(connection, waiting[-1], now, quiet)
        kept = [arrival for arrival, state in stored if state and arrival.kind is not Kind.STAFF]
        if kept:
            values = {"chat": chat, "sender": kept[-1].sender[:100], "now": now}
            connection.execute(_CHAT, values)
        answerable += waiting
    return answerable


def _chat(arrival: Arrival) -> str:
    return arrival.chat.key


def _insert(connection: Connection, arrival: Arrival, now: float) -> str:
    """The state in which the message was stored; empty if it was stored before."""
    state, outdated = "waiting", 0
    if arrival.edited:
        known = {"chat": arrival.chat.key, "message_id": arrival.message_id}
        original = connection.execute(_ORIGINAL, known).first()
        if original is not None:
            if not _says_something_else(arrival, original):
                state = "ignored"
            elif original.state == "waiting":
                outdated = original.id
    values = _row(arrival, state, now)
    row = connection.execute(_INSERT, values).first()
    if row is None and _is_another(connection, arrival):
        values["source"] = f"{arrival.source}:{arrival.chat.key}:{arrival.message_id}:{int(arrival.edited)}"
        row = connection.execute(_INSERT, values).first()
    if row is None:
        return ""
    if outdated:  # only now: an old edit that is delivered again replaces nothing
        connection.execute(_REPLACE, {"id": outdated})
    return str(row.state)


def _row(arrival: Arrival, state: str, now: float) -> dict[str, Any]:
    file = arrival.attachment
    photo = arrival.taken if isinstance(arrival.taken, Photo) else None
    return {
        "chat": arrival.chat.key,
        "state": state,
        "at": now,
        "text": arrival.text,
        "message_id": arrival.message_id,
        "source": arrival.source,
        "position": _position(arrival.message_id),
        "kind": arrival.kind.value,
        "command": arrival.command,
        "album": arrival.album,
        "hint": arrival.hint,
        "reply_to": arrival.reply_to,
        "sent_at": arrival.sent_at,
        "edited": int(arrival.edited),
        "file_id": file.file_id if file else None,
        "file_size": file.size if file else None,
        "staff": arrival.staff or None,
        "photo": photo.sha256 if photo else None,
        "width": photo.width if photo else None,
        "height": photo.height if photo else None,
        "number": photo.number if photo else None,
        "facts": (written(photo.clip, photo.flaw) or None) if photo else None,
    }


def _is_another(connection: Connection, arrival: Arrival) -> bool:
    """Whether the source was another message's: Telegram numbers updates anew, at random, after a quiet week.

    https://core.telegram.org/bots/api#update
    """
    known = connection.execute(_OF_SOURCE, {"source": arrival.source}).first()
    ours = (arrival.chat.key, arrival.message_id, int(arrival.edited))
    return known is not None and (known.chat, known.message_id, int(known.edited)) != ours


def _position(message_id: str) -> int | None:
    """The message's position in its chat, by Telegram's own numbers: webhooks may overtake one another."""
    is_counted = message_id.isascii() and message_id.isdecimal() and len(message_id) <= 18  # noqa: PLR2004 - 64 bits
    return int(message_id) if is_counted else None


def _says_something_else(edit: Arrival, original: Row[Any]) -> bool:
    """Whether an edit changes words or picture; a comma or a link preview does not matter."""
    if edit.command != original.command or _words(edit.text) != _words(original.text):
        return True
    size = edit.attachment.size if edit.attachment else None
    return size is not None and size != original.file_size


def _words(text: str) -> str:
    """The letters and digits of a text, whatever their case and spacing."""
    return "".join(char for char in text.casefold() if char.isalnum())


def _schedule(connection: Connection, newest: Arrival, now: float, quiet: Quiet) -> None:
    """Set when the chat may be claimed: the newest message decides, within the longest wait."""
    wait, longest, settles_at = 0.0, quiet.longest_s, None
    if newest.album:
        values = {"chat": newest.chat.key, "album": newest.album, "now": now}
        album = connection.execute(_ALBUM, values).one()
        longest = quiet.longest_album_s
        if album.size >= (newest.album_size or quiet.album_size):
            settles_at = 0.0  # complete
        else:
            is_slow = album.before is not None and now - album.before > quiet.album_s
            wait = quiet.album_late_s if is_slow else quiet.album_s
            settles_at = now + quiet.album_late_s
    elif newest.attachment and not newest.text:
        wait = quiet.lone_photo_s
    connection.execute(
        _SCHEDULE,
        {
            "chat": newest.chat.key,
            "now": now,
            "due": now + wait,
            "longest": longest,
            "settles": settles_at,
            # Also unlike the fence of a lane of this name that was erased: its ghost must not fit this one.
            "fence": int(now * 1_000_000),
        },
    )


_THERE = Statement("SELECT 1 FROM chats WHERE chat = :chat")
_ORIGINAL = Statement("""
    SELECT id, text, command, file_size, state FROM messages
    WHERE chat = :chat AND message_id = :message_id AND direction = 'in' AND state <> 'ignored'
    ORDER BY edited DESC, id DESC LIMIT 1""")
_OF_SOURCE = Statement("SELECT chat, message_id, edited FROM messages WHERE source = :source")
_REPLACE = Statement("UPDATE messages SET state = 'replaced' WHERE id = :id")
# An original that comes after its own edit is out of date before it is read.
_INSERT = Statement("""
    INSERT INTO messages (chat, direction, state, at, text, message_id, source, position, kind, command,
                          album, hint, sent_at, edited, reply_to, file_id, file_size, staff, photo,
                          photo_width, photo_height, photo_number, photo_facts)
    VALUES (:chat, 'in',
            CASE WHEN :edited = 0 AND EXISTS (
                SELECT 1 FROM messages WHERE chat = :chat AND message_id = :message_id AND edited = 1)
            THEN 'replaced' ELSE :state END,
            :at, :text, :message_id, :source, :position, :kind, :command,
            :album, :hint, :sent_at, :edited, :reply_to, :file_id, :file_size, :staff, :photo,
            :width, :height, :number, :facts)
    ON CONFLICT DO NOTHING RETURNING state""")
_CHAT = Statement("""
    INSERT INTO chats (chat, sender, created_at) VALUES (:chat, :sender, :now)
    ON CONFLICT (chat) DO UPDATE SET sender = excluded.sender, closed_at = NULL
    WHERE chats.sender <> excluded.sender OR chats.closed_at IS NOT NULL""")
_ALBUM = Statement("""
    SELECT COUNT(*) AS size, MAX(CASE WHEN at < :now THEN at END) AS before FROM messages
    WHERE chat = :chat AND album = :album AND state = 'waiting'""")
_SCHEDULE = Statement("""
    INSERT INTO lanes (chat, first_at, due_at, settles_at, fence)
    VALUES (:chat, :now, :due, COALESCE(:settles, 0), :fence)
    ON CONFLICT (chat) DO UPDATE SET
        first_at = CASE WHEN lanes.due_at IS NULL THEN :now ELSE lanes.first_at END,
        due_at = CASE WHEN lanes.due_at IS NOT NULL AND lanes.first_at + :longest < :due
                      THEN lanes.first_at + :longest ELSE :due END,
        settles_at = COALESCE(:settles, lanes.settles_at)""")
