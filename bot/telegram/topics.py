"""Topics of the staff's group.  Telegram cannot list them, so whoever creates one stores its number."""

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
"""Longest name of a topic."""


class NoTopics(Unavailable):
    """The group has no topics, or the bot may not create any; the message is Telegram's own."""


class ForumTopics:
    """Creates, closes, deletes and reopens topics in one group."""

    def __init__(self, api: BotApi, group: str) -> None:
        self._api = api
        self.group = group

    async def make(self, name: str) -> int:
        """Create a topic and return its number.  Raises `NoTopics`, or `Again` if Telegram fails."""
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
        """Close a topic.  One that is gone or closed is no error."""
        with contextlib.suppress(TelegramError, *UNREADABLE):
            await self._api.bot.close_forum_topic(self.group, thread)

    async def delete(self, thread: int) -> bool:
        """Delete a topic with all that was said in it; False where we may not, and then it is closed.

        One that is gone counts as deleted.  Raises `Again` while Telegram does not do it.
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
        """Reopen a topic.  If it is gone, the next message to it shows that."""
        with contextlib.suppress(TelegramError, *UNREADABLE):
            await self._api.bot.reopen_forum_topic(self.group, thread)
