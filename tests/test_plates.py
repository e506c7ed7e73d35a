"""What the model names on a plate counts where it stands there, as text recognition read it."""

from __future__ import annotations

import pytest

from bot.engines.labels import FIELDS
from bot.photos.plates import fact_of, fields_in, is_plate
from context.turns import FactKind
from tests.test_labels import line

LINES = [line("GREAT COOL"), line("GC-2600/B", y=40), line("220V~50Hz", y=80), line("N0 AB9912345", y=120)]


@pytest.mark.parametrize(
    ("kind", "said", "kept", "at"),
    [
        ("brand", "Great Cool", "Great Cool", 0),
        ("brand", "Midea", "", 0),
        ("model", "GC-2600/B", "GC-2600/B", 1),
        ("model", "GC 2600 B", "", 1),
        ("model", "GC-260O/B", "GC-260O/B", 1),
        ("model", "GC-26OO/8", "", 1),
        ("model", "GC-3500/C", "", 1),
        ("model", "220V~50Hz", "", 2),
        ("serial", "AB9912345", "AB9912345", 3),
        ("serial", "AB9912346", "AB9912346", 3),
        ("serial", "unknown", "", 3),
        ("serial", "N/A", "", 3),
        ("serial", "", "", 3),
    ],
)
def test_a_value_has_to_stand_on_the_photo(kind: FactKind, said: str, kept: str, at: int) -> None:
    fact = fact_of(kind, said, LINES)
    assert (fact.value if fact else "") == kept
    if fact:
        assert (fact.source, fact.place) == ("model", LINES[at].box)
        assert 0.7 <= fact.confidence <= 0.9


def test_a_display_is_no_plate() -> None:
    assert is_plate(LINES)
    assert not is_plate(LINES[:2])
    assert not is_plate([line("Wi-Fi"), line("Menu"), line("Back"), line("OK")])


@pytest.mark.parametrize("value", [None, [], {}, {"brand": "x"}, dict.fromkeys(FIELDS, 7), {"more": 1}])
def test_what_is_no_such_json_names_nothing(value: object) -> None:
    assert fields_in(value) is None
