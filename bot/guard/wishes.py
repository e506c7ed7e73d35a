"""What a customer wants besides an answer: a person, or attention because they are angry."""

from __future__ import annotations

from bot.guard.clauses import either, is_negated
from bot.guard.fold import Folded, fold

_PERSON = either(
    r"\b(?:speak|talk|chat|connect|transfer|put me through|get me|give me|want|need)\b"
    r"[^.?!\n]{0,20}\b(?:an? |the |real |live )?(?:human|real person|a person|live agent"
    "|human agent|customer service|representative|somebody real|staff member|supervisor"
    r"|your manager|call cent(?:er|re))\b",
    r"\b(?:talk|speak|chat) (?:to|with) (?:an? |the |your )?(?:person|agent|someone|somebody"
    r"|operator|manager|staff)\b",
    r"\b(?:human|real person|live agent|representative) (?:please|now)\b",
    r"(?:转|找|要|接|叫|换|联系|来个|给我)[^,。\n]{0,4}(?:人工(?!审核|智能|校准|校正|复位|操作|干预|重启|设置|检测)|真人|客服|经理|主管|工作人员|活人)",
    r"人工(?:客服|服务|坐席)|\A\W{0,3}人工\W{0,3}\Z|不(?:要|想)(?:跟|和|与)?(?:机器人|ai)",
)
_ANGRY = either(
    r"\b(?:ridiculous|unacceptable|furious|fed up|a joke|disgusting|disgraceful|rip[- ]?off|scam"
    "(?:mers?|med)?|(?:the|your) worst|pathetic|bullshit|wtf|lawyer|sue you|consumer protection"
    r"|small claims|trading standards|waste of (?:time|money)|sick of|(?:terrible|awful) (?:service|support)"
    r"|(?:i am|i'm) (?:so |very |really |getting )?(?:angry|annoyed|upset)"
    r"|(?:this|you)(?: is| are|'re) (?:just |so |completely |totally |absolutely )?useless)\b",
    "投诉|12315|差评|曝光|律师|起诉|法院|消协|骗子|骗人|欺骗|坑人",
    "垃圾(?:产品|公司|客服|品牌|东西|服务|玩意|货)|(?:真|太|简直|就是)(?:是)?垃圾|太差劲|太过分|气死|(?:很|太|真|非常)(?:生气|气愤)",
    "忍无可忍|什么破|破玩意|烦死|受够|无语|不负责任|他妈|妈的|操你|去死|滚(?:蛋|开|远|吧)|\\A\\W*滚\\W*\\Z",
)
_FAILED = either(
    r"\bstill (?:not|no|the same|broken|shows?|showing|there|blink\w*|leak\w*|flash\w*|happen\w*|won'?t"
    r"|doesn'?t|does not|isn'?t|can'?t)\b",
    r"\b(?:didn'?t|doesn'?t|does not|did not) (?:help|work|fix|change|do anything)\b",
    r"\b(?:no (?:change|luck|difference|use)|same (?:problem|error|issue|thing)|nothing changed|not fixed)\b",
    "(?:还|仍|依)(?:是|然|旧)(?:不行|不能|不好|不制|没用|没有?反应|没好|一样|这样|那样|老样子|显示|报|闪|漏|亮)",
    "没(?:有)?(?:效果|解决|变化|作用)|不管用|没用|不起作用|试(?:过|了)[^,。\\n]{0,8}(?:不行|没用|没效果|一样)",
)

_MODEL_NUMBER = 24  # letters: longer than what is on a rating plate
_LOUD = 0.8
_HEARD = 2000
"""Characters of a message that are searched."""


def wants_person(folded: Folded) -> tuple[int, int] | None:
    """Where the customer asks for a person; None if they do not."""
    for match in _PERSON.finditer(folded.text):
        denied = is_negated(folded.text, match.start()) and not match.group().startswith("不")
        if not denied:
            return folded.span(*match.span())
    return None


def it_failed(text: str) -> bool:
    """Whether the customer says that the advice has not helped."""
    return _FAILED.search(fold(text[:_HEARD]).text) is not None


def is_angry(folded: Folded, text: str) -> tuple[int, int] | None:
    """Where the customer's anger shows; capitals and exclamation marks count."""
    match = _ANGRY.search(folded.text)
    if match and not is_negated(folded.text, match.start(), reach=8):
        return folded.span(*match.span())
    if "!" not in folded.text:
        return None
    letters = [character for character in text if character.isascii() and character.isalpha()]
    loud = len(letters) > _MODEL_NUMBER and sum(map(str.isupper, letters)) > _LOUD * len(letters)
    return (0, len(text)) if loud else None
