"""Lets in who knows a token, from pages of this server alone, and sends what keeps others' pages from using it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hwloop.errors import BadInputError
from hwloop.web.diary import Diary, Refusals, Who
from hwloop.web.settings import SETTINGS
from hwloop.web.tokens import Tokens, cookie_of

REFUSED = "Not for you: open the address that `hwloop web` has printed, with its token.\n"
"""All that is said to whoever is not let in, whatever was asked for."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Headers of every answer; an answer's own stand."""
OPENED = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>hwloop</title></head><body><p><a href="/">Go on</a></p></body></html>'
)
"""What the address with the token shows: a redirection would be a request that came from wherever the link stood."""


class TooLargeError(BadInputError):
    """More was sent than is taken."""


@dataclass(frozen=True)
class Guard:
    """Stands before the pages.

    Parameters
    ----------
    app
        The pages.
    tokens, diary
        Who is let in, and where it is written down who was not.
    host, port
        Where the server listens.
    names
        By which this machine may be asked, besides its addresses.
    refusals
        What is written down of wrong tokens.
    """

    app: ASGIApp
    tokens: Tokens
    diary: Diary
    host: str
    port: int
    names: frozenset[str] = field(default_factory=frozenset)
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers tell no ports of one host apart."""
        return f"hwloop-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the pages answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        client = scope.get("client")
        address = client[0] if client else "-"
        who = self._who(scope, headers, address)
        if isinstance(who, Response):
            await who(scope, receive, _with_headers_to(send))
            return
        scope["who"] = who
        await self._bounded(scope, headers, receive, send)

    def _who(self, scope: Scope, headers: Headers, address: str) -> Who | Response:
        """Find out who asks, or how to answer instead."""
        refused = PlainTextResponse(REFUSED, 403)
        if scope["method"] not in ("GET", "HEAD", "POST") or not self._host_is_ours(headers.getlist("host")):
            return refused
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and not _same(origin, headers["host"]):
            return refused
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        if given and scope["method"] == "GET" and scope["path"] == "/":
            return self._opened(given, address)
        if site not in ("same-origin", "none") or (scope["method"] == "POST" and origin is None and site == "none"):
            bearer = headers.get("authorization", "").startswith("Bearer ")
            if not bearer:  # which no page of another's can send
                return refused
        name = self._name(headers)
        return PlainTextResponse(REFUSED, 401) if name is None else Who(address, name)

    def _opened(self, given: str, address: str) -> Response:
        name = self.tokens.name_of(given)
        if name is None:
            self.refusals.note(self.diary, address)
            return PlainTextResponse(REFUSED, 401)
        answer = HTMLResponse(OPENED)
        answer.set_cookie(self.cookie, cookie_of(given), httponly=True, samesite="strict", max_age=30 * 86400)
        self.diary.note(Who(address, name), "open")
        return answer

    def _name(self, headers: Headers) -> str | None:
        """Return whose token or cookie a request has; None for nobody's."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return self.tokens.name_of(token.strip())
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return None
        return self.tokens.name_of_cookie(cookies[self.cookie].value) if self.cookie in cookies else None

    def _host_is_ours(self, hosts: list[str]) -> bool:
        """Tell whether a request names this server: an address, or a name that is ours; others may lead anywhere."""
        if len(hosts) != 1:
            return False
        try:
            parts = urlsplit(f"//{hosts[0]}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port or parts.username is not None or parts.path:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True

    async def _bounded(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Let the pages answer, as long as no more is sent than they take."""
        most = SETTINGS.upload + SETTINGS.form if scope["path"] == "/files/send" else SETTINGS.form
        told = headers.get("content-length", "0")
        if not told.isdigit() or int(told) > most:
            await PlainTextResponse("This is too large.\n", 413)(scope, receive, _with_headers_to(send))
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise TooLargeError("more was sent than is taken")
            return message

        await self.app(scope, counted, _with_headers_to(send))


def names_of(host: str) -> frozenset[str]:
    """List the names by which this machine may be asked, besides its addresses."""
    own = {"localhost", host, socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower() for name in own if name)


def _same(origin: str, host: str) -> bool:
    """Tell whether a request comes from a page of the host that it is sent to."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host and not parts.path


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("cache-control", "no-store")


def _with_headers_to(send: Send) -> Send:
    """Add the headers to what is sent."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            _add_headers(message)
        await send(message)

    return sent
