"""Limit what a connection may hold without a complete request: bytes of a header, seconds, and a place.

uvicorn's own protocol waits for ever for the rest of a request, and its limit on connections refuses new ones in favour
of those that keep it waiting. Here the oldest connection that waits for its client gives way to a new one.
"""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 2**16
HEADER_SECONDS = 20.0
BODY_SECONDS = 300.0
CONNECTIONS = 256
"""Connections that may wait for their clients; as many again may be served, and those whose requests are in a queue."""


def guarded_config(app: Any, queue: int, **options: Any) -> uvicorn.Config:
    """Configure uvicorn with the limits of this module.

    Args:
        app: what to serve.
        queue: requests that may wait for a device; each holds a connection, and its progress another.
        **options: others of uvicorn's.
    """
    protocol: Any = partial(GuardedProtocol, most=CONNECTIONS + 2 * queue)
    # No WebSockets: nothing here speaks them, and their protocol would take a connection out of these limits.
    return uvicorn.Config(app, http=protocol, ws="none", h11_max_incomplete_event_size=HEADER_BYTES, **options)


_TURNS = itertools.count()  # no times: the clock of uvloop ticks once in a millisecond


class GuardedProtocol(H11Protocol):
    """Protocol of one connection, which is closed where its client keeps the server waiting.

    Args:
        most: connections that wait for their clients; in all there may be twice as many.
    """

    def __init__(self, *args: Any, most: int, **named: Any) -> None:
        super().__init__(*args, **named)
        self._most = most
        self._turn = 0  # counts the states of all connections in the order in which they began
        self._state: Any = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def waits_for_client(self) -> bool:
        """True until a request is complete, and while its answer is not being read."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in place of the oldest that waits for its client if too many do."""
        super().connection_made(transport)
        self._watch()
        others = [each for each in self.connections if isinstance(each, GuardedProtocol)]
        waiting = [each for each in others if each.waits_for_client and not each.transport.is_closing()]
        if len(waiting) > self._most:
            min(waiting, key=lambda each: each._turn).transport.abort()
        elif len(others) > 2 * self._most:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self._deadline:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Set the time until which the client has to end its header or its body, where one of these has begun."""
        state = self.conn.their_state, id(self.cycle)
        if state == self._state:
            return
        self._state, self._turn = state, next(_TURNS)
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        seconds = {h11.IDLE: HEADER_SECONDS, h11.SEND_BODY: BODY_SECONDS}.get(state[0])
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self.transport.abort)
