"""A cache in front of an engine: an identical prompt, with identical photos, gets the same draft.

Only exact matches count, never near-duplicates: a lamp that is on and one that is off look alike to any
fingerprint.  A cached draft passes the guard again, like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from time import perf_counter
from typing import Protocol

from bot.engines import Draft, Engine, OnText, Usage
from context.health import Health
from prompts.prompt import Manner, Prompt

VERSION = 1
"""Version of the stored JSON and of the keys."""
_CANARY = "[canary]"
"""Stands in for the canary, which differs in every process, so that keys survive a restart."""
_QUESTION_ONLY = 2
"""Number of messages in a prompt without earlier turns: system and user."""

Count = Callable[[str, float], None]
"""Called with `hit`, `joined` or `miss`, and the seconds saved."""


class Cache(Protocol):
    """A store for drafts: `context.cache.DraftCache`.  Neither call raises if it is down."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(self, key: str, value: bytes, *, alias: str = "") -> None:
        """Store a value; `alias` names the chat whose words it contains."""


class CachedEngine:
    """Answers from `cache` what `engine` has answered before; equal prompts at a time are asked once.

    `about` is whatever else decides the answer (sampling, server, quantisation); `policy` names the
    guard's policy in force.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cache: Cache,
        about: Mapping[str, object],
        policy: Callable[[], str],
        count: Count = lambda _outcome, _seconds: None,
    ) -> None:
        self.name = engine.name
        self.model = engine.model
        self.inner = engine
        self._cache = cache
        self._about = dict(about)
        self._policy = policy
        self._count = count
        self._flights: dict[str, _Flight] = {}

    async def start(self) -> None:
        """Start the engine."""
        await self.inner.start()
        self.model = self.inner.model

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """The engine's draft, or the cached one for an identical prompt.

        If a caller is cancelled, it only leaves; the generation stops when nobody waits for it any more.
        """
        if prompt.manner.schema:  # facts are kept by whoever asked, and erased there
            return await self.inner.draft(prompt, on_text=on_text)
        key = self.key(prompt)
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, prompt), name="cached draft")
        flight.listen(on_text)
        try:
            draft = await asyncio.shield(flight.task)
        finally:
            flight.leave(on_text)
            if not flight.waiting:
                self._forget(key, flight)
                if not flight.task.done():
                    flight.task.cancel()
                    await asyncio.gather(flight.task, return_exceptions=True)
        if joined:
            self._count("joined", flight.seconds)
        return draft

    def key(self, prompt: Prompt) -> str:
        """The key of a prompt: a hash of everything that determines its answer.

        It includes the chat if the prompt contains more than pictures: words of a customer or anything
        earlier are only reused in the same chat.
        """
        parts = {
            "v": VERSION,
            "engine": self.name,
            "model": self.inner.model,
            "about": self._about,
            "policy": self._policy(),
            "template": prompt.version,
            "language": prompt.language,
            "manner": astuple(prompt.manner) if prompt.manner != Manner() else None,
            "chat": prompt.affinity if _is_personal(prompt) else "",
            "messages": [
                [
                    said.role,
                    said.text.replace(prompt.canary, _CANARY) if prompt.canary else said.text,
                    [hashlib.sha256(image.jpeg).hexdigest() for image in said.images],
                ]
                for said in prompt.messages
            ],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    async def _fly(self, key: str, flight: _Flight, prompt: Prompt) -> Draft:
        try:
            stored = await self._cache.get(key)
            if stored is not None and (known := _decoded(stored)) is not None:
                draft, seconds = known
                flight.seconds = seconds
                flight.say(draft.text)
                self._count("hit", seconds)
                return replace(draft, cache_key=key)
            began = perf_counter()
            draft = await self.inner.draft(prompt, on_text=flight.say)
            flight.seconds = perf_counter() - began
            self._count("miss", 0.0)
            # A cut or makeshift answer is not worth keeping, one that leaks the mark must not be kept:
            # under another process's mark the guard could not see it.
            is_whole = draft.finish == "stop" and not draft.preliminary
            if is_whole and not (prompt.canary and prompt.canary in draft.text):
                alias = prompt.affinity if _is_personal(prompt) else ""
                await self._cache.put(key, _encoded(draft, flight.seconds), alias=alias)
            return draft
        finally:
            self._forget(key, flight)

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def health(self) -> Health:
        """The engine's health."""
        return await self.inner.health()

    async def close(self) -> None:
        """Close the engine; the cached drafts stay."""
        await self.inner.close()


def _is_personal(prompt: Prompt) -> bool:
    """Whether the prompt contains more than pictures: words of a customer, or anything earlier."""
    return bool(prompt.question.strip() or prompt.turns_used) or len(prompt.messages) > _QUESTION_ONLY


class _Flight:
    """One question that is being answered, and its waiting callers."""

    task: asyncio.Task[Draft]

    def __init__(self) -> None:
        self.waiting = 0
        self.seconds = 0.0
        self._said = ""
        self._listeners: list[OnText] = []

    def listen(self, on_text: OnText | None) -> None:
        """Add a caller, and pass on what was said already."""
        self.waiting += 1
        if on_text is not None:
            self._listeners.append(on_text)
            if self._said:
                on_text(self._said)

    def leave(self, on_text: OnText | None) -> None:
        """Remove a caller."""
        self.waiting -= 1
        if on_text is not None:
            self._listeners.remove(on_text)

    def say(self, piece: str) -> None:
        """A new piece of raw text."""
        self._said += piece
        for listener in self._listeners:
            listener(piece)


def _encoded(draft: Draft, seconds: float) -> bytes:
    value = {
        "v": VERSION,
        "text": draft.text,
        "engine": draft.engine,
        "model": draft.model,
        "tokens": [draft.usage.prompt_tokens, draft.usage.completion_tokens],
        "seconds": round(seconds, 3),
    }
    return json.dumps(value).encode()


def _decoded(stored: bytes) -> tuple[Draft, float] | None:
    """The draft and the seconds that it took; None for anything but our own format."""
    try:
        value = json.loads(stored)
        text, engine, model, seconds = (value[name] for name in ("text", "engine", "model", "seconds"))
        read, wrote = value["tokens"]
    except (ValueError, TypeError, KeyError):
        return None
    words = all(isinstance(each, str) for each in (text, engine, model))
    figures = all(type(each) is int for each in (read, wrote)) and isinstance(seconds, int | float)
    if value["v"] != VERSION or not (words and figures and text):
        return None
    return Draft(text, engine, model, usage=Usage(read, wrote)), float(seconds)
