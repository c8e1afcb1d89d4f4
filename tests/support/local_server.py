"""What the tests' own HTTP servers share: a silent handler that answers in JSON, and a port while it lasts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Keeps connections, logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        """What was sent with its length."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def tell(self, status: int, told: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with what JSON can say."""
        self.answer(status, json.dumps(told, ensure_ascii=False).encode(), headers)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer with these bytes, which a HEAD does not get; `headers` add to ours or replace them."""
        self.send_response(status)
        ours = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (ours | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a port of its own as long as this lasts; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # by itself it stops in 0.5 s
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
