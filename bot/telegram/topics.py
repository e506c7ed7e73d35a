"""Topics of the staff's group.  Telegram has no way to list them, so whoever makes one keeps its number."""

from __future__ import annotations

import contextlib
import logging

from telegram.error import BadRequest, Forbidden, TelegramError

from bot.errors import Again, Unavailable
from bot.telegram.api import UNREADABLE, BotApi, words
from bot.telegram.request import Flooded

_log = logging.getLogger(__name__)

_AGAIN_S = 5.0
_MOST_LETTERS = 128
"""In a topic's name."""


class NoTopics(Unavailable):
    """The group has none, or the bot may not make any; the message is Telegram's own sentence."""


class ForumTopics:
    """Makes, closes and opens topics in one group."""

    def __init__(self, api: BotApi, group: str) -> None:
        self._api = api
        self.group = group

    async def make(self, name: str) -> int:
        """A new topic; its number.  Raises `NoTopics`, or `Again` while Telegram does not do it."""
        try:
            topic = await self._api.bot.create_forum_topic(self.group, name[:_MOST_LETTERS] or "?")
        except (BadRequest, Forbidden) as error:
            raise NoTopics(words(error)) from error
        except Flooded as error:
            raise Again(words(error), after_s=error.after_s) from error
        except (TelegramError, *UNREADABLE) as error:
            raise Again(f"createForumTopic: {type(error).__name__}", after_s=_AGAIN_S) from error
        return topic.message_thread_id

    async def close(self, thread: int) -> None:
        """Close a topic; one that is gone or closed is closed enough."""
        with contextlib.suppress(TelegramError, *UNREADABLE):
            await self._api.bot.close_forum_topic(self.group, thread)

    async def delete(self, thread: int) -> bool:
        """Delete a topic with all that was said in it; False where we may not, and then it is closed.

        One that is gone is deleted enough.  Raises `Again` while Telegram does not do it.
        """
        try:
            await self._api.bot.delete_forum_topic(self.group, thread)
        except Forbidden:
            await self.close(thread)
            return False
        except BadRequest as error:
            if "rights" not in words(error):
                return True
            await self.close(thread)
            return False
        except Flooded as error:
            raise Again(words(error), after_s=error.after_s) from error
        except (TelegramError, *UNREADABLE) as error:
            raise Again(f"deleteForumTopic: {type(error).__name__}", after_s=_AGAIN_S) from error
        return True

    async def reopen(self, thread: int) -> None:
        """Open it again; one that is gone shows itself when something is said in it."""
        with contextlib.suppress(TelegramError, *UNREADABLE):
            await self._api.bot.reopen_forum_topic(self.group, thread)
