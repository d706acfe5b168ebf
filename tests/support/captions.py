"""A chat endpoint that stands in for a captioning model."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class CaptionServer(ThreadingHTTPServer):
    """Gives one answer after the other, the last for ever: a caption, or a status with headers; keeps what it got."""

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = list(answers), []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, tuple):
            status, headers = answer
            content = b"no"
        else:
            status, headers = 200, {}
            content = answer if isinstance(answer, bytes) else self.caption(answer)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def caption(self, text):
        return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers):
    """Run a server for the length of a `with` block."""
    with CaptionServer(answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            server.shutdown()
