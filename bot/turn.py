"""The story of a turn: `TurnTaker.take` carries one batch of messages to its answer.

Whoever else needs the model joins at `Answerer.answer`, or with a prompt of their own at
`Answerer.speak` (batch jobs).  There is one place
where a model's words become a reply (`Answerer._reply`, behind the guard) and one that sends
(`bot.sender`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bot.ceilings import Ceilings, Over
from bot.channel import Channel, Show
from bot.collect import UNOPENED, Collector
from bot.commands import WISHES, Commands
from bot.engines import Draft, Engine
from bot.engines.ocr import Reader
from bot.errors import Unavailable
from bot.guard import Action, Guard, Opinion, Verdict
from bot.guard.wishes import it_failed
from bot.language import language_of
from bot.marks import Marks, or_drop, said_in
from bot.markup import parts_of
from bot.mentions import photos_mentioned
from bot.metrics import Metrics, Stages
from bot.reading import read_photos
from bot.reveal import OnWords, Reveals, view
from bot.screen import Screen
from bot.sender import Sender
from bot.staff.deeds import Deeds
from bot.waits import event_or, unless
from context.feedback import TRIES, Feedbacks
from context.handoffs import Handoffs
from context.outbox import Outbox
from context.photos import Photos
from context.turns import Batch, Chat, Kind, Message, OpenTurn, Reply, Turn
from context.window import ContextWindow
from prompts.neutral import MAX_CHARS
from prompts.prompt import Prompt
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

LATE_S = 600.0
"""An answer to something older than this says that it is late."""


class Answers(Protocol):
    """What a turn needs of an `Answerer`: the one in force, or a trial of two (`bot.trial`)."""

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Answer a message in the light of the last turns; `show` sees what passed while it is written."""

    def instead(self, name: str, message: Message) -> Reply:
        """Fixed words in place of an answer."""


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
        """Carry a batch to its end; of a batch with an open turn only the sending is left.

        `newer` is set when the customer writes more: the draft is then dropped and `Superseded` raised.
        Raises `Again` when the same batch should be taken later, `LeaseLost` when it is no longer ours.
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
        """Write down what will be said; None where nothing is."""
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
        if batch.holder is not None and not is_wish:  # a person has this chat: we listen, and say nothing
            await self._outbox.relay(batch, message)
            return None
        async with self._channels[batch.chat.channel].typing(batch.chat) as show:
            reply = await self._reply(batch, message, newer, stages, show)
            if batch.may_grow:
                await event_or(newer, settled)
        async with or_drop(self._marks, reply):
            reply = await self._told_of_person(batch, message, reply)
            # What the rest takes (sending) is told by the times of turn and messages.
            reply = replace(reply, record=reply.record | {"ms": dict(stages.ms)})
            with stages("open"):
                return await self._outbox.open(batch, message, reply, said_in(reply))

    async def _carry(self, batch: Batch) -> OpenTurn | None:
        """What staff put into this chat."""
        said = await self._deeds.said(batch)
        if said is None:  # overtaken: a person has the chat again, say
            await self._outbox.relay(batch, Message(batch.chat, "", batch.language or "en"))
            return None
        return await self._outbox.open(batch, said.message, said.reply, said.parts)

    async def _told_of_person(self, batch: Batch, message: Message, reply: Reply) -> Reply:
        """The reply, with what the customer should know when a person is asked for from here on."""
        if all(arrival.at <= batch.handed_back_at for arrival in batch.arrivals):
            return replace(reply, handoff="")  # a person had this in hand, and gave the chat back
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
        """Keep what is beyond a ceiling, and say so once; what sounds like danger is heard all the same."""
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
        if not message.text.strip() and not message.photos:
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
        """The model's answer; where it was asked for a place on a photo, with that marked."""
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
        """What of the message could not be used, and why: said above the answer to the rest."""
        total = len(message.photos) + len(message.rejections)
        notices = [
            self._prompts.notice(
                "photo_rejected", message.language, code=refused.code, number=refused.number, total=total
            )
            for refused in message.rejections
        ]
        if message.kind in UNOPENED:
            notices.append(self._prompts.notice(message.kind.value, message.language))
        if len(message.text) > MAX_CHARS:
            notices.append(self._prompts.notice("too_long", message.language))
        return notices

    def _ask_for_question(self, message: Message, notices: list[str]) -> Reply:
        """For a message that has neither words nor a photo that can be used."""
        if message.rejections:
            name = "photo_only_rejected"
        else:
            name = "empty_message" if message.kind is Kind.TEXT else message.kind.value
        if message.kind not in UNOPENED:  # else it is said already
            notices = [*notices, self._prompts.notice(name, message.language)]
        return Reply("\n\n".join(notices), message.language, f"notice:{name}", remembered=False)

    async def give_up(self, batch: Batch, reason: str) -> None:
        """Tell the customer that this could not be answered, and ask for a person.  For the worker."""
        if batch.open_turn is not None:  # the reply is decided, but sending it breaks us every time
            await self._outbox.abandon(batch, batch.open_turn, reason, chat_is_closed=False)
            await self._ask_for_person(batch.chat, replace(batch.open_turn, handoff=reason))
            return
        if batch.arrivals[0].kind is Kind.STAFF:  # the customer need not know; staff see that it is dead
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
        log.info("a person is asked for", extra={"chat": chat.key, "turn": turn.id, "reason": turn.handoff})
        if self._wake_staff is not None:
            self._wake_staff()

    def _note(self, batch: Batch, turn: OpenTurn, stages: Stages, outcome: str) -> None:
        """The one log line of a turn: ids, stages, milliseconds; nobody's words."""
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


class Answerer:
    """Prompt, engine, guard: the only place where a model's words become a reply."""

    def __init__(
        self,
        *,
        prompts: Prompts,
        photos: Photos,
        engine: Engine,
        guard: Guard,
        metrics: Metrics,
        screen: Screen | None = None,
        reader: Reader | None = None,
    ) -> None:
        """`reader` reads a question's photos before the model is asked; None leaves that to the model."""
        self.prompts = prompts
        self._photos = photos
        self._engine = engine
        self._guard = guard
        self._screen = screen or Screen(guard)
        self._reveals = Reveals(guard)
        self._reader = reader
        self._metrics = metrics
        self.canary = secrets.token_hex(6)  # one per process: it stands in every prompt's shared beginning

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Answer a message in the light of the last turns.  When all else fails, the reply says so."""
        with stages("plan"):
            planned = self.prompts.plan(message, turns)
            images = {
                view.photo.sha256: await self._photos.read(view.photo.sha256, longest=view.longest)
                for view in planned.views
            }
            shown = {sha256: jpeg for sha256, jpeg in images.items() if jpeg is not None}
        read: Mapping[str, Sequence[str]] = {}
        if self._reader is not None and planned.own:
            with stages("read"):
                read = await read_photos(self._reader, planned.own, shown)
        with stages("prompt"):
            prompt = self.prompts.assemble(message, planned, shown, canary=self.canary, read=read)
        return await self.speak(message, prompt, stages, show=show)

    async def speak(
        self, message: Message, prompt: Prompt, stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """Draft and check: for whoever has a prompt of their own, with `canary` in it.

        While it is written, `show` is told of the sentences that passed already (`bot.reveal`).
        When no engine answers or the guard says no, `Reply.origin` is `notice:<name>`.  A prompt that only
        the model may answer raises `Unavailable` instead where there is none.
        """
        said = self._reveals.of(message, prompt, canary=self.canary, show=show)
        try:
            with stages("model"):
                draft, seen = await self._screen.beside(
                    message.text, prompt.messages[-1].images, self._engine.draft(prompt, on_text=said.hear)
                )
        except Unavailable as error:
            if prompt.manner.by_model:
                raise
            log.warning("no engine answers", extra={"chat": message.chat.key, "reason": str(error)})
            lead = self._guard.inspect(message.text).notices
            return self._notice("engine_down", message, lead, {"error": type(error).__name__})
        if draft is None and seen.opinion is not None:
            return self._refuse(message, prompt, seen.opinion)
        assert draft is not None
        self._reveals.learn(said, draft)
        with stages("guard"):
            verdict = await self._guard.judge(
                draft.text,
                asked=message.text,
                language=message.language,
                system=prompt.messages[0].text,
                canary=self.canary,
                photo_text=seen.photo_text,
                screened=seen.opinion,
            )
        return self._reply(message, prompt, draft, verdict)

    def instead(self, name: str, message: Message) -> Reply:
        """Fixed words in place of an answer; a person is asked for only where the customer's words do."""
        signals = self._guard.inspect(message.text)
        text = self._led_by(signals.notices, self.prompts.notice(name, message.language), message)
        return Reply(text, message.language, f"notice:{name}", handoff=signals.handoff, remembered=False)

    def _reply(self, message: Message, prompt: Prompt, draft: Draft, verdict: Verdict) -> Reply:
        self._metrics.verdict(verdict.action.value)
        usage = draft.usage
        self._metrics.tokens(draft.engine, prompt=usage.prompt_tokens, completion=usage.completion_tokens)
        if draft.preliminary:
            self._metrics.fallback()
        record: dict[str, object] = {
            "prompt": prompt.version,
            "digest": prompt.digest,
            "turns": list(prompt.turns_used),
            "photos": list(prompt.photos_shown),
            "cites": list(photos_mentioned(draft.text, has_own=True, most=20)),
            "engine": draft.engine,
            "model": draft.model,
            "finish": draft.finish,
            "tokens": [draft.usage.prompt_tokens, draft.usage.completion_tokens],
            "verdict": verdict.record(),
        }
        if prompt.condensed:
            record["condensed"] = list(prompt.condensed)
        if prompt.read:
            record["read"] = {sha256: list(lines) for sha256, lines in prompt.read.items()}
        if prompt.split is not None:
            record["split"] = prompt.split.record()
        if draft.cache_key:
            record["cache"] = draft.cache_key
        if verdict.action is Action.ALLOW:
            text = self._led_by(verdict.lead, verdict.text, message)
            return Reply(text, message.language, draft.engine, handoff=verdict.handoff, record=record)
        name = "held" if verdict.action is Action.HOLD else "blocked"
        record["draft"] = draft.text
        if verdict.text not in {"", draft.text}:
            record["mended"] = verdict.text
        return self._notice(name, message, verdict.lead, record, verdict.handoff)

    def _refuse(self, message: Message, prompt: Prompt, opinion: Opinion) -> Reply:
        """For a question that the second check calls unsafe: no words of the model's, and a person."""
        verdict = self._guard.refuse(message.text, opinion, language=message.language)
        self._metrics.verdict(verdict.action.value)
        record: dict[str, object] = {"prompt": prompt.version, "verdict": verdict.record()}
        return self._notice("blocked", message, verdict.lead, record, verdict.handoff)

    def _notice(
        self, name: str, message: Message, lead: Sequence[str], record: dict[str, object], handoff: str = ""
    ) -> Reply:
        """Our own fixed words in place of the model's, and a person asked for."""
        text = self._led_by(lead, self.prompts.notice(name, message.language), message)
        return Reply(
            text,
            message.language,
            f"notice:{name}",
            handoff=handoff or name,
            remembered=False,
            record=record,
        )

    def _led_by(self, lead: Sequence[str], text: str, message: Message) -> str:
        """Safety first, literally: the fixed sentences stand above whatever else is said."""
        return "\n\n".join([*(self.prompts.notice(name, message.language) for name in lead), text])


def _unread(batch: Batch) -> Message:
    """The words of a batch whose pictures nobody has looked at."""
    first = batch.arrivals[0]
    language = batch.language or language_of(first.text, hint=first.hint)
    return Message(batch.chat, "\n".join(arrival.text for arrival in batch.arrivals), language)
