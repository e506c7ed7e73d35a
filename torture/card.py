"""The scorecard: what became of every message, judged from outside, by what customers saw."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torture.crowd import MARK, Said

EXAMPLES = 3
"""Messages named on the card for each broken promise."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What customers saw.  All in messages of theirs, but for `foreign`: answers and prompts."""

    sent: int
    answered: int
    lost: int
    """No answer, or not the whole of it."""
    declared: int
    """Answered twice, and the bot's own books say that the first might not have arrived."""
    doubled: int
    """Answered twice without the bot knowing."""
    disordered: int
    """Answered after a later message of the same chat."""
    foreign: int
    """Answers that belong to another chat, and prompts that mix two."""
    examples: tuple[str, ...] = ()
    """Of each broken promise, the marks of a few messages."""

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return self.lost == self.doubled == self.disordered == self.foreign == 0


@dataclass(frozen=True, slots=True)
class Card:
    """How one scenario went."""

    scenario: str
    what: str
    counts: Counts | None
    """None: not run, `why_not` says why."""
    why_not: str = ""
    recovery_s: tuple[float, ...] = ()
    """From the end of each fault (a death is over when it happens) to the next answer to anybody."""
    settled_s: float = 0.0
    """From the last fault or message to the last answer."""
    kills: int = 0
    crashes: int = 0
    """Times that the bot ended by itself; it is started again, as a service manager does."""
    notes: tuple[str, ...] = field(default=())
    """What else went against expectation."""

    @property
    def holds(self) -> bool:
        """Whether every promise was kept; a scenario that was not run breaks none."""
        return self.counts is None or (self.counts.holds and not self.notes)


def judge(
    said: Sequence[Said],
    heard: Iterable[tuple[int, str]],
    *,
    unsure: Mapping[str, int] | None = None,
    mixed: int = 0,
) -> Counts:
    """Compare what was said with the answers, as (chat, text) in the order of their acceptance.

    `unsure`: how often the bot itself noted that the answer with this mark had perhaps been delivered.
    `mixed`: prompts with two customers in them.
    """
    unsure = unsure or {}
    copies: Counter[str] = Counter()
    late: set[str] = set()
    newest: dict[int, int] = {}
    foreign = mixed
    for chat, text in heard:
        marks = list(dict.fromkeys(MARK.findall(text)))
        foreign += any(not mark.startswith((f"c{chat}m", f"c{chat}z")) for mark in marks)
        fresh = [mark for mark in marks if not copies[mark]]
        copies.update(marks)
        if fresh and "z" in fresh[0]:  # the end of an answer to several: as late as the last of them
            fresh = [max(fresh, key=_number)]
        for mark in fresh:
            if _number(mark) < newest.get(chat, 0):
                late.add(mark)
            newest[chat] = max(newest.get(chat, 0), _number(mark))
    lost = [one for one in said if any(not copies[mark] for mark in one.marks)]
    twice = [one for one in said if any(copies[mark] > 1 for mark in one.marks)]
    declared = [one for one in twice if all(copies[mark] <= 1 + unsure.get(mark, 0) for mark in one.marks)]
    doubled = [one for one in twice if one not in declared]
    disordered = [one for one in said if late.intersection(one.marks)]
    found = (("lost", lost), ("doubled", doubled), ("late", disordered))
    return Counts(
        sent=len(said),
        answered=len(said) - len(lost),
        lost=len(lost),
        declared=len(declared),
        doubled=len(doubled),
        disordered=len(disordered),
        foreign=foreign,
        examples=tuple(f"{word} {one.marks[0]}" for word, ones in found for one in ones[:EXAMPLES]),
    )


def _number(mark: str) -> int:
    return int(re.split("[mz]", mark)[1])


def table(cards: Sequence[Card]) -> str:
    """The cards as a table for a terminal or a Markdown page."""
    head = ("scenario", "sent", "answered", "lost", "doubled", "declared", "disorder", "foreign")
    rows: list[tuple[str, ...]] = [(*head, "kills", "crashes", "back s", "settled s", "")]
    rows += [_row(card) for card in cards]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *cells = row
        numbers = [cell.rjust(width) for cell, width in zip(cells[:-1], widths[1:-1], strict=True)]
        lines.append(f"| {' | '.join([first.ljust(widths[0]), *numbers, cells[-1].ljust(widths[-1])])} |")
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _row(card: Card) -> tuple[str, ...]:
    counts = card.counts
    if counts is None:
        return (card.scenario, *[""] * 11, f"not run: {card.why_not}")
    back = f"{max(card.recovery_s):.1f}" if card.recovery_s else ""
    return (
        card.scenario,
        *(str(number) for number in (counts.sent, counts.answered, counts.lost, counts.doubled)),
        *(str(number) for number in (counts.declared, counts.disordered, counts.foreign)),
        str(card.kills),
        str(card.crashes),
        back,
        f"{card.settled_s:.1f}",
        "; ".join(["held" if card.holds else "BROKEN", *counts.examples, *card.notes]),
    )
