"""The story of a turn: `TurnTaker.take` carries one batch of messages to its answer.

The answer itself (prompt, engine, guard) is made in `bot.answerer`, and only `bot.sender` sends it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bot.ceilings import Ceilings, Over
from bot.channel import Channel, Show
from bot.collect import UNOPENED, Collector
from bot.commands import WISHES, Commands
from bot.guard.wishes import it_failed
from bot.language import language_of
from bot.markup import parts_of
from bot.metrics import Metrics
from bot.photos.marks import Marks, or_drop, said_in
from bot.reveal import OnWords, view
from bot.sender import Sender
from bot.staff.deeds import Deeds
from bot.stages import Stages
from bot.waits import event_or, unless
from context.feedback import TRIES, Feedbacks
from context.handoffs import Handoffs
from context.outbox import Outbox
from context.turns import Batch, Chat, Kind, Message, OpenTurn, Reply, Turn
from context.window import ContextWindow
from prompts.neutral import MAX_CHARS
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

LATE_S = 600.0
"""An answer to something older than this says that it is late."""


class Answers(Protocol):
    """What a turn needs from an `Answerer`: the current one, or a trial of two (`bot.release.trial`)."""

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Answer a message, given the last turns; `show` gets what has passed while it is being written."""

    def instead(self, name: str, message: Message) -> Reply:
        """Fixed words instead of an answer."""


class TurnTaker:
    """Takes turns: messages in, an answer out, everything recorded."""

    def __init__(
        self,
        *,
        channels: Mapping[str, Channel],
        collector: Collector,
        commands: Commands,
        answerer: Answers,
        sender: Sender,
        ceilings: Ceilings,
        outbox: Outbox,
        window: ContextWindow,
        handoffs: Handoffs,
        feedbacks: Feedbacks,
        deeds: Deeds,
        prompts: Prompts,
        metrics: Metrics,
        marks: Marks | None = None,
        wake_staff: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._channels = channels
        self._collector = collector
        self._commands = commands
        self._answerer = answerer
        self._sender = sender
        self._ceilings = ceilings
        self._outbox = outbox
        self._window = window
        self._handoffs = handoffs
        self._feedbacks = feedbacks
        self._deeds = deeds
        self._prompts = prompts
        self._metrics = metrics
        self._marks = marks
        self._wake_staff = wake_staff
        self._clock = clock

    async def take(self, batch: Batch, newer: asyncio.Event) -> None:
        """Carry a batch to its end; if it has an open turn, only the sending is left.

        `newer` is set when the customer writes more: the draft is then dropped and `Superseded` is raised.
        Raises `Again` if the same batch should be taken later, `LeaseLost` if it is no longer ours.
        """
        with self._metrics.stages() as stages:
            await self._take(batch, newer, stages)

    async def _take(self, batch: Batch, newer: asyncio.Event, stages: Stages) -> None:
        turn = batch.open_turn or await self._decide(batch, newer, stages)
        if turn is None:
            return
        with stages("send"):
            was_said = await self._sender.send(batch, turn)
        if not was_said:
            self._note(batch, turn, stages, "not_said")
            return
        if turn.remembered:
            await self._window.push(batch.chat, turn.turn, after=batch.last_turn)
        if turn.handoff:
            await self._ask_for_person(batch.chat, turn)
        self._note(batch, turn, stages, "resumed" if batch.open_turn else "answered")

    async def _decide(self, batch: Batch, newer: asyncio.Event, stages: Stages) -> OpenTurn | None:
        """Decide and store what will be said; None if nothing will be."""
        settled = asyncio.get_running_loop().time() + batch.settle_s
        if batch.arrivals[0].kind is Kind.STAFF:
            return await self._carry(batch)
        if over := await self._ceilings.over(batch):
            return await self._stop(batch, over)
        with stages("collect"):
            message = await self._collector.collect(batch)
        if batch.holder is None and self._handoffs.is_known_held(batch.chat):
            await self._handoffs.look(batch.chat)
        is_wish = message.kind is Kind.COMMAND and message.command in WISHES
        if batch.holder is not None and not is_wish:  # a person has this chat: record, say nothing
            await self._outbox.relay(batch, message)
            return None
        async with self._channels[batch.chat.channel].typing(batch.chat) as show:
            reply = await self._reply(batch, message, newer, stages, show)
            if batch.may_grow:
                await event_or(newer, settled)
        async with or_drop(self._marks, reply):
            reply = await self._told_of_person(batch, message, reply)
            # How long the rest (sending) takes can be seen from the times of the turn and its messages.
            reply = replace(reply, record=reply.record | {"ms": dict(stages.ms)})
            with stages("open"):
                return await self._outbox.open(batch, message, reply, said_in(reply))

    async def _carry(self, batch: Batch) -> OpenTurn | None:
        """Open a turn with what staff put into this chat; None if it was overtaken."""
        said = await self._deeds.said(batch)
        if said is None:  # overtaken, for example because a person has the chat again
            await self._outbox.relay(batch, Message(batch.chat, "", batch.language or "en"))
            return None
        return await self._outbox.open(batch, said.message, said.reply, said.parts)

    async def _told_of_person(self, batch: Batch, message: Message, reply: Reply) -> Reply:
        """The reply; if it calls a person, with what the customer should know about that."""
        if all(arrival.at <= batch.handed_back_at for arrival in batch.arrivals):
            return replace(reply, handoff="")  # a person dealt with this and gave the chat back
        if not reply.handoff and reply.remembered and batch.last_turn and it_failed(message.text):
            await self._feedbacks.keep(batch.chat, batch.last_turn, "words", "down")
            if await self._feedbacks.failed_tries(batch.chat) >= TRIES:
                reply = replace(reply, handoff="two_tries")
        if not reply.handoff or await self._handoffs.current(batch.chat) is not None:
            return reply
        texts = [reply.text]
        if not reply.origin.startswith("notice:") and not reply.handoff.startswith("safety:"):
            texts.append(self._prompts.notice("person_coming", message.language))
        if when := await self._deeds.when(batch.chat, message.language):
            texts.append(when)
        return replace(reply, text="\n\n".join(texts))

    async def _stop(self, batch: Batch, over: Over) -> OpenTurn | None:
        """Record what exceeds a usage limit, and say so once; reports of danger are answered in any case."""
        message = _unread(batch)
        reply = self._answerer.instead(over.notice, message)
        if over.is_told and not reply.handoff.startswith("safety:"):
            await self._outbox.relay(batch, message)
            return None
        return await self._outbox.open(batch, message, reply, parts_of(reply.text))

    async def _reply(
        self, batch: Batch, message: Message, newer: asyncio.Event, stages: Stages, show: Show | None
    ) -> Reply:
        """What to answer: to a command, to something we cannot read, or with the model."""
        if message.kind is Kind.COMMAND:
            return await self._commands.obey(message)
        notices = self._notices(message)
        if not message.text and not message.photos:
            return self._ask_for_question(message, notices)
        turns = await self._window.last(batch.chat, newest=batch.last_turn)
        seen = self._view(batch, notices, show) if show else None
        reply = await unless(newer, self._answer(message, turns, stages, seen))
        if self._clock() - message.sent_at > LATE_S:
            notices.insert(0, self._prompts.notice("late", message.language))
        return replace(reply, text="\n\n".join([*notices, reply.text]))

    async def _answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, show: OnWords | None
    ) -> Reply:
        """The model's answer; if the customer asked for a place on a photo, with the place marked."""
        reply = await self._answerer.answer(message, turns, stages, show=show)
        return await self._marks.on(message, reply, turns, stages) if self._marks else reply

    def _view(self, batch: Batch, notices: Sequence[str], show: Show) -> OnWords:
        began = min(arrival.at for arrival in batch.arrivals)
        return view(
            show,
            above=tuple(notices),
            is_held=lambda: self._handoffs.is_known_held(batch.chat),
            seen_first=lambda: self._metrics.first_words(
                batch.chat.channel, seconds=max(0.0, self._clock() - began)
            ),
        )

    def _notices(self, message: Message) -> list[str]:
        """What part of the message could not be used, and why: placed above the answer to the rest."""
        notices = [
            self._prompts.notice(
                "photo_rejected",
                message.language,
                code=refused.code,
                number=refused.number,
                total=refused.of,
                is_clip=refused.is_clip,
            )
            for refused in message.rejections
        ]
        if message.kind in UNOPENED:
            notices.append(self._prompts.notice(message.kind.value, message.language))
        if len(message.text) > MAX_CHARS:
            notices.append(self._prompts.notice("too_long", message.language))
        return notices

    def _ask_for_question(self, message: Message, notices: list[str]) -> Reply:
        """For a message with neither words nor a usable photo."""
        if message.rejections:
            name = "photo_only_rejected"
        else:
            name = "empty_message" if message.kind is Kind.TEXT else message.kind.value
        if message.kind not in UNOPENED:  # otherwise it has been said already
            notices = [*notices, self._prompts.notice(name, message.language)]
        return Reply("\n\n".join(notices), message.language, f"notice:{name}", remembered=False)

    async def give_up(self, batch: Batch, reason: str) -> None:
        """Tell the customer that this could not be answered, and call a person.  For the worker."""
        if batch.open_turn is not None:  # the reply is decided, but sending it fails every time
            await self._outbox.abandon(batch, batch.open_turn, reason, chat_is_closed=False)
            await self._ask_for_person(batch.chat, replace(batch.open_turn, handoff=reason))
            return
        if batch.arrivals[0].kind is Kind.STAFF:  # the customer need not know; staff see that it failed
            raise RuntimeError(f"what staff put into {batch.chat.key} cannot be said")
        message = _unread(batch)
        if batch.holder is not None:  # a person reads it anyway
            await self._outbox.relay(batch, message)
            return
        text = self._prompts.notice("turn_failed", message.language, id=batch.arrivals[0].id)
        reply = Reply(text, message.language, "notice:turn_failed", handoff=reason, remembered=False)
        turn = await self._outbox.open(replace(batch, may_grow=False), message, reply, parts_of(text))
        await self._sender.send(batch, turn)
        await self._ask_for_person(batch.chat, turn)

    async def _ask_for_person(self, chat: Chat, turn: OpenTurn) -> None:
        if not await self._handoffs.announce(chat):
            return
        self._metrics.handoff(turn.handoff)
        log.info("a person is asked for", extra={"chat": chat.key, "turn": turn.id, "reason": turn.handoff})
        if self._wake_staff is not None:
            self._wake_staff()

    def _note(self, batch: Batch, turn: OpenTurn, stages: Stages, outcome: str) -> None:
        """Write the one log line of a turn: ids, stages, milliseconds; never anybody's words."""
        began = min((arrival.at for arrival in batch.arrivals), default=turn.turn.at)
        self._metrics.turn(
            turn.origin.partition(":")[0] if turn.by_person else turn.origin,
            outcome,
            seconds=max(0.0, self._clock() - began),
        )
        stages.note(turn=turn.id, origin=turn.origin, outcome=outcome, channel=batch.chat.channel)
        log.info(
            "turn",
            extra={
                "chat": batch.chat.key,
                "turn": turn.id,
                "origin": turn.origin,
                "outcome": outcome,
                "messages": len(batch.arrivals),
                "parts": len(turn.parts),
                "ms": stages.ms,
            },
        )


def _unread(batch: Batch) -> Message:
    """The words of a batch whose pictures have not been looked at."""
    first = batch.arrivals[0]
    language = batch.language or language_of(first.text, hint=first.hint)
    return Message(batch.chat, "\n".join(arrival.text for arrival in batch.arrivals), language)
