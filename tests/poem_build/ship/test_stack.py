"""What `make up` and `make image` find out before Docker is asked."""

import socket
from typing import Any

import pytest

from poem_build.errors import StackError
from poem_build.ship import address
from poem_build.ship.containers import Compose


class Stopped(Compose):
    """A stack of which nothing runs."""

    def running(self, service: str) -> bool:
        return False


def config(host: str, port: int) -> dict[str, Any]:
    return {"services": {"service": {"ports": [{"host_ip": host, "published": str(port)}]}}}


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_port_that_is_taken_is_refused(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=rf"^POEM_PORT {port}: Address already in use on {host}; "):
            address.check_port(Stopped(), config(host, port))
    address.check_port(Stopped(), config(host, port))


def test_an_address_that_we_may_not_bind_is_left_to_docker() -> None:
    address.check_port(Stopped(), config("192.0.2.1", 80))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001"),
        ("0.0.0.0", "http://127.0.0.1:3001"),
        ("::", "http://[::1]:3001"),
        ("fd00::5", "http://[fd00::5]:3001"),
    ],
)
def test_the_pages_address_can_be_opened(host: str, url: str) -> None:
    assert address.address_of(config(host, 3001)) == url
