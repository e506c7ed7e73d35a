"""Rendering of the console's pages: the Jinja environment, and the functions of its templates.

Whatever a customer wrote is escaped by Jinja and made visible by `plain`: a control character or a mark that
turns the text round shows as what it is, and does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from bot.staff.pack import Packs
from bot.web.console.words import translator
from context.console.search import fold
from context.turns import Language

_FOLDER = Path(__file__).parent.parent / "pages" / "console"
# Control characters but tab and line feed; marks that turn the direction round; invisible ones.  A joiner is
# no disguise between emoji, which make a family of it, nor in scripts that are spelled with it.
_JOINABLE = "[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff\u0600-\u077f\u0900-\u0dff]"
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
    f"|(?<!{_JOINABLE})[\u200c\u200d]|[\u200c\u200d](?!{_JOINABLE})|[\U000e0000-\U000e007f]"
)
MOST_SHOWN = 4000
"""Characters of one text that are shown at once; the rest is a click away."""
NO_STORE = {"Cache-Control": "no-store"}
"""Pages with customers' words stay out of every cache, the browser's too."""


class Pages:
    """Renders templates."""

    def __init__(self, packs: Packs) -> None:
        self._packs = packs

    def render(self, template: str, language: Language, **values: object) -> str:
        """The template in this language."""
        return self._environment.get_template(template).render(
            _=translator(language), language=language, **values
        )

    def answer(
        self,
        template: str,
        language: Language,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> HTMLResponse:
        """The template as an answer to a request."""
        html = self.render(template, language, **values)
        return page(html, status=status, headers=headers)

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"plain": plain, "iso": iso, "ms": ms, "marked": marked}
        environment.globals |= {"most_shown": MOST_SHOWN}
        environment.globals |= {"why_of": self._packs.why, "rule_of": self._packs.rule}
        return environment


def page(html: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page, or a piece of one, that no cache keeps."""
    return HTMLResponse(html, status, headers={**NO_STORE, **(headers or {})})


def plain(text: str) -> str:
    """A text in which nothing hides."""
    return _HIDDEN.sub(lambda match: f"‹{ord(match[0]):04X}›", text.replace("\r\n", "\n"))


def cleared(text: str) -> str:
    """A text without what hides in it: for words that staff type."""
    return _HIDDEN.sub("", text)


def iso(moment: float) -> str:
    """A moment for `<time datetime>`; the page shows it in the reader's own time zone."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ms(milliseconds: float) -> str:
    """A duration as people read it: `340 ms`, `4.2 s`, `26 min`, `3.1 h`."""
    for unit, length, digits in (("h", 3_600_000, 1), ("min", 60_000, 0), ("s", 1000, 1)):
        if milliseconds >= length:
            return f"{milliseconds / length:.{digits}f} {unit}"
    return f"{milliseconds:.0f} ms"


def marked(text: str, words: tuple[str, ...], chars: int = 160) -> Markup:
    """The piece of a text where the first of these folded words stands, each of them marked."""
    folded = fold(text)
    if len(folded) != len(text):  # folding changed lengths: places would be wrong
        text = folded
    places = [place for word in words if (place := folded.find(word)) >= 0]
    begin = max(0, min(places, default=0) - chars // 3)
    piece = plain(text[begin : begin + chars])
    folded = fold(piece)
    if len(folded) != len(piece):
        return escape(piece)
    out, at = Markup(), 0
    pattern = re.compile("|".join(re.escape(word) for word in words) or r"(?!)")
    for match in pattern.finditer(folded):
        out += escape(piece[at : match.start()]) + Markup("<mark>{}</mark>").format(
            piece[match.start() : match.end()]
        )
        at = match.end()
    out += escape(piece[at:])
    return Markup("…") + out if begin else out
