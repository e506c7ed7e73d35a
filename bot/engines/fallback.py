"""The engine without a model: text read on the photos, and rules that support staff wrote.

It answers when no model is configured or none answers, says so in every answer, and knows its place:
what was read, what is likely, what is safe to try, and how to reach a person.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from bot.engines import Draft, OnText
from bot.engines.clues import Clues, Code, Light
from bot.engines.ocr import OcrUnavailable, Reader
from bot.engines.rules import RULES, RuleBook, load_rules
from bot.errors import NoModel
from context.health import Health
from context.turns import Fact, Language, Line
from prompts.prompt import Prompt, PromptImage, PromptMessage

OCR_TIMEOUT_S = 30.0
_REMEMBERED = 256
"""Photos whose text is remembered, so that a follow-up knows what stood on the earlier ones."""
_QUOTED_LINES = 3
_QUOTED = re.compile(r"(?!(?:\D*\d){7})[\w \-+°]{2,24}")
"""Lines worth quoting: short, and without what looks like an address or a number to call."""
_SURE = 0.85

log = logging.getLogger(__name__)


class FallbackEngine:
    """Answers by OCR and rules.  `reader=None` is rules only; `rules` is a folder of YAML files.

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
        answer = _Answer(
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
        sure = [line.text for line in lines if line.confidence >= _SURE]
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
        """Let go of the models."""
        self._texts.clear()
        if self._reader is not None:
            await self._reader.close()


class _Answer:
    """One answer in the making: clues in, sentences out."""

    def __init__(
        self,
        book: RuleBook,
        language: Language,
        *,
        said: Clues,
        seen: Clues,
        before: Clues,
        photo_before: int,
        photos: Sequence[PromptImage],
        labels: Sequence[Fact],
        labels_before: Sequence[Fact],
        had_photo: bool,
    ) -> None:
        self._book = book
        self._language = language
        self._now = seen + said
        self._seen = seen
        self._before = before
        self._photo_before = photo_before
        self._has_photo = bool(photos)
        self._photos = [image.photo for image in photos]
        self._labels = labels
        self._labels_before = labels_before
        self._had_photo = had_photo

    def compose(self, lines: Sequence[Line] | None) -> str:
        rules = self._book.matching(
            self._now,
            self._before,
            photo=self._has_photo,
            earlier_photo=self._had_photo,
            model=bool(self._models()),
        )
        advice = [self._fill(rule.say[self._language]) for rule in rules]
        ending = self._frame("preliminary")
        if rules[0].first:
            return "\n\n".join([*advice, ending])
        start = [self._history(), self._reading(lines), *self._wishes()]
        if not self._has_photo and not self._had_photo:
            advice.append(self._frame("ask_photo"))
        return "\n\n".join([*filter(None, start), *advice, ending])

    def _reading(self, lines: Sequence[Line] | None) -> str:
        """What was read on the photos of this message."""
        if not self._has_photo:
            return ""
        if lines is None:
            return self._frame("cannot_look")
        lights = [self._say_seen(light) for light in self._seen.lights]
        if found := [*_shown(self._seen.codes), *lights, *self._say_labels(self._labels)]:
            return self._frame("read", codes=self._list(found))
        texts = [
            text
            for line in lines
            if line.confidence >= _SURE and _QUOTED.fullmatch(text := " ".join(line.text[:100].split()))
        ]
        if texts:
            return self._frame("read_text", text=self._list(list(dict.fromkeys(texts))[:_QUOTED_LINES]))
        return self._frame("nothing_read")

    def _wishes(self) -> list[str]:
        """What the photos leave open, and what would settle it."""
        lamps = [lamp for photo in self._photos if photo.clip for lamp in photo.clip.lamps]
        wishes = ["count_blinks"] if any(not (lamp.blinks or lamp.regular) for lamp in lamps) else []
        flaws = [photo.flaw for photo in self._photos if photo.flaw]
        wishes += [flaw if flaw == "screenshot" else f"too_{flaw}" for flaw in flaws]
        return [self._frame(name) for name in dict.fromkeys(wishes)]

    def _history(self) -> str:
        """What is different from earlier turns, else what they were about."""
        before = self._before.lights[-1] if self._before.lights else None
        for light in self._now.lights:
            if before is not None and _differs(before, light):
                return self._say_change(before, light)
        if self._now.lights or self._now.codes:
            return ""
        facts = _shown(self._before.codes) + ([self._say_light(before)] if before is not None else [])
        facts += self._say_labels(self._labels_before)
        return self._frame("earlier", before=self._list(facts)) if facts else ""

    def _say_change(self, before: Light, now: Light) -> str:
        """With the photos that each came with, where there are two."""
        values = {"before": self._say_seen(before), "now": self._say_seen(now)}
        photo = self._photos[-1].number if self._photos else 0
        if self._photo_before and photo and photo != self._photo_before:
            return self._frame("changed_since", first=str(self._photo_before), second=str(photo), **values)
        return self._frame("changed", **values)

    def _say_labels(self, facts: Sequence[Fact]) -> list[str]:
        """What stands on a label, by its name: "model KFR-35GW"."""
        named = {(fact.kind, fact.value): self._book.names.get(fact.kind) for fact in facts}
        return [f"{name[self._language]} {value}" for (_, value), name in named.items() if name is not None]

    def _say_light(self, light: Light) -> str:
        names = self._book.names
        colour = names[light.colour or "light"][self._language]
        state = names[light.state][self._language] if light.state else ""
        return f"{colour} {state}".strip() if self._language == "en" else colour + state

    def _say_seen(self, light: Light) -> str:
        said = self._say_light(light)
        return self._frame("blinks", light=said, count=str(light.blinks)) if light.blinks else said

    def _fill(self, template: str) -> str:
        codes = _shown(self._now.codes)
        light = self._say_light(self._now.lights[0]) if self._now.lights else ""
        values = {"codes": self._list(codes), "light": light, "model": self._ask_model()}
        return _fill(template, values)

    def _ask_model(self) -> str:
        """The sentence that asks for the model, or takes up the one that a label has told."""
        codes = self._list(_shown(self._now.codes))
        if models := self._models():
            return self._frame("model_known", codes=codes, model=models[-1])
        return self._frame("ask_model", codes=codes)

    def _models(self) -> list[str]:
        """Models that labels have told, the newest last."""
        return [fact.value for fact in [*self._labels_before, *self._labels] if fact.kind == "model"]

    def _frame(self, name: str, **values: str) -> str:
        return _fill(self._book.frame[name][self._language], values)

    def _list(self, items: Sequence[str]) -> str:
        return ("、" if self._language == "zh" else ", ").join(items)


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


def _differs(before: Light, now: Light) -> bool:
    """Whether both were said, and not the same."""
    pairs = ((before.state, now.state), (before.colour, now.colour))
    return any(old and new and old != new for old, new in pairs)


def _shown(codes: Sequence[Code]) -> list[str]:
    return [code.shown for code in codes]


def _fill(template: str, values: dict[str, str]) -> str:
    """Put values in, once: what a value holds is never looked at again."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template).strip()
