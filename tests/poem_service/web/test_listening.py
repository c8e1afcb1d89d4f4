"""Where the service listens."""

import signal
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from support.process import service


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_everywhere_is_both_kinds_of_address(workers: str) -> None:
    """As for Ollama and Docker; and who comes by IPv4 is this machine all the same."""
    environ = {"POEM_ENGINE": "none", "POEM_HOST": "[::]", "POEM_WORKERS": workers}
    async with service(environ, stop=signal.SIGINT) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        port = urlsplit(url).port
        assert (await client.get(f"http://[::1]:{port}/stand")).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{port}/stand")).status_code == 200
