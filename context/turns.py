"""The vocabulary of a chat: one word per thing, one thing per word.

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
"""Why little of the device can be seen on a photo."""
FactKind = Literal["code", "brand", "model", "serial"]
FACT_KINDS: tuple[FactKind, ...] = ("code", "brand", "model", "serial")


@dataclass(frozen=True, slots=True, order=True)
class Chat:
    """One conversation, and one lane: whatever happens inside it happens in order."""

    channel: str
    """`telegram` or `web`."""
    address: str
    """Telegram's chat id, or the page visitor's id."""
    thread: int | None = None
    """Telegram forum topic inside the chat, when there is one."""

    @property
    def key(self) -> str:
        """`telegram:42`, `telegram:-1001:7`, `web:Jf3...`: its name in every store."""
        suffix = "" if self.thread is None else f":{self.thread}"
        return f"{self.channel}:{self.address}{suffix}"

    @property
    def is_group(self) -> bool:
        """Whether several people write here: Telegram's groups have ids below zero."""
        return self.channel == "telegram" and self.address.startswith("-")

    @property
    def alias(self) -> str:
        """The same for the same chat everywhere, and says nothing to whoever does not know the chat."""
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
    """What sort of thing a customer sent; `Prompts.notice` has a sentence for those we cannot read."""

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
    """Not a customer's: what staff put into the chat; `Arrival.command` names the deed."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture as the channel announced it: not yet downloaded, nothing about it checked."""

    file_id: str
    """What the channel's `fetch` takes to download it."""
    size: int | None = None
    """Bytes, as announced; None when the channel does not say."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light that changed while a clip was filmed, as it was measured."""

    colour: str
    """red, yellow, green, blue or white; empty where that cannot be said."""
    place: str
    """Where in the picture: `top left` to `bottom right`, or `middle`."""
    blinks: int
    """How often it blinks before each pause; 0 where nobody should rely on a count."""
    regular: bool = False
    """It blinks without any longer pause, so that there is nothing to count."""
    on_s: float = 0.0
    gap_s: float = 0.0
    """Dark between two blinks of a group."""
    pause_s: float = 0.0
    """Dark between two groups."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What was measured in a clip; its `Photo` shows two moments of it, beside or above each other."""

    seconds: float
    """How much of it was looked at."""
    lamps: tuple[Lamp, ...] = ()
    """Lights that changed, the strongest first."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A checked, normalised JPEG in the photo store."""

    sha256: str
    width: int
    height: int
    number: int = 0
    """Its number within the case, from 1: what customer, model and staff all call "photo 2"."""
    clip: Clip | None = None
    """Set when it stands for a clip."""
    flaw: Flaw = ""
    """Why little can be seen on it, when that was measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text on a photo."""

    text: str
    confidence: float
    """0 to 1, the recogniser's own."""
    box: tuple[tuple[int, int], ...]
    """Corners in pixels of the photo, clockwise from the text's upper left."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What a machine read on a photo of a device and knows the meaning of."""

    kind: FactKind
    value: str
    """As it is shown: `E04`, `KFR-35GW`; short, without line ends."""
    confidence: float
    """0 to 1, the reader's own."""
    place: tuple[tuple[int, int], ...] = ()
    """Corners in pixels of the photo, clockwise from the text's upper left; empty where that is not known."""
    source: Literal["ocr", "model"] = "ocr"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A picture that could not be taken in; `code` names both the reason and the customer's sentence."""

    code: str
    """One of `context.photos.REJECTIONS`."""
    detail: str = ""
    """For the log and the transcript: sizes and counts, never file contents or names."""
    number: int = 0
    """Which of the pictures in this message it was, from 1."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message from a customer, as it stands in the inbox."""

    chat: Chat
    source: str
    """The channel's id of this delivery (`update:881`, `web:<uuid>`): stored once however often it comes."""
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
    """How many pictures the album has; 0 when the channel does not say."""
    reply_to: str = ""
    """`message_id` of the message it answers, when the customer quoted one."""
    hint: str = ""
    """IETF language tag of the customer's app, when the channel tells it."""
    sender: str = ""
    """Display name: for staff, never for the prompt."""
    sent_at: float = 0.0
    """Unix seconds, the channel's clock."""
    edited: bool = False
    """A new version of a message with this `message_id`."""
    staff: str = ""
    """The account that did it, for `Kind.STAFF`; empty where the house did it by itself."""
    id: int = 0
    """Row in the inbox; 0 before it is stored."""
    at: float = 0.0
    """When it was stored, Unix seconds; 0 before it is."""
    taken: Photo | Rejection | None = None
    """What became of the attachment; None while it has not been downloaded."""


@dataclass(frozen=True, slots=True)
class Part:
    """One channel message's worth of a reply: text and formatting, never markup."""

    text: str
    """At most 4,096 UTF-16 code units."""
    entities: tuple[Entity, ...] = ()
    id: int = 0
    number: int = 0
    state: Literal["pending", "sending", "sent", "ambiguous", "dead"] = "pending"
    unsure: int = 0
    """How many times it may have been delivered without a receipt."""
    broken: int = 0
    """In how many of these the connection broke under it."""
    photo: Photo | None = None
    """A picture instead of words: a staff member's, or a marked copy of the customer's own."""
    ask: Ask | None = None
    """What the customer may press below it; not kept, whoever sends it works it out."""
    jpeg: bytes = b""
    """The picture's bytes, for the channel that needs them; not kept here."""
    only_here: bool = False
    """Not to be said in the group at large when the topic it is meant for is gone."""


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
    """A turn whose reply is decided and recorded, but not yet wholly sent."""

    id: int
    parts: tuple[Part, ...]
    turn: Turn
    origin: str = ""
    """Who wrote it, as in `Reply.origin`."""
    remembered: bool = True
    """Whether it belongs into the next prompt."""
    handoff: str = ""
    """Why a person should take over once it is sent."""
    answers: int = 0
    """As in `Reply.answers`."""

    @property
    def by_person(self) -> bool:
        """Whether a person said it: then nobody who takes the chat silences it."""
        return self.origin.startswith("staff:")

    @property
    def is_always_said(self) -> bool:
        """Whether it is said also while a person has the chat: theirs, or what a customer's own data take."""
        return self.by_person or self.origin in {"notice:forget_ask", "notice:forget_done"}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one claim took out of the inbox: the waiting messages of one chat, oldest first."""

    chat: Chat
    fence: int
    """Grows with every claim of this chat; a write under an older number is refused."""
    arrivals: tuple[Arrival, ...]
    language: Language | None = None
    """The customer's explicit choice, else the language of their last message; None for a new chat."""
    language_chosen: bool = False
    attempts: int = 0
    """Earlier claims of these messages that ended in an error."""
    crashes: int = 0
    """Earlier claims of these messages whose worker died with them in hand, of these or of other causes."""
    superseded: int = 0
    """Drafts already dropped for these messages because newer ones came."""
    may_grow: bool = True
    """Newer words belong to it while it is unanswered.  False for a command, for a batch that is full,
    and after a few superseded drafts: a customer who never pauses is still answered."""
    settle_s: float = 0.0
    """Seconds from the claim before which an answer should not be said: more of an album may come."""
    holder: str | None = None
    """The person who held this chat when it was claimed; None when the bot answers it."""
    handed_back_at: float = 0.0
    """When a person last gave the chat back; what is older than that asks for nobody again."""
    last_turn: int = 0
    """The newest remembered turn since the chat was last reset; 0 when there is nothing to remember."""
    open_turn: OpenTurn | None = None
    """Set when the reply was decided by an earlier claim and only the sending is left."""


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
    """Earlier photos of the case that it replies to or names, however long ago they were sent."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange, as it is remembered: what the customer sent and what we answered."""

    id: int
    text: str
    reply: str
    photos: tuple[Photo, ...] = ()
    at: float = 0.0
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the customer is told.  Made from a model's words only in `bot.answerer`, after the guard."""

    text: str
    language: Language
    origin: str
    """Engine name, `notice:<name>` for our own fixed words, `staff:<name>` for a person's."""
    handoff: str = ""
    """Why a person should take over from here; empty when none is needed."""
    remembered: bool = True
    """False for words that are no part of the conversation (commands, notices): not in the next prompt."""
    answers: int = 0
    """The earlier turn whose question it answers; 0 for the question of its own turn."""
    marked: Photo | None = None
    """A copy of a customer's photo with a place marked on it, said before the words."""
    record: dict[str, object] = field(default_factory=dict)
    """What staff may want to know later: prompt version, model, verdict, usage.  JSON values only."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The channel's word that a part was accepted."""

    message_id: str
    at: float
