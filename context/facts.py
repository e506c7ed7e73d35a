"""What was measured on a photo or in a clip, as JSON in the database and between processes.

It is read strictly: anything but the exact output of `written` raises ValueError.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from context.turns import Clip, Flaw, Lamp, Photo

if TYPE_CHECKING:  # the intake's helper has no SQLAlchemy
    from sqlalchemy.engine import Row

COLOURS = frozenset({"", "red", "yellow", "green", "blue", "white"})
PLACES = frozenset(
    {"middle", "top", "bottom", "left", "right", "top left", "top right", "bottom left", "bottom right"}
)
FLAWS: tuple[Flaw, ...] = ("", "dark", "blurred", "small", "screenshot")
_LONGEST_S = 3600.0
_MOST_LAMPS = 8
_MOST_BLINKS = 9


def written(clip: Clip | None, flaw: Flaw = "") -> str:
    """The facts as text; empty if there are none."""
    facts: dict[str, object] = {}
    if clip is not None:
        facts["clip"] = asdict(clip)
    if flaw:
        facts["flaw"] = flaw
    return json.dumps(facts, separators=(",", ":")) if facts else ""


def facts_from(text: str | None) -> tuple[Clip | None, Flaw]:
    """The inverse of `written`.  Raises ValueError."""
    if not text:
        return None, ""
    try:
        facts = json.loads(text)
        flaw = facts.get("flaw", "")
        clip = facts.get("clip")
        if flaw not in FLAWS or set(facts) - {"flaw", "clip"}:
            raise ValueError("not facts of a photo")
        return (None if clip is None else _clip(clip)), flaw
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not facts of a photo") from error


def photo_in(row: Row[Any]) -> Photo:
    """The photo in a row of `messages`.  Raises ValueError for invalid facts."""
    clip, flaw = facts_from(row.photo_facts)
    return Photo(row.photo, row.photo_width, row.photo_height, row.photo_number, clip, flaw)


def _clip(fields: dict[str, Any]) -> Clip:
    lamps = fields["lamps"]
    if not isinstance(lamps, list) or len(lamps) > _MOST_LAMPS:
        raise ValueError("not lamps")
    return Clip(_seconds(fields["seconds"]), tuple(_lamp(**lamp) for lamp in lamps))


def _lamp(
    *, colour: str, place: str, blinks: int, regular: bool, on_s: float, gap_s: float, pause_s: float
) -> Lamp:
    if colour not in COLOURS or place not in PLACES:
        raise ValueError("not a lamp")
    if type(blinks) is not int or not 0 <= blinks <= _MOST_BLINKS or type(regular) is not bool:
        raise ValueError("not a count")
    return Lamp(colour, place, blinks, regular, _seconds(on_s), _seconds(gap_s), _seconds(pause_s))


def _seconds(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= _LONGEST_S:  # type: ignore[operator, arg-type]
        raise ValueError("not seconds")
    return float(value)  # type: ignore[arg-type]
