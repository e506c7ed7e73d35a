"""What can go wrong between a bot and Telegram, to be switched on for a method, a chat, a number of times."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

CarryOut = Callable[[], Awaitable[web.StreamResponse]]
Fault = Callable[[web.BaseRequest, CarryOut], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """What Telegram answers when it does not do as it is told."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters

    def response(self) -> web.Response:
        answer: dict[str, object] = {"ok": False, "error_code": self.status, "description": self.description}
        if self.parameters:
            answer["parameters"] = self.parameters
        return web.json_response(answer, status=self.status)


def refused(status: int, description: str, **parameters: int) -> Fault:
    """Answer like the Bot API when it refuses: nothing is carried out."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        return Refusal(status, description, **parameters).response()

    return fault


def flooded(retry_after: int) -> Fault:
    return refused(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def unauthorized() -> Fault:
    return refused(401, "Unauthorized")


def missing() -> Fault:
    """The method does not exist on this server."""
    return refused(404, "Not Found")


def page(
    status: int, html: str = "<html><h1>Bad Gateway</h1></html>", *, headers: dict[str, str] | None = None
) -> Fault:
    """A page of whatever stands in front of the Bot API; it repeats the address, as such pages do."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        return web.Response(
            status=status, text=f"{html}<!-- {request.path} -->", content_type="text/html", headers=headers
        )

    return fault


def garbled(body: bytes = b'{"ok":true,"resu') -> Fault:
    """Carried out, but the answer is broken."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        await carry_out()
        return web.Response(body=body, content_type="application/json")

    return fault


def dropped_before() -> Fault:
    """The connection breaks before the request is carried out."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        return _hang_up(request)

    return fault


def dropped_after() -> Fault:
    """Carried out, but the connection breaks before the answer."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        await carry_out()
        return _hang_up(request)

    return fault


def late(seconds: float, *, carried_out: bool = True) -> Fault:
    """The answer takes so long; longer than the client waits, it is a hanging server."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        if carried_out:
            answer = await carry_out()
            await asyncio.sleep(seconds)
            return answer
        await asyncio.sleep(seconds)
        return _hang_up(request)

    return fault


def endless(announced: int | None = None, *, chunk: bytes = b"x" * 65536) -> Fault:
    """A body that goes on until the client has had enough, whatever length was announced."""

    async def fault(request: web.BaseRequest, carry_out: CarryOut) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced is not None:
            response.content_length = announced
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        while request.transport is not None:
            await response.write(chunk)
        return response

    return fault


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@dataclass(slots=True)
class _Rule:
    method: str
    fault: Fault
    times: int | None
    probability: float
    chat: int | None


class Faults:
    """The faults switched on now; each rule is used up or goes on for ever (`times=None`)."""

    def __init__(self, seed: int = 0) -> None:
        self._rules: list[_Rule] = []
        self._random = random.Random(seed)

    def on(
        self,
        method: str,
        fault: Fault,
        *,
        times: int | None = 1,
        probability: float = 1.0,
        chat: int | None = None,
    ) -> None:
        """Let `method` (`*`: every one; `download`: of files) fail."""
        self._rules.append(_Rule(method, fault, times, probability, chat))

    def clear(self) -> None:
        self._rules.clear()

    def next(self, method: str, chat: int | None) -> Fault | None:
        for rule in self._rules:
            if rule.method not in {method, "*"} or (rule.chat is not None and rule.chat != chat):
                continue
            if rule.probability < 1 and self._random.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times == 0:
                    self._rules.remove(rule)
            return rule.fault
        return None
