"""What stands on a rating plate, told from lines of text: fields with a name, known brands, codes."""

from __future__ import annotations

import pytest

from bot.engines.rules import load_rules
from context.turns import Line

LABELS = load_rules().labels


def line(text: str, x: int = 0, y: int = 0, *, wide: int = 200, confidence: float = 0.9) -> Line:
    return Line(text, confidence, ((x, y), (x + wide, y), (x + wide, y + 30), (x, y + 30)))


def turned(lines: list[Line]) -> list[Line]:
    """The same on a photo that was taken sideways."""
    return [Line(one.text, one.confidence, tuple((1000 - y, x) for x, y in one.box)) for one in lines]


TABLE = [
    line("型号"),
    line("KFR-72LW/BP3DN8Y", 260),
    line("额定电压", y=40),
    line("220V~", 260, 40),
    line("序列号", y=80),
    line("00123", 260, 80),
]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line("MODEL KFR-35GW"), line("S/N 8K2207M1194")], {"model": "KFR-35GW", "serial": "8K2207M1194"}),
        ([line("产品型号：KFR-35GW 出厂编号：3A0012345")], {"model": "KFR-35GW", "serial": "3A0012345"}),
        ([line("Model No.: MSZ-AP25VG"), line("美的空调", y=40)], {"model": "MSZ-AP25VG", "brand": "Midea"}),
        ([line("SERIAL NUMBER"), line("0123456T", y=40)], {"serial": "0123456T"}),
        ([line("Brand: Acme Heating")], {"brand": "Acme Heating"}),
        (TABLE, {"model": "KFR-72LW/BP3DN8Y", "serial": "00123"}),
        (turned(TABLE), {"model": "KFR-72LW/BP3DN8Y", "serial": "00123"}),
        ([line("E04")], {"code": "E04"}),
        ([line("·E4"), line("EO4")], {"code": "E04"}),
        ([line("model railway"), line("a serial killer of 1999"), line("SN"), line("型号：")], {}),
        ([line("R32 0.68 kg"), line("220 V ~ 50 Hz")], {}),
        ([line("Modern brands agree")], {}),
    ],
)  # fmt: skip
def test_fields_are_told_by_their_names(lines: list[Line], expected: dict[str, str]) -> None:
    assert {fact.kind: fact.value for fact in LABELS.facts(lines)} == expected


def test_a_fact_has_the_place_of_its_value_and_the_lesser_confidence() -> None:
    (model, _) = LABELS.facts([line("型号", confidence=0.7), *TABLE[1:]])
    assert (model.confidence, model.place[0]) == (0.7, (260, 0))


def test_the_same_on_two_lines_is_one_fact_and_there_are_never_many() -> None:
    assert len(LABELS.facts([line("E4", confidence=0.7), line("E4", confidence=0.95)])) == 1
    assert len(LABELS.facts([line(f"S/N A{number:06}", y=40 * number) for number in range(50)])) == 12
