"""What staff do: take over chats, write in them, decide held replies; in the console or in their group.

Everything that staff say to a customer goes through that chat's inbox and is sent by the same sender as
everything else, in its place in the conversation.
"""

from bot.staff.deeds import Deeds
from bot.staff.desk import Desk

__all__ = ["Deeds", "Desk"]
