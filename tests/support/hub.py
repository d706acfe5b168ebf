"""A stand-in for the Hugging Face hub on this machine, which also serves its files below a plain URL."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub:
    """Repositories by their names, as folders; the requests that came."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.requests: list[str] = []
        self.url = ""

    def commit(self, repository: str) -> str:
        """Return a number of 40 digits that changes with the files, as a commit's does."""
        digest = hashlib.sha1(repository.encode())
        for name, path in self.files(repository).items():
            digest.update(name.encode() + path.read_bytes())
        return digest.hexdigest()

    def files(self, repository: str) -> dict[str, Path]:
        folder = self.repositories[repository]
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path for path in paths}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Answer a request for a repository, its list of files, or a file."""
        self.requests.append(path)
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository, rest = "/".join(parts[2:4]), parts[4:]
            if repository not in self.repositories:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            if rest[:1] == ["tree"]:
                listed = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": _etag(file)}
                    for name, file in self.files(repository).items()
                ]
                return 200, {}, json.dumps(listed).encode()
            siblings = [{"rfilename": name} for name in self.files(repository)]
            found = {"id": repository, "sha": self.commit(repository), "siblings": siblings}
            return 200, {}, json.dumps(found).encode()
        repository, name = "/".join(parts[:2]), "/".join(parts[4:])
        if repository not in self.repositories or name not in self.files(repository):
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        file = self.files(repository)[name]
        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": self.commit(repository)}
        return 200, headers, file.read_bytes()


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub without repositories, to be filled."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = hub.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
