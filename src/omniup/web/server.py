"""Start the demo: open a socket, print its address, and run uvicorn."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import signal
import socket
import sys
import threading
import time
import webbrowser

import uvicorn

from omniup.errors import InputError
from omniup.web.app import create_app
from omniup.web.connections import guarded_config
from omniup.web.settings import Settings

HOST, PORT = "127.0.0.1", 8000


def serve(settings: Settings | None = None, *, host: str = HOST, port: int = PORT, open_browser: bool = False) -> None:
    """Serve the demo until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        settings: how to serve.
        host: the address to listen at; others than this machine's own can be reached from elsewhere.
        port: 0 for any that is free.
        open_browser: show the page once it is there.

    Raises:
        InputError: the address cannot be had.
    """
    settings = settings or Settings()
    if not _is_local(host):
        print(f"omniup: warning: {host} can be reached from other machines, and there is no password", file=sys.stderr)
        settings = dataclasses.replace(settings, hosts=())
    listening = _listen(host, port)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("omniup").setLevel(logging.INFO)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    config = guarded_config(create_app(settings), settings.queue, log_level="warning", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    threading.Thread(target=_announce, args=(server, url, open_browser), daemon=True).start()
    _end_on_hangup(server)
    server.run(sockets=[listening])


def _end_on_hangup(server: uvicorn.Server) -> None:
    """End a server on SIGHUP as on SIGTERM, which uvicorn knows alone; unless it is ignored, as under nohup."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _, frame: server.handle_exit(signal.SIGTERM, frame))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(
            f"--host {host} --port {port}",
            "cannot be had ({reason})",
            "an address that is free",
            reason=error.strerror or error,
        ) from error
    return listening


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _announce(server: uvicorn.Server, url: str, open_browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    print(f"OmniUp is at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if open_browser:
        webbrowser.open(url)
