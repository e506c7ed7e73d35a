"""The vocabulary of a chat: one word for each thing, and one thing for each word.

Frozen values without I/O, shared by every package.  A customer's words travel as
`Arrival` (as it came) -> `Batch` (what one claim took from the inbox) -> `Message` (one
question with its photos); the answer travels as `Reply` -> `Part` (what fits in one channel
message) -> `Receipt`; both together are remembered as a `Turn`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
Flaw = Literal["", "dark", "blurred", "small", "screenshot"]
"""Why a photo shows little of the device; empty if it is fine."""
FactKind = Literal["code", "brand", "model", "serial"]


@dataclass(frozen=True, slots=True, order=True)
class Chat:
    """One conversation, and one lane: everything in it happens in order."""

    channel: str
    """`telegram` or `web`."""
    address: str
    """Telegram's chat id, or the page visitor's id."""
    thread: int | None = None
    """Telegram forum topic inside the chat, if there is one."""

    @property
    def key(self) -> str:
        """Its name in every store: `telegram:42`, `telegram:-1001:7`, `web:Jf3...`."""
        suffix = "" if self.thread is None else f":{self.thread}"
        return f"{self.channel}:{self.address}{suffix}"

    @property
    def is_group(self) -> bool:
        """Whether several people write here: Telegram groups have negative ids."""
        return self.channel == "telegram" and self.address.startswith("-")

    @property
    def alias(self) -> str:
        """A pseudonym: always the same for a chat, and meaningless to those who do not know its key."""
        return hashlib.blake2b(self.key.encode(), digest_size=8).hexdigest()

    @classmethod
    def parse(cls, key: str) -> Chat:
        """The inverse of `key`.  Raises ValueError for anything else."""
        channel, _, rest = key.partition(":")
        address, _, thread = rest.partition(":")
        if not channel or not address:
            raise ValueError(f"not a chat key: {key!r}")
        return cls(channel, address, int(thread) if thread else None)


class Kind(StrEnum):
    """What a customer sent; `Prompts.notice` has a sentence for each kind that we cannot read."""

    TEXT = "text"
    PHOTO = "photo"
    COMMAND = "command"
    STICKER = "sticker"
    VOICE = "voice"
    VIDEO = "video"
    DOCUMENT = "document"
    LOCATION = "location"
    CONTACT = "contact"
    OTHER = "other"
    STAFF = "staff"
    """Not from a customer: what staff put into the chat; `Arrival.command` names the action."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture as the channel announced it: not downloaded and not checked yet."""

    file_id: str
    """The channel's `fetch` downloads the picture with it."""
    size: int | None = None
    """In bytes, as announced; None if the channel does not say."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light that changed during a clip, as measured."""

    colour: str
    """red, yellow, green, blue or white; empty if unknown."""
    place: str
    """Where in the picture: `top left` to `bottom right`, or `middle`."""
    blinks: int
    """How often it blinks before each pause; 0 if the count is not reliable."""
    regular: bool = False
    """It blinks without longer pauses, so there is nothing to count."""
    on_s: float = 0.0
    gap_s: float = 0.0
    """Dark time between two blinks of a group."""
    pause_s: float = 0.0
    """Dark time between two groups."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What was measured in a clip; its `Photo` shows two moments, side by side or one above the other."""

    seconds: float
    """How much of it was analysed."""
    lamps: tuple[Lamp, ...] = ()
    """Lights that changed, the strongest first."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A checked, normalised JPEG in the photo store."""

    sha256: str
    width: int
    height: int
    number: int = 0
    """Its number within the case, from 1: customer, model and staff all call it "photo 2"."""
    clip: Clip | None = None
    """Set if the photo represents a clip."""
    flaw: Flaw = ""
    """Why it shows little, if that was measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text on a photo."""

    text: str
    confidence: float
    """0 to 1, as the OCR model says."""
    box: tuple[tuple[int, int], ...]
    """Corners in pixels of the photo, clockwise from the text's upper left."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something read on a photo of a device, of which the meaning is known."""

    kind: FactKind
    value: str
    """As it is displayed: `E04`, `KFR-35GW`; short, without line breaks."""
    confidence: float
    """0 to 1, as its source says."""
    place: tuple[tuple[int, int], ...] = ()
    """Corners in pixels of the photo, clockwise from the text's upper left; empty if unknown."""
    source: Literal["ocr", "model"] = "ocr"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A picture that was refused; `code` names both the reason and the sentence for the customer."""

    code: str
    """One of `context.photos.REJECTIONS`."""
    detail: str = ""
    """For the log and the transcript: sizes and counts, never file contents or names."""
    number: int = 0
    """Which of the pictures in this message it was, from 1."""
    of: int = 0
    """How many pictures the message has, those that were sent twice included."""
    is_clip: bool = False
    """Whether it was sent as a video or looks like one: the customer is told about a video, not a picture."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message from a customer, as stored in the inbox."""

    chat: Chat
    source: str
    """The channel's id of this delivery (`update:881`, `web:<uuid>`): however often it comes, stored once."""
    message_id: str
    kind: Kind
    text: str = ""
    """Text or caption; for a command, its argument."""
    command: str = ""
    """Command name without slash, for `Kind.COMMAND`."""
    attachment: Attachment | None = None
    album: str = ""
    """Telegram's `media_group_id`: the same for every picture of one album."""
    album_size: int = 0
    """How many pictures the album has; 0 if the channel does not say."""
    reply_to: str = ""
    """`message_id` of the message that it replies to, if any."""
    hint: str = ""
    """IETF language tag of the customer's app, if the channel reports it."""
    sender: str = ""
    """Display name: for staff, never for the prompt."""
    sent_at: float = 0.0
    """Unix seconds, by the channel's clock."""
    edited: bool = False
    """Whether it is a new version of the message with this `message_id`."""
    staff: str = ""
    """For `Kind.STAFF`, the account that did it; empty if the bot did it by itself."""
    id: int = 0
    """Row in the inbox; 0 before it is stored."""
    at: float = 0.0
    """When it was stored, Unix seconds; 0 before it is."""
    taken: Photo | Rejection | None = None
    """The result for the attachment; None until it has been downloaded."""


@dataclass(frozen=True, slots=True)
class Part:
    """As much of a reply as fits into one channel message: text and formatting, never markup."""

    text: str
    """At most 4,096 UTF-16 code units."""
    entities: tuple[Entity, ...] = ()
    id: int = 0
    number: int = 0
    state: Literal["pending", "sending", "sent", "ambiguous", "dead"] = "pending"
    unsure: int = 0
    """How many times it may have been delivered without our getting a receipt."""
    broken: int = 0
    """In how many of these the connection broke."""
    photo: Photo | None = None
    """A picture instead of text: from staff, or a marked copy of the customer's own."""
    ask: Ask | None = None
    """Buttons below it; not stored, worked out when it is sent."""
    jpeg: bytes = b""
    """The picture's bytes, for channels that need them; not stored."""
    only_here: bool = False
    """Not to be sent to the group as a whole if the topic that it is meant for is gone."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Buttons below an answer."""

    about: Literal["helpful", "fixed"]
    turn: int
    """The turn that is asked about."""
    language: Language


@dataclass(frozen=True, slots=True)
class Entity:
    """Formatting of a span of text.  Offset and length count UTF-16 code units, as Telegram does."""

    type: str
    offset: int
    length: int
    url: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn whose reply is decided and stored, but not completely sent yet."""

    id: int
    parts: tuple[Part, ...]
    turn: Turn
    origin: str = ""
    """Who wrote it, as in `Reply.origin`."""
    remembered: bool = True
    """Whether it goes into the next prompt."""
    handoff: str = ""
    """Why a person should take over once it is sent."""
    answers: int = 0
    """As in `Reply.answers`."""

    @property
    def by_person(self) -> bool:
        """Whether a person wrote it: then it is sent even if somebody takes over the chat."""
        return self.origin.startswith("staff:")

    @property
    def is_always_said(self) -> bool:
        """Whether it is sent even while a person has the chat: a person's words, or replies about erasure."""
        return self.by_person or self.origin in {"notice:forget_ask", "notice:forget_done"}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one claim took out of the inbox: the waiting messages of one chat, oldest first."""

    chat: Chat
    fence: int
    """Grows with every claim of this chat; writes with an older number are refused."""
    arrivals: tuple[Arrival, ...]
    language: Language | None = None
    """The customer's explicit choice, otherwise that of their last message; None for a new chat."""
    language_chosen: bool = False
    attempts: int = 0
    """Earlier claims of these messages that ended in an error."""
    crashes: int = 0
    """Earlier claims of these messages during which the worker died, for whatever reason."""
    is_suspect: bool = False
    """Whether it died so often that a worker should have no other such batch in hand."""
    superseded: int = 0
    """Drafts dropped for these messages because newer ones came."""
    may_grow: bool = True
    """Whether newer messages join it while it is unanswered.  False for a command, for a full batch, and
    after a few superseded drafts: a customer who never pauses is still answered."""
    settle_s: float = 0.0
    """How many seconds after the claim to hold the answer back: more of an album may come."""
    holder: str | None = None
    """The person who had this chat when it was claimed; None if the bot answers it."""
    handed_back_at: float = 0.0
    """When a person last gave the chat back; older messages do not call a person again."""
    last_turn: int = 0
    """The newest remembered turn since the chat was last reset; 0 if there is none."""
    open_turn: OpenTurn | None = None
    """Set if an earlier claim decided the reply and only the sending is left."""


@dataclass(frozen=True, slots=True)
class Message:
    """One question: the words and the photos of a batch, put together."""

    chat: Chat
    text: str
    language: Language
    photos: tuple[Photo, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    kind: Kind = Kind.TEXT
    command: str = ""
    sent_at: float = 0.0
    """When its first item was sent, Unix seconds."""
    recalled: tuple[Photo, ...] = ()
    """Earlier photos of the case that it replies to or mentions, however long ago they were sent."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange as it is remembered: what the customer sent and what we answered."""

    id: int
    text: str
    reply: str
    photos: tuple[Photo, ...] = ()
    at: float = 0.0
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer is told.  Only `bot.answerer` makes one from a model's words, after the guard."""

    text: str
    language: Language
    origin: str
    """Engine name, `notice:<name>` for fixed words, `staff:<name>` for a person's."""
    handoff: str = ""
    """Why a person should take over; empty if none is needed."""
    remembered: bool = True
    """False for replies to commands and notices, which do not go into the next prompt."""
    answers: int = 0
    """The earlier turn whose question it answers; 0 for the question of its own turn."""
    marked: Photo | None = None
    """A copy of a customer's photo with a place marked on it, sent before the text."""
    record: dict[str, object] = field(default_factory=dict)
    """What staff may want to know later: prompt version, model, verdict, usage.  Only JSON values."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The channel's confirmation that a part was accepted."""

    message_id: str
    at: float
