"""One answer by OCR and rules: clues in, sentences out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bot.engines.clues import Clues, Code, Light
from bot.engines.rulebook import RuleBook
from context.turns import Fact, Language, Line
from prompts.prompt import PromptImage

SURE = 0.85
"""Confidence from which a line counts as read."""
_QUOTED_LINES = 3
_QUOTED = re.compile(r"(?!(?:\D*\d){7})[\w \-+°]{2,24}")
"""Lines worth quoting: short, and without what looks like an address or a number to call."""


class Answer:
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
        """The whole answer; `lines` is what was read on the photos, None if they could not be looked at."""
        rules = self._book.matching(
            self._now,
            self._before,
            photo=self._has_photo,
            earlier_photo=self._had_photo,
            model=bool(self._models()),
        )
        advice = [self._fill(rule.say[self._language]) for rule in rules]
        ending = self._frame("preliminary")
        if rules[0].first or (all(rule.brief for rule in rules) and not self._has_photo):
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
            return self._frame(self._read_name(), codes=self._list(found))
        texts = [
            text
            for line in lines
            if line.confidence >= SURE and _QUOTED.fullmatch(text := " ".join(line.text[:100].split()))
        ]
        if texts:
            return self._frame("read_text", text=self._list(list(dict.fromkeys(texts))[:_QUOTED_LINES]))
        # To whom it was told what the device shows, a photo of a light without words leaves nothing open.
        if self._now.lights or self._now.codes:
            return ""
        return self._frame("nothing_in_clip" if self._are_clips() else "nothing_read")

    def _read_name(self) -> str:
        if self._are_clips():
            return "seen_in_clip"
        return "read" if len(self._photos) == 1 else "read_on_photos"

    def _are_clips(self) -> bool:
        return all(photo.clip for photo in self._photos)

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
        """What a label says, by its name: "model KFR-35GW"."""
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


def _differs(before: Light, now: Light) -> bool:
    """Whether both were said, and not the same."""
    pairs = ((before.state, now.state), (before.colour, now.colour))
    return any(old and new and old != new for old, new in pairs)


def _shown(codes: Sequence[Code]) -> list[str]:
    return [code.shown for code in codes]


def _fill(template: str, values: dict[str, str]) -> str:
    """Put values in, once: what a value holds is never looked at again."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template).strip()
