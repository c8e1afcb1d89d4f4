"""Whose silence is a hang, and whose only waiting."""

import asyncio

from poem_service.watch.pulse import Beat, Pulse


async def begun(pulse: Pulse, timer: asyncio.Timeout, end_s: float = 10, first_s: float = 0.1) -> Beat:
    now = asyncio.get_running_loop().time()
    beat = Beat(timer, now, now + end_s, first_s, 0.05)
    pulse.begin(beat)
    return beat


def left_s(beat: Beat) -> float:
    when = beat.timer.when()
    assert when is not None
    return when - asyncio.get_running_loop().time()


async def test_silence_is_borne_so_long_and_no_longer() -> None:
    pulse = Pulse()
    async with asyncio.timeout(None) as timer:
        beat = await begun(pulse, timer)
        assert 0.05 < left_s(beat) <= 0.1
    assert not pulse.was_queued(beat, beat.begun + 0.1)


async def test_headers_are_a_sign_of_life() -> None:
    pulse = Pulse()
    async with asyncio.timeout(None) as timer:
        beat = await begun(pulse, timer, end_s=7)
        pulse.headers(beat, beat.begun + 0.01)
        assert 6.5 < left_s(beat) <= 7
        pulse.piece(beat, beat.begun + 0.02)
        assert left_s(beat) <= 0.07  # from here the gap between two pieces counts


async def test_whoever_waits_behind_a_lively_one_waits_on() -> None:
    pulse = Pulse()
    async with asyncio.timeout(None) as one, asyncio.timeout(None) as two:
        first, second = await begun(pulse, one), await begun(pulse, two)
        for n in range(1, 6):
            pulse.piece(first, first.begun + n)
        assert left_s(second) > 4.9
        assert pulse.was_queued(second, first.begun + 5.05)
        assert not pulse.was_queued(second, first.begun + 5.2)  # then even that one has fallen silent
        assert not pulse.was_queued(first, first.begun + 5.05)
        assert (first.crowd, second.crowd) == (2, 2)
        pulse.end(first)
        assert (await begun(pulse, one)).crowd == 2


async def test_no_sign_moves_a_timer_that_has_run_out() -> None:
    pulse = Pulse()
    try:
        async with asyncio.timeout(None) as timer:
            beat = await begun(pulse, timer, first_s=0.01)
            await asyncio.sleep(1)
    except TimeoutError:
        pulse.piece(beat, beat.begun + 1)
        pulse.headers(beat, beat.begun + 1)
        assert timer.expired()
    else:
        raise AssertionError("the silence was borne")
