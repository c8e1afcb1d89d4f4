"""So many poems a minute for each address, whoever stands between."""

import ipaddress
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path

import httpx
import pytest

from poem_service.record.log import JsonFormatter
from poem_service.request.ratelimit import ADDRESSES_MAX, TOLD_PER_MINUTE, RateLimit, bucket_of
from poem_service.settings import Settings
from support.served import a_hand, sent, serving

TRUSTED = Settings.from_env({"POEM_TRUSTED_PROXIES": "127.0.0.0/8, 10.0.0.0/8, [::1]"}).trusted_proxies


def test_the_rate_limit_refills_and_forgets() -> None:
    limit = RateLimit(2)
    assert [limit.allows("a", 0), limit.allows("a", 0), limit.allows("a", 0)] == [True, True, False]
    assert limit.allows("b", 0)
    assert [limit.allows("a", 30), limit.allows("a", 30)] == [True, False]
    for n in range(ADDRESSES_MAX + 10):
        limit.allows(str(n), 31)
    assert limit.allows("a", 31)


def test_a_flood_is_told_a_few_times_a_minute_whatever_the_limit_is() -> None:
    limit = RateLimit(100_000)
    assert sum(limit.tells(n / 1000) for n in range(30_000)) == TOLD_PER_MINUTE * 3 // 2 - 1
    assert limit.untold == 30_000 - TOLD_PER_MINUTE * 3 // 2 + 1


@pytest.mark.parametrize(
    ("client", "bucket"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("2001:db8::9:9", "2001:db8::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("rubbish" * 999, "unknown"),
        ("", "unknown"),
    ],
)
def test_one_host_is_one_bucket_however_it_is_written(client: str, bucket: str) -> None:
    assert bucket_of(client) == bucket


# Lines of X-Forwarded-For from 127.0.0.1, and whom the service holds to be the caller.
FORWARDED: dict[str, tuple[list[str], str]] = {
    "none": ([], "127.0.0.1"),
    "one": (["198.51.100.7"], "198.51.100.7"),
    "its proxies behind it": (["203.0.113.9, 198.51.100.7, 10.0.0.3"], "198.51.100.7"),
    "a second line": (["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
    "a proxy in a second line": (["198.51.100.7", "10.0.0.3"], "198.51.100.7"),
    "a port": (["198.51.100.7:4711"], "198.51.100.7"),
    "a proxy with a port": (["198.51.100.7, 10.0.0.3:80"], "198.51.100.7"),
    "a mapped address": (["::ffff:198.51.100.7"], "198.51.100.7"),
    "a mapped proxy": (["198.51.100.7, ::ffff:10.0.0.3"], "198.51.100.7"),
    "brackets": (["[2001:db8::1:2]"], "2001:db8::/64"),
    "brackets and a port": (["[2001:db8::1:2]:4711"], "2001:db8::/64"),
    "a proxy in brackets": (["198.51.100.7, [::1]:80"], "198.51.100.7"),
    "rubbish": (["198.51.100.7, rubbish"], "unknown"),
}


async def test_only_our_own_proxies_say_who_asks() -> None:
    wrong = []
    async with serving(Settings(engine="none", rate_limit=1, trusted_proxies=TRUSTED)) as (service, client):
        for case, (lines, caller) in FORWARDED.items():
            headers = httpx.Headers([("x-forwarded-for", line) for line in lines])
            service.rate_limit = RateLimit(1)
            await client.post("/api/generate-poem", json=sent(a_hand()), headers=headers)
            wrong += [case] * service.rate_limit.allows(caller, time.monotonic())
    assert wrong == []


async def test_nobody_else_does() -> None:
    async with serving(Settings(engine="none", rate_limit=2)) as (_, client):
        reasons = []
        for n in range(3):
            headers = {"x-forwarded-for": f"198.51.100.{n}"}
            answer = await client.post("/api/generate-poem", json=sent(a_hand()), headers=headers)
            reasons.append(answer.headers["x-poem-reason"] == "rate-limited")
    assert reasons == [False, False, True]


def test_a_network_for_both_kinds_of_socket_is_taken_for_what_it_is() -> None:
    found = Settings.from_env(
        {"POEM_TRUSTED_PROXIES": "::ffff:10.0.0.0/104 １０．１．０．０／１６, fd00::/8/"}
    ).trusted_proxies
    assert found == tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "10.1.0.0/16", "fd00::/8")))


@pytest.fixture
def lines() -> Iterator[StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("poem_service.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


async def test_a_flood_over_the_limit_fills_neither_log(lines: StringIO, tmp_path: Path) -> None:
    """Each has its poem; of those over the limit, broken requests among them, only a few have a line or a row."""
    path = tmp_path / "log.sqlite3"
    async with serving(Settings(engine="none", rate_limit=3, log_db=path)) as (_, client):
        for n in range(30):
            answer = await client.post("/api/generate-poem", json=sent(a_hand(n)))
            assert answer.status_code == 200
            assert (await client.post("/api/generate-poem", content=b"{}")).status_code == 400
        metrics = (await client.get("/metrics")).text
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT count(*) FROM generation_logs").fetchone()[0]
    seen = [json.loads(line) for line in lines.getvalue().splitlines()]
    told = [line for line in seen if line["path"] == "/api/generate-poem"]
    assert len(told) in (6, 7)  # three within, three over, and one if the minute's next token came meanwhile
    assert rows <= 4
    assert f"poem_untold_total {60 - len(told)}.0" in metrics
    assert 'poem_http_requests_total{status="200"} 30.0' in metrics
