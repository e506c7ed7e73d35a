"""The staff console: what customers were told and why, and how staff take over.

`Console` builds its panes; each is a module with the addresses it serves.  Nothing here sends anything to a
customer: what staff write enters the same road as everything else.
"""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute

from bot.export import Exporter
from bot.photos.second_look import SecondLook
from bot.staff import Desk
from bot.staff.pack import Packs
from bot.staff.retrace import Retrace
from bot.web.console.access import AccessPage
from bot.web.console.actions import Actions
from bot.web.console.conversation import ConversationPane
from bot.web.console.details import DetailsPane
from bot.web.console.door import Door
from bot.web.console.export_page import ExportPage
from bot.web.console.figures_page import FiguresPage
from bot.web.console.forget_page import ForgetPage
from bot.web.console.list_pane import ListPane
from bot.web.console.live import Live
from bot.web.console.pages import Pages
from bot.web.console.replying import Replying
from bot.web.console.review import ReviewPane
from bot.web.uploads import Spool
from context.console.accounts import Staff
from context.console.conversations import Conversations
from context.console.counting import Counting
from context.console.keeper import Keeper
from context.console.listing import Listing
from context.console.outcomes import Outcomes
from context.console.reviews import Reviews
from context.console.search import Search
from context.db import Database
from context.feedback import Feedbacks
from context.handoffs import Handoffs
from context.photos import Photos
from context.readings import Readings
from context.transcripts import Transcripts
from context.upkeep.erasure import Erasure


class Console:
    """Everything below `/staff`.  `start` it, `close` it."""

    def __init__(
        self,
        *,
        db: Database,
        transcripts: Transcripts,
        photos: Photos,
        handoffs: Handoffs,
        desk: Desk,
        spool: Spool,
        packs: Packs,
        exporter: Exporter,
        exports: Path,
        erasure: Erasure,
        retrace: Retrace,
        second_look: SecondLook,
        readings: Readings,
    ) -> None:
        pages, staff, listing = Pages(packs), Staff(db), Listing(db)
        conversations, reviews = Conversations(db), Reviews(db)
        door = Door(staff, pages)
        conversation = ConversationPane(
            door=door,
            pages=pages,
            conversations=conversations,
            listing=listing,
            transcripts=transcripts,
            photos=photos,
            staff=staff,
            handoffs=handoffs,
            reviews=reviews,
            held=desk.held,
            feedbacks=Feedbacks(db),
            packs=packs,
            canned=list(desk.canned.replies),
            second_look=second_look,
        )
        replying = Replying(
            door=door, pages=pages, pane=conversation, desk=desk, packs=packs, spool=spool, staff=staff
        )
        actions = Actions(door=door, pages=pages, pane=conversation, desk=desk, listing=listing, staff=staff)
        details = DetailsPane(
            door=door,
            pages=pages,
            conversations=conversations,
            retrace=retrace,
            staff=staff,
            readings=readings,
        )
        panes = ListPane(
            door=door, pages=pages, listing=listing, search=Search(db), staff=staff, pane=conversation.render
        )
        review = ReviewPane(door=door, pages=pages, reviews=reviews, conversations=conversations)
        figures = FiguresPage(door=door, pages=pages, counting=Counting(db), outcomes=Outcomes(db))
        access = AccessPage(door=door, pages=pages, staff=staff)
        export = ExportPage(door=door, pages=pages, exporter=exporter, folder=exports, staff=staff)
        forget = ForgetPage(
            door=door, pages=pages, erasure=erasure, handoffs=handoffs, listing=listing, staff=staff
        )
        self._live = Live(door=door, pages=pages, listing=listing, keeper=Keeper(db))
        self._parts = (
            door,
            conversation,
            actions,
            replying,
            details,
            review,
            figures,
            access,
            export,
            forget,
            panes,
            self._live,
        )

    def routes(self) -> list[BaseRoute]:
        """All its addresses."""
        return [route for part in self._parts for route in part.routes()]

    def start(self) -> None:
        """Begin to keep the list up to date."""
        self._live.start()

    async def close(self) -> None:
        """End the streams of open consoles.  Calling twice is harmless."""
        await self._live.close()
