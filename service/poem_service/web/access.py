"""A request → whether it carries a key, or comes from this very machine."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


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
    """Whether the caller sits at this machine: not a proxy for somebody, nor a page that guessed our address."""
    if any(name in headers for name in FORWARDED):
        return False
    host = headers.get("host", "").rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        address = ipaddress.ip_address(scope["client"][0] if scope.get("client") else "")
    except ValueError:
        return False
    return address.is_loopback and name.lower() in LOCAL_NAMES
