"""The staff's group: a topic for every case, which shows what is said in it and who has it.

The group follows the database, so it is in step with the console whoever did what where: it looks what is
open and what of it is not shown yet, says that, and notes how far it came.  What could not be said is
still not noted, and said the next time; a topic that was deleted is made again.  What came in the
meantime goes out together, since a group may be told 20 things a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Protocol

from bot.errors import Again, TopicGone, Unavailable
from bot.sender import Sender
from bot.staff.desk import Desk
from bot.staff.pack import Pack
from context.background import BackgroundTask
from context.console.cases import Case, Cases, Line
from context.db import StoreDown
from context.health import Health
from context.turns import Chat, Part
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Time between two reads of the database, a safety net under the wake-ups."""
GATHER_S = 0.3
"""Delay so that messages that belong together are shown together."""
RETRY_S = 5.0
MOST_CHARS = 3800
"""Longest message to the group: Telegram allows 4,096 characters."""


class Topics(Protocol):
    """The topics of a group, as in `bot.telegram.topics.ForumTopics`."""

    group: str

    async def make(self, name: str) -> int:
        """Create a topic.  Raises `Unavailable` if that is impossible, or `Again`."""

    async def close(self, thread: int) -> None:
        """Close a topic; never raises."""

    async def delete(self, thread: int) -> bool:
        """Delete a topic; False if the bot may not, and then it is closed.  Raises `Again`."""

    async def reopen(self, thread: int) -> None:
        """Reopen a topic; never raises."""


class Group:
    """Shows cases in the group, from `start` to `stop`.  What staff write there: `bot.staff.posts`."""

    def __init__(
        self,
        *,
        topics: Topics,
        cases: Cases,
        desk: Desk,
        sender: Sender,
        channel: str,
        prompts: Prompts,
    ) -> None:
        self._topics = topics
        self._cases = cases
        self._suggesting: set[asyncio.Task[None]] = set()
        self._desk = desk
        self._sender = sender
        self._channel = channel
        self._prompts = prompts
        self._wake = asyncio.Event()
        self._background = BackgroundTask("staff's group", self._run)
        self._plain_because = ""

    def start(self) -> None:
        """Start; calling it twice is harmless."""
        self._background.start()

    async def stop(self) -> None:
        """Stop; it may be started again."""
        for one in self._suggesting:
            one.cancel()
        await asyncio.gather(self._background.stop(), *self._suggesting, return_exceptions=True)

    def health(self) -> Health:
        """Whether cases have topics."""
        if self._plain_because:
            return Health("degraded", f"no topics in the staff's group: {self._plain_because}")
        return Health("ok", "a topic for each case")

    def wake(self) -> None:
        """Look at once: something may have changed."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            delay_s = LOOK_S
            self._wake.clear()
            try:
                await self._clear_away()
                for case in await self._cases.current():
                    await self._bring_up_to_date(case)
            except Again as error:
                delay_s = max(error.after_s, GATHER_S)
            except StoreDown as error:
                log.warning("the staff's group is behind", extra={"reason": str(error)})
                delay_s = RETRY_S
            if delay_s != LOOK_S:
                await asyncio.sleep(delay_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
                    await asyncio.sleep(GATHER_S)

    async def _clear_away(self) -> None:
        """Delete the topics of erased customers."""
        for number, thread in await self._cases.gone(self._topics.group):
            if not await self._topics.delete(thread):
                log.warning("an erased customer's topic may not be deleted: the bot needs the right to")
            await self._cases.cleared(number)

    async def _bring_up_to_date(self, case: Case) -> None:
        if case.shown_handoff != case.handoff_id:
            if case.is_closed or case.reason == "taken":  # a colleague at the console: nobody is waited for
                return
            await self._open(case)
            return
        if case.thread is None:  # plain messages: they say once that somebody is wanted
            if case.is_closed:
                await self._cases.note(case.chat, shown=case.shown, holder=None, closed=True)
            return
        try:
            await self._go_on(case, case.thread)
        except TopicGone:
            log.info("a topic is gone, another one is made", extra={"chat": case.chat.key})
            await self._open(case, again=True)

    async def _open(self, case: Case, *, again: bool = False) -> None:
        """Announce a case, in a topic of its own if possible."""
        newest = await self._cases.newest(case.chat)
        pack = await self._desk.packs.pack(case.chat)
        reuse = case.thread is not None and case.place == self._topics.group and not again
        thread: int | None = case.thread
        if reuse and thread is not None:
            await self._topics.reopen(thread)
        else:
            thread = await self._topic(pack)
            # Whatever comes next, the topic is known: nobody writes into one that leads nowhere.
            await self._cases.show(case, place=self._topics.group, thread=thread, shown=newest, is_told=False)
        words = {"chat": case.chat.key, "reason": pack.why, "turn": pack.turns}
        head = self._prompts.notice("staff_handoff", pack.language, **words)
        how = "staff_how" if thread is not None else "staff_plain"
        more = {"reason": self._plain_because} if thread is None else {}
        text = "\n".join([head, *pack.lines, self._prompts.notice(how, pack.language, **more)])
        try:
            is_said = await self._tell(thread, text)
        except TopicGone:
            if again:
                raise Again("the topic just made is gone", after_s=RETRY_S) from None
            await self._open(case, again=True)
            return
        if not is_said:
            raise Again("the group could not be told", after_s=RETRY_S)
        await self._cases.show(case, place=self._topics.group, thread=thread, shown=newest)
        if thread is not None:
            for photo in pack.photos:
                await self._sender.tell(self._place(thread), Part("", photo=photo, only_here=True))
            task = asyncio.create_task(self._suggest(pack, thread))  # a model takes its time
            self._suggesting.add(task)
            task.add_done_callback(self._suggesting.discard)

    async def _suggest(self, pack: Pack, thread: int) -> None:
        """Show a suggested answer; nothing waits for it."""
        try:
            suggestion = await self._desk.suggestions.suggest(pack.chat)
            if suggestion is not None:
                name = "staff_suggestion_stopped" if suggestion.stopped else "staff_suggestion"
                words = self._prompts.notice(name, pack.language, text=suggestion.text[:MOST_CHARS])
                with contextlib.suppress(TopicGone):
                    await self._tell(thread, words)
        except (Unavailable, StoreDown) as error:
            log.info("nothing is suggested", extra={"chat": pack.chat.key, "reason": type(error).__name__})

    async def _topic(self, pack: Pack) -> int | None:
        """Create a topic; None if that is impossible, which the message then says."""
        try:
            thread = await self._topics.make(f"{pack.name or pack.chat.key} · {pack.why}")
        except Unavailable as error:
            if str(error) != self._plain_because:
                log.warning("no topics in the staff's group", extra={"reason": str(error)})
            self._plain_because = str(error)
            return None
        self._plain_because = ""
        return thread

    async def _go_on(self, case: Case, thread: int) -> None:
        """Show what is new: messages, pictures, and who has the chat."""
        lines = await self._cases.news(case.chat, case.shown)
        if not (lines or case.is_closed or case.holder != case.shown_holder):
            return
        language = (await self._desk.packs.pack(case.chat)).language
        texts = _as_many_as_fit(lines)
        shown = lines[len(texts) - 1].id if texts else case.shown
        is_over = case.is_closed and len(texts) == len(lines)  # else the rest is shown first
        if is_over:
            texts.append(self._prompts.notice("staff_over", language, who=case.closed_by or "—"))
        elif case.holder != case.shown_holder and not case.is_closed:
            who = {"who": case.holder} if case.holder else {}
            texts.append(self._prompts.notice("staff_has" if who else "staff_free", language, **who))
        if not await self._tell(thread, "\n".join(texts)[:4000]):
            raise Again("the group could not be told", after_s=RETRY_S)
        for photo in (line.photo for line in lines if line.photo is not None and line.id <= shown):
            await self._sender.tell(self._place(thread), Part("", photo=photo, only_here=True))
        await self._cases.note(case.chat, shown=shown, holder=case.holder, closed=is_over)
        if is_over:
            await self._topics.close(thread)

    async def _tell(self, thread: int | None, text: str) -> bool:
        return await self._sender.tell(self._place(thread), Part(text, only_here=thread is not None))

    def _place(self, thread: int | None) -> Chat:
        return Chat(self._channel, self._topics.group, thread)


def _as_many_as_fit(lines: Sequence[Line]) -> list[str]:
    """The first lines as texts, at least one of them: together no longer than a message."""
    texts: list[str] = []
    for line in lines:
        said = _shown(line)
        if texts and len("\n".join([*texts, said])) > MOST_CHARS:
            break
        texts.append(said)
    return texts


def _shown(line: Line) -> str:
    sign = {"customer": "👤", "bot": "🤖", "staff": "🧑‍🔧"}[line.who]
    by = f"{line.by}: " if line.by else ""
    picture = f"[{line.photo.number or '+'}🖼] " if line.photo else ""
    return f"{sign} {by}{picture}{line.text}".strip()[:MOST_CHARS]
