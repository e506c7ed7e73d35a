"""Plans: which earlier turns and which photos go into a prompt, in what detail, within its room.

The photos that are asked about come first and in full; earlier ones follow smaller, newest first; those
for which there is no room are a line of text.  What an earlier photo looks like changes only when a newer
photo comes: between two photos every prompt begins like the one before, so that servers can reuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from context.turns import Message, Photo, Turn
from prompts.counts import Counts, fitted
from prompts.neutral import CUT, neutral

FULL_SIDE, SMALL_SIDE = 1024, 640
"""Longest side of a photo in full detail (as it is stored), and of an earlier photo, which takes 300 tokens
instead of 768."""
_SIDES = (FULL_SIDE, 896, 768, SMALL_SIDE, 512)
"""Longest sides to which the photos of an album are scaled down, all alike."""
_FRAME_TOKENS = 16
"""Tokens for roles, markup and photo numbers of one earlier turn."""


@dataclass(frozen=True, slots=True)
class View:
    """A photo as it is shown in a prompt."""

    photo: Photo
    longest: int
    """Largest longest side in pixels."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The earlier turns and photos of a prompt."""

    turns: tuple[Turn, ...]
    """Earlier turns in full, oldest first; if there is only one and it is too long, it is cut."""
    condensed: tuple[Turn, ...]
    """Still earlier turns, of which only the facts are included."""
    earlier: tuple[tuple[View, ...], ...]
    """The photos shown with each of `turns`."""
    own: tuple[View, ...]
    """The photos shown with the question."""

    @property
    def views(self) -> tuple[View, ...]:
        """All photos shown: those of the question first, then from the newest turn back."""
        return (*self.own, *(view for views in reversed(self.earlier) for view in views))


@dataclass(frozen=True, slots=True)
class Room:
    """How much a prompt may contain beside the question's own text."""

    words: int
    """Tokens of earlier text, including the summary."""
    photos: int
    """Tokens of photos.  The question's own photos are always shown, at 512 pixels in the worst case."""
    most_photos: int

    @property
    def gist(self) -> int:
        """Tokens of the summary, if there is one."""
        return self.words // 4


def plan(
    message: Message,
    turns: Sequence[Turn],
    *,
    room: Room,
    counts: Counts,
    condensed: Sequence[Turn] = (),
) -> Plan:
    """Plan a prompt within its room.

    `condensed` are turns before `turns` of which only the facts are wanted.
    """
    kept = turns if condensed else _fitting(turns, room.words, counts)
    if condensed or len(kept) < len(turns):
        kept = _fitting(turns, room.words - room.gist, counts)
    own, *earlier = _views(message, kept, room=room, counts=counts)
    before = (*condensed, *turns[: len(turns) - len(kept)])
    return Plan(tuple(kept), before, tuple(reversed(earlier)), own)


def _fitting(turns: Sequence[Turn], room: int, counts: Counts) -> Sequence[Turn]:
    """The newest turns whose text fits, oldest first; at least the newest one, cut if necessary."""
    left = room
    for taken, turn in enumerate(reversed(turns)):
        left -= counts.text(turn.text) + counts.text(turn.reply) + _FRAME_TOKENS
        if left < 0:
            return turns[len(turns) - taken :] if taken else [_cut(turn, room // 2, counts)]
    return turns


def _cut(turn: Turn, half: int, counts: Counts) -> Turn:
    return replace(turn, text=_shortened(turn.text, half, counts), reply=_shortened(turn.reply, half, counts))


def _shortened(text: str, most: int, counts: Counts) -> str:
    """The beginning of a text, as much as fits."""
    if counts.text(text) <= most:
        return text
    chars = max(len(CUT) + 2, 4 * most)
    shorter = neutral(text, max_chars=chars)
    while counts.text(shorter) > most and chars > len(CUT) + 2:
        chars = max(len(CUT) + 2, chars // 2)
        shorter = neutral(text, max_chars=chars)
    return shorter


def _views(message: Message, turns: Sequence[Turn], *, room: Room, counts: Counts) -> list[tuple[View, ...]]:
    """The photos shown with the message, and then with each turn from the newest back."""
    # What is being asked about is always shown, a whole album too.
    own = _alike(_each_once((*message.recalled, *message.photos)), room=room.photos, counts=counts)
    chosen = [own]
    seen = {view.photo.sha256 for view in own}
    tokens_left = room.photos - sum(view.tokens for view in own)
    photos_left = room.most_photos - len(seen)
    is_newest = not message.photos
    for turn in reversed(turns):
        side = FULL_SIDE if is_newest and turn.photos else SMALL_SIDE
        is_newest = is_newest and not turn.photos
        views: list[View] = []
        for photo in reversed(turn.photos):  # of an album that does not fit, its last ones
            view = _view(photo, side, counts)
            if photo.sha256 in seen or photos_left <= 0 or view.tokens > tokens_left:
                continue
            seen.add(photo.sha256)
            views.insert(0, view)
            photos_left -= 1
            tokens_left -= view.tokens
        chosen.append(tuple(views))
    return chosen


def _each_once(photos: Sequence[Photo]) -> Sequence[Photo]:
    """Each photo once, at its last place: an old one may be both named and sent again."""
    kept: dict[str, Photo] = {}
    for photo in photos:
        kept.pop(photo.sha256, None)
        kept[photo.sha256] = photo
    return tuple(kept.values())


def _alike(photos: Sequence[Photo], *, room: int, counts: Counts) -> tuple[View, ...]:
    """All photos in the same detail, the highest that fits."""
    views: tuple[View, ...] = ()
    for side in _SIDES:
        views = tuple(_view(photo, side, counts) for photo in photos)
        if sum(view.tokens for view in views) <= room:
            break
    return views


def _view(photo: Photo, longest: int, counts: Counts) -> View:
    return View(photo, longest, counts.photo(*fitted(photo.width, photo.height, longest)))
