"""The Bot API's methods, as strict as Telegram's where a bot can get it wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bot_api.faults import Refusal
from tests.bot_api.people import Json, Room, utf16
from tests.bot_api.state import Sent, State

MAX_DOWNLOAD = 20 * 2**20

_ACTIONS = {"typing", "upload_photo", "upload_document", "find_location", "choose_sticker", "record_voice"}
_COMMAND_SCOPES = {"default", "all_private_chats", "all_group_chats", "chat"}


class Methods:
    """One coroutine per method; parameters as they came, parsed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.table: dict[str, Callable[[Json], Awaitable[object]]] = {
            "getMe": self.get_me,
            "getUpdates": self.get_updates,
            "setWebhook": self.set_webhook,
            "deleteWebhook": self.delete_webhook,
            "getWebhookInfo": self.get_webhook_info,
            "getFile": self.get_file,
            "sendMessage": self.send_message,
            "sendPhoto": self.send_photo,
            "editMessageReplyMarkup": self.edit_message_reply_markup,
            "createForumTopic": self.create_forum_topic,
            "editForumTopic": self.edit_forum_topic,
            "closeForumTopic": self.close_forum_topic,
            "reopenForumTopic": self.reopen_forum_topic,
            "deleteForumTopic": self.delete_forum_topic,
            "editMessageText": self.edit_message_text,
            "deleteMessage": self.delete_message,
            "sendMessageDraft": self.send_message_draft,
            "sendChatAction": self.send_chat_action,
            "setMessageReaction": self.set_message_reaction,
            "answerCallbackQuery": self.answer_callback_query,
            "setMyCommands": self.set_my_commands,
            "getMyCommands": self.get_my_commands,
        }

    async def get_me(self, parameters: Json) -> Json:
        return self._state.me | {"can_join_groups": True, "supports_inline_queries": False}

    async def get_updates(self, parameters: Json) -> list[object]:
        queue = self._state.queue
        if (allowed := _structure(parameters, "allowed_updates")) is not None:
            queue.allowed = frozenset(allowed)
        return await queue.get(
            offset=int(parameters.get("offset", 0)),
            limit=min(100, int(parameters.get("limit", 100))),
            timeout_s=min(50.0, float(parameters.get("timeout", 0))),
        )

    async def set_webhook(self, parameters: Json) -> bool:
        queue = self._state.queue
        if (allowed := _structure(parameters, "allowed_updates")) is not None:
            queue.allowed = frozenset(allowed)
        self._drop_if_told(parameters)
        await queue.set_webhook(
            {"url": parameters["url"], "secret_token": parameters.get("secret_token", "")}
            if parameters.get("url")
            else {}
        )
        return True

    async def delete_webhook(self, parameters: Json) -> bool:
        self._drop_if_told(parameters)
        await self._state.queue.set_webhook({})
        return True

    async def get_webhook_info(self, parameters: Json) -> Json:
        queue = self._state.queue
        return {
            "url": queue.webhook.get("url", ""),
            "has_custom_certificate": False,
            "pending_update_count": len(queue),
            "allowed_updates": sorted(queue.allowed),
        }

    async def get_file(self, parameters: Json) -> Json:
        file = self._state.files.get(str(parameters.get("file_id", "")))
        if file is None:
            raise Refusal(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if file.size > MAX_DOWNLOAD:
            raise Refusal(400, "Bad Request: file is too big")
        return {
            "file_id": file.id,
            "file_unique_id": file.id,
            "file_size": file.size,
            "file_path": file.path,
        }

    async def send_message(self, parameters: Json) -> Json:
        room = self._room(parameters)
        thread = self._thread(parameters, room)
        markup = _structure(parameters, "reply_markup")
        for button in (one for row in (markup or {}).get("inline_keyboard", ()) for one in row):
            if not 1 <= len(str(button.get("callback_data", "x")).encode()) <= 64:
                raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")
        text, entities = _words(parameters)
        sent = Sent(
            at=time.time(),
            chat=room.id,
            message_id=self._state.new_id(),
            text=text,
            entities=entities,
            thread=thread,
            parameters=parameters,
        )
        self._state.record(sent)
        return self._message(sent, room)

    async def send_photo(self, parameters: Json) -> Json:
        room = self._room(parameters)
        thread = self._thread(parameters, room)
        if not parameters.get("photo"):
            raise Refusal(400, "Bad Request: there is no photo in the request")
        caption = str(parameters.get("caption", ""))
        if utf16(caption) > 1024:
            raise Refusal(400, "Bad Request: message caption is too long")
        sent = Sent(time.time(), room.id, self._state.new_id(), caption, [], thread, parameters)
        self._state.record(sent)
        message = self._message(sent, room) | {"caption": caption, "photo": []}
        return {name: value for name, value in message.items() if name != "text"}

    async def edit_message_reply_markup(self, parameters: Json) -> Json:
        room = self._room(parameters)
        markup = _structure(parameters, "reply_markup")
        wanted = int(parameters.get("message_id", 0))
        for sent in self._state.by_chat[room.id]:
            if sent.message_id == wanted:
                if _structure(sent.parameters, "reply_markup") == markup:
                    raise Refusal(400, "Bad Request: message is not modified")
                sent.parameters = {**sent.parameters, "reply_markup": markup}
                return self._message(sent, room)
        raise Refusal(400, "Bad Request: message to edit not found")

    async def create_forum_topic(self, parameters: Json) -> Json:
        room = self._forum(parameters)
        name = str(parameters.get("name", ""))
        if not 1 <= len(name) <= 128:
            raise Refusal(400, "Bad Request: TOPIC_TITLE_INVALID")
        thread = self._state.new_id()
        room.topics.add(thread)
        room.titles[thread] = name
        return {"message_thread_id": thread, "name": name, "icon_color": 7322096}

    async def edit_forum_topic(self, parameters: Json) -> bool:
        room = self._forum(parameters)
        room.titles[self._topic(parameters, room)] = str(parameters.get("name", ""))
        return True

    async def close_forum_topic(self, parameters: Json) -> bool:
        room = self._forum(parameters)
        topic = self._topic(parameters, room)
        if topic in room.closed:
            raise Refusal(400, "Bad Request: TOPIC_NOT_MODIFIED")
        room.closed.add(topic)
        return True

    async def reopen_forum_topic(self, parameters: Json) -> bool:
        room = self._forum(parameters)
        topic = self._topic(parameters, room)
        if topic not in room.closed:
            raise Refusal(400, "Bad Request: TOPIC_NOT_MODIFIED")
        room.closed.discard(topic)
        return True

    async def delete_forum_topic(self, parameters: Json) -> bool:
        room = self._forum(parameters)
        room.topics.discard(self._topic(parameters, room))
        return True

    def _forum(self, parameters: Json) -> Room:
        room = self._room(parameters)
        if not room.is_forum:
            raise Refusal(400, "Bad Request: the chat is not a forum")
        if not room.may_manage_topics:
            raise Refusal(400, "Bad Request: not enough rights to create a topic")
        return room

    def _topic(self, parameters: Json, room: Room) -> int:
        thread = self._thread(parameters, room)
        if thread is None:
            raise Refusal(400, "Bad Request: message thread not found")
        return thread

    def _thread(self, parameters: Json, room: Room) -> int | None:
        thread = int(parameters["message_thread_id"]) if parameters.get("message_thread_id") else None
        if thread is not None and thread not in room.topics:
            raise Refusal(400, "Bad Request: message thread not found")
        return thread

    async def edit_message_text(self, parameters: Json) -> Json:
        room = self._room(parameters)
        text, entities = _words(parameters)
        wanted = int(parameters.get("message_id", 0))
        for sent in self._state.sent:
            if sent.chat == room.id and sent.message_id == wanted:
                if sent.text == text and sent.entities == entities:
                    raise Refusal(400, "Bad Request: message is not modified")
                sent.text, sent.entities = text, entities
                return self._message(sent, room) | {"edit_date": int(time.time())}
        raise Refusal(400, "Bad Request: message to edit not found")

    async def delete_message(self, parameters: Json) -> bool:
        self._room(parameters)
        return True

    async def send_message_draft(self, parameters: Json) -> bool:
        if self._room(parameters).type != "private":
            raise Refusal(400, "Bad Request: PEER_ID_INVALID")
        return True

    async def send_chat_action(self, parameters: Json) -> bool:
        self._room(parameters)
        if parameters.get("action") not in _ACTIONS:
            raise Refusal(400, "Bad Request: wrong parameter action in request")
        return True

    async def set_message_reaction(self, parameters: Json) -> bool:
        self._room(parameters)
        return True

    async def answer_callback_query(self, parameters: Json) -> bool:
        if str(parameters.get("callback_query_id", "")).startswith("old"):
            raise Refusal(
                400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
            )
        return True

    async def set_my_commands(self, parameters: Json) -> bool:
        commands = _structure(parameters, "commands") or []
        for command in commands:
            name = command["command"]
            if not (1 <= len(name) <= 32 and name.replace("_", "").isalnum() and name == name.lower()):
                raise Refusal(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(command["description"]) <= 256:
                raise Refusal(400, "Bad Request: command description is empty or too long")
        self._state.commands[parameters.get("language_code", "")] = commands
        return True

    async def get_my_commands(self, parameters: Json) -> list[Json]:
        return self._state.commands.get(parameters.get("language_code", ""), [])

    def _room(self, parameters: Json) -> Room:
        try:
            room = self._state.rooms.get(int(parameters.get("chat_id", "")))
        except ValueError:
            room = None
        if room is None:
            raise Refusal(400, "Bad Request: chat not found")
        if room.moved_to:
            raise Refusal(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=room.moved_to,
            )
        if room.is_blocked:
            raise Refusal(403, "Forbidden: bot was blocked by the user")
        return room

    def _message(self, sent: Sent, room: Room) -> Json:
        message: Json = {
            "message_id": sent.message_id,
            "from": self._state.me,
            "chat": room.as_json(),
            "date": int(sent.at),
            "text": sent.text,
        }
        if sent.entities:
            message["entities"] = sent.entities
        if sent.thread is not None:
            message |= {"message_thread_id": sent.thread, "is_topic_message": True}
        return message

    def _drop_if_told(self, parameters: Json) -> None:
        if str(parameters.get("drop_pending_updates", "")).lower() == "true":
            self._state.queue.forget_all()


def _words(parameters: Json) -> tuple[str, list[Json]]:
    """Text and entities, checked with Telegram's words of refusal (tdlib, MessageEntity.cpp)."""
    text = str(parameters.get("text", ""))
    if not text.strip():
        raise Refusal(400, "Bad Request: message text is empty")
    length = utf16(text)
    if length > 4096:
        raise Refusal(400, "Bad Request: message is too long")
    if parameters.get("parse_mode"):
        raise Refusal(400, "Bad Request: can't parse entities: unsupported parse_mode")
    entities = _structure(parameters, "entities") or []
    halves = text.encode("utf-16-le")
    for entity in entities:
        start, end = entity["offset"], entity["offset"] + entity["length"]
        if start < 0 or entity["length"] <= 0:
            raise Refusal(400, "Bad Request: receive an entity with incorrect offset or length")
        if end > length:
            raise Refusal(
                400,
                f"Bad Request: entity beginning at UTF-16 offset {start} ends after the end of the text "
                f"at UTF-16 offset {end}",
            )
        for edge in (start, end):
            if edge < length and 0xDC <= halves[2 * edge + 1] <= 0xDF:
                raise Refusal(
                    400, f"Bad Request: entity begins or ends in a middle of a UTF-16 symbol at {edge}"
                )
    return text, entities


def _structure(parameters: Json, name: str) -> Any:
    """A list or object, which forms carry as JSON."""
    value = parameters.get(name)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise Refusal(400, f"Bad Request: can't parse {name} JSON object") from None
