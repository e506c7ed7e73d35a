"""The customers' chat page: the page itself, the messages sent on it, and its stream of updates.

The page reads the conversation from the transcript, never from what passes through here, so that two tabs, a
reload and a reconnect all show the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from bot.web.chat import OpenPage, WebChannel
from bot.web.lines import line_of, text_of
from bot.web.refused import Refused
from bot.web.uploads import MAX_FORM_BYTES, MAX_PHOTO_BYTES, MAX_PHOTOS, Form
from bot.web.visitors import chat_of, greet, refuse_other_origins
from context.db import StoreDown
from context.feedback import Cast, NotTheirs
from context.transcripts import Entry
from context.turns import LANGUAGES, Arrival, Attachment, Chat, Kind, Language, Part
from prompts.neutral import is_blank

MAX_TEXT = 4000
_UPLOAD_TIMEOUT_S = 600.0
_PING_S = 15.0
_PAGES_PER_CHAT = 10
# A part is announced a moment before its receipt is recorded, and shown when it is.
_RECORDED_WITHIN_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)

_HERE = Path(__file__).parent
_MESSAGE_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_COMMAND = re.compile(r"/([A-Za-z][A-Za-z0-9_]{0,31})(?:\s+(.*))?", re.DOTALL)
# Neither databases nor models have a use for these.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c-\x1f\x7f]")

Put = Callable[[Sequence[Arrival]], Awaitable[int]]
"""Stores what is new and returns how much that was, after the commit.  Raises `StoreDown`."""
Entries = Callable[[Chat, int], Awaitable[Sequence[Entry]]]
"""The newest lines of a chat with an id above the given one, oldest first."""
ReadPhoto = Callable[[Chat, str], Awaitable[bytes | None]]
"""The JPEG with this sha256 if it belongs to this chat, otherwise None."""


class ChatPage:
    """The routes of the chat page."""

    def __init__(
        self, channel: WebChannel, *, put: Put, entries: Entries, photo: ReadPhoto, cast: Cast
    ) -> None:
        self._channel = channel
        self._cast = cast
        self._put = put
        self._entries = entries
        self._photo = photo
        self._pages = {language: _render(language) for language in LANGUAGES}

    def routes(self) -> list[BaseRoute]:
        """`/` and everything under `/chat`."""
        return [
            Route("/", self.page),
            Route("/chat/messages", self.take_message, methods=["POST"], max_body_size=MAX_FORM_BYTES),
            Route("/chat/reset", self.reset, methods=["POST"]),
            Route("/chat/human", self.human, methods=["POST"]),
            Route("/chat/votes", self.vote, methods=["POST"]),
            Route("/chat/entries", self.entries),
            Route("/chat/events", self.events),
            Route("/chat/photos/{sha256}.jpg", self.photo),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself, in the visitor's language."""
        response = HTMLResponse(self._pages[_language(request)], headers={"Vary": "Accept-Language, Cookie"})
        greet(request, response)
        return response

    async def take_message(self, request: Request) -> Response:
        """Receive a message with its pictures.  The same `id` twice is one message."""
        refuse_other_origins(request)
        chat = chat_of(request)
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT_S):
                form = await self._channel.spool.receive(
                    request.headers.get("content-type", ""), request.stream()
                )
        except TimeoutError:
            raise Refused(408, "too_slow") from None
        try:
            return await self._take(chat, form, hint=_hint(request, form))
        except (Refused, StoreDown):
            await self._channel.spool.discard(form)
            raise

    async def reset(self, request: Request) -> Response:
        """Send `/reset` for the customer."""
        return await self._command(request, "/reset")

    async def human(self, request: Request) -> Response:
        """Send `/human` for the customer."""
        return await self._command(request, "/human")

    async def _command(self, request: Request, command: str) -> Response:
        refuse_other_origins(request)
        chat = chat_of(request)
        form = Form({"id": str(uuid.uuid4()), "text": command}, ())
        return await self._take(chat, form, hint=_hint(request, form))

    async def vote(self, request: Request) -> Response:
        """Store a vote; repeating it changes nothing, another vote replaces it."""
        refuse_other_origins(request)
        chat = chat_of(request)
        try:
            ballot = json.loads(await request.body())
            turn, about, vote = int(ballot["turn"]), ballot["about"], ballot["vote"]
            if about not in ("helpful", "fixed") or vote not in ("up", "down") or not 0 < turn < 2**63:
                raise Refused(400, "bad_form")
            await self._cast(chat, turn, about, vote, reason=str(ballot.get("reason") or ""))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, NotTheirs):
            raise Refused(400, "bad_form") from None
        return Response(status_code=204)

    async def _take(self, chat: Chat, form: Form, *, hint: str) -> Response:
        arrivals = _arrivals(chat, form, hint=hint)
        if not await self._put(arrivals):
            # Sent again after a broken connection: the pictures of the first time are the ones taken in.
            await self._channel.spool.discard(form)
        self._channel.changed(chat)
        return JSONResponse({"source": arrivals[0].source}, 202)

    async def entries(self, request: Request) -> Response:
        """The conversation after the line `?after=`, oldest first."""
        found = await self._entries(chat_of(request), _after(request.query_params.get("after", "0")))
        return JSONResponse({"entries": [line_of(entry) for entry in found]})

    async def photo(self, request: Request) -> Response:
        """A photo of the visitor's own chat."""
        jpeg = await self._photo(chat_of(request), request.path_params["sha256"])
        if jpeg is None:
            raise Refused(404, "no_photo")
        # Named by its content, it never changes; it is the visitor's alone.
        return Response(
            jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=31536000, immutable"}
        )

    async def events(self, request: Request) -> Response:
        """What is new in the chat after `Last-Event-ID` (or `?after=`), as it happens."""
        chat = chat_of(request)
        if self._channel.listeners(chat) >= _PAGES_PER_CHAT:
            raise Refused(429, "too_many_pages")
        after = _after(request.headers.get("last-event-id") or request.query_params.get("after", "0"))
        return StreamingResponse(
            self._news(chat, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _news(self, chat: Chat, after: int) -> AsyncIterator[str]:
        """Server-sent events: `entries` at once and with all news, `typing`, `preview`, comments in between.

        An event's id is the last answered line, and every event carries all lines after it: the
        customer's latest messages are told again with each news, because their photos become known
        only when the turn takes them in.
        """
        typing = False
        preview: tuple[Part, ...] = ()
        greeted = False
        # With the store down the stream ends; the page comes back by itself.
        with contextlib.suppress(StoreDown), self._channel.listen(chat) as page:
            while not self._channel.is_closed():
                found = await self._read(chat, after, page)
                if found or not greeted:
                    greeted = True
                    after = max([after, *(entry.id for entry in found if entry.who != "customer")])
                    lines = _json({"entries": [line_of(entry) for entry in found]})
                    yield f"id: {after}\nevent: entries\ndata: {lines}\n\n"
                if page.typing != typing:
                    typing = page.typing
                    yield f"event: typing\ndata: {_json({'typing': typing})}\n\n"
                if page.preview != preview:
                    preview = page.preview
                    yield f"event: preview\ndata: {_json({'parts': [text_of(part) for part in preview]})}\n\n"
                while not self._channel.is_closed() and not await page.wait(_PING_S):
                    yield ": ping\n\n"
                    if page.newest > after:  # its receipt was recorded later than anybody waited
                        break

    async def _read(self, chat: Chat, after: int, page: OpenPage) -> Sequence[Entry]:
        """The lines after `after`, with every part that was sent."""
        found = await self._entries(chat, after)
        for delay_s in _RECORDED_WITHIN_S:
            if page.newest <= max([after, *(entry.id for entry in found)]):
                break
            await asyncio.sleep(delay_s)
            found = await self._entries(chat, after)
        return found


def _arrivals(chat: Chat, form: Form, *, hint: str) -> tuple[Arrival, ...]:
    """A form as arrivals: text, a command, or pictures of which the first has the text."""
    message_id = form.fields.get("id", "")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise Refused(400, "bad_form")
    # Forms write new lines as CR LF.
    text = _CONTROL.sub("", form.fields.get("text", "").replace("\r\n", "\n")).strip()
    if len(text) > MAX_TEXT:
        raise Refused(413, "text_too_long")
    if is_blank(text) and not form.photos:
        raise Refused(400, "empty")
    first = Arrival(
        chat, f"web:{message_id}", message_id, Kind.TEXT, text=text, hint=hint, sent_at=time.time()
    )
    if form.photos:
        return tuple(_pictures(first, form.photos))
    command = _COMMAND.fullmatch(text)
    if command is None:
        return (first,)
    name, argument = command.group(1).lower(), command.group(2) or ""
    return (replace(first, kind=Kind.COMMAND, text=argument, command=name),)


def _pictures(first: Arrival, photos: Sequence[Attachment]) -> Iterator[Arrival]:
    """A message for each picture; more than one are an album."""
    album = first.message_id if len(photos) > 1 else ""
    for number, photo in enumerate(photos, start=1):
        picture = replace(first, kind=Kind.PHOTO, attachment=photo, album=album, album_size=len(photos))
        if number > 1:
            picture = replace(
                picture, source=f"{first.source}:{number}", message_id=f"{first.message_id}:{number}", text=""
            )
        yield picture


def _language(request: Request) -> Language:
    """The language of the page: chosen on it, else the browser's, else English."""
    for wanted in (
        request.cookies.get("language", ""),
        *request.headers.get("accept-language", "").split(","),
    ):
        for language in LANGUAGES:
            if wanted.strip().lower().startswith(language):
                return language
    return "en"


def _hint(request: Request, form: Form) -> str:
    """The language the customer reads the page in."""
    shown = form.fields.get("language", "")
    return shown if shown in LANGUAGES else _language(request)


def _after(number: str) -> int:
    if not number.isascii() or not number.isdecimal() or len(number) > 18:  # noqa: PLR2004 - 64 bits
        raise Refused(400, "bad_form")
    return int(number)


def _render(language: Language) -> str:
    words = json.loads((_HERE / "static" / "words.json").read_text("utf-8"))
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    limits = {"photos": MAX_PHOTOS, "photo_bytes": MAX_PHOTO_BYTES, "text": MAX_TEXT}
    return templates.get_template("chat.html").render(
        language=language, words=words[language], all_words=words, limits=limits
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
