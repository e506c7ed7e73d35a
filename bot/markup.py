"""From a reply's Markdown to the parts that a channel sends: plain text plus entities.

Entities are used instead of a parse mode, so that a stray `*` cannot make a channel refuse the message.
telegramify-markdown converts the text.  What it would lose (text in angle brackets, `5*3`) is escaped first;
if letters or digits are missing afterwards, the text is sent as it was written.
"""

from __future__ import annotations

import re
import unicodedata

import telegramify_markdown
from telegramify_markdown import MessageEntity, RenderConfig, utf16_len

from context.turns import Entity, Part

PART_UNITS = 4000
"""UTF-16 code units in a part: Telegram accepts 4,096, the chat page any number."""
PART_ENTITIES = 90
"""Telegram shows about 100 entities per message and silently drops the rest."""
LONGEST_CHARACTER = 40
"""Code points in what is shown as one character, such as a family of emoji; a longer run may be cut."""

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_LOST_OTHERWISE = re.compile(
    r"<(?!https?://)"  # <serial number> is taken for a tag and vanishes
    r"|(?<=[^\W_])\*(?=[^\W_])(?!\*)"  # 5*3: not the start of emphasis
    r"|__(?=\w+__)"  # __init__
    r"|~{3,}"  # a row of tildes opens a code block
)
_EDGE = "\ue000"
"""A private character: neither space nor punctuation."""
_HAN = "[\u3400-\u9fff]"
# CommonMark tells where bold begins and ends by the spaces around `**`; Chinese has none: `**注意：**请断电`.
_BESIDE_HAN = re.compile(
    rf"{_CODE.pattern}|(?P<end>(?<=[^\w\s*\\])\*\*(?={_HAN}))|(?P<begin>(?<={_HAN})\*\*(?=[^\w\s*\\]))",
    re.DOTALL,
)
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Two of them are shown as one flag."""
_SAFE_LINK = re.compile(r"(?:https?://|tel:|mailto:)", re.IGNORECASE)


def _config() -> RenderConfig:
    config = RenderConfig.isolated()
    symbol = config.markdown_symbol
    symbol.heading_level_1 = symbol.heading_level_2 = ""
    symbol.heading_level_3 = symbol.heading_level_4 = ""
    symbol.image = symbol.link = ""
    symbol.unordered_list_item = "•"
    return config


_CONFIG = _config()


def parts_of(text: str) -> tuple[Part, ...]:
    """Split a reply into parts of at most `PART_UNITS` UTF-16 units, at paragraphs, lines or sentences.

    A blank text gives no parts, any other at least one.
    """
    plain, entities = _convert(text)
    return tuple(_pieces(plain, entities))


def plain_parts(text: str) -> tuple[Part, ...]:
    """The same for text that is not Markdown: what a person wrote is sent unchanged."""
    return tuple(_pieces(text.strip(), []))


def _convert(text: str) -> tuple[str, list[Entity]]:
    escaped = "".join(
        piece if index % 2 else _LOST_OTHERWISE.sub(_escape, piece)
        for index, piece in enumerate(_CODE.split(text))
    )
    edged = _BESIDE_HAN.sub(_with_edge, escaped)
    plain, entities = telegramify_markdown.convert(edged, latex_escape=False, config=_CONFIG)
    plain = _without_edges(plain, entities).rstrip()
    if not plain or _substance(plain) != _substance(_without_links(text)):
        return text.strip(), []
    units = utf16_len(plain)
    return plain, [
        Entity(e.type, e.offset, min(e.length, units - e.offset), e.url or "", e.language or "")
        for e in entities
        if e.offset < units and (e.type != "text_link" or _SAFE_LINK.match(e.url or ""))
    ]


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\{char}" for char in match.group())


def _with_edge(match: re.Match[str]) -> str:
    if match["end"]:
        return f"{_EDGE}**"
    return f"**{_EDGE}" if match["begin"] else match.group()


def _without_edges(plain: str, entities: list[MessageEntity]) -> str:
    """The text without them; the entities are moved."""
    pieces = plain.split(_EDGE)
    places, offset = [], 0
    for piece in pieces[:-1]:
        offset += utf16_len(piece)
        places.append(offset)
        offset += 1
    for entity in entities if places else ():
        end = entity.offset + entity.length
        entity.offset -= sum(place < entity.offset for place in places)
        entity.length = end - sum(place < end for place in places) - entity.offset
    return "".join(pieces)


def _without_links(text: str) -> str:
    """The text without link targets: they move into entities, which is no loss."""
    return re.sub(r"\]\([^()\s]*\)", "]", text)


_FENCE_LABEL = re.compile(r"^```[\w+-]*$", re.MULTILINE)
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_ENTITY_NAME = re.compile(r"&#?\w+;")


def _substance(text: str) -> str:
    """The letters and digits that must survive a conversion; list numbers and code labels may change."""
    for redrawn in (_FENCE_LABEL, _LIST_NUMBER, _ENTITY_NAME):
        text = redrawn.sub("", text)
    return "".join(char for char in text if char.isalnum())


def _pieces(plain: str, entities: list[Entity]) -> list[Part]:
    parts = []
    start = 0  # in characters of `plain`
    offset = 0  # the same place in UTF-16 code units
    while start < len(plain):
        end = _cut(plain, start)
        piece = plain[start:end]
        stripped = piece.strip()
        lead = utf16_len(piece[: len(piece) - len(piece.lstrip())])
        if stripped:
            parts.append(Part(stripped, _clip(entities, offset + lead, utf16_len(stripped))))
        offset += utf16_len(piece)
        start = end
    return parts


def _cut(plain: str, start: int) -> int:
    """Where the part that begins at `start` ends: the last paragraph, line, sentence or word that fits."""
    end = start
    units = 0
    while end < len(plain):
        units += 2 if plain[end] > "\uffff" else 1
        if units > PART_UNITS:
            break
        end += 1
    else:
        return end
    for mark in ("\n\n", "\n", "。", ". ", "！", "? ", "？", "；", "，", " "):
        place = plain.rfind(mark, start + (end - start) // 2, end)
        if place > start:
            return place + len(mark)
    return _before_character(plain, start, end)


def _before_character(plain: str, start: int, end: int) -> int:
    """`end`, or a place shortly before it where no emoji, flag or accented letter is cut in two."""
    for place in range(end, max(start, end - LONGEST_CHARACTER), -1):
        kept, before, after = plain[start:place], plain[place - 1], plain[place]
        is_inside = (
            "\u200d" in (before, after)  # joins two emoji
            or unicodedata.category(after) in {"Mn", "Me"}  # accents, variation selectors, keycaps
            or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
            or (after in _FLAG_LETTERS and (len(kept) - len(kept.rstrip(_FLAG_LETTERS))) % 2)
        )
        if not is_inside:
            return place
    return end


def _clip(entities: list[Entity], offset: int, length: int) -> tuple[Entity, ...]:
    clipped = []
    for entity in entities:
        begin = max(entity.offset, offset)
        finish = min(entity.offset + entity.length, offset + length)
        if begin < finish:
            clipped.append(Entity(entity.type, begin - offset, finish - begin, entity.url, entity.language))
    return tuple(clipped[:PART_ENTITIES])
