"""The engine that asks an OpenAI-compatible server: vLLM, SGLang, TensorRT-LLM, llama.cpp, Ollama, ...

It always streams, because closing the connection is the only way to stop a generation that all servers
understand; cancelling `draft` closes it.  Photos are sent as data URLs made from our own normalised JPEGs,
never as an address that the server would fetch.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from bot.engines import Draft, OnText
from bot.engines.answer import AnswerReader
from bot.engines.dialects import GENERIC, Dialect, Probe, detect, models_of
from bot.engines.sampling import Sampling
from bot.errors import (
    BadConfiguration,
    EngineOverloaded,
    EngineTimeout,
    EngineUnavailable,
    PromptTooLong,
)
from context.health import Health
from prompts.prompt import Prompt, PromptMessage

if TYPE_CHECKING:
    from bot.engines.wire import Refused, Wire

PROBE_TIMEOUT_S = 2.5
"""A busy server takes a second or two for its list; whoever asks for `health` waits 5 s at most."""
DETECT_AGAIN_S = 30.0
HEALTH_AGE_S = 3.0
RETRY_PAUSES_S = (0.25, 1.0)
"""Pauses before the second and third attempt, if nothing was generated."""
_MAX_RETRY_AFTER_S = 10.0
_LETTERS_PER_TOKEN = 16
"""More than the average of any tokenizer: beyond this the server ignores `max_tokens`."""


class RemoteEngine:
    """Answers through a model server.

    `url` goes up to and with `/v1`; an empty `model` takes the first that the server lists.
    """

    name = "remote"

    def __init__(
        self,
        *,
        url: str,
        model: str = "",
        api_key: str = "",
        timeout_s: float = 120.0,
        sampling: Sampling | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadConfiguration(
                ["the model server's URL must begin with http:// or https:// and name a host"]
            )
        if parts.username or parts.password:
            raise BadConfiguration(
                ["the model server's URL must not hold a password; give the key separately"]
            )
        self.model = model
        self.models: tuple[str, ...] = ()
        """The models that the server listed last."""
        self.dialect = GENERIC
        self._url = url
        self._where = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._sampling = sampling or Sampling()
        self._clock = clock
        self._wire: Wire | None = None
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._is_known = False
        self._detect_at = float("-inf")
        self._takes_extras = True
        self._takes_schema = True
        self._has_answered = False
        self._health = Health("degraded", "not asked yet")
        self._health_at = float("-inf")

    async def start(self) -> None:
        """Open the connections and recognise the server; one that is down is recognised later."""
        await self._ready()

    async def _ready(self) -> Wire:
        if self._is_closed:
            raise EngineUnavailable("the remote engine is closed")
        if self._wire is None or not self._is_known:
            async with self._starting:
                if self._wire is None:
                    self._wire = _open(self._url, self._api_key, self._timeout_s)
                if not self._is_known and self._clock() >= self._detect_at:
                    self._detect_at = self._clock() + DETECT_AGAIN_S
                    await self._detect(self._wire)
        return self._wire

    async def _detect(self, wire: Wire) -> None:
        listing = await wire.get("/models", timeout_s=PROBE_TIMEOUT_S)
        if listing is None:
            return

        async def get_root(path: str, /) -> Probe | None:
            return await wire.get_root(path, timeout_s=PROBE_TIMEOUT_S)

        dialect = await detect(listing, get_root)
        if listing.status >= 500 and not dialect.lists_badly:  # noqa: PLR2004 - still loading its model
            return
        self.dialect = dialect
        self._is_known = True
        self._note_models(listing)

    def _note_models(self, listing: Probe) -> None:
        names = (str(model.get("id", "")) for model in models_of(listing))
        self.models = tuple(name for name in names if name)
        if not self.model and self.models:
            self.model = self.models[0]

    def asking(self, model: str) -> RemoteEngine:
        """The same server with another of its models; opened and closed separately."""
        return RemoteEngine(
            url=self._url,
            model=model,
            api_key=self._api_key,
            timeout_s=self._timeout_s,
            sampling=self._sampling,
            clock=self._clock,
        )

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Ask the server.  Cancelling closes the connection, which stops the generation."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._draft(await self._ready(), prompt, on_text)
        except TimeoutError:
            raise EngineTimeout(
                f"model server {self._where} gave no whole answer within {self._timeout_s:g} s"
            ) from None

    async def _draft(self, wire: Wire, prompt: Prompt, on_text: OnText | None) -> Draft:
        from bot.engines.wire import NotReached, Refused, WireError  # noqa: PLC0415 - loaded by `start`

        messages = b",".join(_encode(message) for message in prompt.messages)
        with_extras = self._takes_extras
        with_form = self._takes_schema and with_extras and bool(self.dialect.form(prompt.manner.schema))
        attempt = 0
        while True:
            try:
                draft = await self._ask(wire, messages, prompt, on_text, extras=with_extras, form=with_form)
            except Refused as refused:
                if refused.status in {400, 422} and with_extras and not refused.too_long:
                    # The form first: refused for its sake, the other extras are still worth sending.
                    with_extras, with_form = with_form, False
                    continue
                pause_s = self._pause_or_raise(refused, attempt)
            except NotReached as lost:
                if attempt == len(RETRY_PAUSES_S):
                    raise EngineUnavailable(f"model server {self._where} cannot be reached: {lost}") from None
                pause_s = RETRY_PAUSES_S[attempt]
            except WireError as broken:
                raise EngineUnavailable(f"model server {self._where} broke off: {broken}") from None
            else:
                self._has_answered = True
                self._takes_extras = with_extras
                if prompt.manner.schema:
                    self._takes_schema = with_form
                return draft
            attempt += 1
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing

    def _pause_or_raise(self, refused: Refused, attempt: int) -> float:
        """Seconds until the next attempt, if the refusal may be temporary; otherwise raises our own error."""
        if refused.too_long:
            raise PromptTooLong(f"model server {self._where}: the prompt does not fit ({refused})")
        if refused.status not in {429, 503}:
            hint = _HINTS.get(refused.status, "")
            raise EngineUnavailable(f"model server {self._where} answered {refused}{hint}")
        pause_s = (
            max(RETRY_PAUSES_S[attempt], refused.retry_after_s or 0.0)
            if attempt < len(RETRY_PAUSES_S)
            else None
        )
        if pause_s is None or pause_s > _MAX_RETRY_AFTER_S:
            raise EngineOverloaded(f"model server {self._where} takes no more work: {refused}")
        return pause_s

    async def _ask(
        self,
        wire: Wire,
        messages: bytes,
        prompt: Prompt,
        on_text: OnText | None,
        *,
        extras: bool,
        form: bool,
    ) -> Draft:
        sampling = self._sampling.wished(prompt.manner)
        reader = AnswerReader(
            max_letters=sampling.max_tokens * _LETTERS_PER_TOKEN, on_text=on_text, stop=prompt.manner.stop
        )
        dialect = self.dialect if extras else None
        more = self.dialect.form(prompt.manner.schema) if form else {}
        if prompt.manner.seed is not None:
            more["seed"] = prompt.manner.seed
        body = _body(self.model, messages, sampling, dialect, more)
        async with wire.post("/chat/completions", body, session=prompt.affinity) as response:
            if response.content_type == "application/json":
                reader.take_whole(b"".join([chunk async for chunk in response.chunks()]))
            elif response.content_type != "text/event-stream":
                raise EngineUnavailable(f"model server {self._where} answered {response.content_type!r}")
            else:
                async for chunk in response.chunks():
                    reader.feed(chunk)
                    if reader.is_done:
                        break
                await response.drain()
        text, finish = reader.text()
        return Draft(text, self.name, self.model, finish=finish, usage=reader.usage)

    async def health(self) -> Health:
        """Whether the server answers and has the model; a few seconds old at most."""
        if self._clock() >= self._health_at + HEALTH_AGE_S:
            self._health = await self._ask_health()
            self._health_at = self._clock()
        return self._health

    async def _ask_health(self) -> Health:
        if self._wire is None:
            return Health("degraded", f"model server {self._where}: not started")
        listing, engine = await asyncio.gather(
            self._wire.get("/models", timeout_s=PROBE_TIMEOUT_S), self._ask_engine(self._wire)
        )
        if listing is None and engine is None:
            return Health("down", f"model server {self._where} does not answer")
        if listing is not None and listing.status in {401, 403}:
            return Health(
                "down", f"model server {self._where} refuses the key ({listing.status}): check the API key"
            )
        for probe in (None if self.dialect.lists_badly else listing, engine):
            if probe is not None and probe.status >= 500:  # noqa: PLR2004
                return Health("down", f"model server {self._where} answers {probe.status}")
        return self._health_by_list(listing)

    def _health_by_list(self, listing: Probe | None) -> Health:
        if listing is not None and listing.status == HTTPStatus.OK:
            self._note_models(listing)
        detail = f"{self.model} on {self._where} ({self.dialect.name})"
        # `transformers serve` walks through its whole cache for the list, which may take longer than we do.
        if listing is None or self.dialect.lists_badly:
            return Health("ok", detail)
        if not models_of(listing) and not (self.model and self._has_answered):
            # Some gateways have no list, but then only one that was told the model's name can answer.
            is_empty = listing.status == HTTPStatus.OK
            has = "names no model" if is_empty else f"has no list of models ({listing.status})"
            state: Literal["degraded", "down"] = "degraded" if self.model else "down"
            return Health(state, f"{self._where} {has}: is it an OpenAI-compatible server?")
        if self.models and self.model not in self.models and self.dialect.name != "llamacpp":
            has = ", ".join(self.models[:5])
            return Health("degraded", f"{detail}: not listed there; it has {has}")
        return Health("ok", detail)

    async def _ask_engine(self, wire: Wire) -> Probe | None:
        path = self.dialect.health
        return await wire.get_root(path, timeout_s=PROBE_TIMEOUT_S) if path else None

    async def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


_HINTS = {
    401: ": check the API key",
    403: ": check the API key",
    404: ": check the model's name and the URL (it ends in /v1)",
}


def _open(url: str, api_key: str, timeout_s: float) -> Wire:
    from bot.engines.wire import Wire  # noqa: PLC0415 - aiohttp: only where a server is asked

    return Wire(url=url, api_key=api_key, timeout_s=timeout_s)


def _body(
    model: str,
    messages: bytes,
    sampling: Sampling,
    dialect: Dialect | None,
    more: Mapping[str, object],
) -> bytes:
    options: dict[str, Any] = {
        "model": model,
        "stream": True,
        # Not max_completion_tokens: Ollama knows only this name, the others take both.
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    options |= more
    if dialect is not None:
        options |= dialect.extras(sampling)
    return b'{"messages":[' + messages + b"]," + json.dumps(options).encode()[1:]


def _encode(message: PromptMessage) -> bytes:
    """One message as JSON.  Base64 is spliced in: it needs no escaping, and a photo is 100 times the text."""
    role, text = json.dumps(message.role), json.dumps(message.text)
    if not message.images:
        return f'{{"role":{role},"content":{text}}}'.encode()
    parts = [
        b'{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,'
        + base64.b64encode(image.jpeg)
        + b'"}}'
        for image in message.images
    ]
    parts.append(f'{{"type":"text","text":{text}}}'.encode())
    return f'{{"role":{role},"content":['.encode() + b",".join(parts) + b"]}"
