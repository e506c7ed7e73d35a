"""Condensing: the model picks the facts of turns that have no room, behind the answer, for the next prompt.

Rules do the same on the spot (`prompts.gist`), so nobody waits and nothing hangs on it.  What is picked is
held to the turn's own words, kept for as long as a window, and erased with the chat.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from bot.engines import Engine
from bot.engines.structured import facts
from context.turns import Chat, Turn
from prompts.gist import Gist, picked
from prompts.prompt import Manner
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the stored JSON and of the keys."""
CONDENSE_S = 60.0
"""Time limit for one turn; nobody waits for it."""
ASKED = 1000
"""Turns that are not asked about again: a model that gives no JSON today gives none tomorrow."""
_QUOTE = {"type": "string", "maxLength": 140}
_QUOTES = {"type": "array", "items": _QUOTE, "maxItems": 6}
_SEEN = {
    "type": "object",
    "properties": {"photo": {"type": "integer"}, "words": _QUOTE},
    "required": ["photo", "words"],
    "additionalProperties": False,
}
_LISTS = {
    "devices": _QUOTES,
    "seen": {"type": "array", "items": _SEEN, "maxItems": 6},
    "tried": _QUOTES,
    "said": _QUOTES,
    "advised": _QUOTES,
}
SCHEMA = json.dumps(
    {"type": "object", "properties": _LISTS, "required": list(_LISTS), "additionalProperties": False}
)
MANNER = Manner(max_tokens=800, temperature=0, by_model=True, schema=SCHEMA)


class Cache(Protocol):
    """A store for gists: `context.cache.DraftCache`.  Neither call raises if it is down."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(self, key: str, value: bytes, *, alias: str = "") -> None:
        """Store a value; `alias` names the chat whose words it contains."""


class Condenser:
    """Looks up what was picked, and has more picked while nobody waits for a first word."""

    def __init__(
        self, *, engine: Engine, prompts: Prompts, cache: Cache, is_busy: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._prompts = prompts
        self._cache = cache
        self._is_busy = is_busy
        self._asked: deque[str] = deque(maxlen=ASKED)
        self._task: asyncio.Task[None] | None = None

    async def known(self, turns: Sequence[Turn]) -> dict[int, Gist]:
        """What was picked out of these turns, by turn; of those that are missing nothing was."""
        found = {}
        for turn in turns:
            if (gist := await self._find(turn)) is not None:
                found[turn.id] = gist
        return found

    def begin(self, chat: Chat, turns: Sequence[Turn]) -> None:
        """Have facts picked out of those turns that nothing was picked from; one chat at a time.

        Whoever comes while another is at it goes without: their next turn asks again.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._condense(chat, turns), name="condense")

    async def close(self) -> None:
        """Stop; unfinished work is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _condense(self, chat: Chat, turns: Sequence[Turn]) -> None:
        try:
            for turn in turns:
                if self._is_busy():
                    return
                key = self._key(turn)
                if turn.id and key not in self._asked and await self._find(turn) is None:
                    self._asked.append(key)
                    await self._pick(chat, turn)
        except TimeoutError:
            log.warning("a turn was not condensed in time", extra={"chat": chat.key})
        except Exception:  # a bug, but rules condense too
            log.exception("a turn could not be condensed", extra={"chat": chat.key})

    async def _pick(self, chat: Chat, turn: Turn) -> None:
        prompt = self._prompts.condense(turn, affinity=chat.alias, manner=MANNER)
        async with asyncio.timeout(CONDENSE_S):
            gist = await facts(self._engine, prompt, partial(picked, turn))
        if gist is not None:
            await self._cache.put(self._key(turn), json.dumps(gist.record()).encode(), alias=chat.alias)

    async def _find(self, turn: Turn) -> Gist | None:
        stored = await self._cache.get(self._key(turn))
        if stored is None:
            return None
        try:
            return Gist.of_record(json.loads(stored))
        except (KeyError, TypeError, ValueError):  # written by another version
            return None

    def _key(self, turn: Turn) -> str:
        """The key of a turn, from its contents: an erased or changed turn has another key."""
        words = [VERSION, "gist", turn.id, turn.text, turn.reply, [photo.number for photo in turn.photos]]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()
