"""`/v1/chat/completions` and `/v1/models`: the bot's answers, for apps that use OpenAI's API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.inquiries.inquiries import Inquiries
from bot.inquiries.inquiry import Answered, Inquiry, Said, numbered
from bot.inquiries.pictures import BadPicture
from bot.reveal import OnWords
from bot.web.api.answering import EventStream, Words, begin, unless_gone
from bot.web.api.bodies import Bodies
from bot.web.api.keyring import Keyring, Pass
from bot.web.api.refusal import ApiError, refusal_of
from bot.web.api.wire import Asked, Envelope, Picture, read_request
from prompts.prompt import PromptImage

OWN_MODEL = "support"
"""Always available, whatever model answers."""
OWNER = "photo-support-bot"


class Completions:
    """Chat completions.  `model` returns the engine's own name for its model."""

    def __init__(
        self, inquiries: Inquiries, *, keyring: Keyring, bodies: Bodies, model: Callable[[], str]
    ) -> None:
        self._inquiries = inquiries
        self._keyring = keyring
        self._bodies = bodies
        self._model = model
        self._born = int(time.time())

    async def create(self, request: Request) -> Response:
        """Answer a conversation, in one piece or as a stream."""
        key = await self._keyring.who(request)
        with ExitStack() as stack:
            visit = stack.enter_context(self._keyring.enter(key))
            async with self._bodies.json(request) as body:
                asked = await asyncio.to_thread(read_request, body)
                self._check_model(asked.model)
                work = self._said(asked, key.id)
                said = await unless_gone(request.receive, work)
            envelope = Envelope(f"chatcmpl-{request.state.number}", asked.model, int(time.time()))
            inquiry = Inquiry(envelope.id, key.id, said, user=asked.user, app=asked.app, manner=asked.manner)
            headers = visit.headers()
            if not asked.streams:
                answered = await unless_gone(request.receive, self._answer(inquiry, visit))
                return JSONResponse(envelope.whole(answered), headers=headers)
            words = Words()
            task = await begin(request.receive, self._answer(inquiry, visit, show=words.show), words)
            after = stack.pop_all().close
            return EventStream(
                task, words, envelope, wants_usage=asked.wants_usage, after=after, headers=headers
            )

    async def _answer(self, inquiry: Inquiry, visit: Pass, *, show: OnWords | None = None) -> Answered:
        answered = await self._inquiries.answer(inquiry, show=show)
        visit.use(answered.tokens)
        return answered

    async def _said(self, asked: Asked, key_id: str) -> tuple[Said, ...]:
        """The conversation, with its pictures checked."""
        return numbered(
            [
                Said(each.role, each.text, tuple([await self._look(one, key_id) for one in each.pictures]))
                for each in asked.spoken
            ]
        )

    async def _look(self, picture: Picture, key_id: str) -> PromptImage:
        try:
            return await self._inquiries.pictures.look(picture.data, key_id=key_id)
        except BadPicture as error:
            raise refusal_of(error, param=picture.param) from None

    def _check_model(self, name: str) -> None:
        if name not in self._names():
            raise ApiError(
                404,
                f"The model {name[:80]!r} does not exist; there are {', '.join(self._names())}.",
                param="model",
                code="model_not_found",
            )

    async def models(self, request: Request) -> Response:
        """The models that may be requested."""
        await self._keyring.who(request)
        return JSONResponse({"object": "list", "data": [self._card(name) for name in self._names()]})

    async def one_model(self, request: Request) -> Response:
        """One of them."""
        await self._keyring.who(request)
        name = request.path_params["model"]
        self._check_model(name)
        return JSONResponse(self._card(name))

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for name in (OWN_MODEL, self._model()) if name))

    def _card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._born, "owned_by": OWNER}
