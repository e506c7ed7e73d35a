"""Marks: asked "is it this one?" about a photo, the bot sends a copy with the place drawn on it.

After the answer has passed the guard, the model names the place as numbers only.  They are checked and drawn,
and the customer is asked whether that is the place.  If the model cannot name it, if it is unclear which
photo is meant, or if anything else is odd, the answer is sent without a mark.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from bot.engines import Engine
from bot.engines.structured import facts
from bot.markup import parts_of
from bot.stages import Stages
from bot.waits import to_its_end
from context.outbox import Outbox
from context.photos import Photos
from context.turns import Message, Part, Photo, Reply, Turn
from prompts.prompt import Manner, PromptImage
from prompts.prompts import Prompts

log = logging.getLogger(__name__)

MARK_S = 10.0
"""How long a finished answer waits for its mark."""
FULL = 1000
"""Qwen3-VL gives coordinates in thousandths of width and height, whatever the size of the photo."""
MOST_BOXES = 3
LEAST_SIDE = 5
MOST_AREA = 0.6
"""Largest share of the photo that a box may cover: a box around nearly everything points at nothing."""
_POINT = {"type": "integer", "minimum": 0, "maximum": FULL}
_BOX = {
    "type": "object",
    "properties": {"bbox_2d": {"type": "array", "items": _POINT, "minItems": 4, "maxItems": 4}},
    "required": ["bbox_2d"],
    "additionalProperties": False,
}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"boxes": {"type": "array", "items": _BOX, "maxItems": MOST_BOXES}},
        "required": ["boxes"],
        "additionalProperties": False,
    }
)
_PARTS = (
    r"one|button|light|lamp|led|indicator|knob|dial|switch|key|plug|socket|port|valve|tap|screw|bolt|hose|pipe"
    r"|filter|part|cable|wire|display|symbol|icon|lever|flap|cover"
)
_HERE = r"(?:这|那)(?:个|颗|只|里|盏|儿|边)"
# "Yes, this one." answers a question of ours; with a question mark it asks for the place.
_ASKS = re.compile(
    rf"\b(?:this|that)\s(?:{_PARTS})s?\b[^.!\n]*[?？]|\bis it (?:this|that)\b|\bwhich\s(?:{_PARTS})s?\b"
    r"|\bwhich of (?:these|them|the)\b"
    r"|\bwhere(?:'s|\s(?:is|are|do i (?:press|push|turn|find)|can i find))\b|\bshow me (?:where|which)\b"
    rf"|是不是{_HERE}|{_HERE}[^。！\n]{{0,10}}(?:吗|么|[?？])|哪(?:一)?(?:个|颗|只|盏|里|儿|边)|在什么(?:位置|地方)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Box:
    """A place on a photo, in thousandths of its width and height, measured from the top left corner."""

    left: int
    top: int
    right: int
    bottom: int


class Marks:
    """Adds a marked copy of the photo to an answer about a place on it."""

    def __init__(self, *, engine: Engine, prompts: Prompts, photos: Photos, outbox: Outbox) -> None:
        self._engine = engine
        self._prompts = prompts
        self._photos = photos
        self._outbox = outbox

    async def on(self, message: Message, reply: Reply, turns: Sequence[Turn], stages: Stages) -> Reply:
        """The reply, with a marked copy if the model could name the place; otherwise unchanged.

        `reply` has passed the guard: the model is shown only words that the customer gets anyway.
        """
        photo = asked_about(message, turns)
        if photo is None or not reply.remembered or reply.origin in {"fallback", ""}:
            return reply
        try:
            with stages("mark"):
                marked = await self._mark(message, reply, photo)
        except Exception as error:  # noqa: BLE001 - the answer itself is ready
            log.warning("a photo could not be marked", extra={"error": type(error).__name__})
            marked = None
        if marked is None:
            return reply
        words = self._prompts.notice("marked", message.language, number=photo.number)
        return replace(reply, text=f"{reply.text}\n\n{words}", marked=marked)

    async def drop(self, photo: Photo) -> None:
        """Delete a marked copy, unless a message contains it."""
        if await self._outbox.is_unnamed(photo.sha256):
            await self._photos.forget(photo.sha256)

    async def _mark(self, message: Message, reply: Reply, photo: Photo) -> Photo | None:
        jpeg = await self._photos.read(photo.sha256)
        if jpeg is None:
            return None
        manner = Manner(max_tokens=200, temperature=0, by_model=True, schema=SCHEMA)
        prompt = self._prompts.mark(message, reply.text, PromptImage(photo, jpeg), manner=manner)
        async with asyncio.timeout(MARK_S):
            boxes = await facts(self._engine, prompt, boxes_in)
        if not boxes:
            return None
        return await self._keep(await asyncio.to_thread(drawn, jpeg, boxes))

    async def _keep(self, jpeg: bytes) -> Photo | None:
        """Store the copy.  If this is cancelled meanwhile, nothing is left behind."""
        stored: list[Photo] = []

        async def store() -> None:
            if isinstance(taken := await self._photos.take_in(jpeg), Photo):
                stored.append(taken)

        try:
            await to_its_end(store())
        except asyncio.CancelledError:
            for photo in stored:
                await to_its_end(self.drop(photo))
            raise
        return stored[0] if stored else None


@asynccontextmanager
async def or_drop(marks: Marks | None, reply: Reply) -> AsyncIterator[None]:
    """Delete the marked copy of `reply` if the block, which stores the reply, fails."""
    try:
        yield
    except BaseException:
        if marks is not None and reply.marked is not None:
            # The batch may be claimed anew already, and that cancels what is left of this turn.
            await to_its_end(marks.drop(reply.marked))
        raise


def said_in(reply: Reply) -> list[Part]:
    """The parts of a reply: a marked photo first, so that the buttons stand below the text."""
    return [*([Part("", photo=reply.marked)] if reply.marked else []), *parts_of(reply.text)]


def asked_about(message: Message, turns: Sequence[Turn]) -> Photo | None:
    """The photo about which the customer asks for a place; None if they do not, or it is unclear which one.

    It is the message's only photo, otherwise the one that it names, otherwise the only one of the latest turn
    with photos.
    """
    if not _ASKS.search(message.text):
        return None
    earlier = next((turn.photos for turn in reversed(turns) if turn.photos), ())
    photos = message.photos or message.recalled or earlier
    if len(photos) != 1 or photos[0].clip is not None or (message.photos and message.recalled):
        return None
    return photos[0]


def boxes_in(value: object) -> tuple[Box, ...] | None:
    """The places that a model named: none, or up to three.  None if the answer is not valid.

    One invalid box makes the whole answer invalid.  Labels are ignored.
    """
    entries = value.get("boxes") if isinstance(value, dict) else value
    if not isinstance(entries, list) or len(entries) > MOST_BOXES:
        return None
    boxes = [_box(entry) for entry in entries]
    return tuple(box for box in boxes if box is not None) if None not in boxes else None


def _box(entry: object) -> Box | None:
    sides = entry.get("bbox_2d") if isinstance(entry, dict) else None
    if not isinstance(sides, list) or len(sides) != 4 or any(type(side) is not int for side in sides):  # noqa: PLR2004
        return None
    left, top, right, bottom = sides
    is_inside = min(sides) >= 0 and max(sides) <= FULL
    is_seen = right - left >= LEAST_SIDE and bottom - top >= LEAST_SIDE
    points = (right - left) * (bottom - top) <= MOST_AREA * FULL * FULL
    return Box(left, top, right, bottom) if is_inside and is_seen and points else None


def drawn(jpeg: bytes, boxes: Sequence[Box]) -> bytes:
    """A copy of one of our own JPEGs with the boxes drawn on it: red on white, visible on any background.

    Takes a few milliseconds; call it outside the event loop.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - the bot runs without it until something is marked

    with Image.open(io.BytesIO(jpeg)) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    line = max(3, round(max(width, height) / 200))
    canvas = ImageDraw.Draw(picture)
    for box in boxes:
        left, top = box.left * width // FULL - line, box.top * height // FULL - line
        right, bottom = box.right * width // FULL + line, box.bottom * height // FULL + line
        place = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
        canvas.rounded_rectangle(place, radius=3 * line, outline="white", width=2 * line)
        canvas.rounded_rectangle(place, radius=3 * line, outline=(220, 20, 30), width=line)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()
