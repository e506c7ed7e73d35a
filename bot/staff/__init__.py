"""What staff do: take chats, write in them, decide held replies; in the console or in their group.

Whatever staff say to a customer is a row in that chat's inbox and leaves by the same sender as
everything else, in its place in the conversation.
"""

from bot.staff.deeds import Deeds
from bot.staff.desk import Desk

__all__ = ["Deeds", "Desk"]
