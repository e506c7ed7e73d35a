"""A raw Telegram update becomes an `Arrival`: the only place that knows how Telegram words things.

A pure function without I/O, so that an update can be stored before anybody acts on it.  What
cannot be read raises one typed error, and the intake keeps that update aside.  Field names are
Telegram's: https://core.telegram.org/bots/api#message
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from bot.errors import BotError
from context.turns import Arrival, Attachment, Chat, Kind

Fields = Mapping[str, object]

CHANNEL = "telegram"


class UnreadableUpdate(BotError):
    """An update that does not look like the Bot API's.  The message names the field, never its content."""


@dataclass(frozen=True, slots=True)
class Me:
    """Who the bot is: needed to tell a mention of it from a mention of somebody else."""

    id: int
    username: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A customer blocked the bot or took it back; in a group: removed or added."""

    chat: Chat
    source: str
    blocked: bool


@dataclass(frozen=True, slots=True)
class InGroup:
    """Something written in the staff's group."""

    arrival: Arrival
    who: str
    """The writer, by a name that is theirs alone: `Ann (telegram 2001)`."""


@dataclass(frozen=True, slots=True)
class Pressed:
    """Somebody pressed a button below a message of ours."""

    chat: Chat
    source: str
    query_id: str
    message_id: str
    """The message with the button."""
    data: str
    """What the button carries: ours, but anybody can send anything."""
    sender: str
    hint: str
    """IETF language tag of the app."""


_CONTENT: tuple[tuple[str, Kind], ...] = (
    ("sticker", Kind.STICKER),
    ("voice", Kind.VOICE),
    ("audio", Kind.VOICE),
    ("animation", Kind.VIDEO),  # before `document`: Telegram sends both for a GIF
    ("video", Kind.VIDEO),
    ("video_note", Kind.VIDEO),
    ("venue", Kind.LOCATION),
    ("location", Kind.LOCATION),
    ("contact", Kind.CONTACT),
    ("document", Kind.DOCUMENT),
)

# Events about a chat, written by nobody: there is nothing to answer.
_SERVICE: frozenset[str] = frozenset(
    """
    new_chat_members left_chat_member new_chat_title new_chat_photo delete_chat_photo
    group_chat_created supergroup_chat_created channel_chat_created chat_owner_changed chat_owner_left
    migrate_to_chat_id migrate_from_chat_id pinned_message message_auto_delete_timer_changed
    forum_topic_created forum_topic_edited forum_topic_closed forum_topic_reopened
    general_forum_topic_hidden general_forum_topic_unhidden
    video_chat_scheduled video_chat_started video_chat_ended video_chat_participants_invited
    write_access_allowed connected_website users_shared chat_shared web_app_data passport_data
    proximity_alert_triggered boost_added chat_background_set managed_bot_created
    giveaway giveaway_created giveaway_completed giveaway_winners gift unique_gift gift_upgrade_sent
    successful_payment refunded_payment paid_message_price_changed direct_message_price_changed
    checklist_tasks_added checklist_tasks_done poll_option_added poll_option_deleted
    suggested_post_approved suggested_post_approval_failed suggested_post_declined
    suggested_post_paid suggested_post_refunded
    """.split()  # noqa: SIM905 - a page of quoted words is harder to read
)

_PICTURE_NAME = re.compile(r"\.(jpe?g|png|webp|heic|heif|avif|bmp|gif|tiff?)$", re.IGNORECASE)
_CLIP_NAME = re.compile(r"\.(mp4|m4v|mov|webm|mkv|3gp)$", re.IGNORECASE)
_NOT_A_PICTURE = frozenset({"image/svg+xml", "image/vnd.adobe.photoshop", "image/vnd.djvu", "image/vnd.dwg"})
_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w{1,64}))?(?:\s+(.*))?", re.DOTALL)
_LONGEST_NAME = 100


def parse(
    raw: object, me: Me, *, albums: Container[str] = (), group: str = ""
) -> Arrival | InGroup | Membership | Pressed | None:
    """What the update means to us; None for what concerns nobody (service messages, other people's talk).

    In groups only what is addressed to the bot counts: a mention, a reply to it, a command with its
    name, and the other pictures of `albums` that were so addressed; in the staff's `group` everything.
    Raises `UnreadableUpdate`.
    """
    if not isinstance(raw, Mapping):
        raise UnreadableUpdate("the update is not an object")
    source = f"update:{_integer(raw, 'update_id')}"
    for name, edited in (("message", False), ("edited_message", True)):
        message = _child(raw, name)
        if message is not None:
            is_group = group != "" and str(_integer(_required(message, "chat"), "id")) == group
            found = _arrival(message, me, source=source, edited=edited, albums=albums, everything=is_group)
            return InGroup(found, _writer(message)) if found is not None and is_group else found
    query = _child(raw, "callback_query")
    if query is not None:
        return _pressed(query, source)
    change = _child(raw, "my_chat_member")
    return _membership(change, source) if change is not None else None


def _pressed(query: Fields, source: str) -> Pressed | None:
    message = _child(query, "message")
    if message is None:  # below an inline message; we send none
        return None
    thread = _integer(message, "message_thread_id") if message.get("is_topic_message") is True else None
    return Pressed(
        chat=Chat(CHANNEL, str(_integer(_required(message, "chat"), "id")), thread),
        source=source,
        query_id=_string(query, "id"),
        message_id=str(_integer(message, "message_id")),
        data=_string(query, "data"),
        sender=_sender(query),
        hint=_string(_child(query, "from") or {}, "language_code")[:35],
    )


def source_of(raw: object) -> str:
    """The name under which an update is kept aside; `update:?` when it has no readable id."""
    update_id = id_of(raw)
    return f"update:{'?' if update_id is None else update_id}"


def id_of(raw: object) -> int | None:
    """Its `update_id`, or None when there is none that could be read."""
    value = raw.get("update_id") if isinstance(raw, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _writer(message: Fields) -> str:
    author = _child(message, "from") or {}
    return f"{_sender(message) or '?'} (telegram {author.get('id', '?')})"


def _arrival(
    message: Fields, me: Me, *, source: str, edited: bool, albums: Container[str], everything: bool = False
) -> Arrival | None:
    chat = _required(message, "chat")
    if _is_nobodys(message, chat, me):
        return None
    kind, attachment = _content(message)
    if edited and kind is Kind.LOCATION:
        return None  # a live location is edited every few seconds for as long as it is shared
    text = _string(message, "text") or _string(message, "caption")
    command = ""
    if kind is Kind.TEXT and (found := _COMMAND.fullmatch(text)):
        kind, command, text = Kind.COMMAND, found[1].lower(), (found[3] or "").strip()
        is_addressed = (found[2] or "").lower() == me.username.lower()
        if found[2] and not is_addressed:
            return None  # another bot's
    else:
        text, is_addressed = _without_mention(text, me)
    is_private = _string(chat, "type") == "private"
    album = _string(message, "media_group_id")
    if not (everything or is_private or is_addressed or album in albums or _answers(message, me)):
        return None
    thread = _integer(message, "message_thread_id") if message.get("is_topic_message") is True else None
    return Arrival(
        chat=Chat(CHANNEL, str(_integer(chat, "id")), thread),
        source=source,
        message_id=str(_integer(message, "message_id")),
        kind=kind,
        text=text,
        command=command,
        attachment=attachment,
        album=album,
        reply_to=_quoted(message),
        hint=_string(_child(message, "from") or {}, "language_code")[:35],
        sender=_sender(message),
        sent_at=float(_integer(message, "date")),
        edited=edited,
    )


def _is_nobodys(message: Fields, chat: Fields, me: Me) -> bool:
    """Channel posts, service messages, the bot's own and other bots' messages."""
    if _string(chat, "type") == "channel" or message.get("is_automatic_forward") is True:
        return True
    if not _SERVICE.isdisjoint(message):
        return True
    author = _child(message, "from") or {}
    if author.get("id") == me.id:
        return True
    # An anonymous admin writes as the group itself, in the name of a bot: that one is a person.
    speaks_as = _child(message, "sender_chat") or {}
    is_anonymous_admin = "id" in speaks_as and speaks_as.get("id") == chat.get("id")
    return author.get("is_bot") is True and not is_anonymous_admin


def _content(message: Fields) -> tuple[Kind, Attachment | None]:
    sizes = _children(message, "photo") or _children(_child(message, "live_photo") or {}, "photo")
    if sizes:
        largest = max(sizes, key=lambda size: _integer(size, "width") * _integer(size, "height"))
        return Kind.PHOTO, _attachment(largest)
    for name, kind in _CONTENT:
        file = _child(message, name)
        if file is None:
            continue
        if kind is Kind.VIDEO:
            return kind, _attachment(file)
        if kind is Kind.DOCUMENT and _is_picture(file):
            return Kind.PHOTO, _attachment(file)
        if kind is Kind.DOCUMENT and _is_clip(file):
            return Kind.VIDEO, _attachment(file)
        return kind, None
    return (Kind.TEXT if _string(message, "text") else Kind.OTHER), None


def _is_picture(file: Fields) -> bool:
    mime = _string(file, "mime_type").lower()
    if mime.startswith("image/"):
        return mime not in _NOT_A_PICTURE
    # Some desktop clients send every file as a stream of bytes and only the name tells.
    return mime in {"", "application/octet-stream"} and bool(_PICTURE_NAME.search(_string(file, "file_name")))


def _is_clip(file: Fields) -> bool:
    mime = _string(file, "mime_type").lower()
    if mime.startswith("video/"):
        return True
    return mime in {"", "application/octet-stream"} and bool(_CLIP_NAME.search(_string(file, "file_name")))


def _attachment(file: Fields) -> Attachment:
    file_id = _string(file, "file_id")
    if not file_id:
        raise UnreadableUpdate("file_id is missing")
    return Attachment(file_id, _integer(file, "file_size") if "file_size" in file else None)


def _without_mention(text: str, me: Me) -> tuple[str, bool]:
    """The words without the bot's name, and whether it was named."""
    if not me.username or "@" not in text:
        return text, False
    name = re.compile(rf"(?<![\w@/.])@{re.escape(me.username)}(?!\w)[,:,:]?", re.IGNORECASE)
    parts = [part.strip(" \t") for part in name.split(text)]
    if len(parts) == 1:
        return text, False
    return " ".join(part for part in parts if part).strip(), True


def _answers(message: Fields, me: Me) -> bool:
    """Whether it replies to the bot.  In a topic every message "replies" to the topic's creation."""
    original = _child(message, "reply_to_message")
    if original is None or "forum_topic_created" in original:
        return False
    return (_child(original, "from") or {}).get("id") == me.id


def _quoted(message: Fields) -> str:
    """The message that this one replies to, unless that is only the topic's creation."""
    original = _child(message, "reply_to_message")
    if original is None or "forum_topic_created" in original:
        return ""
    return str(_integer(original, "message_id"))


def _sender(message: Fields) -> str:
    author = _child(message, "from") or {}
    name = f"{_string(author, 'first_name')} {_string(author, 'last_name')}".strip()
    name = name or _string(_child(message, "sender_chat") or {}, "title")
    return name[:_LONGEST_NAME]


def _membership(change: Fields, source: str) -> Membership:
    chat = _required(change, "chat")
    status = _string(_required(change, "new_chat_member"), "status")
    return Membership(Chat(CHANNEL, str(_integer(chat, "id"))), source, blocked=status in {"kicked", "left"})


def _clean(text: str) -> str:
    """Text that every store takes: no NUL, no half of a surrogate pair."""
    text = text.replace("\x00", "")
    return (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if _SURROGATE.search(text)
        else text
    )


_SURROGATE = re.compile("[\ud800-\udfff]")


def _required(raw: Fields, name: str) -> Fields:
    value = raw.get(name)
    if not isinstance(value, Mapping):
        raise UnreadableUpdate(f"{name} is not an object")
    return value


def _child(raw: Fields, name: str) -> Fields | None:
    return None if raw.get(name) is None else _required(raw, name)


def _children(raw: Fields, name: str) -> Sequence[Fields]:
    value = raw.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UnreadableUpdate(f"{name} is not a list of objects")
    return value


def _string(raw: Fields, name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise UnreadableUpdate(f"{name} is not text")
    return _clean(value)


def _integer(raw: Fields, name: str) -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise UnreadableUpdate(f"{name} is not a whole number")
    return value
