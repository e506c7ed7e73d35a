"""A raw Telegram update becomes an `Arrival`: the only place that knows how Telegram words things.

A pure function without I/O, so that an update can be stored before anybody acts on it.  What
cannot be read raises one typed error, and the intake keeps that update aside.  Field names are
Telegram's: https://core.telegram.org/bots/api#message
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

from bot.telegram.fields import Fields, UnreadableUpdate, child, children, integer, required, string
from context.turns import Arrival, Attachment, Chat, Kind

CHANNEL = "telegram"


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
    source = f"update:{integer(raw, 'update_id')}"
    for name, edited in (("message", False), ("edited_message", True)):
        message = child(raw, name)
        if message is not None:
            is_group = group != "" and str(integer(required(message, "chat"), "id")) == group
            found = _arrival(message, me, source=source, edited=edited, albums=albums, everything=is_group)
            return InGroup(found, _writer(message)) if found is not None and is_group else found
    query = child(raw, "callback_query")
    if query is not None:
        return _pressed(query, source)
    change = child(raw, "my_chat_member")
    return _membership(change, source) if change is not None else None


def _pressed(query: Fields, source: str) -> Pressed | None:
    message = child(query, "message")
    if message is None:  # below an inline message; we send none
        return None
    return Pressed(
        chat=Chat(CHANNEL, str(integer(required(message, "chat"), "id")), _thread(message)),
        source=source,
        query_id=string(query, "id"),
        message_id=str(integer(message, "message_id")),
        data=string(query, "data"),
        sender=_sender(query),
        hint=_hint(query),
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
    author = child(message, "from") or {}
    return f"{_sender(message) or '?'} (telegram {author.get('id', '?')})"


def _arrival(
    message: Fields, me: Me, *, source: str, edited: bool, albums: Container[str], everything: bool = False
) -> Arrival | None:
    chat = required(message, "chat")
    if _is_nobodys(message, chat, me):
        return None
    kind, attachment = _content(message)
    if edited and kind is Kind.LOCATION:
        return None  # a live location is edited every few seconds for as long as it is shared
    text = string(message, "text") or string(message, "caption")
    command = ""
    if kind is Kind.TEXT and (found := _COMMAND.fullmatch(text)):
        kind, command, text = Kind.COMMAND, found[1].lower(), (found[3] or "").strip()
        is_addressed = (found[2] or "").lower() == me.username.lower()
        if found[2] and not is_addressed:
            return None  # another bot's
    else:
        text, is_addressed = _without_mention(text, me)
    is_private = string(chat, "type") == "private"
    album = string(message, "media_group_id")
    if not (everything or is_private or is_addressed or album in albums or _answers(message, me)):
        return None
    return Arrival(
        chat=Chat(CHANNEL, str(integer(chat, "id")), _thread(message)),
        source=source,
        message_id=str(integer(message, "message_id")),
        kind=kind,
        text=text,
        command=command,
        attachment=attachment,
        album=album,
        reply_to=_quoted(message),
        hint=_hint(message),
        sender=_sender(message),
        sent_at=float(integer(message, "date")),
        edited=edited,
    )


def _is_nobodys(message: Fields, chat: Fields, me: Me) -> bool:
    """Channel posts, service messages, the bot's own and other bots' messages."""
    if string(chat, "type") == "channel" or message.get("is_automatic_forward") is True:
        return True
    if not _SERVICE.isdisjoint(message):
        return True
    author = child(message, "from") or {}
    if author.get("id") == me.id:
        return True
    # An anonymous admin writes as the group itself, in the name of a bot: that one is a person.
    speaks_as = child(message, "sender_chat") or {}
    is_anonymous_admin = "id" in speaks_as and speaks_as.get("id") == chat.get("id")
    return author.get("is_bot") is True and not is_anonymous_admin


def _content(message: Fields) -> tuple[Kind, Attachment | None]:
    sizes = children(message, "photo") or children(child(message, "live_photo") or {}, "photo")
    if sizes:
        largest = max(sizes, key=lambda size: integer(size, "width") * integer(size, "height"))
        return Kind.PHOTO, _attachment(largest)
    for name, kind in _CONTENT:
        file = child(message, name)
        if file is None:
            continue
        if kind is Kind.VIDEO:
            return kind, _attachment(file)
        if kind is Kind.DOCUMENT and _is_picture(file):
            return Kind.PHOTO, _attachment(file)
        if kind is Kind.DOCUMENT and _is_clip(file):
            return Kind.VIDEO, _attachment(file)
        return kind, None
    return (Kind.TEXT if string(message, "text") else Kind.OTHER), None


def _is_picture(file: Fields) -> bool:
    mime = string(file, "mime_type").lower()
    if mime.startswith("image/"):
        return mime not in _NOT_A_PICTURE
    # Some desktop clients send every file as a stream of bytes and only the name tells.
    return mime in {"", "application/octet-stream"} and bool(_PICTURE_NAME.search(string(file, "file_name")))


def _is_clip(file: Fields) -> bool:
    mime = string(file, "mime_type").lower()
    if mime.startswith("video/"):
        return True
    return mime in {"", "application/octet-stream"} and bool(_CLIP_NAME.search(string(file, "file_name")))


def _attachment(file: Fields) -> Attachment:
    file_id = string(file, "file_id")
    if not file_id:
        raise UnreadableUpdate("file_id is missing")
    return Attachment(file_id, integer(file, "file_size") if "file_size" in file else None)


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
    """Whether it replies to the bot."""
    original = _original(message)
    return original is not None and (child(original, "from") or {}).get("id") == me.id


def _quoted(message: Fields) -> str:
    """The id of the message that this one replies to; empty if it is not a reply."""
    original = _original(message)
    return "" if original is None else str(integer(original, "message_id"))


def _original(message: Fields) -> Fields | None:
    """The message that this one replies to.  In a topic every message "replies" to the topic's creation."""
    original = child(message, "reply_to_message")
    return None if original is None or "forum_topic_created" in original else original


def _thread(message: Fields) -> int | None:
    """The topic that it is in."""
    return integer(message, "message_thread_id") if message.get("is_topic_message") is True else None


def _hint(said: Fields) -> str:
    """The IETF language tag of the sender's app."""
    return string(child(said, "from") or {}, "language_code")[:35]


def _sender(message: Fields) -> str:
    author = child(message, "from") or {}
    name = f"{string(author, 'first_name')} {string(author, 'last_name')}".strip()
    name = name or string(child(message, "sender_chat") or {}, "title")
    return name[:_LONGEST_NAME]


def _membership(change: Fields, source: str) -> Membership:
    chat = required(change, "chat")
    status = string(required(change, "new_chat_member"), "status")
    return Membership(Chat(CHANNEL, str(integer(chat, "id"))), source, blocked=status in {"kicked", "left"})
