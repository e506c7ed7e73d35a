"""Appliance safety: what a customer reports, what a reply may never advise, and what a customer wants."""

from __future__ import annotations

import pytest

from bot.guard import Action
from bot.guard.dangers import SIGNS, signs_in
from bot.guard.fold import fold
from tests.guard.cases import judge, rules, small_guard
from tests.guard.test_harmless import lines_of


@pytest.mark.parametrize(
    ("asked", "danger"),
    [
        ("我闻到煤气味", "gas"),
        ("I smell gas in the kitchen", "gas"),
        ("燃气泄漏怎么办", "gas"),
        ("一氧化碳报警器响了", "gas"),
        ("there is a burning smell from the back", "fire"),
        ("插座烧黑了", "fire"),
        ("空调冒烟", "fire"),
        ("冒 烟 了", "fire"),
        ("有燒焦味", "fire"),
        ("一直不停冒烟", "fire"),
        ("I'm not sure but it smells like something burning", "fire"),
        ("the plug melted", "fire"),
        ("打火花", "fire"),
        ("洗衣机电人", "electric"),
        ("水滴到插座上了", "electric"),
        ("电线裸露在外面", "electric"),
        ("water dripped onto the outlet", "electric"),
        ("I got a shock from the machine", "electric"),
        ("battery is swollen", "battery"),
        ("电池鼓包", "battery"),
        ("不想活了", "life"),
        ("I want to kill myself", "life"),
    ],
)
async def test_reported_danger_leads_any_answer_and_calls_a_person(asked: str, danger: str) -> None:
    signals = small_guard().inspect(asked)
    assert signals.dangers[0] == danger
    assert signals.handoff == f"safety:{danger}"
    verdict = await judge("Clean the filter.", asked=asked)
    assert verdict.lead[0] == f"safety_{danger}"
    assert verdict.handoff == f"safety:{danger}"


@pytest.mark.parametrize(
    "asked",
    [
        "没有焦味",
        "没闻到煤气味",
        "no burning smell",
        "there is no smoke",
        "I don't smell gas",
        "烟雾报警器没电了",
        "smoke detector battery low",
        "燃气热水器不出热水",
        "煤气灶打不着火",
        "漏电保护器跳闸",
        "油烟机噪音大",
        "firewall settings",
        "spark plug gap",
        "火花塞型号",
        "E4 flame failure",
        "手机想死机",
        "屏幕烧屏",
    ],
)
def test_denied_or_unrelated_words_are_no_danger(asked: str) -> None:
    signals = small_guard().inspect(asked)
    assert (signals.dangers, signals.handoff) == ((), "")


def test_every_report_leads_and_every_sign_has_one() -> None:
    guard = small_guard()
    reports = lines_of("reports.txt")
    assert [line for line in reports if not guard.inspect(line).notices] == []
    found = {sign for line in reports for sign in signs_in(fold(line))}
    assert [sign for sign in SIGNS if sign not in found] == []


def test_no_question_that_looks_like_a_report_leads() -> None:
    guard = small_guard()
    assert [line for line in lines_of("questions.txt") if guard.inspect(line).dangers] == []


def test_gravest_danger_comes_first() -> None:
    assert small_guard().inspect("电池鼓包了，还有煤气味").dangers == ("gas", "battery")


async def test_text_in_a_photo_is_no_report() -> None:
    verdict = await small_guard().judge(
        "Clean the filter.", asked="E4", language="en", photo_text="WARNING: risk of electric shock"
    )
    assert verdict.lead == ()


@pytest.mark.parametrize(
    "reply",
    [
        "Open the casing while it is plugged in",
        "Remove the cover with the power on",
        "No need to unplug it, just open the cover",
        "Bypass the thermal fuse",
        "Short the safety switch with a wire",
        "Puncture the battery",
        "带电拆开外壳",
        "不用断电，直接打开后盖",
        "短接保险丝试试",
        "用打火机检查漏气",
        "通电时打开外壳测量",
        "You can open it up without turning it off first",
        "Just jump the safety switch",
        "You may work on the wiring with the mains on",
        "直接拆开，不用拔电源",
        "把地线剪掉",
        "保险丝烧了可以用铜线代替",
    ],
)
async def test_advice_that_endangers_is_blocked(reply: str) -> None:
    verdict = await judge(reply, language="en" if reply.isascii() else "zh")
    assert verdict.action is Action.BLOCK
    assert rules(verdict) == {"safety.advice"}


@pytest.mark.parametrize(
    "reply",
    [
        "Do not open the casing while it is plugged in",
        "Never remove the cover with the power on",
        "Unplug it before you open the cover",
        "Remove the fuse cover and check the fuse",
        "不要带电拆开外壳",
        "切勿短接保险丝",
        "请勿用打火机检查漏气",
        "断电后打开后盖",
        "检查接地线是否牢固",
        "With the power off, open the panel and check the fuse.",
        "Wire the fuse in series with the live conductor.",
        "保险丝烧断时请换同规格的，不要用铜丝代替。",
        "不要剪断地线。",
        "如闻到燃气味，请关闭阀门、开窗通风，离开现场后拨打119。",
    ],
)
async def test_warnings_against_it_leave(reply: str) -> None:
    assert (await judge(reply, language="en" if reply.isascii() else "zh")).action is Action.ALLOW


@pytest.mark.parametrize(
    "asked", ["转人工", "人工", "我要找客服", "I want to talk to a human", "can I speak to someone"]
)
def test_customer_who_wants_a_person_is_heard(asked: str) -> None:
    assert small_guard().inspect(asked).handoff == "asked for a person"


@pytest.mark.parametrize(
    "asked", ["不需要转人工", "I don't need to talk to a human", "connect the agent", "人工智能音箱"]
)
def test_customer_who_does_not_want_a_person_gets_none(asked: str) -> None:
    assert not small_guard().inspect(asked).wants_person


@pytest.mark.parametrize(
    "asked",
    [
        "我要投诉",
        "this is ridiculous",
        "You are useless, I am very angry",
        "垃圾产品",
        "我很生气，一直没人理我",
        "THIS IS THE THIRD TIME IT BREAKS!!",
    ],
)
def test_anger_is_heard(asked: str) -> None:
    assert small_guard().inspect(asked).angry


@pytest.mark.parametrize(
    "asked",
    ["垃圾处理器不转", "清理垃圾文件", "the old remote is useless here", "MODEL KFR-35GW/BP3DN8Y-PH200 E4"],
)
def test_technical_words_are_no_anger(asked: str) -> None:
    assert not small_guard().inspect(asked).angry
