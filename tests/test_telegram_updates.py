from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.telegram.fields import UnreadableUpdate
from bot.telegram.updates import Me, Membership, id_of, parse, source_of
from context.turns import Arrival, Attachment, Chat, Kind
from tests.bot_api import KINDS
from tests.bot_api.people import Person, Room

ME = Me(7, "Support_Bot")
Act = Callable[[Person], object]


class Phone:
    """Somebody's Telegram, whose updates are kept here."""

    def __init__(self, *, group: bool = False) -> None:
        self.updates: list[dict[str, Any]] = []
        self._ids = iter(range(50, 99))
        room = Room(-100200, type="supergroup", title="Owners") if group else Room(42, name="Li")
        self.person = Person(
            room,
            user_id=42,
            name="Li",
            language="zh-hans",
            deliver=self._deliver,
            keep_file=lambda data, folder, size: "file-1",
            new_id=lambda: next(self._ids),
        )

    def _deliver(self, kind: str, content: dict[str, Any]) -> int:
        self.updates.append({"update_id": 900 + len(self.updates), kind: content})
        return 0


def arrival(act: Act, *, group: bool = False) -> Arrival | None:
    phone = Phone(group=group)
    act(phone.person)
    found = parse(json.loads(json.dumps(phone.updates[-1])), ME)
    assert found is None or isinstance(found, Arrival)
    return found


def taken(act: Act, *, group: bool = False) -> Arrival:
    found = arrival(act, group=group)
    assert found is not None
    return found


def test_text_becomes_an_arrival_with_everything_we_keep() -> None:
    found = taken(lambda li: li.says("the AC shows E4"))
    assert found == Arrival(
        chat=Chat("telegram", "42"),
        source="update:900",
        message_id="50",
        kind=Kind.TEXT,
        text="the AC shows E4",
        hint="zh-hans",
        sender="Li",
        sent_at=found.sent_at,
    )
    assert found.sent_at > 1_700_000_000


def test_photo_is_taken_in_its_largest_size_with_its_caption() -> None:
    found = taken(lambda li: li.sends_photo(b"jpeg", caption="what is this?"))
    assert (found.kind, found.text, found.attachment) == (
        Kind.PHOTO,
        "what is this?",
        Attachment("file-1", 4),
    )


def test_live_photo_counts_as_its_still_picture() -> None:
    sizes = [{"file_id": "still", "file_unique_id": "s", "width": 9, "height": 9}]
    found = taken(lambda li: li.sends(live_photo={"file_id": "mov", "photo": sizes}, caption="look"))
    assert (found.kind, found.attachment) == (Kind.PHOTO, Attachment("still"))


async def test_album_items_share_the_album() -> None:
    phone = Phone()
    await phone.person.sends_album([b"1", b"2"], caption="both")
    first, second = (parse(update, ME) for update in phone.updates)
    assert isinstance(first, Arrival)
    assert isinstance(second, Arrival)
    assert first.album == second.album != ""
    assert (first.text, second.text) == ("both", "")
    assert first.source != second.source


@pytest.mark.parametrize(
    ("name", "mime", "kind"),
    [
        ("photo.jpg", "image/jpeg", Kind.PHOTO),
        ("IMG_1.HEIC", "image/heic", Kind.PHOTO),
        ("IMG_1.HEIC", "", Kind.PHOTO),
        ("scan.PNG", "application/octet-stream", Kind.PHOTO),
        ("fault.mp4", "video/mp4", Kind.VIDEO),
        ("IMG_2.MOV", "application/octet-stream", Kind.VIDEO),
        ("logo.svg", "image/svg+xml", Kind.DOCUMENT),
        ("manual.pdf", "application/pdf", Kind.DOCUMENT),
        ("photo.jpg", "application/x-msdownload", Kind.DOCUMENT),
        ("", "", Kind.DOCUMENT),
    ],
)
def test_picture_sent_as_a_file_counts_as_a_photo(name: str, mime: str, kind: Kind) -> None:
    found = taken(lambda li: li.sends_file(b"data!", name=name, mime=mime, caption="sharp"))
    assert found.kind is kind
    assert found.text == "sharp"
    assert found.attachment == (None if kind is Kind.DOCUMENT else Attachment("file-1", 5))


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("sticker", Kind.STICKER),
        ("voice", Kind.VOICE),
        ("audio", Kind.VOICE),
        ("video", Kind.VIDEO),
        ("video_note", Kind.VIDEO),
        ("animation", Kind.VIDEO),
        ("document", Kind.DOCUMENT),
        ("location", Kind.LOCATION),
        ("venue", Kind.LOCATION),
        ("contact", Kind.CONTACT),
        ("poll", Kind.OTHER),
        ("dice", Kind.OTHER),
        ("story", Kind.OTHER),
        ("rich_message", Kind.OTHER),
    ],
)
def test_every_other_sort_of_message_is_told_by_kind(sent: str, kind: Kind) -> None:
    assert sent in KINDS
    found = taken(lambda li: li.sends_kind(sent))
    assert found.kind is kind
    assert (found.attachment is not None) is (kind is Kind.VIDEO)


@pytest.mark.parametrize(
    ("said", "command", "text"),
    [
        ("/start", "start", ""),
        ("/start device_X100", "start", "device_X100"),
        ("/Reset", "reset", ""),
        ("/human@support_bot please\nnow", "human", "please\nnow"),
        ("/unknown_thing", "unknown_thing", ""),
    ],
)
def test_command_is_split_into_name_and_argument(said: str, command: str, text: str) -> None:
    found = taken(lambda li: li.says(said))
    assert (found.kind, found.command, found.text) == (Kind.COMMAND, command, text)


@pytest.mark.parametrize("said", ["/dev/sda is full", "/重启", "reset /start", "/", "/help@", "1/2"])
def test_what_only_looks_like_a_command_is_text(said: str) -> None:
    found = taken(lambda li: li.says(said))
    assert (found.kind, found.text) == (Kind.TEXT, said)


def test_command_in_a_caption_leaves_the_photo_a_photo() -> None:
    found = taken(lambda li: li.sends_photo(b"jpeg", caption="/human"))
    assert (found.kind, found.text) == (Kind.PHOTO, "/human")


REPLY = {"message_id": 3, "from": {"id": ME.id, "is_bot": True}, "text": "Hello"}
TO_ANN = {"message_id": 3, "from": {"id": 5, "is_bot": False}, "text": "Hello"}
TOPIC = {"message_id": 3, "from": {"id": ME.id, "is_bot": True}, "forum_topic_created": {"name": "x"}}


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda ann: ann.says("@support_bot the AC shows E4"), "the AC shows E4"),
        (lambda ann: ann.says("E4 @Support_Bot, help"), "E4 help"),
        (lambda ann: ann.says("谢谢@SUPPORT_BOT"), None),
        (lambda ann: ann.says("E4?", reply_to_message=REPLY), "E4?"),
        (lambda ann: ann.says("/reset@support_bot"), ""),
        (lambda ann: ann.says("/reset", reply_to_message=REPLY), ""),
        (lambda ann: ann.sends_photo(b"j", caption="@support_bot this one"), "this one"),
        (lambda ann: ann.says("@support_bot"), ""),
        (lambda ann: ann.says("hello everybody"), None),
        (lambda ann: ann.says("@support_bot2 hello"), None),
        (lambda ann: ann.says("write to me@support_bot.example"), None),
        (lambda ann: ann.says("/reset"), None),
        (lambda ann: ann.says("/reset@other_bot"), None),
        (lambda ann: ann.says("/reset@other_bot", reply_to_message=REPLY), None),
        (lambda ann: ann.says("I agree", reply_to_message=TO_ANN), None),
        (lambda ann: ann.says("I agree", reply_to_message=TOPIC), None),
        (lambda ann: ann.sends_photo(b"j"), None),
        (lambda ann: ann.sends_kind("sticker"), None),
    ],
)
def test_in_groups_only_what_is_addressed_to_the_bot_counts(act: Act, text: str | None) -> None:
    found = arrival(act, group=True)
    if text is None:
        assert found is None
    else:
        assert found is not None
        assert (found.chat.address, found.text) == ("-100200", text)


def test_topic_is_a_lane_of_its_own() -> None:
    found = taken(lambda ann: ann.says("@support_bot hi", thread=7), group=True)
    assert found.chat == Chat("telegram", "-100200", 7)


def test_thread_of_a_mere_reply_is_no_topic() -> None:
    found = taken(lambda li: li.says("hi", message_thread_id=7))
    assert found.chat.thread is None


def test_edit_is_a_new_delivery_of_the_same_message() -> None:
    found = taken(lambda li: li.edits(50, "it shows E5"))
    assert (found.edited, found.message_id, found.text) == (True, "50", "it shows E5")


def test_moving_live_location_is_ignored() -> None:
    assert arrival(lambda li: li.edits(50, "", location=KINDS["location"])) is None


@pytest.mark.parametrize(
    "content",
    [
        {"pinned_message": {"message_id": 1}},
        {"new_chat_members": [{"id": 7}]},
        {"text": "x", "from": {"id": ME.id, "is_bot": True}},
        {"text": "x", "from": {"id": 5, "is_bot": True}},
        {"text": "x", "is_automatic_forward": True},
        {"text": "x", "chat": {"id": -1, "type": "channel"}},
    ],
)
def test_what_nobody_said_to_the_bot_is_ignored(content: dict[str, Any]) -> None:
    assert arrival(lambda li: li.sends(**content)) is None


def test_anonymous_admin_is_a_person() -> None:
    group = {"id": -100200, "type": "supergroup", "title": "Owners"}
    bot = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    found = taken(lambda ann: ann.says("@support_bot hi", **{"from": bot, "sender_chat": group}), group=True)
    assert (found.text, found.sender) == ("hi", "Group")


def test_blocking_and_unblocking_are_told() -> None:
    phone = Phone()
    phone.person.blocks()
    phone.person.unblocks()
    assert [parse(update, ME) for update in phone.updates] == [
        Membership(Chat("telegram", "42"), "update:900", blocked=True),
        Membership(Chat("telegram", "42"), "update:901", blocked=False),
    ]


def test_update_kinds_of_the_future_are_ignored() -> None:
    assert parse({"update_id": 1, "stopped_message_generation": {"x": 1}}, ME) is None


def test_text_that_no_database_takes_is_mended() -> None:
    author: dict[str, Any] = {"from": {"id": 1, "first_name": "\udc00x"}}
    found = taken(lambda li: li.sends(text="a\x00b\ud83d", **author))
    assert found.text == "ab\N{REPLACEMENT CHARACTER}"
    assert found.sender == "\N{REPLACEMENT CHARACTER}x"
    assert taken(lambda li: li.sends(text="\ud83d\ude00")).text == "😀"


GOOD: dict[str, Any] = {"message_id": 1, "date": 5, "chat": {"id": 4, "type": "private"}, "text": "hi"}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "text",
        {},
        {"update_id": "7"},
        {"update_id": True},
        {"update_id": 1, "message": "hi"},
        {"update_id": 1, "message": {}},
        {"update_id": 1, "message": GOOD | {"chat": None}},
        {"update_id": 1, "message": GOOD | {"chat": {"id": "4", "type": "private"}}},
        {"update_id": 1, "message": GOOD | {"chat": {"id": 2**80, "type": "private"}}},
        {"update_id": 1, "message": GOOD | {"message_id": 1.5}},
        {"update_id": 1, "message": GOOD | {"date": "now"}},
        {"update_id": 1, "message": GOOD | {"text": 7}},
        {"update_id": 1, "message": GOOD | {"photo": {"file_id": "x"}}},
        {"update_id": 1, "message": GOOD | {"photo": [{"file_id": "x"}]}},
        {"update_id": 1, "message": GOOD | {"photo": [{"width": 1, "height": 1}]}},
        {"update_id": 1, "message": GOOD | {"from": []}},
        {"update_id": 1, "my_chat_member": {"chat": {"id": 4}}},
    ],
)
def test_unreadable_update_raises_one_error_without_its_content(raw: object) -> None:
    with pytest.raises(UnreadableUpdate) as error:
        parse(raw, ME)
    assert "hi" not in str(error.value).replace("this", "")


def test_update_without_an_id_has_a_source_all_the_same() -> None:
    assert (source_of({"update_id": 5}), source_of({}), source_of(3)) == ("update:5", "update:?", "update:?")
    assert (id_of({"update_id": 5}), id_of({"update_id": True}), id_of(None)) == (5, None, None)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ["chat", "from", "text", "photo", "document", "caption", "date", "message_id", "reply_to_message"]


@settings(max_examples=200, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(_FIELDS), _JSON, min_size=1, max_size=4))
def test_no_update_raises_anything_else(changes: dict[str, Any]) -> None:
    with contextlib.suppress(UnreadableUpdate):
        parse({"update_id": 1, "message": GOOD | changes}, ME)
