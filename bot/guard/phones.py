"""Telephone numbers in a folded text: by their shape, or because the words before say `call`.

Serial numbers, orders, versions and voltages are everywhere in fault reports and are not phone numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.guard.clauses import Words
from bot.guard.fold import Folded

_EDGE = r"(?<![a-z\d_+])(?<![a-z\d][-_./])"
_END = r"(?![a-z\d_]|[.\-/:]\d)"
_SHAPES = re.compile(
    _EDGE
    + r"(?:"
    + r"(?:\(?(?:\+|00)?86\)?[\s-]{0,2})?1[3-9]\d[\s.*·-]?\d{4}[\s.*·-]?\d{4}"  # Chinese mobile
    + r"|1[ *·][3-9](?:[ *·]\d){9}(?![ *·]\d)"  # the same, digit by digit
    + r"|[48]00[\s-]\d{2,4}[\s-]?\d{3,5}|[48]00\d{7}"  # Chinese service lines
    + r"|\(0\d{2,3}\)[\s-]?\d{3,4}[\s-]?\d{4}|0\d{2,3}[\s-]\d{3,4}[\s-]?\d{4}"  # Chinese fixed lines
    + r"|0[17]\d{3}[\s-]\d{6}|0[17]\d{3}[\s-]\d{3}[\s-]\d{3}"  # United Kingdom
    + r"|\+\d(?:[\s().-]{0,2}\d){7,14}"  # international
    + r"|(?:1[.\s-])?(?:\(\d{3}\)\s?|[2-9]\d{2}[.-])\d{3}[.\s-]\d{4}"  # North America
    + r"|1-8\d\d-[a-z\d]{3}-?[a-z\d]{4}"
    + r")"
    + _END
)
_CALL = Words(
    "拨打|致电|打电话|来电|电话|热线|手机|联系方式|短信",
    "call|phone|tel|dial|hotline|whatsapp|text us|sms|ring|my number|signal number",
    "扣扣|加群|q我|qq|企鹅号|裙|座机|号码是|landline",
)
_AFTER_CALL = re.compile(rf"[^\d\n,，。;；]{{0,12}}(\d(?:[\s-]{{0,3}}\d){{4,14}}){_END}")
_SHORT_CODE = re.compile(r"\btext (?:the )?(?:word )?[^.\n\d]{1,16} to (\d{4,6})(?!\d)")
_WITH_LETTER_O = re.compile(r"(?<![a-z\d])[o\d]{2,14}(?![a-z\d])")
_LETTER_O = Words("|".join(f"{digit}o|o{digit}|{digit}-o|oo {digit}|oo-{digit}" for digit in range(10)))
_LABEL = re.compile(
    r"(?:\b(?:sn|s/n|p/n|pn|serial|order|part|model|imei|mac|barcode|tracking|ticket|case|firmware|batch|lot|sku"
    r"|invoice|id|ean|upc|rev|code)\b|序列号|编号|订单|料号|型号|编码|条码|运单|单号|工单|固件|批次|发票|机身号)"
    r"[^\n。;；]{0,14}\Z"
)
_RUN = re.compile(r"[+(\d][\d\s().*·-]{5,24}")  # what a number could be part of
_ROOM = 10  # characters after a run: letters in place of digits, and what must not follow
_SPELLED = re.compile(
    r"[零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖\d](?:[\s,-]?[零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖\d]){6,16}"
)
_SPELLING = str.maketrans("零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖", "001234567891123456789")
_NAMES = {"zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
_NAMES |= {"seven": "7", "eight": "8", "nine": "9", "hundred": "00", "double": "", "triple": ""}
_NAME = "|".join(_NAMES)
_NAMED = re.compile(rf"(?<![a-z])(?:{_NAME}|\d{{1,4}})(?:[ ,-]{{1,2}}(?:{_NAME}|\d{{1,4}})){{3,}}(?![a-z\d])")
_NAMED_START = Words("|".join(f"{one}{gap}{two}" for one in _NAMES for two in _NAMES for gap in " -"))
_LEAST_NAMED = 3
_LEAST_DIGITS = 7
_EMERGENCY = frozenset(
    {"110", "119", "120", "122", "112", "911", "999", "12345", "12315", "12320", "12356", "988"}
)


@dataclass(frozen=True, slots=True)
class Number:
    """A telephone number as digits, and its place in the original text."""

    digits: str
    span: tuple[int, int]


def find_numbers(folded: Folded) -> Iterator[Number]:
    """Telephone numbers, including those in Chinese numerals.  Public emergency numbers are not reported."""
    text = folded.text
    if _LETTER_O.occur_in(text):
        text = _WITH_LETTER_O.sub(lambda match: match.group().replace("o", "0"), text)
    end = 0
    for run in _RUN.finditer(text):
        for match in _SHAPES.finditer(text, max(end, run.start()), run.end() + _ROOM):
            end = match.end()
            if not is_labelled(text, match.start()):
                yield Number(only_digits(match.group()), folded.span(*match.span()))
    yield from _told_to_call(text, folded)
    for start, end, digits in _named(text):
        yield Number(digits, folded.span(start, end))
    for match in _SPELLED.finditer(text) if not text.isascii() else ():
        spelled = match.group().translate(_SPELLING)
        if not match.group().isascii() and (_SHAPES.search(spelled) or _calls(text, match.start())):
            yield Number(only_digits(spelled), folded.span(*match.span()))


def _told_to_call(text: str, folded: Folded) -> Iterator[Number]:
    """Digits in any grouping, because the words before say `call` or `text`."""
    for short in _SHORT_CODE.finditer(text) if "text " in text else ():
        yield Number(short.group(1), folded.span(*short.span(1)))
    for _, end in _CALL.places(text):
        after = _AFTER_CALL.match(text, end)
        if after is not None and only_digits(after.group(1)) not in _EMERGENCY:
            yield Number(only_digits(after.group(1)), folded.span(*after.span(1)))


def _named(text: str) -> Iterator[tuple[int, int, str]]:
    """Numbers spelled in at least three English words: place and digits."""
    if not _NAMED_START.occur_in(text):
        return
    for match in _NAMED.finditer(text):
        pieces = re.findall(r"[a-z]+|\d+", match.group())
        digits = "".join(_NAMES.get(piece, piece) for piece in pieces)
        if sum(piece.isalpha() for piece in pieces) >= _LEAST_NAMED and len(digits) >= _LEAST_DIGITS:
            yield *match.span(), digits


def only_digits(text: str) -> str:
    """The digits in a text."""
    return "".join(character for character in text if character.isdecimal())


def is_labelled(text: str, start: int) -> bool:
    """Whether the words before a number call it a serial, an order or a part: then it is not a phone."""
    before = text[max(0, start - 24) : start]
    return bool(_LABEL.search(before)) and not _calls(text, start)


def _calls(text: str, start: int) -> bool:
    return _CALL.occur_in(text[max(0, start - 12) : start])
