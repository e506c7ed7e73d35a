"""`/v1/describe`: one picture and a question in, one text out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.inquiries.inquiries import Inquiries
from bot.inquiries.jobs import Wanted, result_of
from bot.inquiries.pictures import BadPicture
from bot.web.api.answering import unless_gone
from bot.web.api.bodies import Bodies
from bot.web.api.fields import Fields, picture_of, wrong
from bot.web.api.keyring import Keyring
from bot.web.api.refusal import refusal_of
from bot.web.api.wire import MAX_TOKENS, user_of
from context.turns import LANGUAGES, Language
from prompts.neutral import MAX_CHARS

_UNDERSTOOD = {"image", "prompt", "template", "language", "max_tokens"}
MAX_NAME_CHARS = 200


class Describe:
    """Descriptions of single pictures; `styles` are the house styles that may be requested."""

    def __init__(
        self, inquiries: Inquiries, *, keyring: Keyring, bodies: Bodies, styles: Collection[str]
    ) -> None:
        self._inquiries = inquiries
        self._keyring = keyring
        self._bodies = bodies
        self._styles = styles

    async def create(self, request: Request) -> Response:
        """Describe a picture."""
        key = await self._keyring.who(request)
        with self._keyring.enter(key) as visit:
            async with self._bodies.json(request) as body:
                fields = Fields(body)
                fields.known(_UNDERSTOOD | {"user"})
                user = user_of(fields.text("user", most=500))
                wanted, data = await asyncio.to_thread(read_wanted, fields, self._styles)
                try:
                    looking = self._inquiries.pictures.look(data, key_id=key.id)
                    image = await unless_gone(request.receive, looking)
                except BadPicture as error:
                    raise refusal_of(error, param="image") from None
            number = f"desc-{request.state.number}"
            inquiry = wanted.inquiry(image, request=number, key_id=key.id, user=user)
            answered = await unless_gone(request.receive, self._inquiries.answer(inquiry))
            visit.use(answered.tokens)
        return JSONResponse(result_of(wanted, answered) | {"id": number}, headers=visit.headers())


def read_item(body: dict[str, Any], styles: Collection[str], *, path: str) -> tuple[Wanted, bytes]:
    """One item of a job: what `/v1/describe` takes, and a name.  Raises `ApiError`."""
    fields = Fields(body, path=path)
    fields.known(_UNDERSTOOD | {"id"})
    return read_wanted(fields, styles)


def read_wanted(fields: Fields, styles: Collection[str]) -> tuple[Wanted, bytes]:
    """The request, and the picture's bytes."""
    prompt = fields.text("prompt", most=MAX_CHARS)
    style = fields.choice("template", styles)
    if bool(prompt.strip()) == bool(style):
        name = fields.name("prompt")
        wrong(
            "Give either a prompt or a template.",
            name,
            "invalid_value" if style else "missing_required_parameter",
        )
    language = fields.choice("language", LANGUAGES)
    url = fields.text("image", most=64 * 1024 * 1024, needed=True)
    wanted = Wanted(
        prompt=prompt if not style else "",
        style=style,
        language=cast(Language, language) if language else None,
        max_tokens=fields.whole("max_tokens", least=1, most=MAX_TOKENS) or 0,
        name=fields.text("id", most=MAX_NAME_CHARS),
    )
    return wanted, picture_of(url, param=fields.name("image"), bare=True)
