"""Appliance safety: what a customer reports that cannot wait, and advice that must never be given.

A danger in the customer's words puts a fixed sentence above any answer and calls a person.  Text found
in photos is not read for dangers: every rating plate warns of electric shock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.clauses import Watch, either, is_negated
from bot.guard.fold import Folded
from bot.guard.verdict import Action, Reason

DANGERS = ("life", "gas", "fire", "electric", "battery")
"""Gravest first.  Each has a notice `safety_<name>`."""

_WATER = r"进水|泡水|浸水|淋水|滴水|漏水|被水|溅水|湿了|淋湿|有水"
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

_POWERED = (
    r"[^.]{0,25}\b(?:while|when|with)\b[^.]{0,25}(?:\bplugged in\b|\blive\b|\benergi[sz]ed\b|\bpowered on\b"
    r"|\bconnected to (?:the )?mains\b|\bswitched on\b|\bmains (?:still )?on\b|\bit(?:'s| is) (?:still )?on\b"
    r"|\bpower (?:still )?(?:is )?on\b)"
)
_UNSAFE = either(
    r"\b(?:open|remov\w+|take off|unscrew|disassembl\w+)\b[^.]{0,30}\b(?:casing|cover|housing"
    r"|panel|case|lid|enclosure)\b[^.]{0,25}\b(?:while|when|with)\b[^.]{0,25}(?:\bplugged in\b|"
    r"\blive\b|\benergi[sz]ed\b|\bpowered on\b|\bconnected to (?:the )?mains\b|\bswitched on\b|"
    r"\bmains (?:still )?on\b|\bit(?:'s| is) (?:still )?on\b|\bpower (?:still )?(?:is )?on\b)",
    r"\b(?:touch|replac\w+|work on|pull out|reach into|remov\w+)\b[^.]{0,30}\b(?:wiring|wires?"
    r"|capacitor|compressor|terminals?|circuit board|magnetron|heating element|fuse)\b[^.]{0,25}\b"
    r"(?:while|when|with)\b[^.]{0,25}(?:\bplugged in\b|\blive\b|\benergi[sz]ed\b|\bpowered on\b|"
    r"\bconnected to (?:the )?mains\b|\bswitched on\b|\bmains (?:still )?on\b|\bit(?:'s| is) "
    r"(?:still )?on\b|\bpower (?:still )?(?:is )?on\b)",
    r"\b(?:no need to|don'?t (?:need|have) to|without)\b[^.]{0,6}\b(?:unplug\w*|disconnect\w* "
    r"(?:the )?(?:power|mains)|(?:switch|turn)\w* (?:it )?off (?:the )?(?:power|mains)"
    r"|turning off the (?:power|gas))\b[^.]{0,30}\b(?:open|remove|unscrew|disassemble|touch)\b",
    r"\b(?:open|remove|unscrew|disassemble)\b[^.]{0,30}\bwithout (?:turning (?:it|the power) off"
    "|switching it off|unplugging|disconnecting the (?:power|mains)|turning off the power)",
    r"\b(?:bypass\w*|jumper|short(?:[- ]circuit)?|defeat|tape over|bridge|jump)\b (?:out )?(?:the "
    "|its |this |your |a )?(?:thermal fuse|fuse|safety (?:switch|valve|interlock|device)"
    "|thermal cut-?out|interlock|earth (?:wire|pin|connection)|ground (?:wire|pin|prong)|gfci|rcd"
    r"|circuit breaker|pressure relief valve|flame (?:sensor|failure device))\b(?! (?:cover|cap"
    "|holder))",
    r"\bremove (?:the |its |this |your )?(?:safety (?:switch|valve|interlock|device)|interlock|"
    r"(?:earth|ground) (?:wire|pin|prong))\b",
    r"\b(?:lighter|match|flame|candle)\b[^.]{0,30}\b(?:find|check|test|detect|look for)\b"
    r"[^.]{0,20}\b(?:leak|gas)\b",
    r"\b(?:find|check|test|detect|look for)\b[^.]{0,30}\b(?:leak|gas)\b[^.]{0,30}\bwith (?:a "
    r"|your )?(?:lighter|match|flame|candle)\b",
    r"\b(?:puncture|pierce|poke)\b[^.]{0,20}\b(?:battery|cell)\b",
    r"\bmix\w*\b[^.]{0,20}\bbleach\b[^.]{0,20}\b(?:ammonia|vinegar|acid|toilet cleaner)",
    "带电(?:拆|打开|操作|维修|更换|检修|触摸|作业|接线|插拔电源线)",
    "(?:不用|无需|不必|无须|不需要|不)(?:先)?(?:断电|拔掉?(?:电源|插头)|关(?:闭|掉)?(?:电源|电闸"
    "|燃气))[^。]{0,12}(?:拆|打开|更换|接线|操作)",
    "通电(?:状态|情况)?(?:下|时|中)[^。]{0,10}(?:拆|打开外壳|打开机壳|打开后盖|更换(?!耗材|墨盒"
    "|硒鼓|滤|纸|电池)|触摸)",
    "(?:短接|旁路|跨接|屏蔽|拆除|短路(?![会时后可能导引造使])|取消)(?:掉)?[^,。]{0,6}(?:保险丝|保险管|熔断器|安全开关"
    "|联锁|门锁开关|温控器|热保护|漏电保护|安全阀|泄压阀|地线|接地)",
    "用(?:打火机|明火|火柴|火)[^,。]{0,8}(?:检查|测试|找|试|检测)[^,。]{0,8}(?:漏|气)",
    "(?:剪掉|剪断|拆掉|去掉)[^,。]{0,4}(?:地线|接地|保险)",
    "把[^,。]{0,4}(?:地线|保险丝|温控器|安全开关)[^,。]{0,4}(?:剪|拆掉|短接|短路|去掉)",
    "(?:铜丝|铁丝|锡纸|导线)[^,。]{0,6}(?:代替|替代|包|缠|接上)[^,。]{0,6}保险",
    "保险[^。不勿别禁]{0,8}(?:用|拿)[^,。]{0,4}(?:铜丝|铜线|铁丝|锡纸|导线)[^,。]{0,2}(?:代替|替代|顶)",
    "(?:拆|打开(?:外壳|机壳|后盖|盖))[^。]{0,8}(?:不用|无需|不必|不需要)(?:先)?(?:断电|拔|关电)",
    r"\b(?:leave|keep) (?:it|the \w+) (?:plugged in|switched on|powered|live|on)\b[^.]{0,12}\b(?:while"
    r"|when)\b[^.]{0,15}"
    r"\b(?:open|remov|unscrew|disassembl|repair|work)\w*",
    r"\b(?:bypass\w*|jumper|defeat|tape over|bridge|jump)\b (?:the |its |this |your "
    r"|a )?(?:door (?:switch|interlock)"
    r"|thermal cut-?off|thermostat|pressure switch|tilt switch)\b",
    r"\b(?:disable|take out|remove|defeat) (?:the |its |your )?(?:rcd|gfci|residual current"
    r"|earth leakage)\b(?! (?:test|label|cover|sticker))",
    r"\b(?:stick|insert|put|poke|push)\b[^.]{0,20}\b(?:screwdriver|nail|paper ?clip|knife|fork"
    r"|fingers?)\b[^.]{0,15}"
    r"\b(?:socket|outlet|receptacle)s?\b",
    r"\bfuse\b[^.]{0,12}\bin (?:tin |aluminium |aluminum )?foil\b",
    r"\btouch (?:the |both |two )?(?:bare |live )?(?:wires?|capacitors?)\b[^.]{0,20}\b(?:to|and) (?:see"
    r"|check|test|feel|find)\b"
    r"(?![^.]{0,40}\b(?:probe|meter|multimeter|tester)\b)",
    r"\bdischarge\b[^.]{0,20}\bcapacitors?\b[^.]{0,12}\bwith (?:your |a |bare )*(?:fingers?|hands?"
    r"|screwdriver)\b",
    r"\bhold (?:the )?(?:bare |two |both )?wires together\b|\b(?:cut|snip|clip)(?: off)? the (?:ground"
    r"|earth) (?:wire|pin|prong)",
    r"\b(?:put|use|fit|install)\b[^.]{0,12}\b(?:bigger|larger|stronger|thicker) fuse\b"
    r"|\b\d+ ?a fuse instead of\b",
    r"\btape (?:the )?(?:safety|door) (?:switch|interlock)\b|\bpour water\b[^.]{0,15}\b(?:battery|socket"
    r"|outlet|board|oil)",
    r"\b(?:light|strike) (?:a |the )?(?:match|lighter|candle)\b[^.]{0,30}\bgas\b",
    r"\b(?:don'?t|do not|no) need to (?:unplug|turn|switch|disconnect|shut)\b[^.]{0,30}\b(?:unscrew|open"
    r"|loosen|remov|tak|before)\w*",
    r"\bopen\b[^.]{0,12},? (?:the )?power (?:doesn'?t|does not) matter",
    "(?:插着电|插着电源|开着电)[^,。]{0,4}(?:拆|修|打开(?:外|机|后)|接线)",
    "换[^,。]{0,3}(?:大一?点|更大|粗一?点|加大)[^,。]{0,4}保险|铜丝[^,。]{0,3}(?:绕|缠)",
    "不关(?:煤气|燃气|天然气|气阀|总阀)[^,。]{0,4}(?:拆|换|修)|胶带[^,。]{0,6}(?:门开关|安全开关|联锁)",
    "点火[^,。]{0,4}(?:试|看|找)[^,。]{0,6}漏",
    "带电(?:检查(?!灯|指示)|拆卸|触碰|处理|拆装)|门(?:锁|控)?开关[^,。]{0,3}短接(?!片|端|线|帽)",
    "把[^,。]{0,6}(?:漏电保护器?|漏保|安全阀|门(?:锁)?开关|熔断器)[^,。]{0,3}(?:拆|短接|短路|去掉|屏蔽"
    "|取消|拔掉)",
    "(?:电池|电芯|鼓包)[^,。不勿禁别]{0,8}(?:扎|刺|戳|钻)(?:个|一个|几个)?(?:洞|孔|眼|破|穿)",
    "用手[^,。]{0,4}(?:摸|碰|试)[^,。]{0,3}(?:电线|火线|铜线|裸线|接线端|线头)",
    r"\b(?:foil|wire|nail|coin|penny)\b[^.]{0,20}\b(?:around|instead of|in place of|replaces?)\b"
    r"[^.]{0,12}\bfuse",
    "(?:刺破|扎破|戳破|刺穿|扎穿)[^,。]{0,6}(?:电池|电芯)",
)
_UNSAFE_WATCH = Watch(
    {
        "safety.advice": (
            "plugged in| live|energi|powered on|mains|switched on|power on|power is|power still|unplug",
            "disconnect|turn|fuse|safety |thermal |interlock|earth |ground |gfci|rcd|breaker|relief|flame",
            "lighter|match|candle|puncture|pierce|poke|bleach|带电|断电|拔|关电源|关闭电源|关掉|电闸|燃气",
            "通电|短接|旁路|跨接|屏蔽|拆除|短路|取消|打火机|明火|火柴|用火|刺破|扎破|戳破|刺穿|扎穿|剪|拆掉",
            "on while|on when|bypass|jumper|screwdriver|nail|paper clip|paperclip",
            "knife|fork|finger|foil|discharge",
            "touch the wire|touch wire|touch both|touch two|touch bare|touch live",
            "touch the bare|touch the live",
            "touch the capac|residual|wires together|pour water|漏电保|漏保|安全阀|门开关|门锁开关|门控开关",
            "熔断",
            "插着电|开着电|不关|胶带|点火|保险|扎|戳|钻个|钻孔|钻洞|用手|去掉|铜丝|铜线|铁丝|锡纸|导线|without",
            "不用|无需|不必|不需要|matter",
            "it is on|it's on|still on|mains on",
        )
    }
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
_WARNED = either(
    r"\b(?:do not|don'?t|never|avoid|must not|mustn'?t|should not|shouldn'?t|cannot|can'?t"
    r"|dangerous to|unsafe to|risky to|no one should|instead of|rather than)\b",
    "不要|切勿|请勿|勿|禁止|严禁|不得|不可|不能|避免|千万别|别|杜绝|危险",
)


def find_dangers(folded: Folded) -> Iterator[tuple[str, tuple[int, int]]]:
    """Dangers a customer reports, with their places in the original; denied ones (`没有焦味`) are none."""
    folded = folded.squeezed or folded
    found: set[str] = set()
    for danger, at, sentence in _WATCH.sentences(folded.text):
        place = None if danger in found else _sign(danger, sentence)
        if place is not None:
            found.add(danger)
            yield danger, folded.span(at + place[0], at + place[1])


def find_unsafe_advice(folded: Folded) -> Iterator[Reason]:
    """Instructions in a reply that endanger whoever follows them; warnings against them are fine."""
    folded = folded.squeezed or folded
    for _, at, sentence in _UNSAFE_WATCH.sentences(folded.text):
        for match in _UNSAFE.finditer(sentence):
            if not _WARNED.search(sentence, 0, match.start()) and not is_negated(sentence, match.start()):
                span = folded.span(at + match.start(), at + match.end())
                yield Reason("safety.advice", "safety", Action.BLOCK, span)
                break


def _sign(danger: str, sentence: str) -> tuple[int, int] | None:
    for match in _SIGNS[danger].finditer(sentence):
        before = sentence[max(0, match.start() - 60) : match.start()]
        after = sentence[match.end() : match.end() + 20]
        if not _NEAR_DENIAL.search(before) and not _DETECTOR.match(after):
            return match.span()
    return None
