"""The page of figures: SVG charts of `context.console.figures`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.web.console.conversation import CUSTOMER_WHY_WORDS, WHY_WORDS
from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import Pages
from bot.web.console.words import N_
from context.console.counting import Counting
from context.console.figures import ANSWERED, Answered, Figures, Tally
from context.console.outcomes import Fixes, Outcomes

DAYS = (1, 7, 30, 90)
_DAY_S = 86_400.0
WIDTH, HEIGHT = 960, 200
"""Of a chart, in its own units."""
WHO_WORDS: dict[Answered, str] = {
    "model": N_("model"),
    "fallback": N_("OCR and rules"),
    "person": N_("a person"),
    "notice": N_("fixed words"),
}

OUTCOME_WORDS = {
    "fixed": N_("fixed, the customer says"),
    "unfixed": N_("not fixed"),
    "silent": N_("said nothing"),
}


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of a chart."""

    who: Answered
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of time."""

    step: Tally
    x: float
    width: float
    blocks: tuple[Block, ...]
    """From the bottom up; none where nobody wrote."""


@dataclass(frozen=True, slots=True)
class Strip:
    """What became of the answers to one fault."""

    code: str
    """Empty where none was named."""
    fixes: Fixes
    pieces: tuple[tuple[str, float, float], ...]
    """What, from where, how wide."""


class FiguresPage:
    """`/staff/figures`."""

    def __init__(self, *, door: Door, pages: Pages, counting: Counting, outcomes: Outcomes) -> None:
        self._door = door
        self._pages = pages
        self._counting = counting
        self._outcomes = outcomes

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [self._door.get("/staff/figures", self.show)]

    async def show(self, visit: Visit) -> Response:
        """The last days, by hour for one and by day for more; days begin where the reader's do."""
        asked = visit.request.query_params.get("days", "")
        days = next((known for known in DAYS if str(known) == asked), 7)
        offset_s = _offset(visit.request.cookies.get("console-offset", ""))
        until = time.time()
        since = until - days * _DAY_S
        if days > 1:  # whole days
            since += _DAY_S - (since + offset_s) % _DAY_S
        figures = await self._counting.read(
            since=since, until=until, step="hour" if days == 1 else "day", offset_s=offset_s
        )
        outcome = await self._outcomes.read(since=since, until=until)
        return self._pages.answer(
            "figures.html",
            visit.language,
            visit=visit,
            theme=theme_of(visit.request),
            figures=figures,
            bars=_bars(figures),
            outcome=outcome,
            strips=_strips(outcome.by_fault),
            outcome_words=OUTCOME_WORDS,
            customer_why_words=CUSTOMER_WHY_WORDS,
            answered=ANSWERED,
            who_words=WHO_WORDS,
            why_words=WHY_WORDS,
            days=days,
            all_days=DAYS,
            width=WIDTH,
            height=HEIGHT,
        )


def _bars(figures: Figures) -> list[Bar]:
    most = max((sum(step.answered.values()) for step in figures.steps), default=0) or 1
    width = WIDTH / max(1, len(figures.steps))
    bars = []
    for number, step in enumerate(figures.steps):
        x, top, blocks = number * width, float(HEIGHT), []
        for who in ANSWERED:
            height = step.answered.get(who, 0) / most * (HEIGHT - 4)
            if height:
                top -= height
                blocks.append(Block(who, x + width * 0.12, top, width * 0.76, height))
        bars.append(Bar(step, x, width, tuple(blocks)))
    return bars


def _strips(faults: Mapping[str, Fixes]) -> list[Strip]:
    most = max((fixes.asked for fixes in faults.values()), default=0) or 1
    strips = []
    for code, fixes in faults.items():
        x, pieces = 0.0, []
        counts = (("fixed", fixes.fixed), ("unfixed", fixes.not_fixed), ("silent", fixes.silent))
        for what, count in counts:
            width = count / most * WIDTH
            if width:
                pieces.append((what, x, width))
                x += width
        strips.append(Strip(code, fixes, tuple(pieces)))
    return strips


def _offset(text: str) -> int:
    """Seconds that the reader's clock is ahead of UTC, as the page noted them; 0 for nonsense."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 5:  # noqa: PLR2004 - 14 h are 50,400 s
        return 0
    return max(-50_400, min(50_400, int(text)))
