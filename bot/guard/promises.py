"""Promises that only the company may make: refunds, compensation, free replacement, dates, liability.

A subject (`refund`) becomes a promise by an assertion in its sentence (`I guarantee`, `我们会`) that is
neither negated nor conditional.  `I cannot promise a refund` is not a promise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bot.guard.clauses import Watch, Words, clause_end, clause_start, either, is_negated
from bot.guard.fold import Folded
from bot.guard.statements import STATEMENTS
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
_AFTERWARDS = either(
    r"[^,。.]{0,12}?(?:\b(?:not|cannot|can'?t|isn'?t|won'?t|impossible|unavailable|denied|rejected"
    r"|declined)\b|不|无法|没法|未)",
)

# A date alone is no promise: most sentences with one do not say that anybody comes or anything is sent.
_COMES = Words(
    "will|'ll|shall|arriv|come|coming|visit|deliver|ship|land|reach|due|booked|scheduled|arranged|reserved",
    "guaranteed|pick|collect|drop|expect",
    "师傅|工程师|维修员|维修人员|技术员|快递|客服|专员|同事|专人|司机|人员|包裹|新机|配件|货|送|寄|上门|到您|到家|到账",
    "到你|修好|联系|回电|回复|答复|电话|处理|解决|退款|保证|一定|约|安排|定好|定在|给您|给你|跟您|有人",
)
_WATCH = Watch(
    {
        "promise.refund": (
            "consider it|consider the|consider your|cancel|void|disappear|vanish|sends you|wires you",
            "transfers you",
            "pays you|gives you|give you|取消|撤回|credited|on its way|on the way|in your account|with you",
            "issu|process|approv|trigger|initiat",
            "pushed|在路上",
            "打了|汇了|转了|到卡|回卡|every cent|every penny|every dollar|what you paid|reverse|revers",
            "undo |made whole|out of pocket",
            "lose nothing|打回|打给|返到|返给|返回|转回|汇回|汇给|冲回|原路|全款|一分不少|分文不少|如数",
            "撤销|冲正",
            "满意|refund|money|reimburs|cashback|cash back|包退|包换|退款|退钱|退给|退全|全额退|退您|退你",
            "退还",
            "退货款|返现|返还|payment|price|amount|funds|back|cash|货款|收到|退了|退掉|全退|不满意|退货申请",
            "退回|退到",
        ),
        "promise.compensation": (
            "stand for|answer for|liable for|come up for|on your account|to your account|your card",
            "your wallet",
            "your balance|辛苦费|补贴|后果|损坏|goodwill|apology|gesture|inconvenience|trouble|make up",
            "percent|price back|price off|give you",
            "pay you",
            "send you|transfer you|wire you|电费|水费|清洗费|歉意|心意|诚意|便宜|少收|减|优惠|medical",
            "hospital|doctor|dentist|damage|loss|injur|legal|lawyer|hotel|electricity|water bill",
            "cleaning bill|make it up|make this up|医疗费|医药费|住院费|治疗费|误工费|损失|律师费|住宿费",
            "酒店费",
            "双倍|三倍|十倍|加倍|翻倍|假一赔|退一赔|compensat|credit|voucher|pay you|damages|gift card",
            "coupon|$|€|£|¥|usd|eur|rmb|yuan|dollars",
            "% off|discount|months free|weeks free|years free|pay for|will pay|'ll pay|折|优惠|赔|补偿|补您",
            "补你|代金券",
            "优惠券|红包|现金|礼品卡|大礼包|送您|送你|给您|给你|发您",
        ),
        "promise.replacement": (
            "free|no cost|no charge|no extra|no additional|免费|换一台|换新|换台|换货|给您换|给你换",
        ),
        "promise.date": (  # only times: who or what comes is checked where one is found
            "today|tomorrow|tonight|this afternoon|this morning|this evening|this week|next week|next day",
            "next morning|within |hour|minute| days| day,|noon|guaranteed|booked|scheduled|arranged|reserved",
            "at 1|at 2|at 3|at 4|at 5|at 6|at 7|at 8|at 9|by 1|by 2|by 3|by 4|by 5|by 6|by 7|by 8|by 9",
            " in 1| in 2| in 3| in 4| in 5| in 6|before 1|after 1|before 9|by mon|by tue|by wed|by thu",
            "by fri|by sat|by sun|on mon|on tue|on wed|on thu|on fri|on sat|on sun|before mon|before tue",
            "before wed|before thu|before fri|before sat|before sun|for mon|for tue|for wed|for thu",
            "for fri|for sat|for sun|be there |be with you |at your door |at your place |at your home ",
            "马上|立刻|立即|很快|在路上|已发|今天|明天|后天|今晚|明早|今早|明晚|今日|明日|当天|小时|天|分钟|工作日",
            "周|星期|礼拜|上午|中午|下午|晚上|早上|点|约好|约了|约在|预约|安排|定好|定在",
        ),
        "promise.free": (
            "invoice|on the house|账单|算我们|当我们|算是我们|不要您|cost|bill|fee|expense|postage|shipping",
            "gratis|without charge|without any charge|our expense",
            "our own expense|our cost|our own cost",
            "charge you",
            "not charge|won't charge|won't cost|包修|白修|白换|全包|pay|free|waive|cover|nothing| on us",
            "on the house|pick up the|no charge|no cost",
            "不收|不要|不花|免单|免费|费|钱|不用",
        ),
        "promise.liability": (
            "messed up|screwed up|wrong|failed you|sold you|badly|poorly|answer for|没做好|失职|疏忽",
            "负责到底",
            " on us|down to us|批次|有问题|有毛病|不合格|瑕疵|confess|concede|acknowledg|on behalf",
            "our doing|代表|过错在|问题在|fault|mistake|responsib|liab",
            "negligen|blame|defective|dangerous|admit|caused by our|my company",
            "责任|错|怪我|我们认|失误|过失|质量问题|缺陷|承担|负责|承认",
        ),
        "promise.warranty": ("guarantee|coverage|of cover|warranty|covered|保修|质保|三包|延保|包修|全包",),
    }
)


def find_promises(folded: Folded) -> Iterator[Reason]:
    """Every promise in a reply, with its place in the original text."""
    folded = folded.squeezed or folded
    for rule, at, sentence in _WATCH.sentences(folded.text):
        place = _subject(rule, sentence) or _statement(rule, sentence)
        if place is not None:
            yield Reason(rule, "promise", Action.HOLD, folded.span(at + place[0], at + place[1]))


def _subject(rule: str, sentence: str) -> tuple[int, int] | None:
    if rule not in _SUBJECTS:
        return None
    for subject in islice(_SUBJECTS[rule].finditer(sentence), _MOST_SUBJECTS):
        if _is_promised(sentence, subject.start(), subject.end()):
            return subject.span()
    return None


def _statement(rule: str, sentence: str) -> tuple[int, int] | None:
    if rule == "promise.date" and not _COMES.occur_in(sentence):
        return None
    stated = STATEMENTS[rule].search(sentence)
    if stated is None or _QUESTION.search(sentence) or _is_open(sentence, stated.start(), stated.end(), rule):
        return None
    return stated.span()


@dataclass(frozen=True, slots=True)
class _Assertion:
    position: int
    denied: bool


def _is_promised(sentence: str, start: int, end: int) -> bool:
    strong = [
        _Assertion(match.start(), is_negated(sentence, match.start())) for match in _STRONG.finditer(sentence)
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


def _binds(strong: list[_Assertion], start: int) -> bool:
    """Whether a `guarantee` that is not negated precedes the subject: nothing after it takes it back."""
    return any(not word.denied and word.position < start for word in strong)


def _denied_itself(sentence: str, start: int, end: int) -> bool:
    return (
        is_negated(sentence, start)
        or _AFTERWARDS.match(sentence[end : clause_end(sentence, end)]) is not None
    )


def _is_open(sentence: str, start: int, end: int, rule: str) -> bool:
    if is_negated(sentence, start):
        return True
    if rule != "promise.free" and is_negated(sentence, end, reach=end - start):
        return True  # `our technician will not arrive tomorrow`; `you will not pay` is negative in itself
    before = sentence[:end]
    return rule != "promise.liability" and bool(
        re.search(r"\b(?:if|may|might|could|whether)\b|如果|若|可能|是否|或许", before)
    )
