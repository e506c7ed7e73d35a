"""Posts: what staff write in the topics of their group is sent to the customer, or is a command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from bot.channel import Channel
from bot.errors import Again, FileUnavailable, TopicGone
from bot.sender import Sender
from bot.staff.desk import Desk, NothingToSay
from bot.staff.group import MOST_CHARS
from context.console.cases import Cases
from context.handoffs import NotWaiting
from context.turns import Arrival, Chat, Kind, Part
from prompts.prompts import Prompts

NOTE = "//"
"""Text that begins so is a note for colleagues and is not sent to anybody."""
PROBLEMS = ("edit", "unreadable", "no_photo", "unknown_command")
"""Why a post is not sent to the customer, besides the codes of `NothingToSay`."""


class Post(Protocol):
    """A message in the group, as in `bot.telegram.updates.InGroup`."""

    @property
    def arrival(self) -> Arrival:
        """The message; its chat is the group, its thread the topic."""

    @property
    def who(self) -> str:
        """The writer, by a unique name."""


class Posts:
    """Does what the posts in a group say, and answers in their topic what could not be done."""

    def __init__(
        self,
        group: str,
        *,
        cases: Cases,
        desk: Desk,
        sender: Sender,
        channel: Channel,
        prompts: Prompts,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is told after each post: there may be something new to show."""
        self._group = group
        self._cases = cases
        self._desk = desk
        self._sender = sender
        self._channel = channel
        self._prompts = prompts
        self._wake = wake

    async def take(self, post: Post) -> None:
        """Handle a post; raises what the store raises, and then Telegram delivers it again."""
        thread = post.arrival.chat.thread
        chat = None if thread is None else await self._cases.in_topic(self._group, thread)
        if chat is None or thread is None:  # their own talk
            return
        language = (await self._desk.packs.pack(chat)).language
        try:
            problem = await self._do(post, chat)
        except NotWaiting as error:
            problem = self._prompts.notice("staff_has", language, who=error.holder)
        except NothingToSay as error:
            problem = self._prompts.notice("staff_not_said", language, code=error.code)
        if problem in PROBLEMS:
            problem = self._prompts.notice("staff_not_said", language, code=problem)
        if problem:
            await self._answer(thread, problem)
        self._wake()

    async def _do(self, post: Post, chat: Chat) -> str:
        """Handle a post; empty if done, otherwise a code of `PROBLEMS` or a text to answer with."""
        match post.arrival.command:
            case "take":
                await self._desk.take(chat, post.who)
            case "back" | "close":
                await self._desk.hand_back(chat, post.who)
            case "canned":
                return self._list()
            case "say":
                return await self._say_canned(post, chat)
            case "":
                return await self._say(post, chat)
            case _:
                return "unknown_command"
        return ""

    def _list(self) -> str:
        """The canned replies, in both languages."""
        replies = self._desk.canned.replies.items()
        return "\n".join(f"/say {name}: {' / '.join(words.values())}" for name, words in replies)[:MOST_CHARS]

    async def _say_canned(self, post: Post, chat: Chat) -> str:
        pack = await self._desk.packs.pack(chat)
        text = self._desk.canned.filled(post.arrival.text.strip(), pack, staff=post.who)
        if text is None:
            return self._list()
        if not self._desk.canned.is_whole(text):  # copied, filled in and sent as any words
            return text
        await self._desk.say(chat, post.who, text, once=f"group:{post.arrival.source}")
        return ""

    async def _say(self, post: Post, chat: Chat) -> str:
        written = post.arrival
        if written.text.lstrip().startswith(NOTE):
            return ""
        if written.edited:
            return "edit"
        if written.kind not in {Kind.TEXT, Kind.PHOTO}:
            return "unreadable"
        photos: Sequence[bytes] = ()
        if written.attachment is not None:
            try:
                photos = (await self._channel.fetch(written.attachment),)
            except (FileUnavailable, Again):
                return "no_photo"
        refused = await self._desk.say(chat, post.who, written.text, photos, once=f"group:{written.source}")
        return "no_photo" if refused else ""

    async def _answer(self, thread: int, text: str) -> None:
        with contextlib.suppress(TopicGone):
            await self._sender.tell(Chat(self._channel.name, self._group, thread), Part(text, only_here=True))
