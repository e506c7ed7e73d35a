"""The filters of the list, which are part of its URL: a category, search words, and restrictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from bot.web.console.pages import cleared
from bot.web.console.words import N_
from context.console.listing import CHIPS, Chip
from context.console.search import Query

CHIP_WORDS: dict[Chip, str] = {
    "all": N_("All"),
    "waiting": N_("Waiting"),
    "held": N_("Held"),
    "flagged": N_("Flagged"),
    "fallback": N_("Without model"),
    "photo": N_("Photos"),
    "down": N_("Thumbs down"),
    "failed": N_("Not delivered"),
    "mine": N_("Mine"),
}
VERDICT_WORDS = {"allow": N_("passed"), "hold": N_("held"), "block": N_("blocked")}
_MOST = 200
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Filter:
    """What is shown of all conversations."""

    chip: Chip = "all"
    q: str = ""
    model: str = ""
    template: str = ""
    verdict: str = ""
    since: str = ""
    """A date, `2026-11-26`; empty for no bound."""
    until: str = ""
    """The last date that is shown."""

    @classmethod
    def read(cls, params: QueryParams) -> Filter:
        """From a URL; what makes no sense is as if it were not there."""
        chip = next((known for known in CHIPS if known == params.get("chip")), CHIPS[0])
        verdict = params.get("verdict", "")
        since, until = params.get("since", ""), params.get("until", "")
        return cls(
            chip,
            q=cleared(params.get("q", "")).strip()[:_MOST],
            model=cleared(params.get("model", "")).strip()[:_MOST],
            template=cleared(params.get("template", "")).strip()[:_MOST],
            verdict=verdict if verdict in VERDICT_WORDS else "",
            since=since if _day(since) else "",
            until=until if _day(until) else "",
        )

    @property
    def is_search(self) -> bool:
        """Whether turns are looked for, instead of conversations listed."""
        return not self.query.is_empty

    @property
    def query(self) -> Query:
        """What to search for; days are days of UTC."""
        since, until = _day(self.since), _day(self.until)
        return Query(
            self.q,
            model=self.model,
            template=self.template,
            verdict=self.verdict,
            since=since.timestamp() if since else None,
            until=(until + _DAY).timestamp() if until else None,
        )

    @property
    def url(self) -> str:
        """The query string, empty for everything."""
        given = {
            "chip": "" if self.chip == "all" else self.chip,
            "q": self.q,
            "model": self.model,
            "template": self.template,
            "verdict": self.verdict,
            "since": self.since,
            "until": self.until,
        }
        return urlencode({name: value for name, value in given.items() if value})

    def at(self, chip: Chip) -> Filter:
        """The same with another chip."""
        return replace(self, chip=chip)


def _day(date: str) -> datetime | None:
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
