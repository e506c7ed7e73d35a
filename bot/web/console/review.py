"""Reviews of answers: a thumb, reasons, a correction; one by one in a queue, or in passing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from bot.web.console.conversation import WHY_WORDS
from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import NO_STORE, Pages
from bot.web.console.thread import with_photos
from bot.web.console.words import N_, translator
from bot.web.refused import Refused
from context.console.conversations import Conversations
from context.console.reviews import MOST_CHARS, REASONS, NoSuchTurn, Review, Reviews, Thumb

DAYS = (1, 7, 30)
_DAY_S = 86_400.0


class ReviewPane:
    """`/staff/review` and the review of one answer."""

    def __init__(self, *, door: Door, pages: Pages, reviews: Reviews, conversations: Conversations) -> None:
        self._door = door
        self._pages = pages
        self._reviews = reviews
        self._conversations = conversations

    def routes(self) -> list[BaseRoute]:
        """The queue, and what is put into it."""
        return [
            self._door.get("/staff/review", self.queue, role="agent"),
            self._door.post("/staff/turn/{turn:int}/review", self.put, role="agent"),
        ]

    async def queue(self, visit: Visit) -> Response:
        """The oldest answer of the last days that this reviewer has not looked at."""
        days = _days(visit.request.query_params.get("days", ""))
        after = visit.request.query_params.get("after", "")
        until = time.time()
        place = await self._reviews.next(
            visit.name,
            since=until - days * _DAY_S,
            until=until,
            after=int(after) if after.isascii() and after.isdecimal() and len(after) < 18 else 0,  # noqa: PLR2004 - 64 bits
        )
        exchange = await self._conversations.exchange(place.turn_id) if place.turn_id else None
        photos = (await self._conversations.pictures(exchange.id))[0] if exchange else ()
        others = (await self._reviews.of([exchange.id])).get(exchange.id, ()) if exchange else ()
        return self._pages.answer(
            "review.html",
            visit.language,
            visit=visit,
            theme=theme_of(visit.request),
            place=place,
            turn=exchange,
            photos=photos,
            others=others,
            days=days,
            all_days=DAYS,
            why_words=WHY_WORDS,
            with_photos=with_photos,
            most_chars=MOST_CHARS,
        )

    async def put(self, visit: Visit) -> Response:
        """Keep a review; one of the same reviewer is replaced.  In the queue the next answer follows."""
        turn: int = visit.request.path_params["turn"]
        if turn >= 2**63:
            raise Refused(404, "not_here")
        thumbs: dict[str, Thumb] = {"up": "up", "down": "down"}
        review = Review(
            turn,
            visit.name,
            thumbs.get(visit.said("thumb"), ""),
            tuple(reason for reason in REASONS if visit.said(f"why-{reason}")),
            visit.said("correction"),
            visit.said("note"),
        )
        if not visit.said("days"):  # in passing: what this reviewer said before stays
            review = _added(review, await self._own(visit.name, turn), visit.form)
        try:
            await self._reviews.put(review)
        except NoSuchTurn:
            raise Refused(404, "not_here") from None
        except ValueError:
            raise Refused(413, "too_long") from None
        if days := visit.said("days"):
            return RedirectResponse(f"/staff/review?days={_days(days)}", 303, headers=NO_STORE)
        words = translator(visit.language)(N_("Your review is kept."))
        return self._pages.answer("notice.html", visit.language, kind="", text=words)

    async def _own(self, name: str, turn: int) -> Review | None:
        reviews = (await self._reviews.of([turn])).get(turn, ())
        return next((review for review in reviews if review.reviewer == name), None)


def _added(review: Review, before: Review | None, given: Mapping[str, str]) -> Review:
    if before is None:
        return review
    return replace(
        before,
        thumb=review.thumb if "thumb" in given else before.thumb,
        note=review.note if "note" in given else before.note,
    )


def _days(text: str) -> int:
    return next((days for days in DAYS if str(days) == text), 7)
