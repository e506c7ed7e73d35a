"""Both ends of Telegram: updates come in as arrivals, replies go out as parts.

Nothing else in the house knows Telegram.  `updates` reads what came, `poll` and `webhook` are the
two ways in (store, then confirm), `channel` is the way out, `limits` keeps it slow enough.
"""

from bot.telegram.channel import TelegramChannel, open_telegram
from bot.telegram.intake import Ears
from bot.telegram.poll import Poller
from bot.telegram.presses import Presses
from bot.telegram.topics import ForumTopics
from bot.telegram.webhook import Webhook

__all__ = ["Ears", "ForumTopics", "Poller", "Presses", "TelegramChannel", "Webhook", "open_telegram"]
