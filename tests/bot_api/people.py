"""Customers: what people do in Telegram, turned into the updates that the bot gets for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bot_api.state import Sent

Json = dict[str, Any]

_MENTIONS_AND_COMMANDS = re.compile(r"(?<!\S)/[A-Za-z0-9_]+(?:@\w+)?|(?<!\w)@\w{3,}")

# One of each sort of message, as Telegram words it.
KINDS: dict[str, Json] = {
    "sticker": {
        "file_id": "stk",
        "file_unique_id": "s",
        "type": "regular",
        "width": 512,
        "height": 512,
        "emoji": "👍",
    },
    "voice": {"file_id": "voi", "file_unique_id": "v", "duration": 3, "mime_type": "audio/ogg"},
    "audio": {"file_id": "aud", "file_unique_id": "a", "duration": 30, "mime_type": "audio/mpeg"},
    "video": {"file_id": "vid", "file_unique_id": "w", "width": 640, "height": 480, "duration": 4},
    "video_note": {"file_id": "rnd", "file_unique_id": "n", "length": 240, "duration": 4},
    "animation": {"file_id": "gif", "file_unique_id": "g", "width": 320, "height": 240, "duration": 2},
    "document": {
        "file_id": "doc",
        "file_unique_id": "d",
        "file_name": "manual.pdf",
        "mime_type": "application/pdf",
    },
    "location": {"latitude": 31.2, "longitude": 121.5},
    "venue": {"location": {"latitude": 31.2, "longitude": 121.5}, "title": "Shop", "address": "1 Road"},
    "contact": {"phone_number": "+8613800000000", "first_name": "Li"},
    "poll": {
        "id": "1",
        "question": "?",
        "options": [],
        "total_voter_count": 0,
        "is_closed": False,
        "type": "regular",
    },
    "dice": {"emoji": "🎲", "value": 3},
    "story": {"id": 1, "chat": {"id": 5, "type": "private"}},
    "rich_message": {"blocks": []},
}


@dataclass(slots=True)
class Room:
    """A chat as the server knows it."""

    id: int
    type: str = "private"
    title: str = ""
    name: str = ""
    is_blocked: bool = False
    moved_to: int = 0
    topics: set[int] = field(default_factory=set)
    titles: dict[int, str] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    is_forum: bool = False
    may_manage_topics: bool = True

    def as_json(self) -> Json:
        if self.type == "private":
            return {"id": self.id, "type": self.type, "first_name": self.name}
        forum = {"is_forum": True} if self.is_forum else {}
        return {"id": self.id, "type": self.type, "title": self.title, **forum}


class Person:
    """Somebody in a chat.  Every method returns the message id, as soon as the update is queued."""

    _albums = itertools.count(1)

    def __init__(
        self,
        room: Room,
        *,
        user_id: int,
        name: str,
        language: str,
        deliver: Callable[[str, Json], int],
        keep_file: Callable[[bytes, str, int | None], str],
        new_id: Callable[[], int],
    ) -> None:
        self.room = room
        self.user: Json = {"id": user_id, "is_bot": False, "first_name": name, "language_code": language}
        self._deliver = deliver
        self._keep_file = keep_file
        self._new_id = new_id

    def says(self, text: str, **more: Any) -> int:
        """Text; commands and mentions in it are marked as Telegram marks them."""
        return self.sends(text=text, entities=_entities(text), **more)

    def sends_photo(self, data: bytes, *, caption: str = "", size: int | None = None, **more: Any) -> int:
        """A photo, in the three sizes that Telegram makes of it."""
        file_id = self._keep_file(data, "photos", size)
        sizes = [
            {"file_id": f"{file_id}-s", "file_unique_id": "s", "width": 90, "height": 68, "file_size": 1200},
            {
                "file_id": file_id,
                "file_unique_id": file_id,
                "width": 1280,
                "height": 960,
                "file_size": len(data) if size is None else size,
            },
            {
                "file_id": f"{file_id}-m",
                "file_unique_id": "m",
                "width": 320,
                "height": 240,
                "file_size": 9000,
            },
        ]
        return self.sends(photo=sizes, **_caption(caption), **more)

    async def sends_album(self, photos: Sequence[bytes], *, caption: str = "", gap: float = 0.0) -> list[int]:
        """Several photos as one album: so many separate updates, the caption on the first."""
        album = f"album{next(self._albums)}"
        ids = []
        for number, data in enumerate(photos):
            if number and gap:
                await asyncio.sleep(gap)
            ids.append(self.sends_photo(data, caption="" if number else caption, media_group_id=album))
        return ids

    def sends_file(
        self,
        data: bytes,
        *,
        name: str,
        mime: str = "",
        caption: str = "",
        size: int | None = None,
        **more: Any,
    ) -> int:
        """A file, sent as such: what people do with photos to keep them sharp."""
        document: Json = {"file_id": self._keep_file(data, "documents", size), "file_unique_id": "f"}
        document |= {"file_name": name, "file_size": len(data) if size is None else size}
        if mime:
            document["mime_type"] = mime
        return self.sends(document=document, **_caption(caption), **more)

    def sends_kind(self, kind: str, **more: Any) -> int:
        """One of `KINDS`."""
        content: Json = {kind: KINDS[kind]}
        if kind == "animation":  # Telegram sends it as a file too
            content["document"] = {"file_id": "gif", "file_unique_id": "g", "mime_type": "video/mp4"}
        if kind == "venue":
            content["location"] = KINDS["location"]
        return self.sends(**content, **more)

    def sends(self, *, thread: int | None = None, **content: Any) -> int:
        """Any message at all."""
        message = self._message(self._new_id(), thread) | content
        self._deliver("message", message)
        return int(message["message_id"])

    def presses(self, sent: Sent, label: str, *, query: str = "") -> None:
        """The button with this beginning below a message of the bot's."""
        markup = sent.parameters.get("reply_markup")
        rows = (json.loads(markup) if isinstance(markup, str) else markup or {}).get("inline_keyboard", [])
        (button,) = [one for row in rows for one in row if one["text"].startswith(label)]
        self.calls_back(sent.message_id, button["callback_data"], query=query)

    def calls_back(self, message_id: int, data: str, *, query: str = "") -> None:
        """A press, with any data."""
        message = {"message_id": message_id, "chat": self.room.as_json(), "date": int(time.time())}
        content = {"id": query or f"q{self._new_id()}", "from": self.user, "chat_instance": "1"}
        self._deliver("callback_query", content | {"message": message, "data": data})

    def edits(self, message_id: int, text: str, **more: Any) -> int:
        """Change the words of an earlier message."""
        message = self._message(message_id) | {"edit_date": int(time.time()), "text": text, **more}
        self._deliver("edited_message", message)
        return message_id

    def blocks(self) -> None:
        self._changes_membership("kicked")

    def unblocks(self) -> None:
        self._changes_membership("member")

    def _changes_membership(self, status: str) -> None:
        self.room.is_blocked = status == "kicked"
        change = {
            "chat": self.room.as_json(),
            "from": self.user,
            "date": int(time.time()),
            "old_chat_member": {"status": "member" if status == "kicked" else "kicked"},
            "new_chat_member": {"status": status},
        }
        self._deliver("my_chat_member", change)

    def _message(self, message_id: int, thread: int | None = None) -> Json:
        message: Json = {
            "message_id": message_id,
            "from": self.user,
            "chat": self.room.as_json(),
            "date": int(time.time()),
        }
        if thread is not None:
            self.room.topics.add(thread)
            message |= {"message_thread_id": thread, "is_topic_message": True}
        return message


def utf16(text: str) -> int:
    """Length as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


def _caption(text: str) -> Json:
    return {"caption": text, "caption_entities": _entities(text)} if text else {}


def _entities(text: str) -> list[Json]:
    return [
        {
            "type": "mention" if found[0].startswith("@") else "bot_command",
            "offset": utf16(text[: found.start()]),
            "length": utf16(found[0]),
        }
        for found in _MENTIONS_AND_COMMANDS.finditer(text)
    ]
