"""Clients that keep the server waiting: endless headers, unfinished requests, answers that nobody reads."""

import http.client
import json
import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn

from omniup.web import connections
from omniup.web.connections import CONNECTIONS, HEADER_BYTES, guarded_config

SECONDS = 0.5
"""Within which the server answers, whatever else is open."""

UNFINISHED = {
    "nothing": b"",
    "header": b"GET /api/health HTTP/1.1\r\nHost: {place}\r\nX-Slow: ",
    "body": b"POST /api/run HTTP/1.1\r\nHost: {place}\r\nContent-Type: multipart/form-data; boundary=a\r\n"
    b'Content-Length: 1000000\r\n\r\n--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhalf',
    "chunks": b"POST /api/upsample HTTP/1.1\r\nHost: {place}\r\nContent-Type: multipart/form-data; boundary=a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\n--a\r\n",
    "unread": b"GET /static/texts.js HTTP/1.1\r\nHost: {place}\r\n\r\n" * 8,
}


def connect(server, *, timeout=20):
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=timeout)


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def seconds_of_health(server):
    """How long a new visitor waits for an answer."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("GET", "/api/health")
    with connection.getresponse() as answer:
        assert answer.status == 200
        assert json.loads(answer.read())["status"] == "ok"
    connection.close()
    return time.monotonic() - began


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("part", [b"a" * 2**16, b"X-Name: value\r\n" * 2**12], ids=["one line", "many lines"])
def test_an_endless_header_takes_no_memory(server, part):
    seconds_of_health(server)
    before = resident(server.process)
    with connect(server) as connection:
        sent = 0
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
            while sent < 2**27:
                sent += connection.send(part)
        except OSError:  # it does not listen any more
            pass
        assert sent < 2**24
    assert resident(server.process) - before < 2**25
    assert seconds_of_health(server) < SECONDS


def test_a_long_header_is_read(server, client):
    assert client.get("/api/health", headers={"X-Long": "a" * (HEADER_BYTES // 2)}).status_code == 200


@pytest.mark.parametrize("kind", UNFINISHED)
def test_500_unfinished_requests_keep_nobody_waiting(server, kind):
    start = UNFINISHED[kind].replace(b"{place}", urlsplit(server.url).netloc.encode())
    slowest = 0.0
    with ExitStack() as held:
        for number in range(500):
            connection = held.enter_context(connect(server))
            connection.sendall(start)
            if number % 10 == 0:
                slowest = max(slowest, seconds_of_health(server))
        until = time.monotonic() + 1
        while time.monotonic() < until:
            slowest = max(slowest, seconds_of_health(server))
    assert slowest < SECONDS


# ---- in this process, with limits that are quickly reached


async def answer(scope, receive, send):
    """Read the body, and answer with its length."""
    length, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = b"%d" % length
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


@contextmanager
def started(app):
    """Serve an app by the protocol under test, in a thread: gives what `connect` takes."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(guarded_config(app, 0, lifespan="off", log_level="error"))
    server.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield server
    server.should_exit = True
    thread.join(10)


def is_closed(connection):
    """Whether the other side closes a connection without an answer."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "start", [b"", b"GET / HTTP/1.1\r\nHost:", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_request_that_does_not_end_in_time_is_ended(monkeypatch, start):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)
    with started(answer) as server, connect(server) as connection:
        connection.sendall(start)
        began = time.monotonic()
        assert is_closed(connection)
        assert 0.3 < time.monotonic() - began < 3


def test_a_trickle_of_a_header_is_no_progress(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with started(answer) as server, connect(server) as connection, pytest.raises(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(30):
            connection.sendall(b"a")
            time.sleep(0.1)


def test_requests_that_end_in_time_are_served_one_after_the_other(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.6)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.6)
    with started(answer) as server, connect(server) as connection:
        for _ in range(4):
            for part in (b"POST / HTTP/1.1\r\nHost: a\r\n", b"Content-Length: 4\r\n\r\n", b"ab", b"cd"):
                connection.sendall(part)
                time.sleep(0.1)
            assert connection.recv(1000).endswith(b"\r\n\r\n4")


def test_the_oldest_that_waits_gives_way(monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS", 3)
    with started(answer) as server, ExitStack() as held:
        first, second, third, fourth = (held.enter_context(connect(server)) for _ in range(4))
        assert is_closed(first)
        for each in (second, third, fourth):
            each.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert each.recv(100).startswith(b"HTTP/1.1 200")


def test_a_request_that_is_complete_does_not_give_way(monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS", 2)
    released = threading.Event()

    async def slow(scope, receive, send):
        while not released.is_set():
            await connections.asyncio.sleep(0.01)
        await answer(scope, receive, send)

    with started(slow) as server, ExitStack() as held:
        served = held.enter_context(connect(server))
        served.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        others = [held.enter_context(connect(server)) for _ in range(5)]
        assert all(is_closed(each) for each in others[:3])
        released.set()
        assert served.recv(100).startswith(b"HTTP/1.1 200")


def test_more_connections_than_browsers_open_are_held():
    assert CONNECTIONS >= 100
