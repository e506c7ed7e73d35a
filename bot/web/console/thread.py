"""The thread of a conversation: messages, albums and stopped drafts in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bot.photos.mentions import places_mentioned
from bot.web.console.pages import MOST_SHOWN, plain
from bot.web.console.words import N_
from context.console.conversations import Conversation, Exchange, Said


@dataclass(frozen=True, slots=True)
class Item:
    """What stands in the thread at one place: a message, or a turn of which nothing was said."""

    said: Said | None = None
    pictures: tuple[Said, ...] = ()
    """The message and those that came with it as one album; it alone if it has a picture at all."""
    exchange: Exchange | None = None
    """With a message: the turn that it ends, so that what is known of it stands below."""
    draft: Exchange | None = None
    """The turn whose draft was stopped, shown above this message."""


def items_of(conversation: Conversation) -> Iterator[Item]:
    """Messages in their order, with the turns that left none among them by the time they were opened."""
    silent = sorted(
        (turn for turn in conversation.exchanges.values() if turn.state == "superseded"),
        key=lambda turn: turn.at,
    )
    last_of = {said.turn_id: said.id for said in conversation.said if said.who != "customer"}
    first_of: dict[int | None, int] = {}
    for said in conversation.said:
        if said.who != "customer":
            first_of.setdefault(said.turn_id, said.id)
    for group in _together(conversation.said):
        said = group[0]
        while silent and silent[0].at < said.at:
            yield Item(draft=silent.pop(0))
        turn = conversation.exchanges.get(said.turn_id or 0)
        yield Item(
            said=said,
            pictures=group if _has_picture(said) else (),
            exchange=turn if last_of.get(said.turn_id) == group[-1].id else None,
            draft=turn if turn and turn.draft and first_of.get(said.turn_id) == said.id else None,
        )
    for turn in silent:
        yield Item(draft=turn)


def _together(said: Sequence[Said]) -> Iterator[tuple[Said, ...]]:
    """Messages one by one, and the pictures of one message as one group."""
    group: list[Said] = []
    for one in said:
        if group and not _is_one_message(group[-1], one):
            yield tuple(group)
            group = []
        group.append(one)
    if group:
        yield tuple(group)


def _is_one_message(one: Said, following: Said) -> bool:
    if not (_has_picture(one) and _has_picture(following)) or one.state == "replaced":
        return False
    if (one.who, one.state, one.error) != (following.who, following.state, following.error):
        return False
    if one.who == "customer":
        return one.album != "" and one.album == following.album
    return one.turn_id is not None and one.turn_id == following.turn_id


def _has_picture(said: Said) -> bool:
    return said.has_picture or said.photo is not None


def origin_of(exchange: Exchange) -> str:
    """Who or what wrote a reply: a colleague, a model by its name, rules, or a sentence of ours."""
    kind, _, name = exchange.origin.partition(":")
    if kind == "staff":
        return name
    if kind == "notice":
        return N_("fixed words")
    if kind == "fallback":
        return N_("OCR and rules")
    return str(exchange.record.get("model") or exchange.origin)


def with_photos(text: str) -> Markup:
    """A text in which every photo that it names leads to that photo."""
    text = plain(text[:MOST_SHOWN])
    out, at = Markup(), 0
    for begin, end, number in places_mentioned(text):
        out += escape(text[at:begin])
        out += Markup('<a class="cite" href="#thread" data-cite="{}">{}</a>').format(number, text[begin:end])
        at = end
    return out + escape(text[at:])
