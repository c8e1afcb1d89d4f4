"""An Ollama that holds one model and pushes it, or a fault on the way: `/api/tags`, `/api/copy`, `/api/push`."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PART = "sha256:" + "ab" * 32


@dataclass
class Pushing:
    """What the server knows and has seen."""

    model: str
    url: str = ""
    copied: list[tuple[str, str]] = field(default_factory=list)
    pushed: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"status": "retrieving manifest"},
            *({"status": f"pushing {PART[7:19]}", "digest": PART, "total": 10, "completed": n} for n in (3, 3, 10)),
            {"status": "pushing manifest"},
            {"status": "success"},
        ]
    )


@contextmanager
def pushing(model: str) -> Iterator[Pushing]:
    """The server as long as this lasts."""
    state = Pushing(model)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            tags = {"models": [{"name": state.model, "digest": "0123456789ab"}]}
            self._send(json.dumps({"version": "0.33.0"} if self.path == "/api/version" else tags).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/copy":
                state.copied.append((asked["source"], asked["destination"]))
                self._send(b"")
            elif self.path == "/api/push":
                state.pushed.append(asked)
                self._send(b"".join(json.dumps(line).encode() + b"\n" for line in state.lines))

        def _send(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
