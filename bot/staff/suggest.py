"""Suggested replies: what the engine would answer, checked by the guard, for staff to read.  Never sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.metrics import Metrics
from bot.stages import Stages
from context.console.cases import Cases
from context.transcripts import Transcripts
from context.turns import Chat, Message, Reply, Turn

TURNS = 5


class Answers(Protocol):
    """Makes replies, as `bot.answerer.Answerer` does."""

    async def answer(self, message: Message, turns: Sequence[Turn], stages: Stages) -> Reply:
        """Answer a message, given the last turns."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A suggested text for staff to use, change or ignore."""

    text: str
    origin: str
    """Name of the engine."""
    stopped: bool
    """The guard would have stopped it: read it with care."""


class Suggestions:
    """Makes suggestions in the same way as answers, without sending them."""

    def __init__(self, *, answers: Answers, cases: Cases, transcripts: Transcripts) -> None:
        self._answers = answers
        self._cases = cases
        self._transcripts = transcripts

    async def suggest(self, chat: Chat) -> Suggestion | None:
        """What the engine would answer now; None if nothing is unanswered, or no engine answers."""
        facts = await self._cases.facts(chat)
        heard = await self._transcripts.heard(chat)
        question = heard.text or (facts.questions[0] if facts.questions else "")
        if not question.strip() and not heard.photos:
            return None
        message = Message(chat, question, facts.language, photos=heard.photos)
        turns = await self._transcripts.turns(chat, TURNS)
        with Metrics().stages("suggestion") as stages:  # figures of its own: nobody was answered
            reply = await self._answers.answer(message, turns, stages)
        if not reply.origin.startswith("notice:"):
            return Suggestion(reply.text, reply.origin, stopped=False)
        draft = str(reply.record.get("mended") or reply.record.get("draft") or "")
        return Suggestion(draft, str(reply.record.get("engine")), stopped=True) if draft else None
