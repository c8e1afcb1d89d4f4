import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from poem_build.teacher.pace import Pace
from poem_build.teacher.wire import seconds_of


async def test_so_many_a_minute_and_no_more() -> None:
    pace = Pace(6000)
    start = asyncio.get_running_loop().time()
    await asyncio.gather(*(pace.turn() for _ in range(31)))
    assert 0.25 < asyncio.get_running_loop().time() - start < 1.5


async def test_a_refusal_halves_the_rate_once_and_answers_bring_it_back() -> None:
    pace = Pace(6000)
    start = asyncio.get_running_loop().time()
    pace.too_fast(0.2)
    pace.too_fast(0.2)  # of those that were out together
    for _ in range(10):
        pace.well()  # so were these
    assert pace.per_minute == 3000
    await pace.turn()
    assert asyncio.get_running_loop().time() - start >= 0.19
    for _ in range(10):
        assert pace.per_minute == 3000
        pace.well()
    assert pace.per_minute == 6000


async def test_after_a_refusal_those_who_wait_go_one_by_one() -> None:
    pace, gone = Pace(600), []

    async def one() -> None:
        await pace.turn()
        gone.append(asyncio.get_running_loop().time())

    await pace.turn()
    waiting = asyncio.gather(*(one() for _ in range(6)))
    await asyncio.sleep(0.01)
    refused = asyncio.get_running_loop().time()
    pace.too_fast(1.0)
    await waiting
    assert gone[0] - refused >= 0.99
    assert min(b - a for a, b in pairwise(gone)) > 0.1  # a fifth of a second, at half the rate


async def test_it_never_gets_slower_than_a_thirty_second_part() -> None:
    pace = Pace(6400)
    for _ in range(12):
        pace.too_fast(0)
        await asyncio.sleep(0.001)
    assert pace.per_minute == 200


def test_a_date_is_measured_by_the_answers_own_clock() -> None:
    wrong = datetime(1999, 1, 1, tzinfo=UTC)  # whatever the clock says here
    headers = {"Date": format_datetime(wrong, usegmt=True)}
    headers["Retry-After"] = format_datetime(wrong + timedelta(seconds=7), usegmt=True)
    assert seconds_of(headers) == 7


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3), ("0.5", 0.5), ("99999", 600), ("soon", None), ("", None), ("-1", None)]
)
def test_what_retry_after_says(text: str, seconds: float | None) -> None:
    assert seconds_of({"retry-after": text}) == seconds
