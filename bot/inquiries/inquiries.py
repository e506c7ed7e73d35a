"""Answers inquiries of apps like customers' questions, but with lower priority.

A few questions at a time have a place at the engine; the others wait in line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace

from bot.answerer import Answerer
from bot.errors import EngineOverloaded, EngineUnavailable
from bot.inquiries.inquiry import Answered, Inquiry, answered_by, message_of, turns_of
from bot.inquiries.pictures import Pictures
from bot.metrics import Metrics
from bot.reveal import OnWords, noting_first
from bot.spent import spent
from bot.stages import Stages
from context.api.ledger import ApiLedger
from context.db import StoreDown
from context.photos import smaller
from context.turns import Message
from prompts.house_styles import HouseStyles
from prompts.prompt import Prompt

log = logging.getLogger(__name__)

InForce = Callable[[], AbstractContextManager[tuple[Answerer, Mapping[str, object]]]]
"""What answers inside the block, and stays for so long whatever becomes of a release; and what the record
says of that."""


class Room:
    """The places at the engine for everybody but customers: a limited number, the others wait in line."""

    def __init__(self, places: int, *, line: int, patience_s: float) -> None:
        self.places = places
        self._line = line
        self._patience_s = patience_s
        self._free = asyncio.Semaphore(places)
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and keep it during the block.  Raises `EngineOverloaded` if it takes too long."""
        if self.waiting >= self._line:
            raise EngineOverloaded(f"{self.waiting} questions are waiting")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError:
            raise EngineOverloaded(f"no place within {self._patience_s:g} s") from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class Inquiries:
    """Answers inquiries.  Safe for concurrent use; cancelling one stops its generation."""

    def __init__(
        self,
        *,
        in_force: InForce,
        styles: HouseStyles,
        pictures: Pictures,
        ledger: ApiLedger,
        room: Room,
        metrics: Metrics,
    ) -> None:
        self._in_force = in_force
        self._styles = styles
        self._ledger = ledger
        self._metrics = metrics
        self.pictures = pictures
        self.room = room
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_closing = False

    async def answer(self, inquiry: Inquiry, *, show: OnWords | None = None) -> Answered:
        """Answer an inquiry, and record it before the whole answer is returned.

        `show` gets the sentences that have passed already while the rest is written (`bot.reveal`).  Raises
        `Unavailable` (or a child of it) if the model cannot answer, and `StoreDown`.
        """
        if self._is_closing:
            raise EngineUnavailable("the bot stops; the next start answers")
        self._running += 1
        self._is_idle.clear()
        try:
            return await self._answer(inquiry, show)
        finally:
            self._running -= 1
            if not self._running:
                self._is_idle.set()

    async def settle(self, grace_s: float) -> None:
        """Accept no more inquiries, and give the running ones `grace_s` seconds."""
        self._is_closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._is_idle.wait()
        self.pictures.forget()

    async def _answer(self, inquiry: Inquiry, show: OnWords | None) -> Answered:
        with self._metrics.stages("inquiry") as stages:
            answered = await self.draft(inquiry, stages, show=show and self._timed(show))
            with stages("record"):
                await self._ledger.note(
                    inquiry.chat,
                    inquiry.key_id,
                    inquiry.id,
                    answered.reply.record,
                    tokens=answered.tokens,
                )
            log.info(
                "inquiry",
                extra={
                    "chat": inquiry.chat.key,
                    "request": inquiry.id,
                    "ms": stages.ms,
                    "outcome": answered.finish,
                },
            )
            stages.note(request=inquiry.id, outcome=answered.finish)
        return answered

    def _timed(self, show: OnWords) -> OnWords:
        """The same `show`, which also measures the time to the first words from now."""
        began = time.perf_counter()
        return noting_first(
            show, lambda: self._metrics.first_words("api", seconds=time.perf_counter() - began)
        )

    async def draft(self, inquiry: Inquiry, stages: Stages, *, show: OnWords | None = None) -> Answered:
        """The checked answer, not on record yet: for whoever records it together with its own.

        One that breaks off is on record, with what it has cost, when this raises.
        """
        message = message_of(inquiry)
        with self._in_force() as (answerer, named):
            with stages("prompt"):
                prompt = await self._prompt(inquiry, message, answerer)
            waiting = time.perf_counter()
            try:
                async with self.room.place():
                    stages.add("wait", time.perf_counter() - waiting)
                    reply = await answerer.speak(message, prompt, stages, show=show)
            except BaseException as error:
                await self._note_broken_off(
                    inquiry, prompt, stages, {"model": answerer.model, **named}, error
                )
                raise
        return answered_by(replace(reply, record={**reply.record, **named}))

    async def _note_broken_off(
        self,
        inquiry: Inquiry,
        prompt: Prompt,
        stages: Stages,
        made_by: Mapping[str, object],
        error: BaseException,
    ) -> None:
        """Have on record what an answer has cost that broke off: its client hung up, or the model failed."""
        is_ours = isinstance(error, asyncio.CancelledError)
        if stages.said is None or not (is_ours or stages.said.raw):
            return  # the model was not asked, or has not answered: nothing that we know of was spent
        tokens = spent(prompt, stages.said.raw)
        broke_off = "cancelled" if is_ours else type(error).__name__
        record = {"broke_off": broke_off, "prompt": prompt.version, "tokens": list(tokens), **made_by}
        log.info("inquiry", extra={"request": inquiry.id, "ms": stages.ms, "outcome": broke_off})
        try:
            await self._ledger.note(inquiry.chat, inquiry.key_id, inquiry.id, record, tokens=sum(tokens))
        except StoreDown as down:
            extra = {"request": inquiry.id, "reason": str(down)}
            log.error("what an answer has cost could not be recorded", extra=extra)  # noqa: TRY400  # the reason says it

    async def _prompt(self, inquiry: Inquiry, message: Message, answerer: Answerer) -> Prompt:
        canary, last = answerer.canary, inquiry.said[-1]
        if inquiry.style:
            return self._styles.assemble(
                inquiry.style, message.language, last.images[0], canary=canary, manner=inquiry.manner
            )
        jpegs = {image.photo.sha256: image.jpeg for said in inquiry.said for image in said.images}
        planned = answerer.prompts.plan(message, turns_of(inquiry, message.language))
        shown = {
            view.photo.sha256: await asyncio.to_thread(smaller, jpegs[view.photo.sha256], view.longest)
            for view in planned.views
        }
        return answerer.prompts.assemble(
            message,
            planned,
            shown,
            canary=canary,
            app=inquiry.app,
            manner=inquiry.manner,
        )
