"""What rules understand, what they say, and how the linter helps those who edit them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from bot.engines.clues import Clues, Light
from bot.engines.rulebook import RuleBook
from bot.engines.rules import RULES, lint_rules, load_rules
from bot.errors import BadConfiguration
from bot.guard import Action, Guard, load_policy
from context.turns import Language

BOOK = load_rules()


def lights(text: str, colour: str = "") -> list[tuple[str, str, int]]:
    return [
        (light.colour, light.state, light.blinks)
        for light in BOOK.vocabulary.typed(text, colour=colour).lights
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The red light blinks three times", [("red", "blinking", 3)]),
        ("the light is red. It flashes 2x, then a pause", [("red", "blinking", 2)]),
        ("a blinking red led", [("red", "blinking", 0)]),
        ("red is steady, green is flashing", [("red", "steady", 0), ("green", "blinking", 0)]),
        ("the green light stopped blinking", [("green", "steady", 0)]),
        ("it’s a solid green light", [("green", "steady", 0)]),
        ("there is an orange lamp", [("yellow", "", 0)]),
        ("红灯一直闪", [("red", "blinking", 0)]),
        ("红灯闪了三下", [("red", "blinking", 3)]),
        ("红灯常亮", [("red", "steady", 0)]),
        ("绿灯不闪了", [("green", "steady", 0)]),
        ("指示灯不亮", [("", "dark", 0)]),
        ("I have red hair and a green car", []),
        ("my hand is steady", []),
        ("please hold the line", []),
    ],
)  # fmt: skip
def test_lights_are_understood(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert lights(text) == expected


def test_light_of_an_earlier_message_is_meant_when_no_colour_is_named() -> None:
    assert lights("now it is steady", "red") == [("red", "steady", 0)]
    assert lights("现在不闪了", "red") == [("red", "steady", 0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it shows E4", ["E4"]),
        ("显示e04了", ["E04"]),
        ("E-07 and e7", ["E07"]),
        ("Ｅ４", ["E4"]),
        ("error X12", ["X12"]),
        ("代码：b3", ["B3"]),
        ("the manual says R32 and paper A4", []),
        ("my B2B order 4711", []),
        ("call E4you", []),
    ],
)
def test_typed_codes_are_found(text: str, expected: list[str]) -> None:
    assert [code.shown for code in BOOK.vocabulary.typed(text).codes] == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["E4"], ["E4"]),
        (["E 4"], ["E4"]),
        (["EO4"], ["E04"]),
        (["EB"], ["E8"]),
        (["FI"], ["F1"]),
        (["ES"], ["E5"]),
        (["E7", "MODE", "TEMP"], ["E7"]),
        (["EL MODELO ES"], []),
        (["HI"], []),
        (["R410A", "IP54", "220V~50Hz", "S/N 8K2207M1194"], []),
        (["ERROR E07"], ["E07"]),
    ],
)
def test_codes_on_photos_are_folded_against_known_ones(lines: list[str], expected: list[str]) -> None:
    assert [code.shown for code in BOOK.vocabulary.read(lines).codes] == expected


def speaking(text: str, before: str = "", *, photo: bool = False) -> list[str]:
    earlier = BOOK.vocabulary.typed(before) if before else Clues()
    colour = earlier.lights[-1].colour if earlier.lights else ""
    now = BOOK.vocabulary.typed(text, colour=colour)
    return [rule.id for rule in BOOK.matching(now, earlier, photo=photo, earlier_photo=False)]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("it shows E4", ["code-e4"]),
        ("E07 am Display", ["code-e7"]),
        ("shows F9", ["code-other"]),
        ("E4 and the red light is blinking", ["code-e4", "red-blinking"]),
        ("the red light blinks three times", ["red-blinking-three-times"]),
        ("红灯常亮", ["red-steady"]),
        ("it won't turn on", ["no-power"]),
        ("开不了机", ["no-power"]),
        ("water is leaking and it makes a noise", ["water-leak", "noise"]),
        ("漏水", ["water-leak"]),
        ("it gets hot", ["overheating"]),
        ("the app says offline", ["offline"]),
        ("I can smell gas!", ["gas-smell"]),
        ("有煤气味，红灯闪，显示E4", ["gas-smell"]),
        ("smoke comes out, it shows E4", ["burning"]),
        ("有焦味", ["burning"]),
        ("the white led is flashing", ["white-blinking"]),
        ("the red light blinks five times", ["red-blinking-counted"]),
        ("Hello there!", ["greeting"]),
        ("您好，在吗？", ["greeting"]),
        ("hello, water is leaking", ["water-leak"]),
        ("hello, the door is broken", ["general"]),
        ("Thank you very much 🙂", ["thanks"]),
        ("好的，谢谢您", ["thanks"]),
        ("thanks, it works now", ["solved"]),
        ("it works now, thanks, but still E4", ["code-e4", "still-the-same"]),
        ("问题解决了", ["solved"]),
        ("this is useless, I am very angry", ["upset"]),
        ("什么垃圾，气死我了", ["upset"]),
        ("I want to talk to a person", ["person"]),
        ("帮我转人工", ["person"]),
        ("where is my order 4711?", ["orders"]),
        ("it shows E4, is that under warranty?", ["code-e4", "orders"]),
        ("our AC shows a fault", ["general"]),
        ("", ["general"]),
        ("🙂", ["general"]),
    ],
)
def test_each_trouble_has_its_rule_and_danger_speaks_alone(text: str, rules: list[str]) -> None:
    assert speaking(text) == rules


def test_a_change_of_the_light_has_a_rule_of_its_own() -> None:
    assert speaking("now it is steady red", "the red light blinks three times") == ["red-blinking-now-steady"]
    assert speaking("现在红灯常亮", "红灯闪三下") == ["red-blinking-now-steady"]
    assert speaking("now it is steady red") == ["red-steady"]


@pytest.mark.parametrize(
    "text", ["no " * 3000, "红" * 5000, " " * 9000, "e4 " * 3000, "not no doesn't " * 900, "blink" * 2000]
)
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    before = time.process_time()
    clues = BOOK.vocabulary.typed(text)
    BOOK.matching(clues, clues, photo=False, earlier_photo=False)
    assert time.process_time() - before < 0.5


def test_rules_in_the_repository_are_clean() -> None:
    assert lint_rules() == []


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_guard_lets_every_rule_pass(language: Language) -> None:
    guard = Guard(policy=load_policy())
    ending = BOOK.frame["preliminary"][language]
    for rule in BOOK.rules:
        text = f"{rule.say[language]}\n\n{ending}".replace("{codes}", "E12")
        verdict = await guard.judge(text, asked="?", language=language)
        assert verdict.action is Action.ALLOW, (rule.id, verdict)


def test_chinese_sentences_have_no_spaces_where_lines_were_folded() -> None:
    sentences = [rule.say["zh"] for rule in BOOK.rules]
    assert [sentence for sentence in sentences if "， " in sentence or "。 " in sentence] == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RULES, tmp_path / "rules"))


GOOD = """
- id: mine
  about: mine
  priority: 500
  when: {words: [frobnicator]}
  say: {en: "Turn it.", zh: "转一下。"}
"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("id: mine", "id: Mine!"), "my.yaml: Mine!: needs an `id` of small letters"),
        (("id: mine", "id: general"), "my.yaml: general: has the id of another rule"),
        (("about: mine", "topic: mine"), "my.yaml: mine: `topic` is none of"),
        (("priority: 500", "priority: high"), "my.yaml: mine: needs `priority`"),
        (("[frobnicator]", "frobnicator"), "my.yaml: mine: when: words: must be a list"),
        (("[frobnicator]", "[on, off]"), "my.yaml: mine: when: words: must be a list"),
        (("{words: [frobnicator]}", "{word: [x]}"), "my.yaml: mine: when: `word` is none of"),
        (("{words: [frobnicator]}", "{codes: [12345]}"), "my.yaml: mine: when: codes: must be a list"),
        (("{words: [frobnicator]}", "{codes: [E12345]}"), "my.yaml: mine: when: codes: a code is"),
        (("{words: [frobnicator]}", "{light: {colour: purple}}"), "light: colour: must be one of red, green"),
        (("{words: [frobnicator]}", "{light: {colour: red, blinks: 12}}"), "light: blinks: must be a number"),
        (("  priority", "  brief: perhaps\n  priority"), "my.yaml: mine: `brief` must be true or false"),
        (("{words: [frobnicator]}", "{only: 1}"), "my.yaml: mine: when: only: must be true or false"),
        (("{words: [frobnicator]}", "{photo: maybe}"), "my.yaml: mine: when: photo: must be true or false"),
        (("{words: [frobnicator]}", "{before: {photo: true}}"), "when: before: `photo` is none of"),
        ((', zh: "转一下。"', ""), "my.yaml: mine: say: needs a sentence for each of zh, en"),
        (("Turn it.", "Turn {it}."), "my.yaml: mine: say: en: {it} cannot be filled in here"),
        (("Turn it.", "You will get a refund."), "my.yaml: mine: say: en: promises something"),
        (("转一下", "我们免费上门"), "my.yaml: mine: say: zh: promises something"),
        (("Turn it.", "See https://example.com"), "my.yaml: mine: say: en: holds a link"),
        (("Turn it.", "Call 400 812 3456"), "my.yaml: mine: say: en: holds a link or a number"),
        (("Turn it.", "x" * 601), "my.yaml: mine: say: en: must have between 1 and 600"),
        (("  priority", "  about: twice\n  priority"), "my.yaml: line 2: `about` is there twice"),
        (("when:", "when: ]"), "my.yaml: line 5"),
        ((GOOD, "mine: {}"), "my.yaml: must be a list of rules"),
        ((GOOD, "- just words"), "my.yaml: rule 1: must begin with `- id:`"),
    ],
)
def test_linter_names_file_rule_and_mend(folder: Path, change: tuple[str, str], problem: str) -> None:
    (folder / "my.yaml").write_text(GOOD, encoding="utf-8")
    assert lint_rules(folder) == []

    (folder / "my.yaml").write_text(GOOD.replace(*change), encoding="utf-8")
    assert [found for found in lint_rules(folder) if found.startswith("my.yaml")]
    assert any(problem in found for found in lint_rules(folder)), lint_rules(folder)
    with pytest.raises(BadConfiguration):
        load_rules(folder)


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("frame.yaml", ("/human", "us"), "frame.yaml: preliminary: en: must say how to reach a person"),
        ("frame.yaml", ("nothing_read:", "nothing:"), "frame.yaml: nothing_read: needs a sentence"),
        ("vocabulary.yaml", ("  red: {en: red light, zh: 红灯}\n", ""), "vocabulary.yaml: names: red: needs"),
        ("faults.yaml", ("  when: {}", "  when: {photo: true}"), "something must always match"),
        ("vocabulary.yaml", None, "vocabulary.yaml: missing"),
    ],
)
def test_linter_knows_what_the_bot_cannot_do_without(
    folder: Path, file: str, change: tuple[str, str] | None, problem: str
) -> None:
    path = folder / file
    if change is None:
        path.unlink()
    else:
        path.write_text(path.read_text(encoding="utf-8").replace(*change), encoding="utf-8")

    assert any(problem in found for found in lint_rules(folder)), lint_rules(folder)


def test_linter_tells_everything_at_once(folder: Path) -> None:
    (folder / "my.yaml").write_text(GOOD.replace("500", "x").replace("转一下。", "赔偿"), encoding="utf-8")
    (folder / "bad.yaml").write_text("- [", encoding="utf-8")

    files = {problem.partition(":")[0] for problem in lint_rules(folder)}
    assert len(lint_rules(folder)) == 3
    assert files == {"my.yaml", "bad.yaml"}


def test_rules_of_an_operator_speak(folder: Path) -> None:
    (folder / "my.yaml").write_text(GOOD, encoding="utf-8")
    book: RuleBook = load_rules(folder)
    clues = book.vocabulary.typed("the Frobnicator is stuck")

    assert [rule.id for rule in book.matching(clues, Clues(), photo=False, earlier_photo=False)] == ["mine"]
    assert book.version != BOOK.version


def test_light_is_compared_by_what_the_rule_names() -> None:
    for blinks, rule_id in (
        (0, "red-blinking"),
        (3, "red-blinking-three-times"),
        (5, "red-blinking-counted"),
    ):
        clues = Clues(lights=(Light("red", "blinking", blinks),))
        matching = BOOK.matching(clues, Clues(), photo=False, earlier_photo=False)
        assert [rule.id for rule in matching] == [rule_id]
