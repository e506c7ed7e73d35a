"""Whatever is put together from what rules look for: no exception, places inside, time that grows evenly."""

from __future__ import annotations

from itertools import islice
from time import process_time

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from bot.guard import load_policy
from bot.guard.advice import find_unsafe_advice
from bot.guard.contacts import Allowed, find_contacts
from bot.guard.dangers import find_dangers
from bot.guard.fold import fold
from bot.guard.mask import mask
from bot.guard.payments import find_payments
from bot.guard.promises import find_promises
from bot.guard.rules import check
from bot.guard.shape import shape

POLICY = load_policy()
ALLOWED = Allowed.of(POLICY.allow, ["support.example.com"], ["400-123-4567"])
PIECES = [
    *(
        "a",
        "evil",
        "pay",
        "support.example.com",
        "com",
        ".",
        "。",
        "点",
        " dot ",
        "[.]",
        "(at)",
        "@",
        "://",
        "https",
    ),
    *(
        "xn--",
        "www.",
        "/",
        ":",
        "?",
        "\n",
        " ",
        "  ",
        "\u200b",
        "\u202e",
        "\ud800",
        "\x00",
        "ﷺ",
        "ß",
        "㎏",
        "👨‍👩‍👧",
    ),
    *("1", "138", "400-", "+86 ", "一三八", "two ", "double ", "call ", "电话", "SN "),
    *(
        "微信",
        "加",
        "微",
        "信",
        "qq",
        "v信",
        "telegram: ",
        "][",
        "](",
        "<",
        ">",
        "<|",
        "|>",
        "think",
        "</think>",
    ),
    *("refund", "退款", "we will ", "我们", "保证", "not ", "不", "if ", "今天", "tomorrow", "free ", "免费"),
    *(
        "plugged in",
        "open the cover ",
        "短接",
        "保险丝",
        "transfer ",
        "money ",
        "转账",
        "给",
        "验证码",
        "告诉",
    ),
    *("smoke", "焦味", "没有", "gas ", "；", "!", "*", "-", "_", "=", "user:", "Assistant:", "自杀", "ass"),
]
BRICKS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=60).map("".join)
EVENLY = [
    *("(", "[", "a", "1", ".", "。", "点", "\u200b", "@", "<", "加", "\n", "火"),
    *(
        "[](",
        "a.b.",
        "a dot ",
        "a。",
        "((a))",
        "<|",
        "1 1",
        "not ",
        "转给",
        "http://",
        "x@x.",
        "微信a",
        "a\u0336",
    ),
]


@seed(6)
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(BRICKS, BRICKS)
def test_whatever_is_put_together_is_judged_and_places_are_inside(text: str, asked: str) -> None:
    found = check(
        text, policy=POLICY, allowed=ALLOWED, asked=asked, language="en", system=asked, canary="k7Qz93Lm"
    )
    places = [reason.span for reason in found.reasons if reason.span is not None]
    assert all(0 <= start <= end <= len(found.checked) for start, end in places)
    found.text.encode()
    folded = fold(asked)
    assert folded.at is None or list(folded.at) == sorted(folded.at)
    assert all(0 <= start < end <= len(asked) for _, (start, end) in find_dangers(folded))
    assert mask(mask(asked)) == mask(asked)


@seed(6)
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(BRICKS)
def test_a_reply_that_may_leave_may_leave_again(text: str) -> None:
    """What was mended and masked has nothing left to mask."""
    once = check(text, policy=POLICY, allowed=ALLOWED, asked="", language="en", system="", canary="")
    again = check(once.text, policy=POLICY, allowed=ALLOWED, asked="", language="en", system="", canary="")
    assert "shape.tags" not in {reason.rule for reason in again.reasons}
    assert shape(once.checked, max_chars=6000).text == once.checked


@pytest.mark.parametrize("unit", EVENLY, ids=repr)
def test_time_grows_evenly_up_to_a_hundred_kilobytes(unit: str) -> None:
    tries = []
    for _ in range(3):  # the same work takes several times as long in a bad moment of a busy machine
        short, long = (_seconds((unit * 100_000)[:size]) for size in (25_000, 100_000))
        if long < 1.0 and long < 8 * short + 0.05:
            return
        tries.append((short, long))
    pytest.fail(f"seconds for 25 and 100 kB: {tries}")


def _seconds(text: str) -> float:
    """CPU that every rule takes for a text that nothing has cut before."""
    started = process_time()
    folded = fold(text)
    for find in (find_dangers, find_unsafe_advice, find_payments, find_promises):
        list(islice(find(folded), 50))
    find_contacts(text, folded, allowed=ALLOWED)
    mask(text)
    shape(text, max_chars=6000)
    return process_time() - started
