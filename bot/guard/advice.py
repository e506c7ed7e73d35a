"""Dangerous advice: a reply is checked against the table of hazards, and warnings are left alone.

A sentence contains a hazard if it names the action, its object and the state of that object, in any order.
What is forbidden (`never bypass the fuse`), asked (`did you bridge it?`), reported (`somebody bridged it`) or
called dangerous is not advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from bot.guard.clauses import either, is_negated
from bot.guard.fold import Folded
from bot.guard.hazards import Hazard, load_hazards
from bot.guard.lexicon import Heard
from bot.guard.verdict import Action, Reason

_LEXICON, _HAZARDS = load_hazards()
_STATE_REACH = 140  # characters between an action and the state
_SPILLS = 400  # characters between the words of two sentences that belong together
_MOST_PLACES = 24  # at which a row may match in one sentence
_APART = re.compile("[,:]|、(?!或)")
_BITS = tuple(tuple(_LEXICON.bits[group] for group in hazard.needs) for hazard in _HAZARDS)
# Rows by the number of sentences that their words may come from: all for one, those that spill for two.
_MASKS = {
    sentences: tuple(
        (number, sum(set(_BITS[number])))
        for number, hazard in enumerate(_HAZARDS)
        if hazard.spills or sentences == 1
    )
    for sentences in (1, 2)
}

# A prohibition counts anywhere before the last of the words, a question or report only before the action.
_WARNED = either(
    r"\b(?:do not|don'?t)\b(?! (?:worry|panic|be afraid|mind|bother|need|have to|forget|hesitate|unplug"
    r"|respond|react|light up|come on|go off|seem|help|work(?! on| with| in)"
    r"|(?:switch|turn|shut)(?: \w+){0,2} off|disconnect))",
    r"\bnever\b(?! mind)|\b(?:must|should|may|can) ?not\b|\b(?:mustn|shouldn|can)'?t\b",
    r"\b(?:avoid|refrain from|no one should|nobody should|prevents?|protects? against|stops?|tempt\w*"
    r"|not (?:be )?(?:allowed|permitted|safe)|unsafe|dangerous|forbidden|prohibited|illegal|risky)\b",
    "(?:不要|别|切)(?!紧|担心|着急|怕|客气|的|墅|人|买|断|关|拔|停)|切勿|请勿|勿|禁止|严禁|不得(?!不)"
    "|不可(?!避)",
    "不能(?!用|插|开|转|工)|不许|不应|不准|不宜|不建议|避免|杜绝|防止|以防|谨防|不用(?=铜|铁|导|锡|湿|明)"
    "|不可以|不私|不随意|不自行",
)
_REPORTED = either(
    r"\b(?:whether|check (?:that|if)|in case|someone|somebody|previous (?:owner|tenant)|did you|have you"
    r"|has anyone|make sure (?:that )?(?:no|the))\b",
    "是否|有没有|有无|是不是|有人|之前的?师傅|前任|上一任|据说|网上(?:有|说)",
)
_JUST_BEFORE = re.compile(
    r"\b(?:instead of|rather than|not?|without|than|from)(?: \w+)? \Z|(?:被|而不是|不|没有?|未|会|可能)\Z"
)
_NOT_THAT = either(
    r",[^,]{0,14}\b(?:just|simply|instead|you can|you may|rather)\b|\bbut |\band just ",
    "[,、](?:你|您)?(?:直接|可以|而是|只要|只需|就|先用|拿|用)",
)
_DANGEROUS = either(
    r"\b(?:danger\w*|hazard\w*|risky|(?<!low )(?<!no )(?<!little )risks?|unsafe|illegal|forbidden"
    r"|prohibited|lethal|deadly|fatal|kills?"
    r"|toxic|poison\w*|not (?:allowed|permitted|acceptable|safe|a (?:repair|solution|fix)))\b",
    r"\b(?:caus\w+|leads? to|results? in|start|risk of|get)\b[^,.]{0,24}\b(?:fires?|shock\w*|explo\w+"
    r"|injur\w+|burns?|death|damage\w*|killed|electrocuted|hurt)\b|\bmay (?:explode|catch fire|ignite)\b",
    "危险|隐患|违规|违章|严禁|禁止|不允许|不可取|不安全|有毒|毒气|中毒|致命|错误的|误区|不行\\Z|要命",
    "(?:引起|引发|导致|造成|以免|会|可能|容易|防止|发生)[^,。]{0,8}(?:起火|着火|火灾|触电|爆炸|烧毁|伤|事故"
    "|泄漏|死亡|烧坏|损坏)",
)
_STILL = re.compile(r"\b(?:but|though|if you are careful|works?)\b|但(?!是?不)|不过|小心(?:点|一点)就")
_ASKED = re.compile(r"\A\W*(?:did|have|has|had|is|was|were|are|who)\b|[吗么呢]\?")
_NO_STEPS = either(
    r"(?:\b(?:no need to|without|never|no reason to|instead of|not)|n'?t)\b(?: \w+){0,3} \Z",
    "(?:不用|不必|无需|无须|不需要|没必要|别|不要|不)(?:急着|去|先|再|叫|找|请)?\\Z",
)
_DENIAL = either(
    r"(?:\b(?:no|not|without|never|neither|nor|longer)\b|n'?t\b)(?:\W+\w+){0,4}\W*\Z",
    "(?:没有?|无|不|未|并未|不再|消除|排除|是否)(?:再|任何|有|明显|什么|发现|看到|闻到|出现|的|是|了|会"
    "|被){0,3}\\Z",
)
_GONE = re.compile(r"\A(?: (?:is|are|was))? ?(?:gone|away|not\b|no longer|消失|没有了|消除|排除)")
# The next sentence takes it back: `Bridge the fuse?  No, that is dangerous.`
_REFUTED = either(
    r"\A\W*(?:(?:please|but|no|so),? )*(?:never|do not|don'?t) (?:do|try|copy|follow)\b|\A\W*no, (?:never"
    r"|don'?t|please)",
    r"\A\W*(?:no,? )?(?:that|this|it|doing (?:so|that|this))\b[^.!?]{0,40}\b(?:dangerous|not (?:allowed"
    r"|safe)|unsafe|(?:can|could|may) (?:cause|start|kill))\b",
    "\\A\\W*(?:这|那|不|千万|绝对|请)[^。,]{0,12}(?:危险|不行|不要|别|不能|禁止|不可)",
)
_REFUTATION = 90  # characters within which it has to be

_AMPERES = re.compile(
    r"\b(\d{1,3}(?:\.\d)?)[ -]?(?:a|amps?|amperes?|安培?)(?![a-z])|(?<=[^\x00-\x7f])(\d{1,3})(?:a|安)"
    r"(?![a-z])"
)
_IN_PLACE = re.compile(r"\binstead of\b|\bin place of\b|代替|替换")

_Place = tuple[int, int]


def find_unsafe_advice(folded: Folded) -> Iterator[Reason]:
    """Dangerous advice in a text, one reason for each sentence; the note names the hazard."""
    folded = folded.squeezed or folded
    text = folded.text
    before: tuple[int, list[Heard], int] = (0, [], 0)
    for start, end, words, spoken in _LEXICON.by_sentence(text):
        named = _named(text, start, end, words, _likely(spoken, 1))
        if named is None and before[1] and words[0][0] - before[1][-1][1] < _SPILLS:
            likely = _likely(before[2] | spoken, 2)
            named = _named(text, before[0], end, before[1] + words, likely) if likely else None
        if named is not None and not _REFUTED.match(text[end : end + _REFUTATION]):
            hazard, first, last = named
            yield Reason("safety.advice", "safety", Action.BLOCK, folded.span(first, last), hazard.name)
        before = (start, words, spoken) if named is None else (0, [], 0)


def _named(
    text: str, start: int, end: int, words: list[Heard], likely: tuple[int, ...]
) -> tuple[Hazard, int, int] | None:
    """The hazard among the likely ones that one or two sentences advise, and the span of its words."""
    if not likely:
        return None
    sentence = text[start:end]
    here = [(first - start, last - start, groups) for first, last, groups in words]
    for number in likely:
        if _is_harmless(_HAZARDS[number], sentence, here):
            continue
        found = _combinations(_HAZARDS[number], _BITS[number], sentence, here)
        for places in islice(found, _MOST_PLACES):
            if _is_advised(_HAZARDS[number], sentence, places):
                return (
                    _HAZARDS[number],
                    start + min(place[0] for place in places),
                    start + max(place[1] for place in places),
                )
    return None


@lru_cache(maxsize=4096)
def _likely(spoken: int, sentences: int) -> tuple[int, ...]:
    """Rows of which all groups were found; cached, since many sentences have the same groups."""
    return tuple(number for number, mask in _MASKS[sentences] if spoken & mask == mask)


def _is_harmless(hazard: Hazard, sentence: str, words: list[Heard]) -> bool:
    """Whether the sentence says something that makes it harmless: `stop using it`, not `no need to stop`."""
    excusing = sum(_LEXICON.bits[group] for group in hazard.unless)
    return any(groups & excusing and not _NO_STEPS.search(sentence, 0, at) for at, _, groups in words)


def _combinations(
    hazard: Hazard, bits: tuple[int, ...], sentence: str, words: list[Heard]
) -> Iterator[tuple[_Place, ...]]:
    """Positions of the action and of the rest, if they are close enough; the action first."""
    deed, *others = ([(a, b) for a, b, groups in words if groups & bit] for bit in bits)
    if not others:
        yield from ((done,) for done in deed)
        return
    thing, *state = others
    for done in deed:
        for what in thing:
            between = sentence[done[1] : what[0]] if done[1] <= what[0] else sentence[what[1] : done[0]]
            if (done[0] < what[1] and what[0] < done[1]) or len(between) > hazard.near:
                continue
            if not hazard.across and _APART.search(between):
                continue
            if not state:
                yield done, what
            for how in state[0] if state else ():
                if abs(how[0] - done[0]) <= _STATE_REACH and how not in (done, what):
                    yield done, what, how
                    break


def _is_advised(hazard: Hazard, sentence: str, places: tuple[_Place, ...]) -> bool:
    deed, first, last = places[0][0], min(places)[0], max(places)
    warnings = [match.end() for match in _WARNED.finditer(sentence, 0, last[0])]
    if warnings and not _NOT_THAT.search(sentence, warnings[-1], last[1]):
        return False
    if _REPORTED.search(sentence, 0, deed) or _JUST_BEFORE.search(sentence, 0, deed):
        return False
    if is_negated(sentence, first):
        return False
    if hazard.grows and not _grows(sentence):
        return False
    if _ASKED.search(sentence) or _is_called_dangerous(sentence):
        return False
    return not any(
        hazard.needs[number] in hazard.undenied and _is_denied(sentence, place)
        for number, place in enumerate(places)
    )


def _grows(sentence: str) -> bool:
    """Whether it raises one current to a higher one, or replaces the lower by the higher."""
    currents = [float(match.group(1) or match.group(2)) for match in _AMPERES.finditer(sentence)]
    swapped = _IN_PLACE.search(sentence) is not None
    return len(currents) > 1 and (currents[0] > currents[-1] if swapped else currents[-1] > currents[0])


def _is_called_dangerous(sentence: str) -> bool:
    """Whether the sentence itself names the consequence: `bridging it can cause a fire`."""
    return any(
        not is_negated(sentence, match.start()) and not _STILL.search(sentence, match.end())
        for match in _DANGEROUS.finditer(sentence)
    )


def _is_denied(sentence: str, place: _Place) -> bool:
    before = sentence[max(0, place[0] - 40) : place[0]]
    return bool(_DENIAL.search(before) or _GONE.match(sentence[place[1] : place[1] + 20]))
