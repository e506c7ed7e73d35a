"""Hazards: ways to endanger somebody, as `hazards.yaml` lists them: an action, its object, a state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.guard.lexicon import Lexicon
from bot.yaml_files import parse

_NEAR = 45  # characters; Chinese needs fewer, and says so in the file


@dataclass(frozen=True, slots=True)
class Hazard:
    """One combination of groups of words that is dangerous if a reply advises it."""

    name: str
    """Appears in the verdict; several combinations may share one."""
    needs: tuple[str, ...]
    """The action first, since a `never` forbids that; then its object, then a state, if any."""
    near: int = _NEAR
    """Characters between the action and its object."""
    across: bool = False
    """Whether a comma may be between these two."""
    grows: bool = False
    """Two currents must be named, one raised to or replaced by the higher: `a 20 A fuse for the 10 A one`."""
    undenied: tuple[str, ...] = ()
    """Groups that count only if not negated: `no burning smell` is no reason to stop."""
    spills: bool = False
    """The action may be in the next sentence: `The plug got wet.  Just carry on using it.`"""
    unless: tuple[str, ...] = ()
    """Groups that make it harmless, such as being told to switch off."""

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups of words that it needs."""
        return (*self.needs, *self.unless)


def load_hazards() -> tuple[Lexicon, tuple[Hazard, ...]]:
    """Words and combinations from `hazards.yaml`.  Raises ValueError if a row names an unknown group."""
    text = (Path(__file__).parent / "hazards.yaml").read_text(encoding="utf-8")
    tree = parse(text)
    hazards = tuple(
        Hazard(
            row["name"],
            tuple(row["needs"]),
            near=row.get("near", _NEAR),
            across=row.get("across", False),
            spills=row.get("spills", False),
            grows=row.get("grows", False),
            undenied=tuple(row.get("undenied", ())),
            unless=tuple(row.get("unless", ())),
        )
        for row in tree["hazards"]
    )
    unknown = {group for hazard in hazards for group in hazard.groups} - set(tree["words"])
    if unknown:
        raise ValueError(f"hazards.yaml: no words for {', '.join(sorted(unknown))}")
    return Lexicon(tree["words"], harmless=tree["harmless"]), hazards
