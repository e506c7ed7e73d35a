"""Hosts, e-mail addresses and handles in a text, however they are spelled.

The patterns start only where a label starts and never look back, so the time grows with the text and
not with its square; plain code decides what a match means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.accounts import find_accounts
from bot.guard.candidate import BRACKETED, SPLIT, WEAK, Candidate, Link, Lists
from bot.guard.clauses import Words, either
from bot.guard.fold import Folded
from bot.guard.hosts import FILE_ENDINGS, LOCAL_ENDINGS, STRONG, TOP_LEVEL, WORDS

_DOT_NEXT = r"(?=[ ]?[.,\[({<【。点]|[ ]+d[o0]t)"  # one check that tells most words from hosts
_HOST = re.compile(
    rf"(?<![a-z0-9_-])[a-z0-9_-]++{_DOT_NEXT}(?:(?:\.(?=[a-z0-9_-])|{BRACKETED}|{WEAK})[a-z0-9_-]++)+"
)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_ACTIVE = either(
    r"(?<![a-z0-9])(?:(?:javascript|vbscript):\S|data:[a-z]+/[a-z]|bitcoin:[a-z0-9]{8}|(?:weixin"
    "|wechat|alipay|alipays|alipayqr|alipayhk|tg|intent|whatsapp|taobao|tmall|upwrp|paypal"
    "|bitcoin|ethereum|upi|mqqapi|mqqwpa|tencent|qq|line|viber|market|itms-services)://?[!-~]"
    "|file://[a-z0-9])"
    r"[^\s]{0,200}",
)
_NUMERIC = re.compile(
    r"(?<![a-z0-9])h(?:tt|xx)ps?:/{1,3}(?:0x[0-9a-f]{5,8}|\d{6,12}|\[[0-9a-f:.]{2,45}\])(?![\w.])[^\s]{0,200}"
)
# Each begins with the dot, so the search can skip ahead to it.
_HAN_HOST = re.compile(
    r"\.(?:(?<=[\u4e00-\u9fff]\.)(?:com|cn|net|org|top|xyz|vip|cc|shop)(?![a-z0-9])"
    r"|(?<=[\u4e00-\u9fffa-z0-9]\.)(?:中国|公司|网络|网址|商城|集团))"
)
_ENDINGS = TOP_LEVEL | WORDS | FILE_ENDINGS | LOCAL_ENDINGS
# Every text that the patterns above could match contains at least one of these.
_SCHEMES = Words(":/|javascript:|vbscript:|data:|bitcoin:")
_HOST_HINTS = Words(
    "://|www.|xn--|dot|d0t|[.|(.|{.|<.|【.|[。|(。|{。|[点|(点|{点| .|[ .|( .|. com|. net|. org|. cn|,com",
    ".中国|.公司|.网络|.网址|.商城|.集团",
    *(f".{ending}" for ending in _ENDINGS),
    *(f"{dot}{ending}" for dot in ("。", "。 ", "点", "点 ") for ending in STRONG),
)


_SPACED = re.compile(r"(?<!\S)[a-z0-9](?: [a-z0-9.\-/:]){5,80}(?!\S)")
_SPACED_HOST = re.compile(rf"[a-z0-9]\.(?:{'|'.join(sorted(STRONG))})(?![a-z0-9])")
# Spellings that the pattern of hosts does not see, and what a text has to contain for any of them.
_SPELLED_OUT = (
    re.compile(r"[a-z0-9-]{2,40} ?[(\[]?dot[)\]]? ?(?:com?|org|net|ac) ?[(\[]?dot[)\]]? ?[a-z]{2}(?![a-z])"),
    re.compile(r"[a-z0-9-]{2,40}·(?:com|cn|net|org|top|xyz|vip|shop)(?![a-z0-9])"),
    re.compile(r"w w w ?\. ?[a-z0-9-]{1,40}(?: ?\. ?[a-z](?: ?[a-z]){1,3})?"),
    re.compile(
        r"(?<![a-z0-9])(?:t|wa|m|bit|is|ow|goo|cutt|rebrand|tinyurl|youtu) ?(?:[.。]|[(\[]?dot[)\]]?) ?"
        r"(?:me|ly|gd|gl|com|be) ?/ ?[a-z0-9_+-]{3,40}"
    ),
    re.compile(
        r"(?:网址|网站|打开|访问|登录|浏览)[^。\n]{0,14}?[\u4e00-\u9fffa-z0-9]"
        r" ?点 ?(?:com|cn|net|org|top|xyz)(?![a-z])"
    ),
    re.compile(r"[¥$][a-z0-9]{8,14}[¥$]"),
)
_SPELLED_HINTS = Words(
    "dot |dot)|dot]|·c|·n|·o|·t|·x|·v|·s|w w w|¥",
    *(
        f"{dot}{ending}{slash}"
        for dot in (".", ". ", " .", " . ", "。", "。 ")
        for ending in ("me", "ly", "gd", "gl", "be", "com")
        for slash in ("/", " /")
    ),
    "点com|点cn|点net|点org|点top|点xyz|点 com|点 cn|点 net|点 org|点 top|点 xyz",
)
_HIDING = frozenset(" ,[({<")  # before a dot that is not written as one


def find_links(text: str, folded: Folded, *, allowed: Lists) -> Iterator[Link]:
    """Links, addresses and handles that are not ours, in no particular order."""
    seen = folded.text
    if _SCHEMES.occur_in(seen):
        for pattern, trick in ((_ACTIVE, "scheme"), (_NUMERIC, "numeric")):
            for match in pattern.finditer(seen):
                yield Link("link", folded.span(*match.span()), trick)
    yield from find_accounts(folded, allowed=allowed)
    for match in _SPACED.finditer(seen) if " . " in seen else ():
        if _SPACED_HOST.search(match.group().replace(" ", "")):
            yield Link("link", folded.span(*match.span()), "disguised")
    for pattern in _SPELLED_OUT if _SPELLED_HINTS.occur_in(seen) else ():
        for match in pattern.finditer(seen):
            yield Link("link", folded.span(*match.span()), "disguised")
    if _HOST_HINTS.occur_in(seen):
        for match in _HAN_HOST.finditer(seen) if not seen.isascii() else ():
            yield Link("link", folded.span(match.start() - 1, match.end()))
        yield from _hosts(text, folded, allowed)


def _hosts(text: str, folded: Folded, allowed: Lists) -> Iterator[Link]:
    seen = folded.text
    for match in _HOST.finditer(seen):
        if seen[match.start() - 1 : match.start()] not in {"/", "@"} and _is_no_host(match.group()):
            continue
        for start, end in _parts(seen, match.start(), match.end()):
            link = Candidate(text, folded, start, end).judge(allowed)
            if link is not None:
                yield link


def _is_no_host(run: str) -> bool:
    """Whether it is clearly no host: `24.5`, `v2.1.3`, `main.c`, most of what contains dots."""
    if not run.isascii() or run.startswith("www.") or not _HIDING.isdisjoint(run):
        return False
    ending = run.rpartition(".")[2]
    return ending not in _ENDINGS and not ending.startswith("xn--")


def _parts(seen: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split a run where a sentence ended, not a label: `support.example.com。LED` becomes two."""
    at = start
    for dot in SPLIT.finditer(seen, start, end):
        if dot.group("weak") is None:
            continue
        label = _LABEL.match(seen, dot.end(), end)
        ending = label.group() if label else ""
        followed = seen[dot.end() + len(ending) : dot.end() + len(ending) + 1]
        if ending not in STRONG or followed in {"口", "端", "灯", "串", "接"}:
            yield at, dot.start()
            at = dot.end()
    yield at, end
