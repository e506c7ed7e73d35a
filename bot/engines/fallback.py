"""The engine without a model: text read on the photos, and rules that support staff wrote.

It answers when no model is configured or none answers, says so in every answer, and knows its place:
what was read, what is likely, what is safe to try, and how to reach a person.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from bot.engines import Draft, OnText
from bot.engines.clues import Clues, Light
from bot.engines.composition import SURE, Answer
from bot.engines.ocr import OcrUnavailable, Reader
from bot.engines.rulebook import RuleBook
from bot.engines.rules import RULES, load_rules
from bot.errors import NoModel
from context.health import Health
from context.turns import Line
from prompts.prompt import Prompt, PromptImage, PromptMessage

OCR_TIMEOUT_S = 30.0
_REMEMBERED = 256
"""Photos whose text is remembered, so that a follow-up knows what stood on the earlier ones."""

log = logging.getLogger(__name__)


class FallbackEngine:
    """Answers by OCR and rules.  `reader=None` is rules only; `rules` is a folder of YAML files.

    The reader is closed by whoever made it: others read with it, too.

    `ocr_timeout_s` is for all photos of a message together; then the rules answer without them.
    """

    name = "fallback"

    def __init__(
        self, *, reader: Reader | None = None, rules: Path = RULES, ocr_timeout_s: float = OCR_TIMEOUT_S
    ) -> None:
        self._book: RuleBook = load_rules(rules)
        self.model = self._book.version
        self._reader = reader
        self._ocr_timeout_s = ocr_timeout_s
        self._trouble = "" if reader is not None else "no text recognition"
        self._texts: OrderedDict[str, tuple[Line, ...]] = OrderedDict()

    async def start(self) -> None:
        """Nothing to wait for: text recognition is loaded with the first photo."""

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer by rules; always has an answer, but for whoever wants a model's or none."""
        if prompt.manner.by_model:
            raise NoModel("only a model is wanted, and there is none: set MODEL_URL or MODEL")
        earlier, photos = _split(prompt.messages)
        pages = await self._read(photos)
        lines = None if pages is None else [line for page in pages for line in page]
        vocabulary = self._book.vocabulary
        before, photo_before = self._clues_of(earlier)
        own = {image.photo.number for image in photos}
        facts = [fact for number, fact in prompt.facts if number not in own]
        codes = vocabulary.read([fact.value for fact in facts if fact.kind == "code"]).codes
        before = Clues(codes=codes) + before
        colour = before.lights[-1].colour if before.lights else ""
        seen = _measured(photos) + vocabulary.read([line.text for line in lines or ()])
        answer = Answer(
            self._book,
            prompt.language,
            said=vocabulary.typed(prompt.question, colour=colour),
            seen=seen,
            before=before,
            photo_before=photo_before,
            photos=photos,
            labels=[fact for page in pages or () for fact in self._book.labels.facts(page)],
            labels_before=facts,
            had_photo=any(message.images for message in earlier),
        )
        text = answer.compose(lines)
        if on_text is not None:
            on_text(text)
        return Draft(text, self.name, self.model, preliminary=True)

    async def _read(self, photos: Sequence[PromptImage]) -> list[tuple[Line, ...]] | None:
        """Text on photos, one by one; None when none of them could be looked at."""
        if not photos:
            return []
        if self._reader is None:
            return None
        read: list[tuple[Line, ...]] = []
        troubles: list[str] = []
        try:
            async with asyncio.timeout(self._ocr_timeout_s):
                for photo in photos:
                    try:
                        read.append(await self._read_one(self._reader, photo))
                    except OcrUnavailable as error:
                        troubles.append(str(error))
        except TimeoutError:
            troubles.append("text recognition took too long")
        self._trouble = troubles[0] if troubles and not read else ""
        if troubles:
            log.warning(
                "%d of %d photos were not read: %s", len(photos) - len(read), len(photos), troubles[0]
            )
        return read or None

    async def _read_one(self, reader: Reader, photo: PromptImage) -> tuple[Line, ...]:
        key = photo.photo.sha256
        if key not in self._texts:
            self._texts[key] = await reader.read(photo.jpeg, enough=self._is_enough)
            while len(self._texts) > _REMEMBERED:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return self._texts[key]

    def _is_enough(self, lines: Sequence[Line]) -> bool:
        """A code read with certainty, or a light named in print, needs no second look."""
        sure = [line.text for line in lines if line.confidence >= SURE]
        clues = self._book.vocabulary.read(sure)
        return bool(clues.codes or clues.lights)

    def _clues_of(self, earlier: Sequence[PromptMessage]) -> tuple[Clues, int]:
        """What earlier turns said and showed, the newest clue last; the newest light's photo, or 0."""
        clues, photo = Clues(), 0
        for message in earlier:
            if message.role == "user":
                colour = clues.lights[-1].colour if clues.lights else ""
                lines = [
                    line.text for image in message.images for line in self._texts.get(image.photo.sha256, ())
                ]
                own = self._book.vocabulary.typed(_words(message.text), colour=colour)
                own += _measured(message.images) + self._book.vocabulary.read(lines)
                clues += own
                if own.lights:
                    photo = message.images[-1].photo.number if message.images else 0
            elif message.role == "assistant":
                # Our answers name lights that might be; a code in them is the one the case is about.
                clues += Clues("", self._book.vocabulary.typed(message.text).codes)
        return clues, photo

    async def health(self) -> Health:
        """Always able to answer; degraded without text recognition."""
        detail = f"{len(self._book.rules)} rules"
        if self._trouble:
            return Health("degraded", f"{detail}; photos are not read: {self._trouble}")
        return Health("ok", f"{detail}, text recognition")

    async def close(self) -> None:
        """Forget what was read."""
        self._texts.clear()


def _measured(images: Sequence[PromptImage]) -> Clues:
    """The lamps that were seen blinking in clips."""
    lamps = [lamp for image in images if image.photo.clip for lamp in image.photo.clip.lamps]
    return Clues(
        lights=tuple(
            Light(lamp.colour, "blinking", lamp.blinks) for lamp in lamps if lamp.blinks or lamp.regular
        )
    )


def _words(text: str) -> str:
    """The customer's own words in a message of the prompt."""
    before, _, after = text.partition("<customer_words>")
    return after.partition("</customer_words>")[0] if after else before


def _split(messages: Sequence[PromptMessage]) -> tuple[Sequence[PromptMessage], tuple[PromptImage, ...]]:
    """Earlier turns, and the photos of the message that is to be answered."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            return messages[:at], messages[at].images
    return messages, ()
