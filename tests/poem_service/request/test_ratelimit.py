"""So many poems a minute for each address, whoever stands between."""

import ipaddress

import pytest

from poem_service.request.ratelimit import ADDRESSES_MAX, RateLimit, client_address


def test_the_rate_limit_refills_and_forgets() -> None:
    limit = RateLimit(2)
    assert [limit.allows("a", 0), limit.allows("a", 0), limit.allows("a", 0)] == [True, True, False]
    assert limit.allows("b", 0)
    assert [limit.allows("a", 30), limit.allows("a", 30)] == [True, False]
    for n in range(ADDRESSES_MAX + 10):
        limit.allows(str(n), 31)
    assert limit.allows("a", 31)


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.2", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.2", "203.0.113.9, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
        ("10.0.0.2", "rubbish", "10.0.0.2"),
        ("2001:db8::1:2", "", "2001:db8::/64"),
        ("", "198.51.100.7", ""),
    ],
)
def test_only_our_own_proxies_say_who_asks(peer: str, forwarded: str, found: str) -> None:
    assert client_address(peer, forwarded, [ipaddress.ip_network("10.0.0.0/8")]) == found
