"""Guard every request: allowed hosts and origins, the length of bodies, and security headers of answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omniup.web.fields import RequestError
from omniup.web.language import LANGUAGE, choose_language, parts, said, texts

HEADERS = {
    # Scripts and styles from this server only and none in the page itself: text that slips in can do nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


LINGER_SECONDS = 5.0
"""Seconds that a refused request may go on sending its body, until it reads the answer."""


class _TooLargeError(Exception):
    """The body exceeds the accepted length."""


class Guard:
    """Refuses what other sites send, names that are not ours and bodies without end; adds headers to every answer.

    A page of another site needs no permission to make a browser send us a form. It cannot read the answer, but it could
    keep this machine busy: browsers say in `Origin` where a request comes from.

    Args:
        app: what to guard.
        hosts: accepted names, without port; empty for any.
        max_bytes: of a body.
        frame_ancestors: origins whose pages may show ours in a frame.
    """

    def __init__(
        self, app: ASGIApp, hosts: tuple[str, ...], max_bytes: int, frame_ancestors: tuple[str, ...] = ()
    ) -> None:
        self.app, self.hosts, self.max_bytes = app, hosts, max_bytes
        self.headers = dict(HEADERS)
        if frame_ancestors:
            allowed = f"frame-ancestors {' '.join(frame_ancestors)}"
            policy = HEADERS["Content-Security-Policy"].replace("frame-ancestors 'none'", allowed)
            self.headers["Content-Security-Policy"] = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, body = False, _Body(receive, self.max_bytes)

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if body.too_large and not started:
                return  # what was made of half a body is of no interest
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        headers = Headers(scope=scope)
        LANGUAGE.set(choose_language(headers.get("accept-language", "")))
        refuse = partial(_answer, body, send_guarded)
        if refusal := self._refuse(headers, scope["method"]):
            await refuse(refusal)
            return
        try:
            await self.app(scope, body.receive, send_guarded)
        except _TooLargeError:
            if started:
                raise
        if body.too_large and not started:
            body.too_large = False
            await refuse(self._too_large)

    @property
    def _too_large(self) -> RequestError:
        return RequestError(413, "the request", "is too large", "up to {most} bytes", most=self.max_bytes)

    def _refuse(self, headers: Headers, method: str) -> RequestError | None:
        host = headers.get("host", "").lower()
        if self.hosts and _name(host) not in self.hosts:
            names = ", ".join(self.hosts)
            return RequestError(
                403, "Host", "is {host!r}, no name of this server", "{names}", host=host[:100], names=names
            )
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            return RequestError(403, "Origin", "is a page of another site", "requests of this server's own page")
        if origin is None and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            asks = headers.get("sec-fetch-mode") == "navigate" and method in ("GET", "HEAD")  # a link to the page
            if not asks:
                problem = "is {site!r}: a page of another site"
                accepted = "requests of this server's own page"
                return RequestError(403, "Sec-Fetch-Site", problem, accepted, site=headers["sec-fetch-site"][:100])
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_bytes:
            return self._too_large
        return None


def _place(origin: str) -> str | None:
    """Return an origin's host and port; None for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _name(host: str) -> str | None:
    """Return a host's name without its port: `[::1]:8000` is `[::1]`; None for what is no name and port."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:@/\s]+)(:\d{1,5})?", host)
    return found[1] if found else None


class _Body:
    """Reader of a body that stops beyond the accepted length, also where no length was declared."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._max_bytes, self._left = receive, max_bytes, max_bytes
        self._ended = False
        self.too_large = False

    async def receive(self) -> Message:
        message = await self._next()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            raise _TooLargeError
        return message

    async def discard(self) -> None:
        """Read the rest and forget it, up to twice as many bytes as are accepted, in all."""
        left = self._left + self._max_bytes
        while not self._ended and left > 0:
            left -= len((await self._next()).get("body", b""))

    @property
    def is_over(self) -> bool:
        """True if nothing of it is left to be read."""
        return self._ended

    async def _next(self) -> Message:
        message = await self._receive()
        self._ended = not message.get("more_body", False)  # nor has a client more who is gone
        return message


async def _answer(body: _Body, send: Callable[[Message], Awaitable[None]], error: RequestError) -> None:
    """Refuse a request, whose body may still be coming.

    A connection that is closed before everything was read is reset, and the answer may be lost with it. So the rest is
    read for a while, and where it is too long, the connection stays open for a while.
    """
    content = json.dumps({"detail": said(error), **parts(error), "texts": texts(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_linger(body), LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b""})


async def _linger(body: _Body) -> None:
    await body.discard()
    if not body.is_over:
        await asyncio.Event().wait()
