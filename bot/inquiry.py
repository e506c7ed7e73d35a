"""A question from a developer's app: a conversation and pictures in, one checked answer out.

The road is a customer's from the prompt on, and below it in rank: a few questions at a time have a
place at the engine, the others stand in line.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from bot.answerer import Answerer
from bot.errors import EngineOverloaded, EngineUnavailable
from bot.language import language_of
from bot.metrics import Metrics, Stages
from bot.pictures import Pictures
from bot.reveal import OnWords, noting_first
from context.api_ledger import ApiLedger
from context.photos import smaller
from context.turns import Chat, Language, Message, Photo, Reply, Turn
from prompts.house_styles import HouseStyles
from prompts.prompt import Manner, Prompt, PromptImage

log = logging.getLogger(__name__)


InForce = Callable[[], AbstractContextManager[Answerer]]
"""What answers inside the block, and stays for so long whatever becomes of a release."""
MODEL_ONLY = Manner(by_model=True)
"""An app is told that there is no answer, where a customer would get a lesser one."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the conversation that the app sent along."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[PromptImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question.  What it says is all that is known: nothing of the app's is remembered here."""

    id: str
    key_id: str
    said: tuple[Said, ...]
    """Oldest first; the last is the user's."""
    user: str = ""
    """Tells the app's users apart, and nothing else about them."""
    app: str = ""
    """What the developer says about the app."""
    style: str = ""
    """A house style in place of a conversation: its text about the last message's picture."""
    language: Language | None = None
    manner: Manner = MODEL_ONLY

    @property
    def chat(self) -> Chat:
        """Under which it is on record."""
        return Chat("api", f"{self.key_id}.{self.user}" if self.user else self.key_id)


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of it."""

    text: str
    """The checked answer; a safe sentence of ours where the guard held it back."""
    finish: Literal["stop", "length", "content_filter"]
    model: str
    prompt_tokens: int
    completion_tokens: int
    version: str
    """Of the templates that made its prompt: `support@0123456789`."""
    handoff: str
    """Why a person should be asked; empty when none is needed."""
    reply: Reply

    @property
    def tokens(self) -> int:
        """Of prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


class Room:
    """Places at the engine for those who are no customers: so many at a time, the others in line."""

    def __init__(self, places: int, *, line: int, patience_s: float) -> None:
        self.places = places
        self._line = line
        self._patience_s = patience_s
        self._free = asyncio.Semaphore(places)
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block.  Raises `EngineOverloaded` when it takes too long."""
        if self.waiting >= self._line:
            raise EngineOverloaded(f"{self.waiting} questions stand in line")
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
    """Answers questions of apps.  Safe for many at a time; cancelling one stops its generation."""

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
        """Answer, and have it on record before anybody reads it whole.

        `show` is told of the sentences that passed already while the rest is written (`bot.reveal`).
        Raises `Unavailable` (also its children) where the model cannot, and `StoreDown`.
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
        """Take no more questions, and let those that run have so long to be answered."""
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
        """The same, with the time to the first words counted from now."""
        began = time.perf_counter()
        return noting_first(
            show, lambda: self._metrics.first_words("api", seconds=time.perf_counter() - began)
        )

    async def draft(self, inquiry: Inquiry, stages: Stages, *, show: OnWords | None = None) -> Answered:
        """The checked answer, not on record yet: for whoever records it together with its own."""
        message = _message(inquiry)
        with self._in_force() as answerer:
            with stages("prompt"):
                prompt = await self._prompt(inquiry, message, answerer)
            waiting = time.perf_counter()
            async with self.room.place():
                stages.add("wait", time.perf_counter() - waiting)
                return _answered(await answerer.speak(message, prompt, stages, show=show))

    async def _prompt(self, inquiry: Inquiry, message: Message, answerer: Answerer) -> Prompt:
        canary, last = answerer.canary, inquiry.said[-1]
        if inquiry.style:
            return self._styles.assemble(
                inquiry.style, message.language, last.images[0], canary=canary, manner=inquiry.manner
            )
        jpegs = {image.photo.sha256: image.jpeg for said in inquiry.said for image in said.images}
        planned = answerer.prompts.plan(message, _turns(inquiry, message.language))
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


def numbered(said: Sequence[Said]) -> tuple[Said, ...]:
    """The same with the pictures counted through, as customer and model call them: "photo 2"."""
    result: list[Said] = []
    count = 0
    for each in said:
        images = []
        for image in each.images:
            count += 1
            images.append(replace(image, photo=replace(image.photo, number=count)))
        result.append(replace(each, images=tuple(images)))
    return tuple(result)


def _message(inquiry: Inquiry) -> Message:
    """The question: what the user said since the last answer."""
    newest = _newest(inquiry.said)
    text = "\n".join(said.text for said in newest if said.text)
    language = inquiry.language or language_of(text)
    return Message(_conversation(inquiry), text, language, _photos(newest))


def _conversation(inquiry: Inquiry) -> Chat:
    """The same for every question of one conversation: a server finds what it has read of it before."""
    if inquiry.user:
        return inquiry.chat
    began = hashlib.sha256(inquiry.said[0].text.encode(errors="replace")).hexdigest()
    return Chat("api", f"{inquiry.key_id}.{began[:16]}")


def _turns(inquiry: Inquiry, language: Language) -> list[Turn]:
    """What went before it, as exchanges: each answer with what the user had said until then."""
    turns: list[Turn] = []
    asked: list[Said] = []
    earlier = inquiry.said[: len(inquiry.said) - len(_newest(inquiry.said))]
    for place, said in enumerate(earlier):
        if said.role == "user":
            asked.append(said)
        elif place and earlier[place - 1].role == "assistant":
            turns[-1] = replace(turns[-1], reply=f"{turns[-1].reply}\n{said.text}")
        else:
            words = "\n".join(each.text for each in asked if each.text)
            turns.append(Turn(0, words, said.text, _photos(asked), language=language))
            asked = []
    return turns


def _newest(said: Sequence[Said]) -> Sequence[Said]:
    count = next((n for n, each in enumerate(reversed(said)) if each.role == "assistant"), len(said))
    return said[len(said) - count :]


def _photos(said: Sequence[Said]) -> tuple[Photo, ...]:
    return tuple(image.photo for each in said for image in each.images)


def _answered(reply: Reply) -> Answered:
    record = reply.record
    tokens = record.get("tokens")
    read, wrote = tokens if isinstance(tokens, list) else (0, 0)
    is_held = reply.origin.startswith("notice:")
    ended: Literal["stop", "length"] = "length" if record.get("finish") == "length" else "stop"
    return Answered(
        text=reply.text,
        finish="content_filter" if is_held else ended,
        model=str(record.get("model", "")),
        prompt_tokens=int(read),
        completion_tokens=int(wrote),
        version=str(record.get("prompt", "")),
        handoff=reply.handoff,
        reply=reply,
    )
