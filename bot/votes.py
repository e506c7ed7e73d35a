"""Votes: the buttons that customers press below an answer, and what follows from them."""

from __future__ import annotations

import logging

from bot.staff import Desk
from context.feedback import TRIES, Feedbacks, Question, Vote
from context.turns import Chat

log = logging.getLogger(__name__)


class Votes:
    """Stores votes; after a few answers that did not help, a person is called."""

    def __init__(self, *, feedbacks: Feedbacks, desk: Desk) -> None:
        self._feedbacks = feedbacks
        self._desk = desk

    async def cast(
        self, chat: Chat, turn_id: int, question: Question, vote: Vote, *, reason: str = ""
    ) -> None:
        """Store a vote; repeating it changes nothing, another vote replaces it.

        Raises `NotTheirs` for an answer in another chat, ValueError for an unknown reason.
        """
        if not await self._feedbacks.keep(chat, turn_id, question, vote, reason=reason):
            return
        log.info("feedback", extra={"chat": chat.key, "turn": turn_id, "outcome": f"{question} {vote}"})
        if vote == "down" and await self._feedbacks.failed_tries(chat) >= TRIES:
            await self._desk.ask(chat, "two_tries")
