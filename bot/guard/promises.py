"""Refunds, compensation and replacements that somebody promises, in whatever words.

A subject (`refund`) becomes a promise by an assertion in its sentence (`I guarantee`, `我们会`) that is
neither negated nor conditional.  `I cannot promise a refund` is not a promise.  Whole wordings, also those of
dates, free service, liability and warranty, are in `bot.guard.wordings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bot.guard.clauses import Watch, clause_end, clause_start, either, is_negated
from bot.guard.fold import Folded
from bot.guard.verdict import Action, Reason

_MOST_SUBJECTS = 12  # in one sentence of at most 400 characters
_SUBJECTS = {
    "promise.refund": re.compile(
        r"\brefund(?:s|ed|ing)?\b|\bmoney[ -]?back\b|\breimburse\w*|\bcash ?back\b|\byour money\b"
        r"|包退|包换|退款|退钱|退给|退全款|全额退|退您|退你|退还|退货款|返现|返还"
    ),
    "promise.compensation": either(
        r"\bcompensated\b|\bcompensate you\b|\bcompensation\b|\bstore credit\b|\bvoucher\b|\bpay you\b",
        r"\bdamages\b|赔偿|赔付|赔您|赔你|理赔|补偿(?=金|款|您|你|一)|(?<=[您你])[^,。]{0,4}补偿",
        "代金券|优惠券",
    ),
    "promise.replacement": either(
        r"\b(?:replac|repair|fix|swap|exchang|send|ship|giv)\w*\b[^.]{0,40}(?:free of charge"
        "|for free|at no (?:extra |additional )?(?:cost|charge))",
        r"\bfree (?:replacement|repair|exchange|new|spare|visit)\b",
        r"\b(?:brand[ -])?new (?:one|unit|device|machine)\b[^,.]{0,12}free\b",
        "免费[^,。]{0,4}(?:更换|换新|换一|换台|换货|维修|修理|上门|送|补发|寄)|换一台新|换新机|换台新",
    ),
}
_STRONG = either(
    r"\b(?:guarantee[sd]?|promise[sd]?|assure[sd]?|definitely|certainly|absolutely|swear|commit"
    r"(?:ted)? to|100 ?%|no questions asked|rest assured|my word|word of honou?r|take it from me)\b",
    "保证|承诺|担保|一定|肯定|绝对|必定|包退|包换|包赔|百分之百|无条件|100%|放心",
)
_PLAIN = either(
    r"\b(?:we|i|you)(?:'ll| will| shall| are going to|'re going to|'re getting| are getting"
    r"| can offer| agree| have| 've|'ve|'d be happy to| am| are)\b",
    r"\b(?:we|i) (?:hereby |now |gladly |happily |also )?(?:refund|reimburse|compensate|replace"
    r"|pay)\b",
    r"\bwill (?:we|i)\b|\bwe'?re\b|\bi'?m\b",
    r"\bwill (?:be )?(?:refund|compensat|receive|get|reimburs|issue)\w*",
    r"\b(?:has|have|is|was) (?:been )?(?:approved|issued|granted|processed|refunded|confirmed"
    "|on its way)",
    r"\b(?:is|are) being (?:sent|shipped|prepared|arranged|processed)\b",
    r"\b(?:approved|granted|entitled to|let me (?:refund|send|offer|arrange))\b",
    "我们?(?:公司|这边|方)?(?:会|将|来|可以|能|同意|愿意|马上|立即|立刻|已|给|为|现在)",
    "(?:会|将|可|能)(?:给|为|向|帮)(?:您|你)",
    "(?:给|为|向|帮)(?:您|你)(?:办理|安排|申请好|全额|退|赔|补偿|免费|换)",
    "(?:已|已经|刚刚)(?:为|给|帮|批准|同意|通过|安排|办理|退)|您?(?:将|会)(?:收到|得到|获得)",
    r"\b(?:consider|done|(?:went|gone|goes) through|confirm(?:ed|ing)?|processing|all set"
    r"|on the way|coming)\b",
    "我们?(?:公司)?免费|同意|批准|全额|双倍|三倍|安排|没问题|马上|立即|立刻|这就|办理|搞定|退给|退您",
    "退你|赔您|赔你|包退|包换",
)
# Makes a sentence conditional; the second list only its clause.
_DEPENDS = either(
    r"\b(?:if|whether|you(?:'d| would)? (?:want|like|wish|ask)(?:ed)?|may|might|could|depend\w*|eligib\w*"
    r"|polic(?:y|ies)|subject to|unless|in case|once"
    r"|decides?|qualif\w*|assess\w*|according to)\b",
    "您想|你想|想要|可能|或许|也许|是否|如果|若|如需|如要|政策|流程|符合|审核|核实|评估|条件|取决|视情况"
    "|保修期|质保期",
    "规定|条款|由.{0,6}(?:决定|确认)|确认后|检测后",
)
_GUIDES = either(
    r"\b(?:please|can you|apply|request|review|check|ask|contact|colleague|after|button|menu|screen|receipt"
    r"|click|tap|select|terms)\b",
    "申请|联系|咨询|请|根据|按钮|菜单|页面",
)
_QUESTION = re.compile(r"\?\s*\Z|[吗么呢]\s*\Z")
_OUR_WORD = either(
    r"\b(?:i|we)(?:'ll| can| will| do)? (?:guarantee|promise|assure|swear)\b",
    "我们?[^,。]{0,4}(?:保证|承诺|担保)",
)
# `The note asks me to promise a refund` reports a promise and makes none, unless it goes on to obey.
_ASKED_TO = re.compile(
    r"\b(?:asks?|asked|wants?|wanted|tells?|told|orders?|ordered|expects?|instructs?) (?:me|us) to \Z"
    r"|(?:要求|让|叫|命令|要|指示)我们?\Z"
)
_OBEYED = re.compile(
    r"\b(?:so|therefore|as (?:it|you) (?:asks?|wish|says?)|hereby|accordingly)\b"
    "|照做|照办|所以|因此|于是|按要求"
)
_AFTERWARDS = either(
    r"[^,。.]{0,12}?(?:\b(?:not|cannot|can'?t|isn'?t|won'?t|impossible|unavailable|denied|rejected"
    r"|declined)\b|不|无法|没法|未)",
)

_WATCH = Watch(
    {
        "promise.refund": (
            "refund|money|reimburs|cashback|cash back|包退|包换|退款|退钱|退给|退全|全额退|退您|退你|退还",
            "退货款|返现|返还",
        ),
        "promise.compensation": ("compensat|store credit|voucher|pay you|damages|赔|补偿|代金券|优惠券",),
        "promise.replacement": ("free|no cost|no charge|no extra|no additional|免费|换一台|换新|换台",),
    }
)


def find_promises(folded: Folded) -> Iterator[Reason]:
    """Every promise of a subject in a reply, with its place in the original text."""
    folded = folded.squeezed or folded
    for rule, at, sentence in _WATCH.sentences(folded.text):
        place = _subject(rule, sentence)
        if place is not None:
            yield Reason(rule, "promise", Action.HOLD, folded.span(at + place[0], at + place[1]))


def _subject(rule: str, sentence: str) -> tuple[int, int] | None:
    for subject in islice(_SUBJECTS[rule].finditer(sentence), _MOST_SUBJECTS):
        if _is_promised(sentence, subject.start(), subject.end()):
            return subject.span()
    return None


@dataclass(frozen=True, slots=True)
class _Assertion:
    position: int
    denied: bool


def _is_promised(sentence: str, start: int, end: int) -> bool:
    strong = [
        _Assertion(match.start(), _is_denied(sentence, match.start())) for match in _STRONG.finditer(sentence)
    ]
    question = _QUESTION.search(sentence) is not None
    if any(not word.denied for word in strong):
        if question and not _OUR_WORD.search(sentence):
            return False
        return not (_denied_itself(sentence, start, end) and not _binds(strong, start))
    from_, to = clause_start(sentence, start), clause_end(sentence, end)
    if question or any(from_ <= word.position < to for word in strong):
        return False
    if _denied_itself(sentence, start, end):
        return False
    return (
        _PLAIN.search(sentence, from_, to) is not None
        and _GUIDES.search(sentence, from_, to) is None
        and _DEPENDS.search(sentence) is None
    )


def _is_denied(sentence: str, position: int) -> bool:
    """Whether an assertion is negated, or what somebody only asked for."""
    if _ASKED_TO.search(sentence, max(0, position - 24), position):
        return _OBEYED.search(sentence) is None
    return is_negated(sentence, position)


def _binds(strong: list[_Assertion], start: int) -> bool:
    """Whether a `guarantee` that is not negated precedes the subject: nothing after it takes it back."""
    return any(not word.denied and word.position < start for word in strong)


def _denied_itself(sentence: str, start: int, end: int) -> bool:
    return (
        is_negated(sentence, start)
        or _AFTERWARDS.match(sentence[end : clause_end(sentence, end)]) is not None
    )
