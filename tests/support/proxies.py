"""An environment whose proxies lead nowhere, and a server on this machine that must be met all the same."""

from collections.abc import Iterator
from contextlib import contextmanager

from support.local_server import JsonHandler, listening

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
    told = {"version": "0.33.0"} if body is None else body

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.body()
            self.tell(status, told)

        do_POST = do_HEAD = do_DELETE = do_GET

    with listening(Handler) as url:
        yield int(url.rpartition(":")[2])
