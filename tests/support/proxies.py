"""An environment whose proxies lead nowhere, and a server on this machine that must be met all the same."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from support.local_server import listening

NOWHERE = "http://127.0.0.1:9"
PROXIES = {
    name: value
    for upper, value in {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": "socks5://127.0.0.1:9"}.items()
    for name in (upper, upper.lower())
}
"""Without NO_PROXY. With a SOCKS proxy httpx builds no client at all, for want of a package."""


@contextmanager
def answering(status: int = 200, body: object = None) -> Iterator[int]:
    """A server that answers anything so: its port."""
    told = json.dumps({"version": "0.33.0"} if body is None else body).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told)

        do_POST = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            return

    with listening(Handler) as url:
        yield int(url.rpartition(":")[2])
