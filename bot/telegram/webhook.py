"""Receiving by webhook: Telegram gets status 200 only after the update is committed.

Until then Telegram keeps the update and sends it again.  The web server's route only calls `receive`; this
module knows no web framework.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from telegram import WebhookInfo
from telegram.error import InvalidToken, TelegramError

from bot.telegram.api import UNREADABLE, UPDATES, BotApi, words
from bot.telegram.intake import Ears, Intake, Put, SetAside
from bot.telegram.request import Broken, Flooded
from context.background import BackgroundTask
from context.health import Health

_log = logging.getLogger(__name__)

MAX_BODY = 2**20
"""Largest request body in bytes; an update is far smaller."""
_STORE_S = 20.0
"""Time limit for storing: Telegram gives up after about a minute, and then sends the update again."""
_LOOK_S = 60.0
_RETRY_S = 10.0
_REFUSED_S = 30.0
_UPDATE_ID = re.compile(rb'"update_id"\s*:\s*(\d{1,19})')


class Webhook:
    """Receives a webhook's updates.  `start` registers it with Telegram and keeps it registered."""

    def __init__(
        self,
        api: BotApi,
        *,
        url: str,
        secret: str,
        put: Put,
        set_aside: SetAside,
        ears: Ears | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not secret:
            raise ValueError("a webhook needs a secret: anybody could write in a customer's name")
        self._api = api
        self._url = url
        self._secret = secret
        self._intake = Intake(me=api.me, put=put, set_aside=set_aside, ears=ears)
        self._sleep = sleep
        self._background = BackgroundTask("telegram webhook", self._run)
        self._health = Health("degraded", "not registered with Telegram yet")

    def start(self) -> None:
        """Register with Telegram, and again whenever somebody else changes it; calling twice is harmless."""
        self._background.start()

    async def stop(self) -> None:
        """Stop maintaining the registration, which stays: Telegram keeps updates until the bot is back."""
        await self._background.stop()

    def health(self) -> Health:
        """The state as Telegram last described it."""
        if not self._background.is_running:
            return Health("down", "not registered with Telegram")
        return self._health

    async def receive(self, body: bytes, secret: str | None) -> int:
        """Take one delivery in; returns the HTTP status for Telegram.

        403 wrong secret; 413 too large; 400 not an update at all; 503 not stored, send it again;
        200 stored, or kept aside because it cannot be read.  Never raises.
        """
        if not hmac.compare_digest((secret or "").encode(), self._secret.encode()):
            return HTTPStatus.FORBIDDEN
        if len(body) > MAX_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        try:
            async with asyncio.timeout(_STORE_S):
                return await self._take(body)
        except Exception as error:  # noqa: BLE001 - any failure to store means "send it again"
            _log.warning("telegram: a webhook delivery could not be stored: %s", type(error).__name__)
            return HTTPStatus.SERVICE_UNAVAILABLE

    async def _take(self, body: bytes) -> int:
        try:
            update = json.loads(body)
        except (ValueError, RecursionError):
            found = _UPDATE_ID.search(body)
            if found is None:
                return HTTPStatus.BAD_REQUEST
            # Refusing it would make Telegram send it again for a day, and hold up its chat.
            raw = json.dumps(body.decode("utf-8", "replace"))
            await self._intake.set_aside(f"update:{int(found[1])}", raw, "not JSON")
            return HTTPStatus.OK
        await self._intake.take_singly([update])
        return HTTPStatus.OK

    async def _run(self) -> None:
        registered = False
        while True:
            try:
                info = await self._look(registered=registered)
                registered = True
            except Flooded as error:
                delay = self._failed(error, error.after_s)
            except InvalidToken as error:
                delay = self._failed(error, _REFUSED_S)
            except UNREADABLE as error:
                delay = self._failed(Broken(f"unreadable answer ({type(error).__name__})"), _RETRY_S)
            except TelegramError as error:
                delay = self._failed(error, _RETRY_S)
            else:
                pending = f"{info.pending_update_count} updates waiting at Telegram"
                self._health = Health("ok", pending)
                if info.last_error_message and info.pending_update_count:
                    self._health = Health("degraded", f"{pending}: {info.last_error_message}")
                delay = _LOOK_S
            await self._sleep(delay)

    async def _look(self, *, registered: bool) -> WebhookInfo:
        """What Telegram says of the webhook, which is set (again) where it is not ours."""
        if registered:
            info = await self._api.bot.get_webhook_info()
            if info.url == self._url:
                return info
            _log.warning("telegram: somebody changed the webhook")
        await self._register()
        info = await self._api.bot.get_webhook_info()
        if info.url != self._url:  # to register again at once would be as fast as Telegram answers
            raise Broken("another address is registered than ours")
        return info

    async def _register(self) -> None:
        await self._api.bot.set_webhook(
            self._url,
            secret_token=self._secret,
            allowed_updates=UPDATES,
            drop_pending_updates=False,
        )
        _log.info("telegram: webhook registered")

    def _failed(self, error: TelegramError, delay: float) -> float:
        self._health = Health("degraded", f"cannot ask Telegram about the webhook ({words(error)})")
        _log.warning("telegram: webhook: %s", words(error))
        return delay
