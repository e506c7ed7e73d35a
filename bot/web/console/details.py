"""The details pane: why an answer was given, and what another engine or template would answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape
from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.errors import BotError
from bot.staff.retrace import Again, Retrace
from bot.web.console.conversation import FACT_WORDS
from bot.web.console.door import Door, Visit
from bot.web.console.filters import VERDICT_WORDS
from bot.web.console.pages import Pages, page, plain
from bot.web.console.thread import origin_of
from bot.web.console.words import N_
from bot.web.refused import Refused
from context.console.accounts import Staff
from context.console.conversations import Conversations, Exchange
from context.readings import MOST_SIMILAR, Readings, SimilarCase
from context.turns import LANGUAGES, Fact, Photo

AGAIN_TIMEOUT_S = 180.0
MOST_COMPARED = 4
"""Photos of a question for which similar ones are looked for."""
SPLIT_WORDS = {
    "system": N_("instructions"),
    "turns": N_("earlier turns"),
    "question": N_("question"),
    "photos": N_("photos"),
}
STAGE_WORDS = {
    "collect": N_("photos taken in"),
    "plan": N_("photos chosen"),
    "read": N_("text on photos read"),
    "prompt": N_("prompt"),
    "model": N_("model"),
    "mark": N_("place marked"),
    "guard": N_("guard"),
    "send": N_("sent"),
}
ROLE_WORDS = {"system": N_("Instructions"), "user": N_("Customer"), "assistant": N_("Assistant")}


class DetailsPane:
    """`/staff/turn/...`."""

    def __init__(
        self,
        *,
        door: Door,
        pages: Pages,
        conversations: Conversations,
        retrace: Retrace,
        staff: Staff,
        readings: Readings,
    ) -> None:
        self._door = door
        self._pages = pages
        self._conversations = conversations
        self._retrace = retrace
        self._staff = staff
        self._readings = readings

    def routes(self) -> list[BaseRoute]:
        """Why a turn went as it did, and the same question once more."""
        return [
            self._door.get("/staff/turn/{turn:int}", self.why),
            self._door.post("/staff/turn/{turn:int}/again", self.again, role="agent"),
        ]

    async def why(self, visit: Visit) -> Response:
        """Everything that is on record about a turn, with its prompt made again."""
        exchange = await self._exchange(visit)
        retraced = await self._retrace.prompt(exchange) if exchange.record.get("prompt") else None
        verdict = exchange.record.get("verdict")
        photos, _ = await self._conversations.pictures(exchange.id)
        await self._staff.note(visit.name, "why", exchange.chat.key, str(exchange.id))
        return self._pages.answer(
            "why.html",
            visit.language,
            visit=visit,
            turn=exchange,
            origin=origin_of(exchange),
            record=exchange.record,
            verdict=verdict if isinstance(verdict, dict) else None,
            retraced=retraced,
            checked=_with_spans(exchange.draft or exchange.reply, _reasons(verdict)),
            reasons=_reasons(verdict),
            stages=_stages(exchange),
            facts=await self._facts(photos),
            fact_words=FACT_WORDS,
            similar=await self._similar(exchange, photos),
            engines=self._retrace.engines,
            versions=await self._retrace.versions(),
            languages=LANGUAGES,
            split_words=SPLIT_WORDS,
            stage_words=STAGE_WORDS,
            role_words=ROLE_WORDS,
            verdict_words=VERDICT_WORDS,
        )

    async def again(self, visit: Visit) -> Response:
        """Answer the same question once more, beside the old answer; nobody is sent anything."""
        exchange = await self._exchange(visit)
        language = next((known for known in LANGUAGES if known == visit.said("language")), exchange.language)
        problem = ""
        answered: Again | None = None
        try:
            async with asyncio.timeout(AGAIN_TIMEOUT_S):
                answered = await self._retrace.again(
                    exchange, engine=visit.said("engine"), version=visit.said("version"), language=language
                )
        except LookupError:
            raise Refused(400, "bad_form") from None
        except (BotError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
        record = answered.reply.record if answered else {}
        verdict = record.get("verdict")
        return page(
            self._pages.render(
                "again.html",
                visit.language,
                turn=exchange,
                again=answered,
                problem=problem,
                draft=str(record.get("draft") or ""),
                action=str(verdict.get("action", "")) if isinstance(verdict, dict) else "",
                verdict_words=VERDICT_WORDS,
            )
        )

    async def _facts(self, photos: Sequence[Photo]) -> list[tuple[int, Fact]]:
        """What was read on these photos, with their numbers."""
        found = await self._readings.facts([photo.sha256 for photo in photos])
        return [(photo.number, fact) for photo in photos for fact in found.get(photo.sha256, ())]

    async def _similar(self, exchange: Exchange, photos: Sequence[Photo]) -> list[SimilarCase]:
        """Earlier questions of others whose photos look much like these: each conversation once."""
        cases: dict[str, SimilarCase] = {}
        for photo in photos[:MOST_COMPARED]:
            for case in await self._readings.similar(exchange.chat, photo.sha256, before=exchange.at):
                cases.setdefault(case.chat.key, case)
        return list(cases.values())[:MOST_SIMILAR]

    async def _exchange(self, visit: Visit) -> Exchange:
        turn: int = visit.request.path_params["turn"]
        exchange = await self._conversations.exchange(turn) if turn < 2**63 else None
        if exchange is None:
            raise Refused(404, "not_here")
        return exchange


def _stages(exchange: Exchange) -> dict[str, float]:
    """Milliseconds by stage, in the order in which they ran."""
    ms = exchange.record.get("ms")
    stages = {str(name): float(value) for name, value in ms.items()} if isinstance(ms, dict) else {}
    if exchange.closed_at and exchange.state == "closed" and exchange.reply:
        stages["send"] = max(0.0, (exchange.closed_at - exchange.at) * 1000)
    return stages


def _reasons(verdict: object) -> list[dict[str, Any]]:
    reasons = verdict.get("reasons") if isinstance(verdict, dict) else None
    return [reason for reason in reasons if isinstance(reason, dict)] if isinstance(reasons, list) else []


def _with_spans(text: str, reasons: list[dict[str, Any]]) -> Markup:
    """The checked text with every place marked that a rule spoke of; titles name the rules."""
    spans = sorted(
        (int(reason["span"][0]), int(reason["span"][1]), str(reason.get("rule", "")))
        for reason in reasons
        if reason.get("source", "reply") == "reply"
        and isinstance(reason.get("span"), list)
        and len(reason["span"]) == 2  # noqa: PLR2004 - from, to
    )
    out, at = Markup(), 0
    for begin, end, rule in spans:
        if not at <= begin < end <= len(text):  # within another one, or of a text that was mended
            continue
        out += escape(plain(text[at:begin]))
        out += Markup('<mark title="{}">{}</mark>').format(rule, plain(text[begin:end]))
        at = end
    return out + escape(plain(text[at:]))
