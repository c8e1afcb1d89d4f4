"""A stack's configuration → where its page answers, and whether that place is free. Standard library only."""

import contextlib
import errno
import json
import socket
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

from poem_build.errors import StackError
from poem_build.ship.containers import Compose

_PAGE_WITHIN_S = 30


def check_port(compose: Compose, config: dict[str, Any]) -> None:
    """Refuse a port that somebody else holds, before anything is built."""
    published = config["services"]["service"]["ports"][0]
    if compose.running("service"):
        return
    with socket.socket(socket.AF_INET6 if ":" in published["host_ip"] else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((published["host_ip"], int(published["published"])))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # what we may not or cannot bind, Docker's own process may: it will tell
            raise StackError(
                f"POEM_PORT {published['published']}: {error.strerror} on {published['host_ip']}; "
                "stop what listens there, or give another in .env"
            ) from error


def address_of(config: dict[str, Any]) -> str:
    """The page's address as a browser on this machine takes it."""
    published = config["services"]["service"]["ports"][0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(published["host_ip"], published["host_ip"])
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{published['published']}"


def wait_for_page(url: str) -> dict[str, Any]:
    """What `/ready` says when it answers. Raises `StackError` if it does not for half a minute."""
    end = time.monotonic() + _PAGE_WITHIN_S
    while time.monotonic() < end:
        # Not urllib: it would ask a proxy of the environment for the way to this very machine.
        there = HTTPConnection(url.removeprefix("http://"), timeout=2)
        with contextlib.closing(there), contextlib.suppress(OSError, ValueError, HTTPException):
            there.request("GET", "/ready")
            return dict(json.load(there.getresponse()))
        time.sleep(0.1)
    raise StackError(f"{url}: no answer within {_PAGE_WITHIN_S} s; `docker compose logs service` says why")
