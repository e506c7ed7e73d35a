"""What the server knows: chats, files, updates on their way, and a ledger of all that the bot did."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass

from tests.bot_api.people import Json, Room
from tests.bot_api.queue import UpdateQueue


@dataclass(slots=True)
class Sent:
    """One message that the bot sent."""

    at: float
    """Unix seconds, when it was accepted."""
    chat: int
    message_id: int
    text: str
    entities: list[Json]
    thread: int | None
    parameters: Json


@dataclass(slots=True)
class Call:
    """One request, whatever became of it."""

    at: float
    method: str
    chat: int | None
    parameters: Json
    status: int = 0
    """0 while it runs, and when no answer was given."""


@dataclass(slots=True)
class StoredFile:
    """A file that can be downloaded."""

    id: str
    path: str
    data: bytes
    size: int
    """As announced; may differ from the data."""


class State:
    """All of it, in memory."""

    def __init__(self, *, token: str, username: str, retry_s: float) -> None:
        self.token = token
        self.me: Json = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Support",
            "username": username,
        }
        self.queue = UpdateQueue(retry_s=retry_s)
        self.rooms: dict[int, Room] = {}
        self.files: dict[str, StoredFile] = {}
        self.commands: dict[str, list[Json]] = {}
        self.sent: list[Sent] = []
        self.by_chat: dict[int, list[Sent]] = defaultdict(list)
        self.calls: list[Call] = []
        self.listeners: dict[int, asyncio.Future[None]] = {}
        self._ids = itertools.count(1)
        self._file_ids = itertools.count(1)

    def new_id(self) -> int:
        return next(self._ids)

    def record(self, sent: Sent) -> None:
        self.sent.append(sent)
        self.by_chat[sent.chat].append(sent)
        heard = self.listeners.pop(sent.chat, None)
        if heard is not None and not heard.done():
            heard.set_result(None)

    def keep_file(self, data: bytes, folder: str, size: int | None) -> str:
        number = next(self._file_ids)
        file_id = f"file-{number}"
        path = f"{folder}/file_{number}.{'jpg' if folder == 'photos' else 'bin'}"
        self.files[file_id] = StoredFile(file_id, path, data, len(data) if size is None else size)
        return file_id

    def file_at(self, path: str) -> StoredFile | None:
        number = path.rpartition("_")[2].partition(".")[0]
        file = self.files.get(f"file-{number}")
        return file if file is not None and file.path == path else None
