"""OpenAI's chat completion format: strict parsing of requests, and answers as clients know them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bot.inquiries.inquiry import Answered
from bot.web.api.fields import Fields, picture_of, wrong
from prompts.neutral import MAX_CHARS
from prompts.prompt import Manner

MAX_MESSAGES = 200
MAX_PICTURES = 10
MAX_TOKENS = 4096
"""Of one answer; if the request does not say, the engine's own length."""
MAX_STOPS = 4
_MAX_STOP_CHARS = 200
_MAX_SEED = 2**63 - 1

_UNDERSTOOD = {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "stream"),
    *("stream_options", "seed", "user", "safety_identifier", "n", "response_format"),
}
# These only concern storage or speed: ignoring them changes no answer.
_LEFT_ASIDE = {"metadata", "prompt_cache_key", "prompt_cache_retention", "service_tier"}
# Features that we do not have may be requested as switched off.
_NOT_WANTED: dict[str, tuple[object, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None, "none"),
    "store": (None, False),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
_MESSAGE = {"role", "content", "name"}
# An answer may be sent back as it was received.
_OF_ANSWERS = {"refusal", "annotations", "audio", "function_call", "tool_calls"}

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was sent, and its place in the request."""

    data: bytes
    param: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """One message of a request."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a chat completion."""

    model: str
    spoken: tuple[Spoken, ...]
    app: str
    """The text of system and developer messages."""
    manner: Manner
    user: str
    streams: bool
    wants_usage: bool


def read_request(body: dict[str, Any]) -> Asked:
    """Raises `ApiError` for anything that is not understood, before any work is done."""
    fields = Fields(body)
    for name, neutral in _NOT_WANTED.items():
        value = fields.get(name)
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral):
            wrong(f"{name} is not supported here.", name, "unsupported_parameter")
    fields.known(_UNDERSTOOD | _LEFT_ASIDE | set(_NOT_WANTED))
    spoken, app = _messages(fields)
    options = fields.inner("stream_options")
    options.known({"include_usage", "include_obfuscation"})
    options.boolean("include_obfuscation")
    fields.whole("n", least=1, most=1)
    form = fields.inner("response_format").get("type")
    if form is not None and form != "text":
        wrong(f"Only text is answered, not {str(form)[:40]!r}.", "response_format", "unsupported_parameter")
    return Asked(
        model=fields.text("model", most=300, needed=True),
        spoken=spoken,
        app=app,
        manner=_manner(fields),
        user=user_of(fields.text("user", most=500) or fields.text("safety_identifier", most=500)),
        streams=fields.boolean("stream"),
        wants_usage=options.boolean("include_usage"),
    )


def user_of(name: str) -> str:
    """Distinguishes users without storing what the app calls them."""
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16] if name else ""


def _manner(fields: Fields) -> Manner:
    most = fields.whole("max_completion_tokens", least=1, most=MAX_TOKENS)
    older = fields.whole("max_tokens", least=1, most=MAX_TOKENS)
    return Manner(
        max_tokens=most or older or 0,
        temperature=fields.number("temperature", above=-1e-9, most=2),
        top_p=fields.number("top_p", above=0, most=1),
        seed=fields.whole("seed", least=-_MAX_SEED, most=_MAX_SEED),
        stop=_stops(fields),
        by_model=True,
    )


def _stops(fields: Fields) -> tuple[str, ...]:
    given = fields.get("stop")
    stops = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        wrong(f"Must be a string, or a list of up to {MAX_STOPS}.", "stop", "invalid_type")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= _MAX_STOP_CHARS:
            wrong(f"Each must be a string of 1 to {_MAX_STOP_CHARS} characters.", "stop", "invalid_value")
    return tuple(stops)


def _messages(fields: Fields) -> tuple[tuple[Spoken, ...], str]:
    spoken: list[Spoken] = []
    told: list[str] = []
    for message in fields.objects("messages", most=MAX_MESSAGES):
        role = message.choice("role", ("system", "developer", "user", "assistant"))
        if not role:
            wrong("Missing required parameter.", message.name("role"), "missing_required_parameter")
        _check_rest(message, role)
        text, pictures = _content(message)
        if len(text) > MAX_CHARS:
            wrong(f"At most {MAX_CHARS} characters.", message.name("content"), "string_above_max_length")
        if pictures and role != "user":
            wrong("Only the user's messages may hold pictures.", pictures[0].param, "invalid_value")
        if role in {"system", "developer"}:
            told.append(text)
        else:
            spoken.append(Spoken("user" if role == "user" else "assistant", text, tuple(pictures)))
    _check_whole(spoken, told)
    return tuple(spoken), "\n\n".join(text for text in told if text.strip())


def _check_rest(message: Fields, role: str) -> None:
    message.known(_MESSAGE | (_OF_ANSWERS if role == "assistant" else set()))
    for name in _OF_ANSWERS:
        if message.get(name) not in (None, "", [], {}):
            wrong(f"{name} is not supported here.", message.name(name), "unsupported_parameter")


def _check_whole(spoken: list[Spoken], told: list[str]) -> None:
    if sum(map(len, told)) > MAX_CHARS:
        wrong(
            f"System messages may have {MAX_CHARS} characters together.",
            "messages",
            "string_above_max_length",
        )
    if not spoken or spoken[-1].role != "user":
        wrong("The last message must be the user's.", "messages", "invalid_value")
    if not spoken[-1].text.strip() and not spoken[-1].pictures:
        wrong("The last message says nothing.", "messages", "invalid_value")
    pictures = [picture for each in spoken for picture in each.pictures]
    if len(pictures) > MAX_PICTURES:
        wrong(f"At most {MAX_PICTURES} pictures.", pictures[MAX_PICTURES].param, "too_many_images")


def _content(message: Fields) -> tuple[str, list[Picture]]:
    """Words and pictures of one message, in whichever form they come."""
    value = message.get("content")
    if isinstance(value, str):
        return value, []
    if value is None:
        wrong("Missing required parameter.", message.name("content"), "missing_required_parameter")
    texts, pictures = [], []
    for part in message.objects("content", most=MAX_PICTURES * 2 + 20):
        if part.choice("type", ("text", "image_url")) == "text":
            part.known({"type", "text"})
            texts.append(part.text("text", most=MAX_CHARS, needed=True))
        else:
            pictures.append(_picture(part))
    return "\n".join(texts), pictures


def _picture(part: Fields) -> Picture:
    part.known({"type", "image_url"})
    address = part.inner("image_url")
    address.known({"url", "detail"})
    address.choice("detail", ("auto", "low", "high"))  # every picture is shown at one size
    param = address.name("url")
    url = address.text("url", most=64 * 1024 * 1024, needed=True)
    return Picture(picture_of(url, param=param), param)


# --- Answers


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all pieces of one answer have in common."""

    id: str
    model: str
    created: int

    def whole(self, answered: Answered) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": answered.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answered.finish}
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": answered.version,
            "choices": [choice],
            "usage": usage_of(answered),
            "release": answered.release or None,
            "handoff": answered.handoff or None,
        }

    def beginning(self, words: str, *, is_first: bool, wants_usage: bool) -> Iterator[bytes]:
        """Words of an unfinished answer, as server-sent events."""
        last: dict[str, object] = {"usage": None} if wants_usage else {}
        if is_first:
            yield self._event({"role": "assistant", "content": ""}, None, **last)
        for sentence in _SENTENCE.findall(words):
            yield self._event({"content": sentence}, None, **last)

    def pieces(self, answered: Answered, *, said: str = "", wants_usage: bool) -> Iterator[bytes]:
        """The answer as server-sent events, sentence by sentence; `said` of it was sent before.

        If the guard did not let the whole answer pass, the replacement follows below what was read.
        """
        last: dict[str, object] = {"system_fingerprint": answered.version}
        if wants_usage:
            last["usage"] = None
        if not said:
            yield self._event({"role": "assistant", "content": ""}, None, **last)
        is_rest = answered.text.startswith(said)
        rest = answered.text[len(said) :] if is_rest else f"\n\n{answered.text}"
        for sentence in _SENTENCE.findall(rest):
            yield self._event({"content": sentence}, None, **last)
        named = {"release": answered.release or None, "handoff": answered.handoff or None}
        yield self._event({}, answered.finish, **named, **last)
        if wants_usage:
            yield event_of(self._chunk([]) | last | {"usage": usage_of(answered)})
        yield b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, str], finish: str | None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event_of(self._chunk([choice]) | more)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def usage_of(answered: Answered) -> dict[str, int]:
    """As the engine counted; 0 if it does not say."""
    return {
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "total_tokens": answered.tokens,
    }


def event_of(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


_SENTENCE = re.compile(r".+?(?:[。！？\n]+|[.!?]+\s+|\Z)", re.DOTALL)
