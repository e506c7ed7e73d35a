"""Telegram: updates come in as arrivals, replies go out as parts.

No other package knows Telegram.  `updates` parses what comes in, `poll` and `webhook` are the two ways to
receive it (store, then confirm), `channel` sends, `limits` keeps within Telegram's rate limits.
"""

from bot.telegram.channel import TelegramChannel, open_telegram
from bot.telegram.intake import Ears
from bot.telegram.poll import Poller
from bot.telegram.presses import Presses
from bot.telegram.topics import ForumTopics
from bot.telegram.webhook import Webhook

__all__ = ["Ears", "ForumTopics", "Poller", "Presses", "TelegramChannel", "Webhook", "open_telegram"]
