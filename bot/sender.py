"""Sending: the only part of the bot that says anything to anybody.

The ledger records what is being sent before and after each call, so that after a crash the next claim of the
chat continues at the right part.  Channels have no idempotency keys: a part that may have arrived (the
connection broke after it was handed over, or the sender died) is counted and sent once more, because a
missing answer is worse than a doubled one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from bot.channel import Channel
from bot.errors import Again, Ambiguous, BadFormatting, NotSent, TopicGone, Undeliverable
from bot.metrics import Metrics
from context.db import StoreDown
from context.outbox import LeaseLost, Outbox
from context.turns import Ask, Batch, Chat, OpenTurn, Part, Receipt

log = logging.getLogger(__name__)

RESENDS = 1
"""How often a part is sent again whose connection broke: it may well have been delivered."""
RESENDS_AFTER_FAILURE = 4
"""The same over all doubts of other kinds: mostly the server said that it failed.  Once lost answers, to two
502s in a row, or to a 502 and a broken connection.

Deaths of the sender come on top.  Most of them find a part that only waits to be sent: under 50 kills on a
machine at a load of 15, 12 of 1,000 answers were taken for said after the fifth, and never were.
"""
RESEND_AFTER_S = 1.0
"""Delay before the first resend; it doubles each time."""
LONGEST_BACKOFF_S = 30.0
GONE = "🖼"
"""Sent in place of a picture that no longer exists."""

ReadPhoto = Callable[[str], Awaitable[bytes | None]]
"""Returns a picture by its sha256; None if it does not exist."""


class Sender:
    """Sends the parts of open turns, in order."""

    def __init__(
        self,
        *,
        channels: Mapping[str, Channel],
        outbox: Outbox,
        metrics: Metrics,
        is_held: Callable[[Chat], bool] = lambda _: False,
        photo: ReadPhoto | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_held`: whether a person is known to have a chat, for a last look; `photo` reads pictures."""
        self._channels = channels
        self._outbox = outbox
        self._is_held = is_held
        self._photo = photo
        self._metrics = metrics
        self._clock = clock

    async def send(self, batch: Batch, turn: OpenTurn) -> bool:
        """Say what is unsaid.  False when the turn had to be given up: this chat, or this text, is refused.

        Raises `Again` when the rest should be sent later, `LeaseLost` when that is for others to do and
        `Superseded` when a person took the chat before anything was said.
        """
        # Opening a turn marks its first part as being sent.
        part = turn.parts[0] if batch.open_turn is None else await self._first_unsaid(batch, turn)
        is_checked = False
        while part is not None:
            if part.photo is None and part.number == len(turn.parts):
                part = replace(part, ask=_ask(turn))
            try:
                receipt = await self._hand_over(batch, turn, part, is_checked=is_checked)
            except _Taken:  # what is known here may be out of date: the ledger decides
                part, is_checked = await self._outbox.sending(batch, turn, part), True
                continue
            if receipt is None:
                return False
            part = await self._outbox.sent(batch, turn, part, receipt)
        return True

    async def _first_unsaid(self, batch: Batch, turn: OpenTurn) -> Part | None:
        """Where an earlier claim left off, marked as being sent; None when that was the end of it."""
        for stored in turn.parts:
            part = stored
            if part.state in {"sent", "dead"}:
                continue
            if part.state == "sending":  # whoever sent it died without a receipt
                part = await self._doubt(batch, part, "the sender died", broke=False, died=True)
            if part.state == "pending":
                return await self._outbox.sending(batch, turn, part)
        await self._outbox.finish(batch, turn)
        return None

    async def _hand_over(
        self, batch: Batch, turn: OpenTurn, part: Part, *, is_checked: bool
    ) -> Receipt | None:
        """Say one part, and write down what became of it.  None when it is refused for good."""
        channel = self._channels[batch.chat.channel]
        try:
            part = await self._with_picture(part)
            await self._wait_for_turn(channel, batch, part)
            if not (is_checked or turn.is_always_said) and self._is_held(
                batch.chat
            ):  # it may have waited long for its turn
                await self._outbox.not_sent(batch, part, "a person took the chat")
                raise _Taken
            receipt = await _deliver(channel, batch.chat, part)
        except NotSent as error:
            self._metrics.send(channel.name, "not_sent")
            await self._outbox.not_sent(batch, part, str(error))
            raise NotSent(str(error), after_s=max(error.after_s, self._backoff_s(turn))) from error
        except Ambiguous as error:
            doubted = await self._doubt(batch, part, str(error), broke=not error.is_seldom)
            reason = f"part {part.id} may not have arrived: {error}"
            after_s = RESEND_AFTER_S * 2.0 ** (doubted.unsure - 1)
            raise Again(reason, after_s=after_s, blame=False) from error
        except Undeliverable as error:
            self._metrics.send(channel.name, "undeliverable")
            log.warning("not to be delivered", extra={"turn": turn.id, "reason": str(error)})
            is_closed = not isinstance(error, BadFormatting)
            await self._outbox.abandon(batch, turn, str(error), chat_is_closed=is_closed)
            return None
        self._metrics.send(channel.name, "ok")
        return receipt

    async def _doubt(self, batch: Batch, part: Part, reason: str, *, broke: bool, died: bool = False) -> Part:
        """Write down that it may have been delivered, and whether it is said again.

        After a death always: if every sender dies of it, the worker gives the turn up and asks for a person.
        """
        is_doubted_enough = part.unsure >= RESENDS_AFTER_FAILURE + batch.crashes
        again = died or not (is_doubted_enough or part.broken + broke > RESENDS)
        doubted = await self._outbox.ambiguous(batch, part, reason, broke=broke, again=again)
        self._metrics.send(batch.chat.channel, "ambiguous")
        return doubted

    async def _with_picture(self, part: Part) -> Part:
        """A picture with its bytes; one that is gone (erased, say) is replaced by a word about it."""
        if part.photo is None or self._photo is None:
            return part
        jpeg = await self._photo(part.photo.sha256)
        return replace(part, jpeg=jpeg) if jpeg else replace(part, photo=None, text=GONE)

    async def _wait_for_turn(self, channel: Channel, batch: Batch, part: Part) -> None:
        try:
            await channel.ready(batch.chat)
        except asyncio.CancelledError:  # stopping: it only waited, so it was certainly not sent
            with contextlib.suppress(StoreDown, LeaseLost):
                await asyncio.shield(self._outbox.not_sent(batch, part, "the bot stopped"))
            raise

    def _backoff_s(self, turn: OpenTurn) -> float:
        """The longer an answer waits to be sent, the more rarely it is tried; at random, to spread them."""
        age_s = max(0.0, self._clock() - turn.turn.at)
        return min(LONGEST_BACKOFF_S, age_s / 2) * random.uniform(0.75, 1.25)  # noqa: S311 - guards nothing

    async def tell(self, chat: Chat, part: Part | str) -> bool:
        """A side message (to staff): tried once, never again.  False when it failed, which is logged.

        Raises `TopicGone` where the part belongs into a topic that there is no more.
        """
        channel = self._channels.get(chat.channel)
        if channel is None:
            return False
        try:
            part = await self._with_picture(Part(part) if isinstance(part, str) else part)
            await channel.ready(chat)
            await channel.send(chat, part)
        except TopicGone:
            raise
        except (Again, Ambiguous, Undeliverable) as error:
            log.warning("side message not sent", extra={"chat": chat.key, "reason": str(error)})
            return False
        return True


class _Taken(Exception):
    """A person took the chat while the part waited for its turn."""


def _ask(turn: OpenTurn) -> Ask | None:
    """What is asked below a turn's last part: of an answer, whether it helped; never of our own notices."""
    if turn.origin == "notice:follow_up":
        return Ask("fixed", turn.answers, turn.turn.language)
    if not turn.remembered or turn.by_person or turn.origin.startswith("notice:"):
        return None
    return Ask("helpful", turn.id, turn.turn.language)


async def _deliver(channel: Channel, chat: Chat, part: Part) -> Receipt:
    try:
        return await channel.send(chat, part)
    except BadFormatting as error:
        if not part.entities:
            raise
        log.warning("formatting refused, sending plain", extra={"chat": chat.key, "reason": str(error)})
        await channel.ready(chat)
        return await channel.send(chat, replace(part, entities=()))
