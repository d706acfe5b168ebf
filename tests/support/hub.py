"""A stand-in for the Hugging Face hub on this machine, which also serves its files below a plain URL."""

import base64
import hashlib
import importlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Hub:
    """Repositories by their names, as folders; the requests that came.

    Where `room` is a folder, repositories may be made and written to, below it.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.room: Path | None = None
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
        if len(parts) < 5:
            return 404, {}, b""
        repository, name = "/".join(parts[:2]), "/".join(parts[4:])
        if repository not in self.repositories or name not in self.files(repository):
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        file = self.files(repository)[name]
        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": self.commit(repository)}
        return 200, headers, file.read_bytes()

    def take(self, path: str, content: bytes) -> tuple[int, bytes]:
        """Take what is posted: a new repository, a card to check, how files are to be sent, a commit."""
        self.requests.append(path)
        if self.room is None:
            return 403, b"{}"
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[:3] == ["api", "repos", "create"]:
            asked = json.loads(content)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            folder = self.room / name
            folder.mkdir(parents=True, exist_ok=True)
            self.repositories[name] = folder
            return 200, json.dumps({"url": f"{self.url}/{name}"}).encode()
        if parts == ["api", "validate-yaml"]:
            return 200, b'{"errors": [], "warnings": []}'
        repository = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(content)["files"]
            ]
            return 200, json.dumps({"files": files}).encode()
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                file = self.repositories[repository] / line["value"]["path"]
                file.write_bytes(base64.b64decode(line["value"]["content"]))
        oid = self.commit(repository)
        return 200, json.dumps({"commitOid": oid, "commitUrl": f"{self.url}/{repository}/commit/{oid}"}).encode()


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

        def do_POST(self) -> None:
            status, content = hub.take(self.path, self._body())
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

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


@contextmanager
def the_endpoint(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """Serve a hub that huggingface_hub takes for the one, with an empty cache."""
    constants, api = (importlib.import_module(f"huggingface_hub.{name}") for name in ("constants", "hf_api"))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as hub:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for place, name in ((constants, "ENDPOINT"), (api.api, "endpoint")):
            monkeypatch.setattr(place, name, hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
