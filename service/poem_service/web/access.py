"""A request → whether it carries a key, or comes from this very machine; and whose word on that is believed."""

import base64
import binascii
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

from poem.environment import address_of
from poem_service.variables import Network

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDED = frozenset({"forwarded", "x-real-ip", "via"})


def has_key(headers: Headers, keys: Sequence[str], *, basic: bool = False) -> bool:
    """By `Authorization: Bearer`; where a browser asks its user, by the password of `Basic` too."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if basic and kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    elif kind.lower() != "bearer":
        return False
    given = value.strip().encode("utf-8", "replace")
    return sum(hmac.compare_digest(given, key.encode()) for key in keys) > 0  # each takes its time


def is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the caller sits at this machine: not a proxy for somebody, nor a page that guessed our address.

    A proxy that adds none of the usual headers looks like it; behind such a one a key is needed.
    """
    if any(name in FORWARDED or name.startswith("x-forwarded-") for name in headers):
        return False
    host = headers.get("host", "").rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    address = address_of(scope["client"][0] if scope.get("client") else "")
    return address is not None and address.is_loopback and name.lower() in LOCAL_NAMES


def trusted_hosts(trusted: Sequence[Network]) -> list[str]:
    """The proxies as the web server is told of them: an IPv4 one calls itself `::ffff:…` on a socket for both."""
    mapped = [f"::ffff:{net.network_address}/{96 + net.prefixlen}" for net in trusted if net.version == 4]
    return [*map(str, trusted), *mapped]
