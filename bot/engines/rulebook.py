"""The rule book: which rules apply to a message, and so what is answered without a model.

`bot.engines.rules` reads it from the files that support staff edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.engines.clues import Clues, Phrases, Vocabulary
from bot.engines.labels import Labels
from context.turns import Language

MAX_ADVICE = 2
"""Most rules in one answer: nobody reads more."""


@dataclass(frozen=True, slots=True)
class When:
    """The conditions of a rule; all that are given must hold."""

    words: Phrases | None = None
    only: bool = False
    """The message is nothing but `words`: no others, and no photo."""
    codes: frozenset[str] = frozenset()
    any_code: bool = False
    colour: str = ""
    state: str = ""
    blinks: int = 0
    """Blinks before a pause; 0: counted or not, -1: counted, whatever the number."""
    photo: bool | None = None
    model: bool | None = None
    before: When | None = None

    def holds(
        self, now: Clues, before: Clues, *, photo: bool, earlier_photo: bool, model: bool = False
    ) -> bool:
        """Whether the conditions hold for this message and what came before it."""
        if self.photo is not None and photo is not self.photo:
            return False
        if (self.photo is False and earlier_photo) or (self.only and photo):
            return False
        if self.model is not None and model is not self.model:
            return False
        if self.before is not None and not self.before.holds(
            before, Clues(), photo=False, earlier_photo=False
        ):
            return False
        return self._matches(now)

    def _matches(self, clues: Clues) -> bool:
        if self.words is not None and clues.text not in self.words:
            return False
        if self.only and not (self.words and self.words.are_all_of(clues.text)):
            return False
        if (self.codes or self.any_code) and not any(
            self.any_code or code.key in self.codes for code in clues.codes
        ):
            return False
        return not (self.colour or self.state) or any(
            self.colour in {"", light.colour}
            and self.state in {"", light.state}
            and self.blinks in {0, light.blinks, -1 if light.blinks else 0}
            for light in clues.lights
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: what to say, and when."""

    id: str
    about: str
    priority: int
    when: When
    say: Mapping[Language, str]
    first: bool = False
    """Whether it is about danger: then it is said first, and alone."""
    brief: bool = False
    """Whether its sentence is the whole answer if no other rule speaks: no photo is asked for."""


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules, the most important first."""

    rules: tuple[Rule, ...]
    vocabulary: Vocabulary
    labels: Labels
    frame: Mapping[str, Mapping[Language, str]]
    names: Mapping[str, Mapping[Language, str]]
    version: str
    """`rules@<hash of the files>`."""

    def matching(
        self, now: Clues, before: Clues, *, photo: bool, earlier_photo: bool, model: bool = False
    ) -> tuple[Rule, ...]:
        """The rules that apply: those about danger alone, else one or two with different topics."""
        found: dict[str, Rule] = {}
        for rule in self.rules:
            if rule.when.holds(now, before, photo=photo, earlier_photo=earlier_photo, model=model):
                found.setdefault(rule.about, rule)
        dangers = tuple(rule for rule in found.values() if rule.first)
        specific = tuple(rule for rule in found.values() if rule.about != "general")
        return dangers or specific[:MAX_ADVICE] or tuple(found.values())[:1]
