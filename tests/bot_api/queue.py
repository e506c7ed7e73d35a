"""Updates on their way to the bot: fetched with confirmation by offset, or pushed to a webhook."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from typing import Any

import aiohttp

from tests.bot_api.faults import Refusal

Json = dict[str, Any]

_DEFAULT_KINDS = frozenset({"message", "edited_message", "callback_query", "my_chat_member"})


class UpdateQueue:
    """Pending updates.  As Telegram does it, asking with an offset forgets everything below."""

    def __init__(self, *, retry_s: float = 1.0) -> None:
        self.webhook: Json = {}
        self.allowed = _DEFAULT_KINDS
        self.deliveries: list[tuple[int, int]] = []
        """Webhook attempts: update id and the status it got; 0 for no answer."""
        self.tls: ssl.SSLContext | None = None
        """Whom to believe behind a webhook's https; the system's authorities by default."""
        self._retry_s = retry_s
        self._pending: deque[tuple[int, object]] = deque()
        self._next_id = 1
        self._arrived = asyncio.Event()
        self._poll = 0
        self._ended = 0
        self._lanes: dict[int, asyncio.Queue[tuple[int, object]]] = {}
        self._pushers: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def __len__(self) -> int:
        """Updates not yet confirmed."""
        return len(self._pending)

    def add(self, kind: str, content: Json) -> int:
        """One more update of this kind, unless the bot has not asked for such."""
        update_id = self._next_id
        if kind in self.allowed:
            self.add_raw({"update_id": update_id, kind: content})
        return update_id

    def add_raw(self, update: object) -> None:
        """Anything at all; an `update_id` in it should follow the last one's."""
        number = self._next_id
        if isinstance(update, dict) and isinstance(update.get("update_id"), int):
            number = update["update_id"]
        self._next_id = number + 1
        self._pending.append((number, update))
        if self.webhook:
            self._push(number, update)
        self._arrived.set()

    async def get(self, *, offset: int, limit: int, timeout_s: float) -> list[object]:
        """`getUpdates`."""
        if self.webhook:
            raise Refusal(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        self._poll += 1
        mine = self._poll
        self._arrived.set()  # wakes the poll that this one ends
        while self._pending and self._pending[0][0] < offset:
            self._pending.popleft()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._pending:
                    self._arrived.clear()
                    await self._arrived.wait()
                    if mine == self._ended:
                        break
                    if mine != self._poll or self.webhook:
                        raise Refusal(
                            409,
                            "Conflict: terminated by other getUpdates request; "
                            "make sure that only one bot instance is running",
                        )
        return [update for _, update in list(self._pending)[:limit]]

    def end_poll(self) -> None:
        """Answer the poll that waits now, with nothing."""
        self._ended = self._poll
        self._arrived.set()

    async def set_webhook(self, webhook: Json) -> None:
        """Push from now on, what is pending first; an empty one goes back to polling."""
        await self.stop()
        self.webhook = webhook
        self._arrived.set()
        if webhook:
            connector = aiohttp.TCPConnector(ssl=self.tls or True)
            self._session = aiohttp.ClientSession(connector=connector)
            for number, update in list(self._pending):
                self._push(number, update)

    async def stop(self) -> None:
        """Stop pushing."""
        for pusher in self._pushers:
            pusher.cancel()
        await asyncio.gather(*self._pushers, return_exceptions=True)
        self._lanes.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def forget_all(self) -> None:
        self._pending.clear()

    def _push(self, number: int, update: object) -> None:
        """One at a time per chat, chats beside each other, as Telegram's webhooks are."""
        chat = _chat_of(update)
        lane = self._lanes.get(chat)
        if lane is None:
            lane = self._lanes[chat] = asyncio.Queue()
            pusher = asyncio.create_task(self._push_lane(lane))
            self._pushers.add(pusher)
            pusher.add_done_callback(self._pushers.discard)
        lane.put_nowait((number, update))

    async def _push_lane(self, lane: asyncio.Queue[tuple[int, object]]) -> None:
        while True:
            number, update = await lane.get()
            delay = 0.0
            while not 200 <= await self._deliver(number, update) < 300:
                await asyncio.sleep(delay)  # at once, then doubling
                delay = min(delay * 2 or self._retry_s, 60 * self._retry_s)
            self._pending = deque(item for item in self._pending if item[0] != number)

    async def _deliver(self, number: int, update: object) -> int:
        assert self._session is not None
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook.get("secret_token", "")}
        # Bytes and text are sent as they are, for the tests of what is not an update at all.
        body = {"data": update} if isinstance(update, bytes | str) else {"json": update}
        status = 0
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(
                self.webhook["url"], headers=headers, timeout=aiohttp.ClientTimeout(60), **body
            ) as answer:
                status = answer.status
        self.deliveries.append((number, status))
        return status


def _chat_of(update: object) -> int:
    if isinstance(update, dict):
        for content in update.values():
            if isinstance(content, dict) and isinstance(content.get("chat"), dict):
                return int(content["chat"].get("id", 0))
    return 0
