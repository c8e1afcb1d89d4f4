"""The keeper's states, one by one, over an engine that is handed in."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from poem.game import builtin_game
from poem.model_keys import BELOW_COMPOSER
from poem_service.engine.protocol import Ask, Engine, ModelFacts, Piece, Training
from poem_service.errors import AnswerError, Reason, UnavailableError
from poem_service.watch import keeper as keeper_module
from poem_service.watch.breaker import BreakerState
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import ModelState
from poem_service.watch.slots import Slots
from support.fake_engine import FakeEngine, at_pace, tokens


@asynccontextmanager
async def keeping(engine: FakeEngine, deadline_s: float = 10.0, slots: int = 1) -> AsyncIterator[Keeper]:
    async def choose() -> Engine:
        return engine

    keeper = Keeper(choose, builtin_game(), deadline_s, Slots(slots))
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def stands(keeper: Keeper, *states: ModelState) -> None:
    async with asyncio.timeout(5):
        while keeper.standing.state not in states:
            await asyncio.sleep(0.005)


def now() -> float:
    return time.monotonic()


async def test_a_model_that_answers_is_ready_and_its_pace_known() -> None:
    async with keeping(FakeEngine(at_pace(0.05, 0.001))) as keeper:
        assert keeper.obstacle(now()) is Reason.STARTING
        await stands(keeper, ModelState.READY)
        pace = keeper.standing.pace
        assert keeper.obstacle(now()) is None
    assert pace is not None
    assert 0.04 < pace.first_s < 0.5
    assert 0.001 <= pace.piece_s < 0.05
    assert pace.answer_s > 200 * pace.piece_s


async def test_a_model_that_is_not_loaded_is_loaded_and_that_is_said() -> None:
    loading = asyncio.Event()

    class Slow(FakeEngine):
        async def load(self) -> None:
            await loading.wait()
            await super().load()

    engine = Slow(facts=ModelFacts("fake:latest", "sha256:first", loaded=False))
    async with keeping(engine) as keeper:
        await stands(keeper, ModelState.LOADING)
        assert keeper.obstacle(now()) is Reason.LOADING
        loading.set()
        await stands(keeper, ModelState.READY)
        assert keeper.cold_s is not None
    assert engine.loads == 1


async def test_a_loaded_model_on_trial_is_not_said_to_load() -> None:
    async with keeping(FakeEngine(at_pace(0.2, 0.0))) as keeper:
        await stands(keeper, ModelState.TRIAL)
        assert keeper.obstacle(now()) is Reason.TRIAL
        await stands(keeper, ModelState.READY)
        assert keeper.cold_s is None


async def test_a_first_piece_that_took_long_is_measured_again() -> None:
    firsts = [0.5, 0.0]

    async def script(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(firsts.pop(0))
        async for piece in tokens(ask):
            yield piece

    async with keeping(FakeEngine(script), deadline_s=1.6) as keeper:
        await stands(keeper, ModelState.READY)
        assert keeper.standing.pace is not None
        assert keeper.standing.pace.first_s < 0.4
    assert firsts == []


async def test_a_model_too_slow_for_the_deadline_is_said_so() -> None:
    async with keeping(FakeEngine(at_pace(0.0, 0.02)), deadline_s=1.0) as keeper:
        await stands(keeper, ModelState.TOO_SLOW)
        assert keeper.obstacle(now()) is Reason.TOO_SLOW
        assert keeper.standing.detail is not None


async def test_a_model_that_stays_too_slow_is_looked_at_ever_less_often() -> None:
    async def choose() -> Engine:
        return engine

    engine = FakeEngine(at_pace(0.0, 0.005))
    keeper = Keeper(choose, builtin_game(), 1.0, Slots(1))
    assert [await keeper.look() for _ in range(5)] == [3.0, 10.0, 30.0, 60.0, 60.0]
    engine.script = tokens
    assert await keeper.look() == keeper_module.WATCH_S


async def test_an_engine_that_is_gone_comes_back() -> None:
    gone = True

    async def look() -> None:
        if gone:
            raise UnavailableError(Reason.UNREACHABLE, "nobody listens")

    async with keeping(FakeEngine(on_inspect=look)) as keeper:
        await stands(keeper, ModelState.ABSENT)
        assert keeper.obstacle(now()) is Reason.UNREACHABLE
        gone = False
        await stands(keeper, ModelState.READY)


async def test_a_fault_of_ours_is_no_end_of_the_watch() -> None:
    faults = [ValueError("ours")]

    async def look() -> None:
        if faults:
            raise faults.pop()

    async with keeping(FakeEngine(on_inspect=look)) as keeper:
        await stands(keeper, ModelState.ABSENT)
        assert keeper.obstacle(now()) is Reason.UPSTREAM_ERROR
        await stands(keeper, ModelState.READY)


async def test_a_silence_is_looked_into_before_it_is_believed() -> None:
    engine = FakeEngine()
    async with keeping(engine) as keeper:
        await stands(keeper, ModelState.READY)
        keeper.suspect(UnavailableError(Reason.TIMEOUT, "no piece"))
        assert keeper.standing.state is ModelState.SUSPECT
        assert keeper.obstacle(now()) is Reason.TIMEOUT  # nobody else is sent there before the look
        await stands(keeper, ModelState.READY)
    assert len(engine.asks) == 2


async def test_what_is_refused_is_believed_at_once() -> None:
    async with keeping(FakeEngine()) as keeper:
        await stands(keeper, ModelState.READY)
        keeper.suspect(UnavailableError(Reason.UNREACHABLE, "refused"))
        assert keeper.standing.state is ModelState.ABSENT
        keeper.suspect(AnswerError(Reason.RULES, "no matter of the server"))
        assert keeper.obstacle(now()) is Reason.UNREACHABLE


async def test_a_trial_that_hangs_ends() -> None:
    async def hang(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(3600)
        yield Piece("")

    async with keeping(FakeEngine(hang), deadline_s=0.1) as keeper:
        await stands(keeper, ModelState.ABSENT)
        assert keeper.obstacle(now()) is Reason.TIMEOUT


async def test_a_model_that_stands_still_is_loaded_anew_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "RETRY_S", (0.01,))

    async def hang(ask: Ask) -> AsyncGenerator[Piece, None]:
        raise TimeoutError  # as it comes to the keeper, without the wait
        yield Piece("")

    class Renewed(FakeEngine):
        async def unload(self) -> None:
            await super().unload()
            self.script = tokens

    renewed = Renewed()
    async with keeping(renewed) as keeper:
        await stands(keeper, ModelState.READY)
        renewed.script = hang
        keeper.suspect(UnavailableError(Reason.TIMEOUT, "silent"))
        await stands(keeper, ModelState.ABSENT)
        await stands(keeper, ModelState.READY)
    assert (renewed.unloads, renewed.loads) == (1, 1)

    async with keeping(stuck := FakeEngine(hang)), asyncio.timeout(5):
        while len(stuck.asks) < 6:
            await asyncio.sleep(0.01)
    assert stuck.unloads == 1


async def test_trials_that_fail_open_the_breaker_and_one_that_does_not_closes_it() -> None:
    async def fail(ask: Ask) -> AsyncGenerator[Piece, None]:
        raise UnavailableError(Reason.UPSTREAM_ERROR, "no")
        yield Piece("")

    engine = FakeEngine(fail)
    async with keeping(engine) as keeper:
        async with asyncio.timeout(5):
            while keeper.breaker.state(now()) is not BreakerState.OPEN:
                await asyncio.sleep(0.01)
        assert keeper.obstacle(now()) is Reason.UPSTREAM_ERROR
        engine.script = tokens
        await stands(keeper, ModelState.READY)
        assert keeper.breaker.state(now()) is BreakerState.CLOSED


async def test_a_half_open_breaker_is_tried_by_the_keeper() -> None:
    engine = FakeEngine()
    async with keeping(engine) as keeper:
        await stands(keeper, ModelState.READY)
        keeper.breaker.cooldown_s = keeper.breaker.cooldown_max_s = 0.05
        for _ in range(keeper.breaker.threshold):
            keeper.breaker.fail(now())
        assert keeper.obstacle(now()) is Reason.BREAKER_OPEN
        keeper.look_now()
        async with asyncio.timeout(5):
            while keeper.obstacle(now()):
                await asyncio.sleep(0.005)
    assert len(engine.asks) == 2


async def test_another_model_under_the_name_is_tried_anew_and_has_another_chance() -> None:
    engine = FakeEngine()
    async with keeping(engine) as keeper:
        await stands(keeper, ModelState.READY)
        for _ in range(keeper.quality.threshold):
            keeper.quality.fail(now())
        assert keeper.obstacle(now()) is Reason.QUALITY
        assert keeper.obstacle(now(), on_trial=True) is None
        engine.facts = replace(engine.facts, digest="sha256:second")
        keeper.look_now()
        async with asyncio.timeout(5):
            while keeper.obstacle(now()):
                await asyncio.sleep(0.005)
    assert len(engine.asks) == 2


async def test_the_trial_takes_a_slot() -> None:
    async def choose() -> Engine:
        return engine

    engine, slots = FakeEngine(), Slots(1)
    keeper = Keeper(choose, builtin_game(), 10.0, slots)
    async with slots.hold(1):
        running = asyncio.create_task(keeper.run())
        await stands(keeper, ModelState.TRIAL)
        await asyncio.sleep(0.05)
        assert engine.asks == []
    await stands(keeper, ModelState.READY)
    assert slots.ahead == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_model_that_others_evict_is_not_loaded_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "EVICTED_RETRY_S", (0.3, 60.0, 60.0, 60.0))
    engine = FakeEngine(facts=ModelFacts("fake:latest", "sha256:first", loaded=False))
    async with keeping(engine) as keeper:
        for _ in range(40):
            engine.facts = replace(engine.facts, loaded=False)
            keeper.look_now()
            await asyncio.sleep(0.03)
        assert keeper.obstacle(now()) is Reason.EVICTED
        assert "another program" in str(keeper.standing.detail)
    assert engine.loads == 4  # at first, twice at once, once after a pause


async def test_a_server_that_restarts_evicts_nobody() -> None:
    engine = FakeEngine(facts=ModelFacts("fake:latest", "sha256:first", loaded=False))
    gone = False

    async def look() -> None:
        if gone:
            raise UnavailableError(Reason.UNREACHABLE, "nobody listens")

    engine.on_inspect = look
    async with keeping(engine) as keeper:
        for _ in range(6):
            await stands(keeper, ModelState.READY)
            gone = True
            keeper.look_now()
            await stands(keeper, ModelState.ABSENT)
            engine.facts = replace(engine.facts, loaded=False)
            gone = False
            keeper.look_now()
        await stands(keeper, ModelState.READY)
    assert engine.loads == 7


async def test_answers_teach_the_pace() -> None:
    async with keeping(FakeEngine(at_pace(0.0, 0.0))) as keeper:
        await stands(keeper, ModelState.READY)
        before = keeper.standing.pace
        for _ in range(40):
            keeper.learn(1.0, 101, 3.0, 1)
        after = keeper.standing.pace
    assert before is not None
    assert before.answer_s < 0.5
    assert after is not None
    assert (round(after.first_s, 2), round(after.piece_s, 3), round(after.answer_s, 2)) == (1.0, 0.02, 3.0)


async def test_an_answer_in_one_piece_teaches_what_an_answer_takes() -> None:
    async with keeping(FakeEngine(at_pace(0.0, 0.0))) as keeper:
        await stands(keeper, ModelState.READY)
        before = keeper.standing.pace
        for _ in range(40):
            keeper.learn(None, 0, 3.0, 1)
        after = keeper.standing.pace
    assert before is not None
    assert after is not None
    assert (after.piece_s, round(after.answer_s, 2)) == (before.piece_s, 3.0)


async def test_asks_that_wait_inside_the_server_are_noticed_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with keeping(FakeEngine(at_pace(0.01, 0.0)), slots=4) as keeper:
        await stands(keeper, ModelState.READY)
        for _ in range(5):
            keeper.learn(0.05, 100, 2.0, 4)  # four at once, and none waited
        assert not keeper.queues_inside
        for _ in range(3):
            keeper.learn(2.0, 100, 4.0, 2)
        assert keeper.queues_inside
        keeper.learn(0.05, 100, 2.0, 2)
        assert not keeper.queues_inside
    assert [r.message for r in caplog.records if "POEM_MAX_ACTIVE" in r.message] == [
        "the server does fewer poems at once than POEM_MAX_ACTIVE: lower it, or raise the server's"
    ]


async def test_what_the_model_says_of_its_training_is_compared() -> None:
    game = builtin_game()
    same = Training(game.prompt_version, "", game.deck.digest)
    engine = FakeEngine(facts=ModelFacts("fake:latest", "sha256:first", same))
    async with keeping(engine) as keeper:
        await stands(keeper, ModelState.READY)
        assert (keeper.prompt_differs, keeper.game_differs, keeper.below_composer) == (False, False, False)
        engine.facts = replace(engine.facts, training=Training("0", "other", "1", BELOW_COMPOSER))
        keeper.look_now()
        await asyncio.sleep(0.05)
        assert (keeper.prompt_differs, keeper.game_differs, keeper.below_composer) == (True, True, True)
        assert keeper.obstacle(now()) is None
        keeper.above_composer = True
        assert keeper.obstacle(now()) is Reason.BELOW_COMPOSER
        assert keeper.obstacle(now(), on_trial=True) is None
