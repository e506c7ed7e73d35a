"""The context pack: five lines about a chat for a person who takes it, made without a model.

They say who is there, why a person is wanted, what they ask, what was seen and what was tried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.engines.clues import code_key
from context.console.cases import CaseFacts, Cases
from context.readings import Readings
from context.turns import Chat, Language, Photo
from prompts.prompts import Prompts

_CODE = re.compile(r"(?<![A-Za-z0-9-])[A-Za-z]{1,2}[ -]?\d{1,3}(?![A-Za-z0-9-])")
_DEVICE = re.compile(r"(?<![A-Za-z0-9-])(?=[A-Z0-9/-]*\d)[A-Z]{2,}[A-Z0-9]*[-/][A-Z0-9][A-Z0-9/-]{2,20}")
_STEP = re.compile(r"^\s*(?:\d{1,2}[.)、]|[•*-])\s*(.{4,160})", re.MULTILINE)
_MOST = 6
_QUOTE = 300
_LISTED: dict[Language, str] = {"en": "; ", "zh": "；"}


@dataclass(frozen=True, slots=True)
class Pack:
    """A summary of a chat for staff."""

    chat: Chat
    name: str
    """The customer's name in the channel; may be empty."""
    reason: str
    """Why a person is wanted, as in `Handoff.reason`; empty if none is."""
    why: str
    """The same in words, in `language`."""
    since: float | None
    """When they began to wait, Unix seconds."""
    question: str
    """The newest unanswered text, otherwise the newest."""
    codes: tuple[str, ...]
    """Fault codes in what was said and on the photos."""
    devices: tuple[str, ...]
    """Brand, model and serial number as read on the photos; model numbers in what was said."""
    steps: tuple[str, ...]
    """What the customer was told to do, newest first."""
    failed: int
    """Number of answers that did not help, according to the customer."""
    photos: tuple[Photo, ...]
    """Photos of the case, in order."""
    turns: int
    language: Language
    lines: tuple[str, ...]
    """The five lines, in `language`."""


class Packs:
    """Makes context packs."""

    def __init__(self, *, cases: Cases, readings: Readings, prompts: Prompts) -> None:
        self._cases = cases
        self._readings = readings
        self._prompts = prompts

    def why(self, reason: str, language: Language) -> str:
        """The reason in words, given a `Handoff.reason` such as `held: promise.refund`."""
        return self._prompts.notice("staff_reason", language, reason=reason) if reason else ""

    def rule(self, rule: str, language: Language) -> str:
        """A rule of the guard in words; the rule's own name if there are none."""
        return self._prompts.notice("staff_rule", language, rule=rule)

    async def pack(self, chat: Chat, *, language: Language | None = None) -> Pack:
        """The pack of a chat, in the customer's language unless `language` is given."""
        facts = await self._cases.facts(chat)
        wanted = language or facts.language
        seen = "\n".join([*facts.questions, *facts.answers])
        read = await self._read(facts.photos)
        codes = _distinct(code_key(found) for found in [*_CODE.findall(seen), *read.get("code", ())])
        labels = [value for kind in ("brand", "model", "serial") for value in read.get(kind, ())]
        devices = _distinct([*labels, *_DEVICE.findall(seen)])
        steps = tuple(step.strip() for answer in facts.answers for step in _STEP.findall(answer))[:_MOST]
        pack = Pack(
            chat=chat,
            name=facts.name,
            reason=facts.reason,
            why=self.why(facts.reason, wanted),
            since=facts.since,
            question=facts.questions[0][:_QUOTE] if facts.questions else "",
            codes=codes,
            devices=devices,
            steps=steps,
            failed=facts.failed,
            photos=facts.photos,
            turns=facts.turns,
            language=wanted,
            lines=(),
        )
        return _with_lines(pack, self._prompts, facts)

    async def _read(self, photos: Sequence[Photo]) -> dict[str, list[str]]:
        """What was read on the photos, by kind."""
        found = await self._readings.facts([photo.sha256 for photo in photos])
        read: dict[str, list[str]] = {}
        for fact in (fact for photo in photos for fact in found.get(photo.sha256, ())):
            read.setdefault(fact.kind, []).append(fact.value)
        return read


def _with_lines(pack: Pack, prompts: Prompts, facts: CaseFacts) -> Pack:
    words = prompts.notice(
        "staff_pack",
        pack.language,
        customer=pack.name or pack.chat.key,
        channel=pack.chat.channel,
        turns=pack.turns,
        photos=len(pack.photos),
        why=pack.why,
        question=" ".join(pack.question.split()),
        codes=", ".join(pack.codes),
        devices=", ".join(pack.devices),
        steps=_LISTED[pack.language].join(step.rstrip(".。") for step in pack.steps)[:_QUOTE],
        failed=pack.failed,
        held=facts.held and not pack.reason.startswith("held"),
    )
    lines = tuple(line for line in words.splitlines() if line.strip())
    return Pack(**{name: getattr(pack, name) for name in Pack.__slots__} | {"lines": lines})


def _distinct(found: object) -> tuple[str, ...]:
    assert hasattr(found, "__iter__")
    return tuple(dict.fromkeys(one for one in found if one))[:_MOST]
