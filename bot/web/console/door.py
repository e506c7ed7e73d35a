"""The console's door: signing in and out, and the checks that every request has to pass.

Who is signed in holds a random token in a cookie that scripts cannot read.  Whatever changes something
comes as a POST from a page of ours (`Sec-Fetch-Site`, else `Origin`) and carries a second token, which
only our pages know: made from the first, so that nothing has to be kept for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from bot import passwords
from bot.web.console.pages import NO_STORE, Pages
from bot.web.console.words import COOKIE as LANGUAGE_COOKIE
from bot.web.console.words import N_, language_of, translator
from bot.web.refused import Refused
from bot.web.visitors import refuse_other_origins
from context.console.accounts import SESSION_S, Account, Role, Staff
from context.turns import LANGUAGES, Language

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_FIELD = 20_000
MOST_BYTES = 64 * 1024
"""Of a form without pictures."""

COMPLAINTS = {
    "role": N_("Your account may not do this."),
    "csrf": N_("This page is out of date. Please reload it."),
    "other_origin": N_("This page was opened in an unusual way. Please reload it."),
    "not_read": N_("The text on it could not be read."),
    "not_here": N_("There is no such conversation, or it was erased."),
    "empty": N_("There was nothing in it."),
    "too_long": N_("That is too long."),
    "bad_form": N_("Something was wrong with this form. Please reload the page."),
}
"""What a refusal is called in front of staff."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request by somebody who is signed in."""

    request: Request
    account: Account
    language: Language
    csrf: str
    form: dict[str, str]
    """What was sent along with a POST; empty for anything but a plain form."""

    @property
    def name(self) -> str:
        """Who it is."""
        return self.account.name

    @property
    def is_fragment(self) -> bool:
        """Whether a page that is open asks for a piece of itself."""
        return self.request.headers.get("hx-request") == "true"

    def said(self, field: str) -> str:
        """A field of the form, without spaces around it."""
        return self.form.get(field, "").strip()


Handler = Callable[[Visit], Awaitable[Response]]


class Door:
    """Signs people in and out, and opens routes to who may use them."""

    def __init__(self, staff: Staff, pages: Pages) -> None:
        self._staff = staff
        self._pages = pages
        # 64 MiB each: a crowd at the door must not take the memory that answers are made with.
        self._trying = asyncio.Semaphore(2)

    def routes(self) -> list[BaseRoute]:
        """`/staff/login`, `/staff/logout`, `/staff/language`."""
        return [
            Route("/staff/login", self.show_login),
            Route("/staff/login", self.sign_in, methods=["POST"]),
            self.post("/staff/logout", self.sign_out),
            self.post("/staff/language", self.choose_language),
        ]

    def get(self, path: str, handler: Handler, *, role: Role = "viewer") -> Route:
        """A page for accounts that may do what `role` may."""
        return Route(path, self._guarded(handler, role), methods=["GET"])

    def post(self, path: str, handler: Handler, *, role: Role = "viewer", most_bytes: int = 0) -> Route:
        """An action, for the same."""
        endpoint = self._guarded(handler, role)
        return Route(path, endpoint, methods=["POST"], max_body_size=most_bytes or MOST_BYTES)

    def _guarded(self, handler: Handler, role: Role) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            token = _token(request)
            account = await self._staff.who(token) if token else None
            if account is None or token is None:
                return _to_login(request)
            visit = Visit(request, account, language_of(request, account), csrf_of(token), {})
            try:
                _check_role(account, role)
                if request.method == "POST":
                    visit = replace(visit, form=await _checked(request, token))
                return await handler(visit)
            except Refused as refused:
                return self._refusal(refused, visit)

        return endpoint

    def _refusal(self, refused: Refused, visit: Visit) -> Response:
        """A notice for a page that is open, else a page with the way back."""
        words = translator(visit.language)(COMPLAINTS.get(refused.code, COMPLAINTS["bad_form"]))
        if not visit.is_fragment:
            return self._pages.answer(
                "refused.html",
                visit.language,
                status=refused.status,
                visit=visit,
                theme=theme_of(visit.request),
                text=words,
            )
        return self._pages.answer(
            "notice.html",
            visit.language,
            status=refused.status,
            headers={"HX-Retarget": "#notices", "HX-Reswap": "beforeend"},
            kind="bad",
            text=words,
        )

    async def show_login(self, request: Request) -> Response:
        """The page to sign in, in the language that `?language=` asks for from then on.

        It says how to make the first account while there is none.
        """
        back, chosen = request.query_params.get("next", ""), request.query_params.get("language", "")
        language = next((known for known in LANGUAGES if known == chosen), None)
        response = await self._login_page(request, back=back, language=language)
        if language is not None:
            _remember_language(response, language)
        return response

    async def sign_in(self, request: Request) -> Response:
        """Sign in with name and password.  A wrong name and a wrong password look and take the same."""
        try:
            refuse_other_origins(request)
        except Refused:
            return await self._login_page(request, COMPLAINTS["other_origin"], status=403)
        form = _fields(await request.form(max_files=0, max_fields=5))
        back = form.get("next", "")
        name, password = form.get("name", "").strip().lower()[:64], form.get("password", "")
        if not await self._staff.try_sign_in(name, _address(request)):
            complaint = N_("Too many attempts. Please try again in a quarter of an hour.")
            return await self._login_page(request, complaint, back=back, status=429)
        async with self._trying:
            stored = await self._staff.password(name)
            is_right = await asyncio.to_thread(passwords.is_right, password[:1024], stored)
        if not is_right:
            complaint = N_("Name or password is wrong.")
            return await self._login_page(request, complaint, back=back, status=401)
        token = await self._staff.sign_in(name, _address(request))
        response = RedirectResponse(_inside(back), 303, headers=NO_STORE)
        response.set_cookie(
            _cookie(request),
            token,
            max_age=int(SESSION_S),
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # a link to a conversation in a chat group should open it
        )
        return response

    async def sign_out(self, visit: Visit) -> Response:
        """Sign out here, or everywhere."""
        if visit.said("everywhere"):
            await self._staff.sign_out_everywhere(visit.name)
        else:
            await self._staff.sign_out(_token(visit.request) or "")
        response = RedirectResponse("/staff/login", 303, headers=NO_STORE)
        response.delete_cookie(_cookie(visit.request), path="/", secure=visit.request.url.scheme == "https")
        return response

    async def choose_language(self, visit: Visit) -> Response:
        """Show the console in the other language from now on."""
        language = next(known for known in LANGUAGES if known != visit.language)
        await self._staff.choose_language(visit.name, language)
        response = RedirectResponse(_inside(visit.said("next")), 303, headers=NO_STORE)
        _remember_language(response, language)
        return response

    async def _login_page(
        self,
        request: Request,
        complaint: str = "",
        *,
        back: str = "",
        status: int = 200,
        language: Language | None = None,
    ) -> Response:
        language = language or language_of(request, None)
        return self._pages.answer(
            "login.html",
            language,
            status=status,
            headers={"Retry-After": "900"} if status == 429 else None,  # noqa: PLR2004 - too many requests
            complaint=translator(language)(complaint) if complaint else "",
            next=_inside(back),
            is_first=not await self._staff.accounts(),
            theme=theme_of(request),
        )


def _remember_language(response: Response, language: Language) -> None:
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=int(SESSION_S), path="/staff", samesite="lax")


def _check_role(account: Account, role: Role) -> None:
    if not account.may(role):
        raise Refused(403, "role")


def csrf_of(token: str) -> str:
    """What a page of this session sends along with everything that changes something."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()[:32]


def theme_of(request: Request) -> str:
    """Light or dark, where the reader chose; empty where the system decides."""
    chosen = request.cookies.get("console-theme", "")
    return chosen if chosen in ("light", "dark") else ""


async def _checked(request: Request, token: str) -> dict[str, str]:
    """The plain form of a POST that came from a page of ours.  Raises `Refused`."""
    refuse_other_origins(request)
    fields: dict[str, str] = {}
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        fields = _fields(await request.form(max_files=0, max_fields=50))
        if any(len(value) > _MOST_FIELD for value in fields.values()):
            raise Refused(413, "too_long")
    sent = request.headers.get("x-csrf-token") or fields.get("csrf", "")
    if not hmac.compare_digest(sent.encode(), csrf_of(token).encode()):
        raise Refused(403, "csrf")
    return fields


def _fields(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _token(request: Request) -> str | None:
    token = request.cookies.get(_cookie(request), "")
    return token if _TOKEN.fullmatch(token) else None


def _cookie(request: Request) -> str:
    """With TLS the browser itself makes sure that no other host and no plain page can have set it."""
    return "__Host-staff" if request.url.scheme == "https" else "staff"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _inside(path: str) -> str:
    """A place in the console to go to; the list for anything else."""
    is_ours = path.startswith("/staff") and "//" not in path and "\\" not in path and path.isprintable()
    return path if is_ours else "/staff"


def _to_login(request: Request) -> Response:
    if request.headers.get("hx-request") == "true" or request.method == "POST":
        back = urlsplit(request.headers.get("hx-current-url", ""))
        here = _inside(back.path + (f"?{back.query}" if back.query else ""))
        login = f"/staff/login?next={quote(here, safe='')}"
        return Response(status_code=401, headers={**NO_STORE, "HX-Redirect": login})
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/staff/login?next={quote(here, safe='')}", 303, headers=NO_STORE)
