"""The API's errors: OpenAI's error body, with a status that clients can act on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.errors import EngineOverloaded, EngineTimeout, NoModel, PromptTooLong, Unavailable
from bot.inquiries.pictures import BadPicture
from context.db import StoreDown

log = logging.getLogger(__name__)

RETRY_BUSY_S = 5
RETRY_DOWN_S = 10
_SERVER_ERROR = 500
_TOO_MANY = 429

Handler = Callable[[Request], Awaitable[Response]]

_PICTURES = {
    "too_large": "at most 20 MB",
    "not_a_picture": "these bytes are no picture; send JPEG, PNG or WebP",
    "heic": "HEIC and AVIF are not opened here; send JPEG, PNG or WebP",
    "unsupported": "this kind is not opened; send JPEG, PNG or WebP",
    "damaged": "the file is damaged or cut off",
    "too_many_pixels": "it has too many pixels",
    "too_small": "a side is under 16 pixels",
    "bad_shape": "more than 30 times as long as wide, or a side over 16,000 pixels",
}
"""What a developer can do about a refused picture, by its code (`context.photos.REJECTIONS`)."""


class ApiError(Exception):
    """Refuses the request.  `param` names the wrong field, for example `messages[2].content[0]`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        """`{"error": {...}}` as OpenAI's clients know it."""
        return {
            "error": {"message": self.message, "type": self._type(), "param": self.param, "code": self.code}
        }

    def _type(self) -> str:
        if self.status >= _SERVER_ERROR:
            return "server_error"
        return "rate_limit_error" if self.status == _TOO_MANY else "invalid_request_error"

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def refusal_of(error: Exception, *, param: str | None = None) -> ApiError:  # noqa: PLR0911  # a table
    """The refusal for an exception: what the client can act on, never an internal detail."""
    match error:
        case ApiError():
            return error
        case BadPicture(code="try_again"):
            return _later(503, "The picture could not be checked just now.", "server_busy", RETRY_DOWN_S)
        case BadPicture():
            why = _PICTURES.get(error.code, "")
            told = f"The picture cannot be used ({error.code}){why and ': '}{why}."
            return ApiError(400, told, param=param, code="invalid_image")
        case PromptTooLong():
            return ApiError(
                400,
                "The conversation does not fit into the model's context.",
                param=param,
                code="context_length_exceeded",
            )
        case EngineOverloaded():
            return _later(429, "Too many questions at the moment.", "overloaded", RETRY_BUSY_S)
        case EngineTimeout():
            late = ApiError(503, "The model did not answer in time.", code="engine_timeout")
            late.headers["x-should-retry"] = "false"  # read by the openai client, which would otherwise retry
            return late
        case NoModel():
            none = ApiError(503, "No model is set up: set MODEL_URL or MODEL.", code="no_model")
            none.headers["x-should-retry"] = "false"
            return none
        case Unavailable():
            return _later(503, "The model cannot answer just now.", "engine_unavailable", RETRY_DOWN_S)
        case StoreDown():
            return _later(503, "The answer could not be recorded.", "store_unavailable", RETRY_DOWN_S)
        case _:
            log.error("the API failed", exc_info=error)
            return ApiError(500, "An error on our side; it is in the operator's log.", code="internal_error")


def _later(status: int, message: str, code: str, seconds: int) -> ApiError:
    return ApiError(status, message, code=code, headers={"Retry-After": str(seconds)})
