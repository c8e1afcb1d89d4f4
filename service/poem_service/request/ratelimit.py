"""An address and the time → whether it may ask the model once more: a token bucket per address, bounded in memory."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from poem.environment import address_of

ADDRESSES_MAX = 10_000
TOLD_PER_MINUTE = 60
UNKNOWN = "unknown"


@dataclass(slots=True)
class _Bucket:
    size: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.size / 60)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class RateLimit:
    """So many a minute for each address; the least recently seen address is forgotten first."""

    def __init__(self, per_minute: int) -> None:
        self.untold = 0
        """How many requests over the limit were not logged."""
        self._size = float(per_minute)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        told = float(min(per_minute, TOLD_PER_MINUTE))
        self._told = _Bucket(told, told, 0.0)

    def allows(self, address: str, now: float) -> bool:
        bucket = self._buckets.pop(address, None) or _Bucket(self._size, self._size, now)
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(now)

    def tells(self, now: float) -> bool:
        """Whether a request over the limit has its line and its row: a few a minute have, whoever asks."""
        if self._told.take(now):
            return True
        self.untold += 1
        return False


def bucket_of(client: str) -> str:
    """Whose requests are counted together: an IPv6 caller is known by its /64, since a single host has all of that."""
    address = address_of(client)
    if address is None:
        return UNKNOWN
    if address.version == 6:
        return str(ipaddress.IPv6Network((int(address), 64), strict=False))
    return str(address)
