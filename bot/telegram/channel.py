"""Sending to Telegram: replies, the typing sign, photo downloads, the command menu.

Telegram has no idempotency keys, so every failure is classified by whether the message may have been
delivered; what to do about it is for the caller to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from telegram import BotCommand, LinkPreviewOptions
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, NetworkError, TelegramError

from bot.channel import Show
from bot.errors import (
    Again,
    Ambiguous,
    BadFormatting,
    FileUnavailable,
    NotSent,
    TopicGone,
    Undeliverable,
)
from bot.telegram.api import UNREADABLE, BotApi, words
from bot.telegram.buttons import keyboard
from bot.telegram.commands import COMMANDS
from bot.telegram.drafts import Drafts, entity_of
from bot.telegram.limits import Limiter
from bot.telegram.request import Failed, Flooded, Refused, TooLarge, Unreachable
from context.turns import Attachment, Chat, Language, Part, Receipt

T = TypeVar("T")

_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

_log = logging.getLogger(__name__)

MAX_FILE = 20 * 2**20
"""Largest file that Telegram lets a bot download."""
_DOWNLOADS = 8
"""Concurrent downloads: each may hold `MAX_FILE` bytes."""
_FETCH_TRIES = 3

_FIRST_SIGN_S = 0.3
"""An answer that is ready sooner gets no typing sign."""
_SIGN_EVERY_S = 4.5
"""Telegram shows the typing sign for 5 s."""
_LONGEST_SIGN_S = 180.0
_MENU_AGAIN_S = 60.0
"""After which the command menu is tried again where Telegram was out of reach."""

_LONGEST_PAUSE_S = 5.0
"""A chat that is paused for longer is released instead of waited for."""
_UNREACHABLE_S = 2.0
_HARMLESS_S = 5.0
"""Time limit of a request that changes nothing."""
_REFUSED_S = 30.0

# What Telegram's 400s say when the chat, not the text, is the trouble.
_CHAT_IS_GONE = (
    "chat not found",
    "user not found",
    "user is deactivated",
    "peer_id_invalid",
    "not enough rights",
    "have no rights",
    "need administrator rights",
    "chat_write_forbidden",
    "chat_restricted",
    "topic_closed",
    "group chat was deleted",
)
_TOPIC_IS_GONE = ("message thread not found", "topic_deleted", "topic_id_invalid")


class TelegramChannel:
    """Sends to Telegram.  Safe for concurrent chats; within a chat the caller keeps the order."""

    name = "telegram"

    def __init__(
        self,
        api: BotApi,
        *,
        limiter: Limiter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.api = api
        self._limiter = limiter or Limiter()
        self._sleep = sleep
        self._drafts = Drafts(api, is_busy=self._limiter.is_busy)
        self._downloads = asyncio.Semaphore(_DOWNLOADS)
        self._moved: dict[str, str] = {}
        self._side_calls: set[asyncio.Task[Any]] = set()
        self._in_doubt = False
        self._silent_until = 0.0
        self._asking = asyncio.Lock()

    async def open(self) -> None:
        """Connect and ask who we are; the command menu is set on the side.

        Raises `BadConfiguration` when Telegram refuses the token; an unreachable server does not
        stop the start.
        """
        try:
            await self.api.open()
        except (TelegramError, TimeoutError) as error:
            reason = words(error) if isinstance(error, TelegramError) else "no answer in time"
            _log.warning("telegram does not answer, the bot starts without it and tries again: %s", reason)
        except BaseException:
            await self.close()
            raise
        self._aside(self._publish_commands())

    async def close(self) -> None:
        """Cancel what is not essential and close the connections; calling it twice is harmless."""
        for task in self._side_calls:
            task.cancel()
        await asyncio.gather(*self._side_calls, return_exceptions=True)
        await self.api.close()

    async def fetch(self, attachment: Attachment) -> bytes:
        """Download a file.

        Raises `FileUnavailable` (`too_large`, `download_failed`), or `Again` while Telegram cannot
        be reached.
        """
        if attachment.size is not None and attachment.size > MAX_FILE:
            raise FileUnavailable(f"{attachment.size} bytes announced", code="too_large")
        async with self._downloads:
            for tries_left in reversed(range(_FETCH_TRIES)):
                try:
                    return await self.api.download(attachment.file_id, max_bytes=MAX_FILE)
                except TooLarge as error:
                    raise FileUnavailable(words(error), code="too_large") from error
                except BadRequest as error:
                    code = "too_large" if "too big" in error.message.lower() else "download_failed"
                    raise FileUnavailable(words(error), code=code) from error
                except (Refused, Forbidden) as error:
                    raise FileUnavailable(words(error), code="download_failed") from error
                except Flooded as error:
                    raise Again(words(error), after_s=error.after_s) from error
                except InvalidToken as error:
                    raise Again(words(error), after_s=_REFUSED_S) from error
                except (TelegramError, *UNREADABLE) as error:
                    # Downloading twice does no harm, so everything else is simply tried again.
                    if not tries_left:
                        raise Again(f"download: {type(error).__name__}", after_s=_UNREACHABLE_S) from error
                await self._sleep(0.2 * (_FETCH_TRIES - tries_left))
        raise AssertionError("unreachable")

    async def ready(self, chat: Chat) -> None:
        """Wait for this chat's turn to be sent something.

        Raises `NotSent` when it is paused for long, and while Telegram leaves open what became of the
        last message and answers no harmless question either: in an outage one message is in doubt
        then, and not every one.
        """
        await self._make_sure()
        address = self._moved.get(chat.address, chat.address)
        paused_s = self._limiter.paused_s(address)
        if paused_s > _LONGEST_PAUSE_S:
            raise NotSent(f"{chat.key} is paused", after_s=paused_s)
        await self._limiter.wait(address)

    async def send(self, chat: Chat, part: Part) -> Receipt:
        """Send one part; call `ready` before.

        Raises `NotSent`, `Ambiguous`, `Undeliverable` or `BadFormatting` (`bot.errors`).
        """
        address = self._moved.get(chat.address, chat.address)
        try:
            receipt = await self._deliver(address, chat, part)
        except TelegramError as error:
            what = self._sorted(error, chat, address)
            self._in_doubt = isinstance(what, Ambiguous)
            raise what from error
        except UNREADABLE as error:
            # Accepted, but python-telegram-bot cannot read the message that came back.
            self._in_doubt = True
            raise Ambiguous(f"{chat.key}: unreadable receipt ({type(error).__name__})") from error
        self._in_doubt = False
        return receipt

    async def _make_sure(self) -> None:
        """After a send with unknown result, send a harmless request; one does it for all."""
        async with self._asking:
            if not self._in_doubt:
                return
            now = asyncio.get_running_loop().time()
            if now >= self._silent_until:
                try:
                    async with asyncio.timeout(_HARMLESS_S):
                        await self.api.bot.get_me()
                except (TelegramError, TimeoutError, *UNREADABLE):
                    self._silent_until = asyncio.get_running_loop().time() + _UNREACHABLE_S
                else:
                    self._in_doubt = False
                    return
            raise NotSent("Telegram does not answer", after_s=_UNREACHABLE_S)

    @contextlib.asynccontextmanager
    async def typing(self, chat: Chat) -> AsyncIterator[Show | None]:
        """Show the typing sign, and drafts, while the block runs; no failure of them reaches the block."""
        sign = asyncio.create_task(self._show_typing(chat), name=f"typing {chat.key}")
        try:
            address = self._moved.get(chat.address, chat.address)
            async with self._drafts.open(address, chat.thread) as draft:
                yield draft.show if draft else None
        finally:
            sign.cancel()
            await asyncio.wait([sign])

    async def _deliver(self, address: str, chat: Chat, part: Part) -> Receipt:
        """Send; follow a group that became a supergroup, and leave a topic that was deleted."""
        try:
            return await self._send(address, chat.thread, part)
        except ChatMigrated as error:
            address = self._moved[chat.address] = str(error.new_chat_id)
            _log.info("telegram: %s is now %s", chat.key, address)
            return await self._send(address, chat.thread, part)
        except BadRequest as error:
            if chat.thread is None or not _says(error, _TOPIC_IS_GONE):
                raise
            if part.only_here:
                raise TopicGone(f"{chat.key}: {words(error)}") from error
            return await self._send(address, None, part)

    async def _send(self, address: str, thread: int | None, part: Part) -> Receipt:
        buttons = keyboard(part.ask) if part.ask else None
        if part.jpeg:
            photo = await self.api.bot.send_photo(
                address, part.jpeg, caption=part.text or None, message_thread_id=thread
            )
            return Receipt(str(photo.message_id), time.time())
        message = await self.api.bot.send_message(
            address,
            part.text,
            entities=[entity_of(item) for item in part.entities] or None,
            link_preview_options=_NO_PREVIEW,
            message_thread_id=thread,
            reply_markup=buttons,
        )
        return Receipt(str(message.message_id), time.time())

    def _sorted(self, error: TelegramError, chat: Chat, address: str) -> Exception:
        """Whether it can have been delivered.  `BadRequest` first: it is a `NetworkError` too."""
        reason = f"{chat.key}: {words(error)}"
        match error:
            case BadRequest() if not _says(error, _CHAT_IS_GONE):
                return BadFormatting(reason)
            case BadRequest() | Forbidden():
                return Undeliverable(reason)
            case Flooded():
                self._limiter.pause(address, error.after_s)
                return NotSent(reason, after_s=error.after_s)
            case InvalidToken() | Refused():
                return NotSent(reason, after_s=_REFUSED_S)
            case Unreachable() | ChatMigrated():
                return NotSent(reason, after_s=_UNREACHABLE_S)
        return Ambiguous(reason, is_seldom=isinstance(error, Failed))

    async def _show_typing(self, chat: Chat) -> None:
        await self._sleep(_FIRST_SIGN_S)
        for _ in range(int(_LONGEST_SIGN_S / _SIGN_EVERY_S)):
            # A task of its own, so that the end of the turn does not break a connection in use.
            if not self._limiter.is_busy(chat.address) and not await asyncio.shield(
                self._aside(self._sign(chat))
            ):
                return
            await self._sleep(_SIGN_EVERY_S)

    async def _sign(self, chat: Chat) -> bool:
        """Show the typing sign once; False if there is no point in repeating it."""
        address = self._moved.get(chat.address, chat.address)
        try:
            await self.api.bot.send_chat_action(
                address, ChatAction.TYPING, message_thread_id=chat.thread, read_timeout=_SIGN_EVERY_S
            )
        except BadRequest:
            return False
        except (NetworkError, *UNREADABLE) as error:
            _log.debug("telegram: typing sign for %s: %s", chat.key, type(error).__name__)
            return True
        except TelegramError as error:  # flooded, blocked, or a server without this method
            _log.debug("telegram: typing sign for %s: %s", chat.key, words(error))
            return False
        return True

    async def _publish_commands(self) -> None:
        missing = list(COMMANDS)
        while True:
            missing = [language for language in missing if not await self._publish_in(language)]
            if not missing:
                return
            await asyncio.sleep(_MENU_AGAIN_S)

    async def _publish_in(self, language: Language) -> bool:
        """Set the menu in a language; False if Telegram is out of reach, of which the poll tells."""
        commands = [BotCommand(name, description) for name, description in COMMANDS[language]]
        try:
            await self.api.bot.set_my_commands(commands, language_code=None if language == "en" else language)
        except Unreachable:
            return False
        except (TelegramError, *UNREADABLE) as error:
            _log.warning("telegram: no command menu (%s): %s", language, type(error).__name__)
        return True

    def _aside(self, call: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Run something in the background; `close` cancels it."""
        task = asyncio.create_task(call)
        self._side_calls.add(task)
        task.add_done_callback(self._side_calls.discard)
        return task


def _says(error: BadRequest, phrases: tuple[str, ...]) -> bool:
    said = error.message.lower()
    return any(phrase in said for phrase in phrases)


async def open_telegram(
    *, token: str, api_url: str = "", sends_per_s: float = 30, chat_sends_per_s: float = 1
) -> TelegramChannel:
    """The connected channel. 0 sends per second means no limit.  Raises `BadConfiguration`."""
    limiter = Limiter(overall_s=sends_per_s, chat_s=chat_sends_per_s)
    channel = TelegramChannel(BotApi(token, url=api_url), limiter=limiter)
    await channel.open()
    return channel
