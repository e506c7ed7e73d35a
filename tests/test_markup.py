from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.markup import PART_ENTITIES, PART_UNITS, parts_of
from context.turns import Entity


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def span(text: str, entity: Entity) -> str:
    raw = text.encode("utf-16-le")
    return raw[entity.offset * 2 : (entity.offset + entity.length) * 2].decode("utf-16-le")


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("Use <serial number> from the label", "Use <serial number> from the label"),
        ("List<String> 与 <E4>", "List<String> 与 <E4>"),
        ("5*3=15*2", "5*3=15*2"),
        ("a ~~~~ b", "a ~~~~ b"),
        ("call __init__ first", "call __init__ first"),
        ("costs $5 or $6", "costs $5 or $6"),
        ("a stray * or _ or ` stays", "a stray * or _ or ` stays"),
        ("`a<b` and c<d", "a<b and c<d"),
        ("1. off\n2. on", "1. off\n2. on"),
        ("- filter\n- fan", "• filter\n• fan"),
        ("# Steps", "Steps"),
        ("红灯常亮,请**断电**", "红灯常亮,请断电"),
        ("![](x)", "![](x)"),
        ("&nbsp;", "&nbsp;"),
    ],
)
def test_no_word_of_a_reply_is_lost_in_formatting(markdown: str, shown: str) -> None:
    assert [part.text for part in parts_of(markdown)] == [shown]


def test_formatting_becomes_entities_over_the_right_words() -> None:
    (part,) = parts_of("🔧 **请断电** then `E4` and [help](https://a.example/x)")
    assert [(entity.type, span(part.text, entity)) for entity in part.entities] == [
        ("bold", "请断电"),
        ("code", "E4"),
        ("text_link", "help"),
    ]
    assert part.entities[2].url == "https://a.example/x"


@pytest.mark.parametrize(
    ("markdown", "shown", "bold"),
    [
        ("**注意：**请先**断电**", "注意：请先断电", ["注意：", "断电"]),
        ("🔧后**“断电”**再开", "🔧后“断电”再开", ["“断电”"]),
        ("注意：**请断电。**然后", "注意：请断电。然后", ["请断电。"]),
        ("**`E4`**表示**`温度`：**高", "E4表示温度：高", ["E4", "温度：", "E4", "温度"]),
        ("`**注意：**请` 5 ** 3", "**注意：**请 5 ** 3", ["**注意：**请"]),
    ],
)
def test_bold_beside_chinese_needs_no_spaces(markdown: str, shown: str, bold: list[str]) -> None:
    (part,) = parts_of(markdown)
    assert part.text == shown
    assert sorted(span(part.text, entity) for entity in part.entities) == sorted(bold)


@pytest.mark.parametrize("target", ["javascript:alert(1)", "data:text/html,x", "tg://resolve?domain=x"])
def test_links_that_are_no_web_links_lose_their_target(target: str) -> None:
    (part,) = parts_of(f"[press]({target})")
    assert part.entities == ()


def test_blank_text_has_no_parts() -> None:
    assert parts_of(" \n ") == ()


def test_long_replies_are_cut_at_paragraphs_and_lose_nothing() -> None:
    paragraph = "The outdoor unit does not answer. " * 20
    text = "\n\n".join(f"{number}) {paragraph.strip()}" for number in range(20))
    parts = parts_of(text)
    assert len(parts) == 4
    assert all(units(part.text) <= PART_UNITS for part in parts)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(text.replace(") ", ". ").split())


@pytest.mark.parametrize("sign", ["👨\u200d👩\u200d👧\u200d👦", "🇨🇳", "👍🏽", "1️⃣", "e\u0301", "❤️\u200d🔥"])
def test_no_sign_is_cut_in_two_where_there_is_nowhere_else_to_cut(sign: str) -> None:
    for lead in range(4):
        parts = parts_of("x" * lead + sign * 3000)
        assert all(units(part.text) <= PART_UNITS for part in parts)
        assert all(set(part.text.split(sign)) <= {"", "x" * lead} for part in parts)


def test_entities_follow_their_words_into_the_next_part() -> None:
    text = "x" * 3000 + "\n\n" + "y" * 900 + "\n\n" + "**check the filter** " * 120
    for part in parts_of(text):
        for entity in part.entities:
            assert span(part.text, entity) == "check the filter"
        assert len(part.entities) <= PART_ENTITIES


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab1 E4灯🔧*_`~#[]()<>|\\\n-.!&$")), max_size=300))
def test_any_text_keeps_its_letters_and_stays_in_range(text: str) -> None:
    parts = parts_of(text)
    shown = "".join(char for part in parts for char in part.text if char.isalnum())
    for part in parts:
        assert 0 < units(part.text) <= PART_UNITS
        for entity in part.entities:
            assert entity.offset >= 0
            assert entity.length > 0
            assert entity.offset + entity.length <= units(part.text)
    if "](" not in text and "```" not in text:
        letters = [char for char in text if char.isalpha()]
        assert [char for char in shown if char.isalpha()] == letters
