"""The shape of a reply: mended where that is possible, held where it is not."""

from __future__ import annotations

import pytest

from bot.guard import Action
from tests.guard.cases import judge, rules


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   \n\t",
        "\u200b\u200b",
        "---",
        "<think>only thoughts",
        "。。。",
        "&nbsp;",
        "![](x)",
        "```python\n```",
    ],
)
async def test_empty_reply_never_leaves(reply: str) -> None:
    verdict = await judge(reply)
    assert verdict.action is Action.HOLD
    assert "shape.empty" in rules(verdict)
    assert verdict.handoff == "held: shape.empty"


async def test_over_long_reply_ends_with_a_whole_sentence() -> None:
    verdict = await judge("".join(f"Step {n}: check connector {n * 7}. " for n in range(2000)))
    assert verdict.action is Action.ALLOW
    assert verdict.repaired
    assert 3000 < len(verdict.text) <= 6000
    assert verdict.text.endswith(".")


async def test_cut_never_divides_an_emoji() -> None:
    family = "👨‍👩‍👧"
    verdict = await judge(family * 3000)
    assert len(verdict.text) <= 6000
    assert verdict.text.replace(family, "") in {"", "👨", "👨‍👩"}
    assert not verdict.text.endswith("\u200d")


async def test_hundred_thousand_characters_are_cut_before_they_are_read() -> None:
    verdict = await judge("a.b@" * 25_000)
    assert len(verdict.checked) <= 6000
    assert verdict.ms < 1000


@pytest.mark.parametrize(
    "reply",
    [
        "Please restart the unit. " * 50,
        "请重新启动设备。" * 50,
        "the the " * 60,
        "Check the filter. " + "好" * 100,
        "a\n" * 100,
    ],
)
async def test_loop_is_held(reply: str) -> None:
    assert "shape.loop" in rules(await judge(reply, language="zh"))


@pytest.mark.parametrize(
    "reply",
    [
        "1. Yes.\n2. Yes.\n3. No.\n4. Yes.\n5. Yes.\n6. Yes.\n7. Yes.",
        "| a | b |\n" + "|---|---|\n" + "| 1 | 2 |\n| 1 | 3 |",
        "Wait " + "." * 60,
    ],
)
async def test_lists_tables_and_leaders_are_no_loop(reply: str) -> None:
    assert (await judge(reply)).action is Action.ALLOW


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("Check the filter.<|im_end|>", "Check the filter."),
        ("<think>The user wants...</think>Check the filter.", "Check the filter."),
        ("The user wants...</think>\nCheck the filter.", "Check the filter."),
        ("Check the filter.<|im_<|im_start|>start|>", "Check the filter."),
        ("<tool_call>{}</tool_call>Check the filter.", "Check the filter."),
        ("Assistant: Check the filter.", "Check the filter."),
        ("<|im_start|>assistant\nCheck the filter.", "Check the filter."),
        ("<start_of_turn>model\nCheck the filter.<pad>", "Check the filter."),
        ("◁think▷They want money.◁/think▷Check the filter.", "Check the filter."),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Check it.",
            "Check it.",
        ),
        ("Check the filter.＜|im_end|＞", "Check the filter."),
        ("助手：请检查滤网。", "请检查滤网。"),
        ("[INST]Check the filter.[/INST]", "Check the filter."),
        ("Check\x00 the\u202e filter.\ud800", "Check the filter."),
    ],
)
async def test_leftovers_of_the_template_are_taken_out(reply: str, left: str) -> None:
    verdict = await judge(reply)
    assert (verdict.action, verdict.text) == (Action.ALLOW, left)
    assert verdict.repaired
    verdict.text.encode("utf-8")


@pytest.mark.parametrize(
    "reply",
    [
        "Check the filter.\nUser: thanks\nAssistant: you get a voucher",
        "Assistant: Check the filter.\nUser: thanks",
    ],
)
async def test_invented_dialogue_is_held(reply: str) -> None:
    verdict = await judge(reply)
    assert "shape.dialogue" in rules(verdict)


async def test_system_line_of_a_report_is_no_dialogue() -> None:
    assert (await judge("System: Windows 11\nUser: admin\nPort: 8080")).action is Action.ALLOW


@pytest.mark.parametrize(
    ("reply", "asked", "language", "action"),
    [
        (
            "请先断开电源，等待五分钟，然后取下滤网清洗，晾干以后再装回去，最后重新开机观察是否仍然显示故障代码。",
            "It shows E4",
            "en",
            Action.HOLD,
        ),
        (
            "Please switch it off, wait five minutes, clean the filter and then switch it on again.",
            "显示E4",
            "zh",
            Action.HOLD,
        ),
        (
            "Пожалуйста, выключите прибор и подождите пять минут, затем очистите фильтр.",
            "It shows E4",
            "en",
            Action.HOLD,
        ),
        (
            "Please switch it off, wait five minutes, clean the filter and then switch it on.",
            "use English please",
            "zh",
            Action.ALLOW,
        ),
        (
            "请按 Menu，Settings，Network Reset，Confirm，OK，依次操作，Restart Device",
            "怎么重置",
            "zh",
            Action.ALLOW,
        ),
        ("KFR-35GW/BP3DN8Y-PH200(B1)", "型号是什么", "zh", Action.ALLOW),
    ],
)
async def test_reply_in_a_language_nobody_spoke_is_held(
    reply: str, asked: str, language: str, action: Action
) -> None:
    assert language in {"zh", "en"}
    verdict = await judge(reply, asked=asked, language="zh" if language == "zh" else "en")
    assert verdict.action is action
