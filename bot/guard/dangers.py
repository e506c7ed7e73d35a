"""Dangers: reports of customers that cannot wait.

A danger in the customer's words puts a fixed sentence above any answer and calls a person.  Text on
photos is not searched for dangers: every rating plate warns of electric shock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.clauses import Watch, either
from bot.guard.fold import Folded

_WATER = r"进水|泡水|浸水|淋水|滴水|漏水|被水|溅水|湿了|淋湿|有水"
# The most serious first.  Each has a notice `safety_<name>`.
_SIGNS = {
    "life": re.compile(
        r"\b(?:kill|hurt|harm)(?:ing)? myself\b|\bsuicid\w+|\bend my life\b|\bwant to die\b"
        r"|(?:想|要)(?:去)?(?:自杀|轻生|自残|寻死)|想死(?!机)|不想活|活不下去"
    ),
    "gas": either(
        r"\bsmell\w*(?: of| like)? (?:\w+ ){0,2}gas\b|\bgas (?:smell|odou?r|leak\w*)",
        r"\b(?:smell|odou?r|leak\w*) of gas\b|\bleak\w* gas\b|\brotten eggs?\b",
        r"\b(?:carbon monoxide|co) (?:alarm|detector)\b[^.]{0,12}\b(?:going off|goes off|went off"
        r"|beep\w*|sound\w*)",
        "(?:煤气|燃气|天然气|液化气|瓦斯|臭鸡蛋|臭蛋)(?:的|一样的)?(?:臭)?(?:味|气味)",
        "(?:煤气|燃气|天然气|液化气|瓦斯)[^,。]{0,4}(?:泄漏|泄露|漏)(?!报警器|保护|检测)",
        "(?:漏|泄漏|泄露)(?:煤气|燃气|天然气)|一氧化碳[^,。]{0,4}(?:中毒|报警|超标)",
    ),
    "fire": either(
        r"\bburn(?:ing|t|ed)? (?:electrical )?(?:smell|odou?r|plastic|rubber|wires?)\b",
        r"\bsmell\w* (?:of |like )?(?:something )?(?:burn|smok|melt)\w*",
        r"\bsmoke (?:is |was |comes? |came |coming |started |pour)",
        r"\b(?:is|was|it'?s|started|starts|began) smoking\b",
        r"\b(?:see|saw|seeing|white|black|some) smoke\b|\bsmoke (?:from|out)\b|\bcaught fire\b",
        r"\b(?:on|catch(?:es|ing)?) fire\b|\bin flames\b|\bflames (?:coming|came|from|shoot)",
        r"\bscorch\w*|\bcharred\b",
        r"\b(?:plug|socket|outlet|cable|cord|charger|wires?|connector|battery|adapter)\b"
        r"[^,.]{0,12}\b(?:melt\w+|burn(?:t|ing|ed)|blackened|singed)",
        r"\bmelted (?:plug|socket|cable|plastic|cord|wire)|\bspark(?:s|ing|ed)\b(?! plug)",
        "(?:焦|糊|煳|烧焦|烧糊|胶皮|塑料烧|烧塑料|烧)了?的?(?:臭)?味",
        "冒(?:了)?(?:黑|白|浓|青|出)?(?:一股|些)?烟|起火|着火|烧起来|(?<!缸)失火|有明火",
        "(?:打|冒|有|出|迸|闪)(?:了|出|着)?(?:电)?火花",
        "(?:插头|插座|插排|电线|线路|电源线|外壳|机身|主板|面板|线)[^,。]{0,5}(?:烧|熔化|融化"
        "|烤焦|发黑|变黑|焦黑|烫化)",
        "烧焦|焦痕|烧黑",
    ),
    "electric": either(
        r"\b(?:electric(?:al)? shock|(?:got|get|getting|gave me|gives me|felt) (?:a |an )?"
        r"(?:small |mild |electric )?shock\w*|shock(?:ed|s) me|zapp?ed me|got zapped|electrocuted)"
        r"\b",
        r"\b(?:exposed|bare|frayed) (?:live )?(?:wir\w+|cable|conductor|copper|cord)",
        r"\bwires? (?:is |are )?(?:exposed|showing|sticking out)\b",
        r"\bwater\b[^,.]{0,20}\b(?:in|into|on|onto|inside|over|near)\b (?:the |my |a )?"
        "(?:electrical |power |wall )?(?:socket|outlet|plug|power strip|mains|electrics"
        "|consumer unit|fuse ?box|breaker|circuit board)",
        r"\b(?:socket|outlet|plug|power strip|fuse ?box|breaker panel) (?:is |got |was )?(?:wet"
        r"|flooded|soaked)\b",
        "触电|电到(?:了)?(?:我|人|手)|被电(?:了|到|一下|麻)|(?:麻|电)手|电人",
        "漏电(?!保护|开关|断路|流|检测|报警|保护器)",
        "(?:电线|导线|铜线|铜丝|线芯|电缆|插座)[^,。]{0,6}(?:裸露|露出|外露|破皮|破损)",
        "裸露的?(?:电线|铜|线)",
        "(?:插座|插头|插排|插线板|配电箱|电箱|电闸|电源)[^,。]{0,6}(?:进水|泡水|浸水|淋水|滴水"
        "|漏水|被水|溅水|湿了|淋湿|有水)",
        "水[^,。]{0,6}(?:滴|漏|流|溅|进|渗)[^,。]{0,4}(?:插座|插头|插排|插线板|配电箱|电箱)",
    ),
    "battery": either(
        r"\b(?:battery|batteries|power ?bank)\b[^,.]{0,20}\b(?:swollen|swell\w*|bulg\w+|bloat\w*"
        r"|puff\w*|leaking|hissing|smok\w+|explod\w+)",
        r"\bswollen (?:battery|batteries)",
        "(?:电池|充电宝|电芯)[^,。]{0,8}(?:鼓包|鼓起|膨胀|漏液|爆炸|胀起|发胀|鼓了)|鼓包",
    ),
}
_NEAR_DENIAL = either(
    "(?:没有?|无|不|未|并未|不会|没在|没闻到|未见|排除)(?:再|任何|有|明显|什么|发现|看到|闻到"
    r"|出现|感觉到|的|是){0,3}\Z",
    r"(?:\bno\b|\bnot\b|n'?t\b|\bwithout\b|\bnever\b|\bneither\b|\bnor\b)(?:\W+(?:any|a|an|the"
    r"|smell\w*|see\w*|notice\w*|signs?|of|more|obvious|visible|there|is|are|have|had|has|been"
    "|feel|felt|get|got|strange|weird|or|longer|wires?|burning|smoke|odou?r|even"
    r"|really)){0,6}\W*\Z",
)
_DETECTOR = either(
    r"\A[^,。.]{0,3}(?:报警器|探测器|传感器|检测仪)",
    r"\A ?(?:detector|alarm|sensor)\b(?! (?:is|was|went|goes))",
)

_WATCH = Watch(
    {
        "life": ("myself|suicid|end my life|want to die|自杀|轻生|自残|寻死|想死|不想活|活不下去",),
        "gas": (
            "gas|rotten egg|co alarm|co detector|monoxide|煤气|燃气|天然气|液化气|瓦斯|臭鸡蛋|臭蛋|一氧化碳",
        ),
        "fire": (
            "burn|smok|melt|fire|flame|scorch|charred|blackened|singed|spark|味|烟|火|烧|熔化|融化|焦|黑|烫化",
        ),
        "electric": (
            "shock|zap|electrocut|exposed|bare |frayed|wire|water|wet|flooded|soaked|触电|电到",
            "被电|麻手|电手|电人",
            "漏电|裸露|露出|外露|破皮|破损|水|湿",
        ),
        "battery": ("batter|power bank|powerbank|电池|充电宝|电芯|鼓包",),
    }
)


def find_dangers(folded: Folded) -> Iterator[tuple[str, tuple[int, int]]]:
    """Dangers a customer reports, with their places in the original; not negated ones (`没有焦味`)."""
    folded = folded.squeezed or folded
    found: set[str] = set()
    for danger, at, sentence in _WATCH.sentences(folded.text):
        place = None if danger in found else _sign(danger, sentence)
        if place is not None:
            found.add(danger)
            yield danger, folded.span(at + place[0], at + place[1])


def _sign(danger: str, sentence: str) -> tuple[int, int] | None:
    for match in _SIGNS[danger].finditer(sentence):
        before = sentence[max(0, match.start() - 60) : match.start()]
        after = sentence[match.end() : match.end() + 20]
        if not _NEAR_DENIAL.search(before) and not _DETECTOR.match(after):
            return match.span()
    return None
