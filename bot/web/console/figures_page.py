"""The page of figures: drawn here as SVG, from what `context.figures` counts."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.web.console.conversation import WHY_WORDS
from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import Pages
from bot.web.console.words import N_
from context.figures import ANSWERED, Answered, Counting, Figures, Tally

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


class FiguresPage:
    """`/staff/figures`."""

    def __init__(self, *, door: Door, pages: Pages, counting: Counting) -> None:
        self._door = door
        self._pages = pages
        self._counting = counting

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
        return self._pages.answer(
            "figures.html",
            visit.language,
            visit=visit,
            theme=theme_of(visit.request),
            figures=figures,
            bars=_bars(figures),
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


def _offset(text: str) -> int:
    """Seconds that the reader's clock is ahead of UTC, as the page noted them; 0 for nonsense."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 5:  # noqa: PLR2004 - 14 h are 50,400 s
        return 0
    return max(-50_400, min(50_400, int(text)))
