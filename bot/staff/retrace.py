"""Retracing a turn: rebuild the prompt behind an answer, and try another answer without sending it.

Prompts are not stored.  They are rebuilt from what is: the turn, the turns before it, and the templates of
that version.  A recorded digest tells whether the copy is identical.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol, runtime_checkable

from bot.answerer import Answerer
from bot.engines import Engine
from bot.guard import Guard
from bot.metrics import Metrics
from context.console.conversations import Conversations, Exchange
from context.photos import Photos
from context.templates import Templates
from context.turns import Fact, Language, Message, Photo, Reply, Turn
from prompts.gist import Gist
from prompts.plan import Plan
from prompts.prompt import Prompt
from prompts.prompts import COMPANY, Prompts

LOOKED_BACK = 30
"""How many earlier turns are searched for those that the prompt used."""
MARK = "(mark)"
"""Stands in for the canary, which differs from process to process."""


@dataclass(frozen=True, slots=True)
class Retraced:
    """A rebuilt prompt."""

    prompt: Prompt
    used: tuple[Turn, ...]
    """Earlier turns that it contains, oldest first."""
    dropped: tuple[Turn, ...]
    """The last turns that were left out for lack of room."""
    is_same: bool | None
    """Whether it is identical to what the model was given; None if no digest was recorded."""
    has_templates: bool
    """Whether the templates of that version are still known; if not, today's were used."""
    split: dict[str, int]
    """Estimated tokens of `system`, `turns`, `question` and `photos`."""


@dataclass(frozen=True, slots=True)
class Again:
    """Another answer to an old question."""

    reply: Reply
    engine: str
    version: str
    ms: float


@runtime_checkable
class _Server(Protocol):
    """An engine behind which there is more than one model."""

    models: tuple[str, ...]

    def asking(self, model: str) -> Engine: ...


class Retrace:
    """Rebuilds prompts, and answers them again.  Sends and records nothing."""

    def __init__(
        self,
        *,
        conversations: Conversations,
        templates: Templates,
        photos: Photos,
        prompts: Prompts,
        engines: Sequence[Engine],
        guard: Guard,
        context_turns: int,
    ) -> None:
        self._conversations = conversations
        self._templates = templates
        self._photos = photos
        self._prompts = prompts
        self._guard = guard
        self._context_turns = context_turns
        self._engines = engines

    @property
    def engines(self) -> list[str]:
        """What may answer again, by the names under which staff choose: models of the server, `rules`."""
        names: list[str] = []
        for engine in self._engines:
            names += [_name_of(engine), *(engine.models if isinstance(engine, _Server) else ())]
        return list(dict.fromkeys(names))

    async def versions(self) -> list[str]:
        """Template versions to choose from, newest first."""
        known = await self._templates.versions()
        return list(dict.fromkeys([self._prompts.version, *known]))

    async def prompt(self, exchange: Exchange) -> Retraced:
        """The prompt of a recorded turn."""
        wanted = str(exchange.record.get("prompt") or "")
        prompts = await self._prompts_of(wanted)
        message, used, condensed, dropped = await self._question(exchange)
        planned = (prompts or self._prompts).plan(message, used, condensed=condensed)
        prompt = self._assemble(prompts or self._prompts, message, planned, exchange, lambda _: b"")
        digest = exchange.record.get("digest")
        return Retraced(
            prompt,
            used,
            dropped,
            None if not digest else digest == prompt.digest,
            prompts is not None,
            _split(prompt),
        )

    async def again(self, exchange: Exchange, *, engine: str, version: str, language: Language) -> Again:
        """Answer the question of a recorded turn once more.

        Raises LookupError for an engine or a version that there is not, and whatever the engine raises.
        """
        prompts = await self._prompts_of(version)
        if prompts is None:
            raise LookupError(f"no templates {version!r}")
        message, used, condensed, _ = await self._question(exchange)
        message = replace(message, language=language)
        planned = prompts.plan(message, used, condensed=condensed)
        images = {
            view.photo.sha256: await self._photos.read(view.photo.sha256, longest=view.longest)
            for view in planned.views
        }
        # Metrics of its own: no customer was answered.
        async with self._engine(engine) as chosen:
            answerer = Answerer(
                prompts=prompts,
                photos=self._photos,
                engine=chosen,
                guard=self._guard,
                metrics=(metrics := Metrics()),
            )
            prompt = self._assemble(prompts, message, planned, exchange, images.get, canary=answerer.canary)
            began = perf_counter()
            reply = await answerer.speak(message, prompt, metrics.stages())
        return Again(reply, engine, version, (perf_counter() - began) * 1000)

    @asynccontextmanager
    async def _engine(self, name: str) -> AsyncIterator[Engine]:
        for engine in self._engines:
            if name == _name_of(engine):
                yield engine
                return
            if isinstance(engine, _Server) and name in engine.models:
                other = engine.asking(name)
                try:
                    await other.start()
                    yield other
                finally:
                    await other.close()
                return
        raise LookupError(f"no engine {name!r}")

    async def _prompts_of(self, version: str) -> Prompts | None:
        if version == self._prompts.version:
            return self._prompts
        sources = await self._templates.sources(version)
        return self._prompts.worded(sources, company=sources.get(COMPANY, "")) if sources else None

    async def _question(
        self, exchange: Exchange
    ) -> tuple[Message, tuple[Turn, ...], tuple[Turn, ...], tuple[Turn, ...]]:
        """The message of a turn with the earlier turns that were used, condensed, and left out."""
        before = await self._conversations.before(exchange, LOOKED_BACK)
        ids, facts_of = (_ids(exchange.record.get(name)) for name in ("turns", "condensed"))
        used = tuple(turn for turn in before if turn.id in ids)
        condensed = tuple(turn for turn in before if turn.id in facts_of)
        known = ids | facts_of
        dropped = tuple(turn for turn in before[-self._context_turns :] if turn.id not in known)
        photos, rejections = await self._conversations.pictures(exchange.id)
        recalled = await self._recalled(exchange, (*photos, *(one for turn in used for one in turn.photos)))
        message = Message(
            exchange.chat, exchange.text, exchange.language, photos, rejections, recalled=recalled
        )
        return message, used, condensed, dropped

    async def _recalled(self, exchange: Exchange, known: tuple[Photo, ...]) -> tuple[Photo, ...]:
        """Photos in the prompt that came neither with the question nor with a turn in it."""
        shown = exchange.record.get("photos")
        there = {photo.sha256 for photo in known}
        missing = [name for name in shown if name not in there] if isinstance(shown, list) else []
        found = await self._conversations.photos(exchange.chat, missing)
        return tuple(sorted(found.values(), key=lambda photo: photo.number))

    def _assemble(
        self,
        prompts: Prompts,
        message: Message,
        planned: Plan,
        exchange: Exchange,
        read: Callable[[str], bytes | None],
        *,
        canary: str = MARK,
    ) -> Prompt:
        shown = exchange.record.get("photos")
        names = shown if isinstance(shown, list) else [photo.sha256 for photo in message.photos]
        images = {name: jpeg for name in names if (jpeg := read(name)) is not None}
        was_read, gists = exchange.record.get("read"), exchange.record.get("gists")
        return prompts.assemble(
            message,
            planned,
            images,
            canary=canary,
            read=was_read if isinstance(was_read, dict) else None,
            facts=_facts(exchange.record.get("facts")),
            gists={int(turn): Gist.of_record(one) for turn, one in gists.items()}
            if isinstance(gists, dict)
            else None,
        )


def _facts(recorded: object) -> tuple[tuple[int, Fact], ...]:
    """As `bot.answerer` records them: number, kind, value."""
    entries = recorded if isinstance(recorded, list) else []
    return tuple((number, Fact(kind, value, 1.0)) for number, kind, value in entries)


def _ids(recorded: object) -> frozenset[object]:
    return frozenset(recorded) if isinstance(recorded, list) else frozenset()


def _split(prompt: Prompt) -> dict[str, int]:
    split = prompt.split
    if split is None:
        return {}
    photos = sum(tokens for _, _, tokens in split.photos)
    earlier = split.turns + split.gist
    return {"system": split.system, "turns": earlier, "question": split.question, "photos": photos}


def engines_of(engine: Engine) -> list[Engine]:
    """The engines that `engine` combines, without their draft cache: to run again is to ask again."""
    inner: tuple[Engine, ...] = getattr(engine, "engines", (engine,))
    return [getattr(one, "inner", one) for one in inner]


def _name_of(engine: Engine) -> str:
    """What staff call it: its model, or `rules`."""
    return "rules" if engine.name == "fallback" else engine.model or engine.name
