"""A Telegram Bot API server for tests and benchmarks; see `server`.

In a process of its own: `python -m tests.bot_api --port 8081`.
"""

from tests.bot_api.people import KINDS, Person
from tests.bot_api.server import TOKEN, BotApiServer
from tests.bot_api.state import Call, Sent

__all__ = ["KINDS", "TOKEN", "BotApiServer", "Call", "Person", "Sent"]
