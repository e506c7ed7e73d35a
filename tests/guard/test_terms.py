"""Folding and the list of terms: what is a hit, where it stands, and what only looks like one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.guard import Action, Guard, load_policy, policy_of
from bot.guard.fold import fold
from bot.guard.terms import Term, Terms
from tests.guard.cases import TERMS, judge, small_guard
from tests.until import until


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("ＦＲＥＥＭＯＮＥＹ", (0, 9)),
        ("get f\u200bree\u2060money now", (4, 15)),
        ("frееmoney", (0, 9)),
        ("Ⓕⓡⓔⓔmoney", (0, 9)),
        ("𝓯𝓻𝓮𝓮money", (0, 9)),
        ("🅕🅡🅔🅔money", (0, 9)),
        ("f\u0336r\u0336e\u0336e\u0336money", (0, 13)),
        ("fréemóney", (0, 9)),
        ("可以代開發票", (2, 6)),
        ("请加 微 信", (1, 6)),
        ("请加*微*信", (1, 6)),
        ("请加.微.信", (1, 6)),
        ("You ass!", (4, 7)),
        ("教你怎么自杀", (4, 6)),
    ],
)
async def test_disguised_term_is_found_where_it_stands_in_the_original(
    text: str, span: tuple[int, int]
) -> None:
    verdict = await judge(text)
    assert verdict.action is Action.BLOCK
    assert span in [reason.span for reason in verdict.reasons]
    assert verdict.text == ""


@pytest.mark.parametrize(
    "text",
    [
        "classic assembly passes",
        "请外加。微信号另附",
        "请把网线插到端口交换机",
        "平台独立部署",
        "显示屏颜色情况正常",
        "这个提示来自杀毒软件",
        "配套现货充足",
    ],
)
async def test_chance_neighbours_are_no_hit(text: str) -> None:
    assert (await judge(text, language="zh")).action is Action.ALLOW


# Written after the rules and never used to tune them.
HELD_OUT = """
窗口交互界面可以缩放
接口交叉连接时请用双绞线
出口交货前会做老化测试
路口交通灯控制器报 E2
进口交流接触器的线圈电压是 220V
后台独立运行，不影响前台
两台独立的主机互为备份
平台独有的同步功能
控制台独占串口 COM3
服务台独用一条线路
特色情景模式有四种
绿色情景灯带
蓝色情况下表示待机
角色情绪标签为空
变色情形出现在高温时
各自杀菌 30 分钟
独自杀掉进程后重启
来自杀菌灯的臭氧味会散去
配套现有支架安装
成套现场组装
"""


async def test_held_out_chance_neighbours_are_hardly_ever_blocked() -> None:
    guard = small_guard()
    lines = HELD_OUT.strip().splitlines()
    blocked = [
        line for line in lines if (await judge(line, guard=guard, language="zh")).action is not Action.ALLOW
    ]
    assert len(lines) == 20
    assert len(blocked) <= 1, blocked


async def test_chance_neighbours_stay_on_record_for_the_second_check() -> None:
    verdict = await judge("请把网线插到端口交换机", language="zh")
    assert [(reason.category, reason.note, reason.span) for reason in verdict.reasons] == [
        ("abuse", "unaligned", (7, 9))
    ]


async def test_nested_terms_are_both_reported_and_the_gravest_decides() -> None:
    guard = Guard(
        policy=policy_of(
            [
                Term("甲", "one", Action.HOLD, match="substring"),
                Term("甲乙", "two", Action.BLOCK, match="substring"),
            ]
        )
    )
    verdict = await judge("甲乙", guard=guard, language="zh")
    assert {reason.category for reason in verdict.reasons} == {"one", "two"}
    assert verdict.action is Action.BLOCK


async def test_longest_allowed_phrase_cancels_a_hit_only_where_it_covers_it() -> None:
    phrase = Term("防自杀", "allowed", Action.ALLOW, allow=True)
    terms = Terms((*TERMS, phrase))
    assert terms.find(fold("防自杀提示")) == ()
    assert [hit.span for hit in terms.find(fold("防自杀提示，自杀"))] == [(6, 8)]


async def test_emoji_leave_unchanged() -> None:
    reply = "好的 👨‍👩‍👧 🫨 🏴󠁧󠁢󠁥󠁮󠁧󠁿 हिन्दी"
    verdict = await judge(reply, language="zh")
    assert (verdict.action, verdict.text, verdict.reasons) == (Action.ALLOW, reply, ())


async def test_term_on_trial_is_recorded_and_not_obeyed() -> None:
    verdict = await judge("a bongo", guard=small_guard(Term("bongo", "trial", Action.BLOCK, shadow=True)))
    assert verdict.action is Action.ALLOW
    assert [(reason.category, reason.note) for reason in verdict.reasons] == [("trial", "shadow")]


def _terms_file(path: Path, *words: str) -> Path:
    listed = ", ".join(words)
    path.write_text(f"lists:\n  - {{category: own, action: block, terms: [{listed}]}}\n", encoding="utf-8")
    return path


async def test_new_term_is_in_force_after_a_reload_under_load(tmp_path: Path) -> None:
    path = _terms_file(tmp_path / "terms.yaml", "alpha")
    guard = Guard(policy=load_policy(path))
    before = guard.policy.version
    _terms_file(path, "alpha", "omega")
    judgements = [judge("omega", guard=guard) for _ in range(50)]
    assert await asyncio.to_thread(guard.reload)
    assert all(verdict.action in Action for verdict in await asyncio.gather(*judgements))
    after = await judge("omega", guard=guard)
    assert (after.action, after.policy) == (Action.BLOCK, guard.policy.version)
    assert before != after.policy


async def test_running_guard_notices_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    guard = Guard(policy=load_policy(path), reload_every_s=0.01)
    before = guard.policy.version
    await guard.start()
    try:
        assert (await judge("omega", guard=guard)).action is Action.ALLOW
        _terms_file(path, "omega")
        await until(lambda: guard.policy.version != before)
        assert (await judge("omega", guard=guard)).action is Action.BLOCK
    finally:
        await guard.close()


async def test_wrong_file_is_refused_as_a_whole_and_named(tmp_path: Path) -> None:
    path = _terms_file(tmp_path / "own.yaml", "omega")
    guard = Guard(policy=load_policy(path))
    path.write_text("lists:\n  - {category: own, action: forbid, terms: [x]}\nlinks: []\n", encoding="utf-8")
    assert not guard.reload()
    assert (await judge("omega", guard=guard)).action is Action.BLOCK
    health = await guard.health()
    assert health.state == "degraded"
    assert "own.yaml: lists[1].terms[1] needs an action: allow, hold or block" in health.detail
    assert "own.yaml: links is not known" in health.detail


@pytest.mark.parametrize(
    "content", ["", "- a\n", "lists: 3\n", "{", "lists: [{terms: [a]}]\n", "limits: {max_chars: -1}\n"]
)
def test_unreadable_file_is_a_bad_configuration(tmp_path: Path, content: str) -> None:
    from bot.errors import BadConfiguration

    path = tmp_path / "own.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadConfiguration, match=r"own\.yaml: "):
        load_policy(path)


def test_bundled_lists_are_small_sorted_into_categories_and_free_of_doubles() -> None:
    policy = load_policy()
    texts = [term.text for term in policy.terms.terms]
    assert 100 <= len(texts) <= 330
    assert len(texts) == len(set(texts))
    assert all(
        term.category and (term.allow or term.action is not Action.ALLOW) for term in policy.terms.terms
    )
    assert {"zh", "en"} <= {term.language for term in policy.terms.terms}


def test_identical_length_folding_keeps_positions() -> None:
    assert fold("PLAIN text").at is None
    folded = fold("ﬁlter ㎏")
    assert folded.text == "filter kg"
    assert folded.span(0, 2) == (0, 1)
    assert folded.span(7, 9) == (6, 7)
