"""The lines of a chat as the page receives them: nothing about engines and models is in them."""

from __future__ import annotations

from bot.photos.mentions import places_mentioned
from context.transcripts import Entry
from context.turns import Part


def line_of(entry: Entry) -> dict[str, object]:
    """A message as the page receives it, without anything about engines and models."""
    return {
        "id": entry.id,
        "who": entry.who,
        **text_of(entry),
        "cites": [] if entry.who == "customer" else _cites(entry.text),
        "photos": [
            {"sha256": photo.sha256, "width": photo.width, "height": photo.height, "number": photo.number}
            for photo in entry.photos
        ],
        "rejections": [{"code": rejection.code, "clip": rejection.is_clip} for rejection in entry.rejections],
        "at": entry.at,
        "source": entry.source,
        "preliminary": entry.origin == "fallback",
        "ask": _asked(entry),
    }


def text_of(said: Entry | Part) -> dict[str, object]:
    """Text and its formatting."""
    return {
        "text": said.text,
        "entities": [
            {"type": span.type, "offset": span.offset, "length": span.length, "url": span.url}
            for span in said.entities
        ],
    }


def _cites(text: str) -> list[dict[str, int]]:
    """Where a reply names photos by their number, in UTF-16 code units as all spans."""
    return [
        {"offset": _utf16(text[:begin]), "length": _utf16(text[begin:end]), "number": number}
        for begin, end, number in places_mentioned(text)
    ]


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _asked(entry: Entry) -> dict[str, object] | None:
    if entry.ask is None:
        return None
    vote, _, reason = entry.vote.partition(" ")
    return {"about": entry.ask.about, "turn": entry.ask.turn, "vote": vote, "reason": reason}
