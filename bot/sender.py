"""Sending: the only part of the bot that says something to anybody.

The ledger knows before and after each call what is being said, so that whatever dies in between,
the next claim of the chat goes on at the right part.  A channel has no idempotency key: a part that
may have arrived (the connection broke after it was handed over, the sender died) is counted and
sent once more, since an answer that is missing is worse than one that is doubled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from bot.channel import Channel
from bot.errors import Again, Ambiguous, BadFormatting, NotSent, Undeliverable
from bot.metrics import Metrics
from context.outbox import Outbox
from context.turns import Batch, Chat, OpenTurn, Part

log = logging.getLogger(__name__)

RESENDS = 1
"""How often a part that may have been delivered is sent again."""
RESEND_AFTER_S = 1.0


class Sender:
    """Sends the parts of open turns, in order."""

    def __init__(self, *, channels: Mapping[str, Channel], outbox: Outbox, metrics: Metrics) -> None:
        self._channels = channels
        self._outbox = outbox
        self._metrics = metrics

    async def send(self, batch: Batch, turn: OpenTurn) -> None:
        """Send what is unsent.  Raises `Again` when the rest should be sent later, `LeaseLost`."""
        was_opened_now = batch.open_turn is None
        is_marked = was_opened_now  # opening a turn marks its first part as being sent
        for stored in turn.parts:
            part = stored
            if part.state == "sent":
                continue
            if part.state == "sending" and not was_opened_now:  # whoever sent it died without a receipt
                part = await self._outbox.ambiguous(batch, part, "the sender died")
                self._metrics.send(batch.chat.channel, "ambiguous")
            if part.unsure > RESENDS:
                await self._outbox.presume_sent(batch, turn, part)
            else:
                if not is_marked:
                    await self._outbox.sending(batch, part)
                if not await self._hand_over(batch, turn, part):
                    return
            is_marked = True  # settling a part marks the next one

    async def _hand_over(self, batch: Batch, turn: OpenTurn, part: Part) -> bool:
        """Say one part, and write down what became of it.  False when the chat takes nothing any more."""
        channel = self._channels[batch.chat.channel]
        try:
            try:
                receipt = await channel.send(batch.chat, part)
            except BadFormatting as error:
                log.warning(
                    "formatting refused, sending plain", extra={"turn": turn.id, "reason": str(error)}
                )
                receipt = await channel.send(batch.chat, replace(part, entities=()))
        except NotSent as error:
            self._metrics.send(channel.name, "not_sent")
            await self._outbox.not_sent(batch, part, str(error))
            raise
        except Ambiguous as error:
            self._metrics.send(channel.name, "ambiguous")
            await self._outbox.ambiguous(batch, part, str(error))
            raise Again(f"part {part.id} may not have arrived: {error}", after_s=RESEND_AFTER_S) from error
        except Undeliverable as error:
            self._metrics.send(channel.name, "undeliverable")
            is_closed = not isinstance(error, BadFormatting)
            await self._outbox.abandon(batch, turn, str(error), chat_is_closed=is_closed)
            return False
        self._metrics.send(channel.name, "ok")
        await self._outbox.sent(batch, turn, part, receipt)
        return True

    async def tell(self, chat: Chat, text: str) -> bool:
        """A side message (to staff): tried once, never again.  False when it failed, which is logged."""
        channel = self._channels.get(chat.channel)
        if channel is None:
            return False
        try:
            await channel.send(chat, Part(text))
        except (Again, Ambiguous, Undeliverable) as error:
            log.warning("side message not sent", extra={"chat": chat.key, "reason": str(error)})
            return False
        return True
