"""Guard every request: allowed hosts and origins, the length of bodies, and security headers of answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omniup.web.fields import RequestError
from omniup.web.language import LANGUAGE, choose_language, parts, said

HEADERS = {
    # Scripts and styles from this server only and none in the page itself: text that slips in can do nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


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
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], max_bytes: int) -> None:
        self.app, self.hosts, self.max_bytes = app, hosts, max_bytes

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
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        headers = Headers(scope=scope)
        LANGUAGE.set(choose_language(headers.get("accept-language", "")))
        if refusal := self._refuse(headers):
            await _answer(send_guarded, refusal)
            return
        try:
            await self.app(scope, body.receive, send_guarded)
        except _TooLargeError:
            if started:
                raise
        if body.too_large and not started:
            body.too_large = False
            await _answer(send_guarded, self._too_large)

    @property
    def _too_large(self) -> RequestError:
        return RequestError(413, "the request", "is too large", "up to {most} bytes", most=self.max_bytes)

    def _refuse(self, headers: Headers) -> RequestError | None:
        host = headers.get("host", "").lower()
        if self.hosts and _name(host) not in self.hosts:
            names = ", ".join(self.hosts)
            return RequestError(
                403, "Host", "is {host!r}, no name of this server", "{names}", host=host[:100], names=names
            )
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            return RequestError(403, "Origin", "is a page of another site", "requests of this server's own page")
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


def _name(host: str) -> str:
    """Return a host's name without its port: `[::1]:8000` is `[::1]`."""
    return host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]


class _Body:
    """Reader of a body that stops beyond the accepted length, also where no length was declared."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._left = receive, max_bytes
        self.too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            raise _TooLargeError
        return message


async def _answer(send: Callable[[Message], Awaitable[None]], error: RequestError) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": said(error), **parts(error)}).encode()})
