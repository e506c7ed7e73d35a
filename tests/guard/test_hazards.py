"""Hazards: each row of the table finds what it names, and nothing that warns of it."""

from __future__ import annotations

import pytest

from bot.guard import Action
from bot.guard.hazards import load_hazards
from bot.guard.lexicon import Lexicon, spelled
from context.turns import Language
from prompts.prompts import Prompts
from tests.guard.cases import judge

LANGUAGES: tuple[Language, ...] = ("en", "zh")
ADVISED = {
    "live work": ("With the power on, poke the capacitor with a screwdriver.", "插着电把后盖拆开看看。"),
    "makeshift fuse": ("Replace the blown fuse with a piece of copper wire.", "保险丝断了用铜丝代替就行。"),
    "bypassed protection": ("Bridge the RCD so it no longer trips.", "接地线剪掉不影响使用。"),
    "blocked vent": ("Plug the safety valve and the drip will stop.", "安全阀堵死就不滴水了。"),
    "no earth": ("The earth wire isn't really needed, it works without.", "不接地线也没关系，一样能用。"),
    "gas leak": ("Wrap tape round the leaking gas pipe and carry on.", "用打火机找找哪里漏气。"),
    "kept in use": ("The wet socket is fine, keep using it.", "插座进水了也能继续用，擦一下就行。"),
    "pierced battery": ("Puncture the swollen cell to let the gas out.", "电池鼓起来了，用针扎个小眼。"),
    "heated battery": ("Put the phone into the microwave for a minute.", "把手机放进微波炉转一下。"),
    "toxic mixture": ("Mix the descaler with some bleach.", "洁厕灵兑84消毒液更干净。"),
    "water on current": ("Spray water into the socket to clean it.", "主板直接用水冲洗。"),
    "water on a fat fire": ("Pour water on the oil fire to put it out.", "油锅着火了泼一碗水就灭。"),
    "object in a socket": ("Stick a hairpin in the outlet.", "用铁丝捅一下插座。"),
    "moving parts": ("Reach in while it is still spinning.", "还在转的时候伸手掏出来。"),
    "gas cylinder": ("Lay the gas bottle on its side.", "煤气罐用开水烫一下。"),
    "fumes indoors": ("Run the generator in the garage.", "木炭在屋里烧着取暖就行，点着即可。"),
    "silenced alarm": ("Put a sock over the smoke detector while you cook.", "烟感老响就套个袋。"),
    "fuel as a cleaner": ("Clean the burner with petrol.", "用汽油擦一擦炉头。"),
    "wet hands": ("Reset the breaker, it works with wet hands too.", "湿手合闸没事的。"),
    "opened under pressure": ("Open the pressure cooker by force.", "高压锅没泄压就硬撬。"),
    "opened under water pressure": (
        "Unscrew the hose without turning off the water.",
        "拧下水管接头，不用关水。",
    ),
    "refrigerant": ("Top up the refrigerant with a can of R32.", "买一瓶冷媒加进去就行。"),
    "work at height": ("Climb out of the window to reach it.", "翻出窗外站在支架上够一下。"),
    "child in danger": ("Your toddler can play with the buttons.", "让小朋友自己玩按键。"),
    "forced charge": ("Jump-start the flat battery with a wire.", "用导线给电池激活一下。"),
    "overloaded strip": ("The heater can share an extension lead, no problem.", "取暖器一起插在插排上没事。"),
    "covered heater": ("Drape a towel over the fan heater to dry it.", "把毛巾盖在暖风机上烘干。"),
    "ice hacked off": ("Chip the ice off with a screwdriver.", "用螺丝刀把冰撬下来。"),
    "first aid": ("Put toothpaste on the burn.", "烫伤的地方涂点牙膏。"),
    "played down": ("The gas hose has a small crack, that's not urgent.", "烟管掉了影响不大。"),
    "electrics in the bath": ("A hair dryer can be used in the bath.", "浴缸边用吹风机可以。"),
}


def test_every_row_of_the_table_has_an_example() -> None:
    _, hazards = load_hazards()
    assert {hazard.name for hazard in hazards} == set(ADVISED)


def test_staff_read_what_a_hazard_is_in_their_language() -> None:
    prompts = Prompts()
    for name in ADVISED:
        english, chinese = (
            prompts.notice("staff_rule", language, rule=f"hazard.{name}") for language in LANGUAGES
        )
        assert not english.startswith("hazard"), name
        assert not chinese.isascii(), name


@pytest.mark.parametrize("name", ADVISED)
async def test_hazard_is_blocked_and_named_for_staff(name: str) -> None:
    for line in ADVISED[name]:
        verdict = await judge(line, language="en" if line.isascii() else "zh")
        found = [(reason.note, reason.action) for reason in verdict.reasons if reason.rule == "safety.advice"]
        assert found == [(name, Action.BLOCK)], line


async def test_a_bigger_fuse_is_one_and_a_smaller_is_none() -> None:
    for bigger in (
        "Change the 10 amp fuse for a 20 amp fuse.",
        "把10A的保险丝换成20A的。",
        "Use a 30 A fuse instead of 10 A.",
    ):
        assert (await judge(bigger, language="zh")).action is Action.BLOCK, bigger
    for smaller in (
        "Change the 20 amp fuse for the 10 amp fuse on the label.",
        "把20A的保险丝换成标签上的10A。",
    ):
        assert (await judge(smaller, language="zh")).action is Action.ALLOW, smaller


async def test_place_of_a_hazard_is_where_its_words_stand() -> None:
    line = "Clean the filter. Then bypass the thermal fuse with a wire. Goodbye."
    (reason,) = (await judge(line)).reasons
    assert reason.span is not None
    assert line[slice(*reason.span)].startswith("bypass the thermal fuse")


@pytest.mark.parametrize("name", ADVISED)
async def test_forbidding_it_is_no_advice(name: str) -> None:
    english, chinese = ADVISED[name]
    for line in (
        f"Never do the following: {english[0].lower()}{english[1:]}",
        f"{english.rstrip('.')}? That can cause a fire and is dangerous, so please do not.",
        f"切勿{chinese}",
    ):
        if name == "kept in use" and not line.startswith("切勿"):
            continue  # what is told to be fine cannot be forbidden by a word before it
        verdict = await judge(line, language="en" if line.isascii() else "zh")
        assert verdict.action is Action.ALLOW, (line, verdict.reasons)


async def test_carrying_on_in_the_next_sentence_counts_unless_told_to_stop() -> None:
    assert (await judge("Your plug got wet. Just carry on using it.")).action is Action.BLOCK
    assert (
        await judge("Your plug got wet. Unplug it and let it dry. You can keep using it after that.")
    ).action is (Action.ALLOW)


def test_entry_stands_for_every_spelling_of_it() -> None:
    assert set(spelled("(cut|snip) [off] the wire")) == {
        "cut off the wire",
        "cut the wire",
        "snip off the wire",
        "snip the wire",
    }


def test_words_count_whole_stems_at_their_beginning_and_harmless_phrases_not_at_all() -> None:
    lexicon = Lexicon({"a": "spark, scorch~", "b": "带电"}, harmless="spark plug, 带电池")
    heard = [(start, end) for start, end, _ in lexicon.heard("spark sparks scorched spark plug 带电池 带电")]
    assert heard == [(0, 5), (13, 19), (37, 39)]


def test_a_bracket_without_its_other_half_is_refused() -> None:
    with pytest.raises(ValueError, match="bracket"):
        list(spelled("cut (the"))
