"""One Bot API server and one token: the connections shared by receiving and sending."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import quote, urlencode, urlsplit

from telegram import Bot
from telegram.error import BadRequest, InvalidToken, TelegramError

from bot.errors import BadConfiguration
from bot.telegram.request import ANSWER_S, AiohttpRequest, Broken, Refused, Unreachable, environment_proxy
from bot.telegram.updates import Me

TELEGRAM = "https://api.telegram.org"

UPDATES = ("message", "edited_message", "callback_query", "my_chat_member")
"""The kinds of updates that we ask Telegram for."""

UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What python-telegram-bot raises for an answer that does not have the Bot API's format."""

_START_S = 10.0


class BotApi:
    """Calls to the Bot API.  Errors are those of `telegram.error` and `bot.telegram.request`."""

    def __init__(self, token: str, *, url: str = "", answer_s: float = ANSWER_S) -> None:
        # python-telegram-bot writes the token (at construction) and customers' words (at every
        # call) to this log at DEBUG, whatever level the rest of the bot logs at.
        logging.getLogger("telegram.Bot").setLevel(logging.WARNING)
        url = _address(url or TELEGRAM)
        proxy = environment_proxy(url)
        self.request = AiohttpRequest(answer_s=answer_s, proxy=proxy)
        # Long polls have connections of their own: no burst of sends can keep them waiting.
        self._polling = AiohttpRequest(connections=2, answer_s=answer_s, proxy=proxy)
        self._base = f"{url}/bot{token}"
        self._files = f"{url}/file/bot{token}"
        self.bot = Bot(
            token,
            base_url=f"{url}/bot",
            base_file_url=f"{url}/file/bot",
            request=self.request,
            get_updates_request=self._polling,
        )
        self._me: Me | None = None
        self._asking = asyncio.Lock()

    async def open(self) -> None:
        """Open the connections and ask who we are.

        A server that cannot be reached now does not stop the start (it is asked again when the
        first update comes); raises `BadConfiguration` when it refuses the token.
        """
        await self.request.initialize()
        await self._polling.initialize()
        try:
            await asyncio.wait_for(self.me(), _START_S)
        except InvalidToken:
            raise BadConfiguration(
                ["TELEGRAM_BOT_TOKEN: Telegram does not know this token (ask @BotFather for a new one)"]
            ) from None
        except Refused as error:
            raise BadConfiguration(
                [f"TELEGRAM_API_URL: no Bot API server answers there (HTTP {error.status})"]
            ) from None

    async def close(self) -> None:
        """Close the connections; calling twice is harmless."""
        await self._polling.shutdown()
        await self.request.shutdown()

    async def me(self) -> Me:
        """Who the bot is; asked only once."""
        async with self._asking:
            if self._me is None:
                try:
                    user = await self.bot.get_me()
                except UNREADABLE as error:
                    raise Broken(f"getMe: unreadable answer ({type(error).__name__})") from error
                self._me = Me(user.id, user.username or "")
            return self._me

    async def updates(self, *, offset: int, timeout_s: int, limit: int = 100) -> list[object]:
        """Updates as they came, unparsed; asking with an offset makes Telegram forget all below it.

        Raw, because python-telegram-bot cannot read a batch in which one update is odd.
        """
        parameters = {"timeout": timeout_s, "limit": limit, "allowed_updates": json.dumps(UPDATES)}
        if offset:
            parameters["offset"] = offset
        found = await self._polling.post(
            f"{self._base}/getUpdates?{urlencode(parameters)}",
            # A connection that went dead in the middle of a long poll is given up after this.
            read_timeout=timeout_s + self._polling.read_timeout,
        )
        if not isinstance(found, list):
            raise Broken("getUpdates: the answer is not a list")
        return [*found]

    async def download(self, file_id: str, *, max_bytes: int) -> bytes:
        """The file's bytes, at most `max_bytes` of them."""
        file = await self.bot.get_file(file_id)
        path = (file.file_path or "").removeprefix(self._files).lstrip("/")
        if not path:
            raise BadRequest("getFile names no path")
        return await self.request.download(f"{self._files}/{quote(path)}", max_bytes=max_bytes)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "?" in url or "#" in url:
        raise BadConfiguration([f"TELEGRAM_API_URL: {url!r} is not an http:// or https:// address"])
    return url.rstrip("/")


def words(error: TelegramError) -> str:
    """The error in a form that may be logged: its kind and the server's message."""
    if isinstance(error, Unreachable):  # says so itself
        return error.message[:200]
    return f"{type(error).__name__}: {error.message}"[:200]
