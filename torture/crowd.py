"""Customers: what they sent, marked so that every answer shows which messages it belongs to.

A message carries a mark, `c7m3` (chat 7, message 3); the model of ours answers with the marks of
the question it was shown.  Every eighth message asks for an answer that takes two messages; its
end carries a mark of its own, `c7z3`.  No run of hexadecimal digits, such as the secret in the bot's
prompt, can be taken for one.
"""

from __future__ import annotations

import asyncio
import io
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from tests.bot_api import BotApiServer
from tests.model_server import Received, text_of

MARK = re.compile(r"\bc\d+[mz]\d+\b")
LONG_EVERY, PHOTO_EVERY = 8, 5
FIRST_CHAT = 1000
_ADVICE = (
    "switch the unit off at the breaker and wait",
    "look at the display and write down the code",
    "clean the filter under the front cover",
    "check that nothing covers the outdoor unit",
    "set the remote control to cooling and 24 degrees",
    "listen whether the fan outside begins to turn",
)


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a customer, and the marks that its answer must carry, in order."""

    chat: int
    at: float
    marks: tuple[str, ...]


class Crowd:
    """Many customers of one bot."""

    def __init__(
        self, telegram: BotApiServer, *, chats: int, seed: int = 0, long_every: int = LONG_EVERY
    ) -> None:
        self.said: list[Said] = []
        self.chats = chats
        self._telegram = telegram
        self._random = random.Random(seed)
        self._long_every = long_every
        self._photo = _photo()
        self._counts: dict[int, int] = {}
        self._wanted: dict[str, None] = {}
        self._heard = 0

    def say(self, chat: int, *, photo: bool = False, long: bool = False) -> Said:
        """One customer sends one message now."""
        number = self._counts[chat] = self._counts.get(chat, 0) + 1
        mark = f"c{chat}m{number}"
        customer = self._telegram.customer(FIRST_CHAT + chat)
        words = f"{mark}: the display shows E4{', please explain at length' if long else ''}"
        if photo:
            customer.sends_photo(self._photo, caption=words)
        else:
            customer.says(words)
        said = Said(chat, time.time(), (mark, f"c{chat}z{number}") if long else (mark,))
        self.said.append(said)
        self._wanted |= dict.fromkeys(said.marks)
        return said

    def say_something(self) -> Said:
        """Somebody sends something: text, or every so often a photo, or a question with a long answer."""
        number = len(self.said) + 1
        chat = self._random.randrange(self.chats)
        return self.say(chat, photo=number % PHOTO_EVERY == 0, long=self._is_long(number))

    def _is_long(self, number: int) -> bool:
        return self._long_every > 0 and number % self._long_every == 0

    async def talk(self, *, messages: int, seconds: float) -> None:
        """So many messages at random moments within so many seconds, whatever the bot does."""
        began = time.monotonic()
        for moment in sorted(self._random.uniform(0, seconds) for _ in range(messages)):
            await asyncio.sleep(began + moment - time.monotonic())
            self.say_something()

    def unanswered(self) -> int:
        """How many marks no answer has carried yet."""
        sent = self._telegram.sent
        for message in sent[self._heard :]:
            for mark in MARK.findall(message.text):
                self._wanted.pop(mark, None)
        self._heard = len(sent)
        return len(self._wanted)

    async def until_answered(self, said: Iterable[Said], *, timeout_s: float) -> bool:
        """Wait for the answers to these; False when the time is over."""
        marks = [mark for one in said for mark in one.marks]
        try:
            await self._telegram.until(
                lambda: not self.unanswered() or not any(mark in self._wanted for mark in marks),
                timeout=timeout_s,
            )
        except TimeoutError:
            return False
        return True


class Model:
    """What the model of ours answers, and whether a prompt ever mixed two customers."""

    def __init__(self) -> None:
        self.mixed = 0

    def answer(self, request: Received) -> str:
        """Names the marks of the question; with more than one chat in the prompt it is counted."""
        marks = [MARK.findall(text_of(message)) for message in request.messages]
        if len({mark.partition("m")[0].partition("z")[0] for found in marks for mark in found}) > 1:
            self.mixed += 1
        asked = [mark for mark in marks[-1] if "m" in mark]
        answer = f"Noted: {' '.join(asked)}."
        if "at length" not in text_of(request.messages[-1]):
            return answer
        steps = [f"{number}. Step {number}: {_ADVICE[number % len(_ADVICE)]}." for number in range(1, 90)]
        ends = " ".join(mark.replace("m", "z") for mark in asked)
        return "\n\n".join([answer, *steps, f"That was all: {ends}."])


def _photo() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(file, "JPEG")
    return file.getvalue()
