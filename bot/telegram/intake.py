"""Receiving updates: read them, store them, and only then let them be confirmed.

Polling and webhook share this.  The caller confirms to Telegram after `take` has returned.  If anything fails
before that, Telegram keeps the updates and delivers them again; the store recognises them by their `source`
and stores them once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from telegram.error import TelegramError

from bot.telegram.fields import UnreadableUpdate
from bot.telegram.updates import InGroup, Me, Membership, Pressed, parse, source_of
from context.db import StoreDown
from context.turns import Arrival

Put = Callable[[Sequence[Arrival]], Awaitable[object]]
SetAside = Callable[[str, str, str], Awaitable[object]]
"""Called with the source, the raw update as JSON, and the reason."""
OnMembership = Callable[[Membership], Awaitable[object]]
OnPress = Callable[[Pressed], Awaitable[object]]
OnPost = Callable[[InGroup], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Ears:
    """Receives updates that are not messages of customers.  May be called twice for the same update."""

    on_membership: OnMembership | None = None
    on_press: OnPress | None = None
    on_post: OnPost | None = None
    group: str = ""
    """The staff's group, whose messages go to `on_post`."""


Other = InGroup | Membership | Pressed

_ALBUMS = 256
"""Number of albums remembered; their pictures arrive within seconds."""

_log = logging.getLogger(__name__)


class Intake:
    """Stores raw updates.  Repeating an update is harmless."""

    def __init__(
        self,
        *,
        me: Callable[[], Awaitable[Me]],
        put: Put,
        set_aside: SetAside,
        ears: Ears | None = None,
    ) -> None:
        self._me = me
        self._ears = ears or Ears()
        self._put = put
        self._set_aside = set_aside
        # In a group only one picture of an album carries the words that mention the bot.
        self._albums: OrderedDict[str, None] = OrderedDict()

    async def take(self, updates: Sequence[object]) -> None:
        """Store all updates in one call to `put`.  Raises what the store raises, or Telegram's errors."""
        arrivals, others, odd = await self._read(updates)
        if arrivals:
            await self._put(arrivals)
        for other in others:
            await self._tell(other)
        for raw, reason in odd:
            await self._keep_aside(raw, reason)

    async def take_singly(self, updates: Sequence[object]) -> None:
        """The same, one at a time: what the store will not have is kept aside.

        For what the store has refused, so that one message that makes it fail does not hold up all
        others.  If the store is down or full, the message is not to blame: that is raised.
        """
        for raw in updates:
            try:
                await self.take([raw])
            except (TelegramError, StoreDown):
                raise
            except Exception as error:  # noqa: BLE001 - whatever one update does to the store
                await self._keep_aside(raw, f"the store refused it: {type(error).__name__}")
                # The store works now: if it was only away for a moment, the message is answered as usual.
                with contextlib.suppress(Exception):
                    await self.take([raw])

    async def set_aside(self, source: str, raw_json: str, reason: str) -> None:
        """Store something that is not even an update."""
        _log.warning("telegram: %s kept aside: %s", source, reason)
        await self._set_aside(source, raw_json, reason)

    async def _read(
        self, updates: Sequence[object]
    ) -> tuple[list[Arrival], list[Other], list[tuple[object, str]]]:
        me = await self._me()
        arrivals: list[Arrival] = []
        others: list[Other] = []
        odd: list[tuple[object, str]] = []
        for raw in updates:
            try:
                found = parse(raw, me, albums=self._albums, group=self._ears.group)
            except UnreadableUpdate as error:
                odd.append((raw, str(error)))
                continue
            if isinstance(found, Arrival):
                arrivals.append(found)
                self._remember(found.album)
            elif found is not None:
                others.append(found)
        return arrivals, others, odd

    def _remember(self, album: str) -> None:
        if album:
            self._albums[album] = None
            if len(self._albums) > _ALBUMS:
                self._albums.popitem(last=False)

    async def _keep_aside(self, raw: object, reason: str) -> None:
        raw_json = json.dumps(raw)  # ASCII, so that it can be stored whatever is in it
        source = source_of(raw)
        if source.endswith("?"):
            source = f"update:{hashlib.sha256(raw_json.encode()).hexdigest()[:16]}"
        await self.set_aside(source, raw_json, reason)

    async def _tell(self, found: Other) -> None:
        ears = self._ears
        if isinstance(found, Membership):
            _log.info("telegram: %s %s the bot", found.chat.key, "blocked" if found.blocked else "unblocked")
            if ears.on_membership is not None:
                await ears.on_membership(found)
        elif isinstance(found, Pressed):
            if ears.on_press is not None:
                await ears.on_press(found)
        elif ears.on_post is not None:
            await ears.on_post(found)
