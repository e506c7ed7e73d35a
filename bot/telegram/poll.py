"""Fetch updates ourselves: store, then confirm.

Telegram forgets an update when the next request names a higher offset.  python-telegram-bot's own
updater sends that request while the updates are still in its memory, stops for good at one 401,
and hangs for ever on one update that it cannot read.  This loop asks again only after the store
has committed, and nothing ends it but `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from telegram.error import Conflict, InvalidToken, TelegramError

from bot.telegram.api import UNREADABLE, BotApi, words
from bot.telegram.intake import Ears, Intake, Put, SetAside
from bot.telegram.request import Flooded, Refused
from bot.telegram.updates import id_of
from context.background import BackgroundTask
from context.health import Health

_log = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 30.0
_CONFLICT_S = 5.0
_PATIENCE = 5
"""After so many failed attempts to store a batch, its messages are tried one by one."""
_ALARM_S = 60.0


class Poller:
    """The long-polling loop, from `start` to `stop`."""

    def __init__(
        self,
        api: BotApi,
        *,
        put: Put,
        set_aside: SetAside,
        ears: Ears | None = None,
        timeout_s: int = 30,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._intake = Intake(me=api.me, put=put, set_aside=set_aside, ears=ears)
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._background = BackgroundTask("telegram polling", self._run)
        self._offset = 0
        self._failures = 0
        self._refusals = 0
        self._polled_at = clock()
        self._trouble = "has not polled yet"

    def start(self) -> None:
        """Start receiving; calling it twice is harmless."""
        self._background.start()

    async def stop(self) -> None:
        """End the loop.  A batch that is being stored is finished first; it is not confirmed any more."""
        await self._background.stop()

    def health(self) -> Health:
        """Ok while polls succeed; down if none has for a while, or nobody is polling."""
        if not self._background.is_running:
            return Health("down", "not polling")
        age = self._clock() - self._polled_at
        if not self._trouble:
            overdue = age > self._timeout_s + _ALARM_S
            return Health("down" if overdue else "ok", f"last poll {age:.0f} s ago")
        return Health("down" if age > _ALARM_S else "degraded", f"{self._trouble}; last poll {age:.0f} s ago")

    async def _run(self) -> None:
        await self._leave_webhook()
        while True:
            try:
                delay = await self._step()
            except Exception:  # noqa: BLE001 - a bug of ours must not make the bot deaf without a sound
                _log.exception("telegram: the poll loop met an unexpected error")
                delay = self._failed("unexpected error, see the log")
            if delay:
                await self._sleep(delay)

    async def _step(self) -> float:
        """One poll.  Returns the seconds to wait before the next."""
        try:
            updates = await self._api.updates(offset=self._offset, timeout_s=self._timeout_s)
            if updates:
                await _finish(self._store(updates))
            else:
                # All below the offset is confirmed.  After a quiet week Telegram numbers updates anew, at
                # random, and an offset above them would hide them: https://core.telegram.org/bots/api#update
                self._offset = 0
        except TelegramError as error:
            return await self._turned_away(error)
        except _StoreFailed as error:
            return self._failed(str(error))
        self._failures = 0
        self._polled_at = self._clock()
        if self._trouble:
            _log.info("telegram: polling")
        self._trouble = ""
        return 0.0

    async def _store(self, updates: Sequence[object]) -> None:
        take = self._intake.take if self._refusals < _PATIENCE else self._intake.take_singly
        try:
            await take(updates)
        except TelegramError:
            raise
        except Exception as error:
            self._refusals += 1
            raise _StoreFailed(f"updates could not be stored: {type(error).__name__}") from error
        self._refusals = 0
        # An update without a readable id cannot be confirmed by itself; a later one confirms it too.
        ids = [update_id for update_id in map(id_of, updates) if update_id is not None]
        self._offset = max(ids, default=self._offset - 1) + 1

    async def _turned_away(self, error: TelegramError) -> float:
        backoff = self._failed(words(error))
        match error:
            case InvalidToken() | Refused():
                # Telegram says it to good tokens too, for a moment: no reason to be deaf for long.
                _log.error("telegram: TELEGRAM_BOT_TOKEN or TELEGRAM_API_URL is wrong, or was revoked")
            case Conflict():  # another poller, or somebody set a webhook
                if "webhook" in error.message.lower():
                    await self._leave_webhook()
                return _CONFLICT_S
            case Flooded():
                return error.after_s
        return backoff

    async def _leave_webhook(self) -> None:
        try:
            # Never dropping what is pending: that is what customers wrote while we were away.
            await self._api.bot.delete_webhook(drop_pending_updates=False)
        except TelegramError as error:
            _log.warning("telegram: no webhook deleted: %s", words(error))
        except UNREADABLE as error:  # not a Bot API's answer; a webhook that stays shows as a conflict
            _log.warning("telegram: no webhook deleted: %s", type(error).__name__)

    def _failed(self, trouble: str) -> float:
        """Record the failure and return how long to wait: doubling, with random variation."""
        self._failures += 1
        self._trouble = trouble
        level = logging.ERROR if self._clock() - self._polled_at > _ALARM_S else logging.WARNING
        _log.log(level, "telegram: %s (attempt %d)", trouble, self._failures)
        longest = min(_LONGEST_BACKOFF_S, 2.0 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing


class _StoreFailed(Exception):
    """Nothing of the batch is confirmed."""


async def _finish(work: Awaitable[None]) -> None:
    """Finish the work even if the caller is cancelled: half a store would only have to be repeated."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
