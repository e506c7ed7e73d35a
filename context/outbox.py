"""The outbox: replies that were decided, with their state stored before and after each attempt to send.

A turn is opened with its whole reply in parts before the first is sent, and closed with the
channel's receipts.  Whatever dies in between, the next claim of the chat finds the open turn and
continues with the first part that was not sent.  Every write checks the fence: a worker that lost its
lease can neither decide nor settle anything, and once a person has the chat nothing more is started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from sqlalchemy.engine import Connection

from context.console.held import hold_in
from context.db import Database
from context.handoffs import ask_in
from context.open_turns import close, fail, silence, withdraw
from context.statement import Statement
from context.turns import Batch, Message, OpenTurn, Part, Receipt, Reply, Turn
from context.upkeep.erasure import unnamed_among
from context.verdicts import Verdicts


class Superseded(Exception):
    """A newer message or a person came first: the draft is recorded, and the batch given back."""


class LeaseLost(Exception):
    """Another worker has this chat now: send nothing, write nothing."""


class Outbox:
    """The outgoing half of the ledger.  Every method is one transaction."""

    def __init__(self, db: Database, *, verdicts: Verdicts | None = None) -> None:
        self._db = db
        self._verdicts = verdicts

    async def open(
        self,
        batch: Batch,
        message: Message,
        reply: Reply,
        parts: Sequence[Part],
    ) -> OpenTurn:
        """Decide the reply: store the turn with its parts, the first of them about to be sent.

        Raises `Superseded` if a person has taken the chat since the claim, or if the batch may grow and
        the customer has written more meanwhile; `LeaseLost` if the chat is no longer ours.
        """

        def work(connection: Connection) -> OpenTurn | None:
            now = self._db.now(connection)
            if _was_overtaken(connection, batch, by_person=reply.origin.startswith("staff:")):
                turn_id = _insert_turn(connection, batch, message, reply, state="superseded", now=now)
                connection.execute(_SUPERSEDE, {"chat": batch.chat.key, "now": now})
                self._record(connection, batch, turn_id, reply, now)
                return None
            turn_id = _insert_turn(connection, batch, message, reply, state="open", now=now)
            ids = [arrival.id for arrival in batch.arrivals]
            connection.execute(_TAKE, {"turn": turn_id, "ids": ids})
            if reply.origin == "notice:held":
                hold_in(connection, batch.chat.key, turn_id, now)
            if batch.attempts or batch.crashes:  # sending is a new task with its own count of failures
                connection.execute(_FRESH, {"chat": batch.chat.key})
            if batch.language != message.language:
                connection.execute(_LANGUAGE, {"chat": batch.chat.key, "language": message.language})
            stored = tuple(
                _insert_part(connection, batch, turn_id, number, part, now)
                for number, part in enumerate(parts, start=1)
            )
            self._record(connection, batch, turn_id, reply, now)
            turn = Turn(turn_id, message.text, reply.text, message.photos, now, message.language)
            return OpenTurn(
                turn_id,
                stored,
                turn,
                reply.origin,
                remembered=reply.remembered,
                handoff=reply.handoff,
                answers=reply.answers,
            )

        opened = await self._db.write(work)
        if opened is None:
            raise Superseded
        return opened

    def _record(self, connection: Connection, batch: Batch, turn_id: int, reply: Reply, now: float) -> None:
        """Record what the guard said about the draft."""
        if self._verdicts is not None and "verdict" in reply.record:
            said = {name: reply.record.get(name) for name in ("verdict", "engine", "model", "prompt")}
            self._verdicts.add(connection, batch.chat, turn_id, said, now)

    async def sending(self, batch: Batch, turn: OpenTurn, part: Part) -> Part | None:
        """Record that this part is being handed to the channel now, and return it.

        Returns a later part if the receipt for this one has arrived after all, from a worker that was
        presumed dead; None if nothing is left to send, or a person has taken the chat in the middle of
        the answer.  Raises `Superseded` if a person took it before the answer began, and `LeaseLost`.
        """

        def work(connection: Connection) -> tuple[bool, Part | None]:
            _check_fence(connection, batch)
            if part.number == 1 and not part.unsure and _was_taken_over(connection, batch, turn):
                now = self._db.now(connection)
                withdraw(connection, turn.id, now)
                connection.execute(_SUPERSEDE, {"chat": batch.chat.key, "now": now})
                return False, None
            return True, self._mark(connection, batch, turn, part)

        is_ours, marked = await self._db.write(work)
        if not is_ours:
            raise Superseded
        return marked

    async def sent(self, batch: Batch, turn: OpenTurn, part: Part, receipt: Receipt) -> Part | None:
        """Store the receipt and return the next part, which counts as being sent from now on.

        None if nothing more is to be sent: the last part closes the turn.  Raises `LeaseLost` if the
        chat is no longer ours; the receipt is stored in any case.
        """

        def work(connection: Connection) -> tuple[bool, Part | None]:
            fence = _fence(connection, batch.chat.key)
            connection.execute(_SENT, {"id": part.id, "message_id": receipt.message_id, "at": receipt.at})
            if fence != batch.fence:
                return False, None
            return True, self._go_on(connection, batch, turn, part)

        is_ours, following = await self._db.write(work)
        if not is_ours:
            raise LeaseLost(f"chat {batch.chat.key}: part {part.id} was sent under an overtaken claim")
        return following

    async def not_sent(self, batch: Batch, part: Part, reason: str) -> None:
        """Certainly not delivered: as if it had never been tried."""
        await self._part(batch, part, "pending", reason)

    async def ambiguous(self, batch: Batch, part: Part, reason: str, *, broke: bool, again: bool) -> Part:
        """May have been delivered: counted on the part, which is returned as it is now.

        `broke`: whether the connection broke.  With `again` the part is to be sent again, otherwise it
        stays in doubt.  Count and state are written together, so that a crash cannot separate them.
        """
        state: Literal["pending", "ambiguous"] = "pending" if again else "ambiguous"
        part = replace(part, state=state, unsure=part.unsure + 1, broken=part.broken + broke)
        await self._part(batch, part, part.state, reason, doubts=1, breaks=int(broke))
        return part

    async def finish(self, batch: Batch, turn: OpenTurn) -> None:
        """Close a turn of which nothing is left to send; ambiguous parts stay marked as such."""

        def work(connection: Connection) -> None:
            _check_fence(connection, batch)
            self._go_on(connection, batch, turn, turn.parts[-1])

        await self._db.write(work)

    async def abandon(self, batch: Batch, turn: OpenTurn, reason: str, *, chat_is_closed: bool) -> None:
        """Give up sending this turn: its unsent parts are marked dead.

        The chat goes on and a person is called, unless the chat is closed: then nobody can be reached in
        it until the customer writes again.
        """

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            _check_fence(connection, batch)
            fail(connection, turn.id, reason[:200], now)
            if chat_is_closed:
                connection.execute(_CLOSE_CHAT, {"chat": batch.chat.key, "now": now})
            else:
                ask_in(connection, batch.chat.key, turn.handoff or "not_sent", now)
            self._close(connection, batch, turn.id, state="failed")

        await self._db.write(work)

    async def is_unnamed(self, sha256: str) -> bool:
        """Whether no message of any chat contains this picture."""
        return bool(await self._db.read(lambda connection: unnamed_among(connection, [sha256])))

    async def relay(self, batch: Batch, message: Message) -> None:
        """Record a message that gets no reply (a person has the chat): a closed turn without parts."""

        def work(connection: Connection) -> None:
            now = self._db.now(connection)
            _check_fence(connection, batch)
            nothing = Reply("", message.language, "relayed", remembered=False)
            turn_id = _insert_turn(connection, batch, message, nothing, state="open", now=now)
            connection.execute(_TAKE, {"turn": turn_id, "ids": [arrival.id for arrival in batch.arrivals]})
            self._close(connection, batch, turn_id)

        await self._db.write(work)

    async def _part(
        self, batch: Batch, part: Part, state: str, error: str, *, doubts: int = 0, breaks: int = 0
    ) -> None:
        def work(connection: Connection) -> None:
            _check_fence(connection, batch)
            values = {"id": part.id, "state": state, "error": error[:200], "doubts": doubts, "breaks": breaks}
            connection.execute(_PART, values)

        await self._db.write(work)

    def _go_on(self, connection: Connection, batch: Batch, turn: OpenTurn, part: Part) -> Part | None:
        """Mark and return the part after a settled one; None if that was the last."""
        following = next((later for later in turn.parts if later.number > part.number), None)
        if following is not None:
            return self._mark(connection, batch, turn, following)
        self._close(connection, batch, turn.id)
        if turn.remembered:
            connection.execute(_REMEMBER, {"chat": batch.chat.key, "turn": turn.id})
        if turn.handoff:  # with the last receipt, so that no crash comes between
            ask_in(connection, batch.chat.key, turn.handoff, self._db.now(connection))
        return None

    def _mark(self, connection: Connection, batch: Batch, turn: OpenTurn, part: Part) -> Part | None:
        """Mark this part as being sent from now on, unless a person has the chat."""
        if _was_taken_over(connection, batch, turn):
            silence(connection, batch.chat.key, turn.id, self._db.now(connection))
            self._close(connection, batch, turn.id)
            return None
        values = {"id": part.id, "state": "sending", "error": "", "doubts": 0, "breaks": 0}
        marked = connection.execute(_PART, values)
        if not marked.rowcount:
            return self._go_on(connection, batch, turn, part)
        return replace(part, state="sending")

    def _close(self, connection: Connection, batch: Batch, turn_id: int, *, state: str = "closed") -> None:
        now = self._db.now(connection)
        close(connection, turn_id, state, now)
        connection.execute(_SETTLE, {"chat": batch.chat.key, "now": now})


def _fence(connection: Connection, chat: str) -> int | None:
    """The fence of the lease, locked until the end of the transaction; None if there is no lease."""
    statement = _FENCE if connection.dialect.name == "sqlite" else _FENCE_LOCKED
    fence: int | None = connection.execute(statement, {"chat": chat}).scalar()
    return fence


def _check_fence(connection: Connection, batch: Batch) -> None:
    _compare(batch, _fence(connection, batch.chat.key))


def _compare(batch: Batch, fence: int | None) -> None:
    if fence != batch.fence:
        raise LeaseLost(f"chat {batch.chat.key}: claim {batch.fence} was overtaken by {fence}")


def _was_taken_over(connection: Connection, batch: Batch, turn: OpenTurn) -> bool:
    if turn.by_person:
        return False
    holder = connection.execute(_HOLDER, {"chat": batch.chat.key}).scalar()
    return holder is not None and batch.holder is None


def _was_overtaken(connection: Connection, batch: Batch, *, by_person: bool) -> bool:
    """Whether a newer message or a person came since the claim.  Raises `LeaseLost`."""
    newest = max((arrival.id for arrival in batch.arrivals), default=0)
    statement = _STATE if connection.dialect.name == "sqlite" else _STATE_LOCKED
    state = connection.execute(statement, {"chat": batch.chat.key, "newest": newest}).first()
    _compare(batch, state.fence if state else None)
    if state is None or by_person:
        return False
    is_taken = state.holder is not None and batch.holder is None
    has_newer_words = state.newer is not None and state.newer != "command"
    return is_taken or (batch.may_grow and has_newer_words)


def _insert_turn(
    connection: Connection, batch: Batch, message: Message, reply: Reply, *, state: str, now: float
) -> int:
    return int(
        connection.execute(
            _INSERT_TURN,
            {
                "chat": batch.chat.key,
                "state": state,
                "fence": batch.fence,
                "now": now,
                "text": message.text,
                "reply": reply.text,
                "language": reply.language,
                "origin": reply.origin,
                "remembered": int(reply.remembered),
                "handoff": reply.handoff,
                "record": json.dumps(reply.record, ensure_ascii=False),
                "tokens": _tokens(reply),
                "answers": reply.answers or None,
            },
        ).scalar_one()
    )


def _tokens(reply: Reply) -> int:
    """Tokens of prompt and answer together, as the engine counted them."""
    counted = reply.record.get("tokens")
    return sum(counted) if isinstance(counted, list) else 0


def _insert_part(
    connection: Connection, batch: Batch, turn_id: int, number: int, part: Part, now: float
) -> Part:
    entities = [(e.type, e.offset, e.length, e.url, e.language) for e in part.entities]
    state = "sending" if number == 1 else "pending"
    values = {
        "chat": batch.chat.key,
        "state": state,
        "turn": turn_id,
        "now": now,
        "text": part.text,
        "number": number,
        "entities": json.dumps(entities, ensure_ascii=False) if entities else "[]",
        "photo": part.photo.sha256 if part.photo else None,
        "width": part.photo.width if part.photo else None,
        "height": part.photo.height if part.photo else None,
        "photo_number": 0 if part.photo else None,
    }
    part_id = int(connection.execute(_INSERT_PART, values).scalar_one())
    return replace(part, id=part_id, number=number, state="sending" if number == 1 else "pending")


_FENCE = Statement("SELECT fence FROM lanes WHERE chat = :chat AND lease_until IS NOT NULL")
_FENCE_LOCKED = Statement(_FENCE.text + " FOR UPDATE")
_HOLDER = Statement("SELECT holder FROM handoffs WHERE chat = :chat AND closed_at IS NULL")
_STATE = Statement("""
    SELECT fence,
           (SELECT holder FROM handoffs WHERE chat = :chat AND closed_at IS NULL) AS holder,
           (SELECT kind FROM messages WHERE chat = :chat AND state = 'waiting' AND id > :newest
            AND kind <> 'staff' ORDER BY id LIMIT 1) AS newer
    FROM lanes WHERE chat = :chat AND lease_until IS NOT NULL""")
_STATE_LOCKED = Statement(_STATE.text + " FOR UPDATE")
_SUPERSEDE = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', superseded = superseded + 1, crashes = crashes - 1,
                     due_at = COALESCE(due_at, :now)
    WHERE chat = :chat""")
_INSERT_TURN = Statement("""
    INSERT INTO turns (chat, state, fence, opened_at, text, reply, language, origin, remembered, handoff,
                       record, tokens, answers)
    VALUES (:chat, :state, :fence, :now, :text, :reply, :language, :origin, :remembered, :handoff,
            :record, :tokens, :answers)
    RETURNING id""")
_TAKE = Statement("""
    UPDATE messages SET state = 'taken', turn_id = :turn WHERE id IN :ids
    """)
_FRESH = Statement("UPDATE lanes SET attempts = 0, crashes = 1 WHERE chat = :chat")
_LANGUAGE = Statement("UPDATE chats SET language = :language WHERE chat = :chat AND language_chosen = 0")
_INSERT_PART = Statement("""
    INSERT INTO messages (chat, direction, state, turn_id, at, text, number, entities, photo, photo_width,
                          photo_height, photo_number)
    VALUES (:chat, 'out', :state, :turn, :now, :text, :number, :entities, :photo, :width, :height,
            :photo_number)
    RETURNING id""")
_PART = Statement("""
    UPDATE messages SET state = :state, error = :error, unsure = unsure + :doubts, broken = broken + :breaks
    WHERE id = :id AND state <> 'sent'""")
_SENT = Statement(
    "UPDATE messages SET state = 'sent', message_id = :message_id, at = :at, error = '' WHERE id = :id"
)
_CLOSE_CHAT = Statement("UPDATE chats SET closed_at = :now WHERE chat = :chat")
_SETTLE = Statement("""
    UPDATE lanes SET lease_until = NULL, worker = '', attempts = 0, superseded = 0, crashes = 0,
        due_at = CASE WHEN due_at IS NULL AND EXISTS (
            SELECT 1 FROM messages WHERE chat = :chat AND state = 'waiting') THEN :now ELSE due_at END
    WHERE chat = :chat""")
_REMEMBER = Statement("UPDATE chats SET last_turn = :turn WHERE chat = :chat AND window_after < :turn")
