"""The small pure parts: breaker, slots, rate limit, reading an answer, the growing poem."""

import asyncio
import ipaddress
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poem.composer import compose
from poem.deck import builtin_deck
from poem.hand import Answer
from poem.shape import encode
from poem_service.answer import RuleError, checked
from poem_service.breaker import Breaker, BreakerState
from poem_service.errors import AnswerError, Reason
from poem_service.growth import Growth
from poem_service.ratelimit import ADDRESSES_MAX, RateLimit, client_address
from poem_service.slots import Slots
from support.served import a_hand

HAND = a_hand(5)
TITLES = builtin_deck().catchphrases[:20]
GOOD = compose(HAND, TITLES, 1).answer


def test_the_breaker_opens_after_failures_in_a_row_and_closes_on_a_success() -> None:
    breaker = Breaker(threshold=2, cooldown_s=10)
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(1)
    assert breaker.state(1) is BreakerState.CLOSED
    breaker.failed(2)
    assert [breaker.state(now) for now in (2, 11.9, 12)] == [
        BreakerState.OPEN,
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
    ]
    breaker.failed(12)
    assert breaker.state(13) is BreakerState.OPEN
    breaker.succeeded()
    assert breaker.state(13) is BreakerState.CLOSED


async def test_slots_are_given_first_come_first_served_and_come_back() -> None:
    slots = Slots(2)
    order: list[int] = []

    async def work(n: int) -> None:
        async with slots.hold(5) as held:
            assert held
            order.append(n)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(work(n) for n in range(6)))
    assert order == list(range(6))
    assert slots.ahead == 0


async def test_waiting_for_a_slot_ends_in_time_and_by_cancelling() -> None:
    slots = Slots(1)
    async with slots.hold(1):
        async with slots.hold(0.01) as held:
            assert not held
        waiting = asyncio.create_task(slots.hold(60).__aenter__())
        await asyncio.sleep(0)
        assert slots.ahead == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert slots.ahead == 0


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


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        (encode(GOOD), ()),
        (json.dumps({"title": GOOD.title, "poem": GOOD.poem}, indent=2), ()),
        (f"```json\n{encode(GOOD)}\n```", ("unwrapped",)),
        (f"<think>題は</think>はい。{encode(GOOD)}", ("unwrapped",)),
        (encode(Answer(f"3. 「{GOOD.title}」", GOOD.poem)), ("title",)),
        (encode(Answer(GOOD.title, GOOD.poem.replace("\n", " \n\n "))), ("spacing",)),
        (encode(Answer(GOOD.title, GOOD.poem.replace("。", "｡") + "\n")), ("spacing",)),
    ],
)
def test_an_answer_is_read_and_repaired_where_that_is_safe(text: str, repairs: tuple[str, ...]) -> None:
    found = checked(text, HAND, TITLES)
    assert (found.answer, found.repairs) == (GOOD, repairs)


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", encode(GOOD)[:-3], '{"title":1,"poem":2}', "[" * 100_000])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(AnswerError) as refusal:
        checked(text, HAND, TITLES)
    assert refusal.value.reason is Reason.MALFORMED


def test_an_answer_against_the_rules_names_them() -> None:
    with pytest.raises(RuleError) as refusal:
        checked(encode(Answer("別の題", GOOD.poem + "あなた。")), HAND, TITLES)
    assert {"title", "address"} <= {violation.rule for violation in refusal.value.violations}


@given(
    poem=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    cuts=st.lists(st.integers(0, 400), max_size=30),
    ascii_only=st.booleans(),
)
def test_the_growing_poem_is_the_poem_however_it_is_cut(poem: str, cuts: list[int], ascii_only: bool) -> None:
    text = json.dumps({"title": "題", "poem": poem}, ensure_ascii=ascii_only)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    growth = Growth()
    pieces = [growth.feed(text[a:b]) for a, b in pairwise(edges)]
    grown = "".join(pieces)
    assert grown.encode("utf-16", "surrogatepass").decode("utf-16") == poem


@given(st.lists(st.text(max_size=20), max_size=20))
def test_the_growing_poem_bears_any_text(pieces: list[str]) -> None:
    growth = Growth()
    for piece in pieces:
        growth.feed(piece)
