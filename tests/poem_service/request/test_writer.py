"""The writer over an engine that is handed in: who writes first, what is learnt, when the model is spared."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from poem.composer import compose
from poem.game import Game, builtin_game
from poem.hand import Answer, Hand, hand_of
from poem.model_keys import BELOW_COMPOSER
from poem.rules import check
from poem.shape import encode
from poem.table import Table
from poem_service.engine.protocol import Ask, Engine, ModelFacts, Piece, Training
from poem_service.errors import AnswerError, EngineError, Reason, RefusedError, UnavailableError
from poem_service.record.metrics import Metrics
from poem_service.request.writer import Policy, Writer
from poem_service.watch import ladder
from poem_service.watch.breaker import BreakerState
from poem_service.watch.fleet import Fleet
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import ATTEMPTS_MAX, ModelState
from poem_service.watch.slots import Slots
from support.fake_engine import FakeEngine, tokens
from support.served import a_hand

GAME = builtin_game()
HAND = a_hand(3)
TRIAL_SEEDS = 100
"""The keeper's own trials have small seeds."""


def good(hand: Hand, change: Callable[[str], str] = str) -> Callable[[Ask], AsyncGenerator[Piece, None]]:
    """Writes a poem that keeps the rules, in one piece, changed as told."""

    async def script(ask: Ask) -> AsyncGenerator[Piece, None]:
        if ask.seed < TRIAL_SEEDS:
            async for piece in tokens(ask):
                yield piece
        else:
            yield Piece(change(encode(compose(GAME, hand, ask.candidates, ask.seed).answer)), 100)

    return script


def bad(error: EngineError | None = None, text: str = "{}") -> Callable[[Ask], AsyncGenerator[Piece, None]]:
    async def script(ask: Ask) -> AsyncGenerator[Piece, None]:
        if ask.seed < TRIAL_SEEDS:
            async for piece in tokens(ask):
                yield piece
        elif error is not None:
            raise error
        else:
            yield Piece(text)

    return script


@asynccontextmanager
async def writing(
    engine: FakeEngine,
    *,
    slots: int = 1,
    deadline_s: float = 10.0,
    policy: Policy = "model",
    table: Table | None = None,
) -> AsyncIterator[Writer]:
    async def choose() -> Engine:
        return engine

    places = Slots(slots)
    keeper = Keeper(choose, GAME, deadline_s, places, above_composer=policy == "auto")
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while keeper.standing.state is not ModelState.READY:
            await asyncio.sleep(0.005)
    yield Writer(GAME, Fleet((keeper,)), table, Metrics(), deadline_s, policy)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def counted(writer: Writer, line: str) -> bool:
    return f"\n{line}\n" in f"\n{writer.metrics.text().decode()}"


async def test_a_good_answer_is_the_model_s() -> None:
    engine = FakeEngine(good(HAND))
    async with writing(engine) as writer:
        outcome = await writer.write(HAND, seed=5000)
    assert (outcome.source, outcome.reason, outcome.engine, outcome.model) == ("model", None, "fake", "fake:latest")
    assert (outcome.seed, engine.asks[-1].seed, engine.asks[-1].stream) == (5000, 5000, False)
    assert outcome.prompt == engine.asks[-1].prompt


async def test_what_breaks_the_rules_is_asked_three_times_each_with_another_seed() -> None:
    engine = FakeEngine(bad())
    async with writing(engine) as writer:
        outcome = await writer.write(HAND, seed=5000)
        assert counted(writer, 'poem_model_failures_total{reason="malformed"} 3.0')
    assert (outcome.source, outcome.reason) == ("composed", Reason.MALFORMED)
    assert [ask.seed for ask in engine.asks[1:]] == [5000, 5001, 5002]
    assert ATTEMPTS_MAX == 3


async def test_repairs_and_waivers_and_violations_are_counted() -> None:
    engine = FakeEngine(good(HAND, lambda text: f"```json\n{text}\n```"))
    async with writing(engine) as writer:
        assert (await writer.write(HAND, seed=5000)).source == "model"
        assert counted(writer, 'poem_repairs_total{repair="unwrapped"} 1.0')
        engine.script = bad(text=encode(Answer("よその題", "短い。")))
        await writer.write(HAND, seed=5000)
        assert counted(writer, 'poem_rule_violations_total{rule="title"} 3.0')
        strange = replace(HAND.pairs[0].card, condition_text="夜", terms=tuple("夜朝窓風光灯街木道人家日空庭"))
        hand = Hand((replace(HAND.pairs[0], card=strange), *HAND.pairs[1:]))
        outcome = await writer.write(hand, seed=5000)
        waived = check(outcome.answer, hand, GAME.deck.catchphrases) != []
        assert waived
        assert counted(writer, "poem_waived_total 1.0")


async def test_a_good_answer_closes_the_breaker_s_count() -> None:
    engine = FakeEngine()
    async with writing(engine) as writer:
        failing = bad(UnavailableError(Reason.UPSTREAM_ERROR, "500"))
        for script in (failing, failing, good(HAND), failing, failing):
            engine.script = script
            await writer.write(HAND)
        assert writer.fleet.lead.breaker.state(time.monotonic()) is BreakerState.CLOSED
        await writer.write(HAND)
        assert writer.fleet.lead.breaker.state(time.monotonic()) is BreakerState.OPEN
        asked = len(engine.asks)
        assert (await writer.write(HAND)).reason is Reason.BREAKER_OPEN
        assert len(engine.asks) == asked


async def test_a_busy_server_is_no_broken_one() -> None:
    engine = FakeEngine(bad(UnavailableError(Reason.BUSY, "503")))
    async with writing(engine) as writer:
        reasons = [(await writer.write(HAND)).reason for _ in range(5)]
    assert reasons == [Reason.BUSY] * 5


async def test_a_hand_that_is_refused_costs_others_nothing() -> None:
    engine = FakeEngine(bad(RefusedError(Reason.UPSTREAM_ERROR, 400, "the prompt is too long")))
    async with writing(engine) as writer:
        reasons = [(await writer.write(HAND)).reason for _ in range(5)]
    assert reasons == [Reason.UPSTREAM_ERROR] * 5


async def test_cards_that_no_poem_can_keep_secret_are_not_held_against_the_model() -> None:
    strange = replace(HAND.pairs[0].card, condition_text="の", terms=())
    hand = Hand((replace(HAND.pairs[0], card=strange), *HAND.pairs[1:]))
    engine = FakeEngine(good(HAND))
    async with writing(engine) as writer:
        reasons = [(await writer.write(hand)).reason for _ in range(6)]
        assert reasons == [Reason.RULES] * 6
        engine.script = bad(text=encode(Answer("よその題", "短い。")))
        reasons = [(await writer.write(hand)).reason for _ in range(6)]
        assert reasons == [Reason.RULES] * 5 + [Reason.QUALITY]


async def test_a_connection_that_is_lost_counts_as_a_failure_of_the_server() -> None:
    engine = FakeEngine(bad(AnswerError(Reason.LOST, "reset")))
    async with writing(engine) as writer:
        assert (await writer.write(HAND)).reason is Reason.LOST
        assert writer.fleet.lead.breaker.state(time.monotonic()) is BreakerState.OPEN


async def test_a_model_that_never_keeps_the_rules_is_spared_and_tried_out_again() -> None:
    engine = FakeEngine(bad())
    async with writing(engine) as writer:
        quality = writer.fleet.lead.quality
        reasons = [(await writer.write(HAND)).reason for _ in range(7)]
        assert reasons == [Reason.MALFORMED] * 5 + [Reason.QUALITY] * 2
        assert writer.fleet.lead.breaker.state(time.monotonic()) is BreakerState.CLOSED
        quality.cooldown_s = 0.05
        await asyncio.sleep(0.06)
        asked = len(engine.asks)
        assert (await writer.write(HAND)).reason is Reason.MALFORMED  # one hand tries, with all its attempts
        assert len(engine.asks) == asked + ATTEMPTS_MAX
        assert (await writer.write(HAND)).reason is Reason.QUALITY
        assert quality.pause_s == 0.1  # and the next trial comes later
        engine.script = good(HAND)
        await asyncio.sleep(0.11)
        assert (await writer.write(HAND)).source == "model"
        assert quality.state(time.monotonic()) is BreakerState.CLOSED


async def test_real_answers_teach_the_pace() -> None:
    async def slowly(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(0.2)
        async for piece in good(HAND)(ask):
            yield piece

    engine = FakeEngine(good(HAND))
    async with writing(engine) as writer:
        before = writer.fleet.lead.standing.pace
        engine.script = slowly
        for _ in range(5):
            await writer.write(HAND)
        after = writer.fleet.lead.standing.pace
    assert before is not None
    assert after is not None
    assert after.answer_s > before.answer_s + 0.05


class Watcher:
    """What somebody who watches is shown."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def wait(self, place: int, seconds: int) -> None:
        self.shown.append((place, seconds))

    def grow(self, text: str) -> None:
        self.shown.append(text)

    def withdraw(self, reason: Reason) -> None:
        self.shown.append(reason)


async def test_whoever_waits_is_told_the_place_and_the_time() -> None:
    async def slowly(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(0.3)
        async for piece in good(HAND)(ask):
            yield piece

    engine = FakeEngine(good(HAND))
    async with writing(engine, deadline_s=20) as writer:
        for _ in range(30):
            writer.fleet.lead.learn(0.1, 100, 2.5, 1)
        engine.script = slowly
        watchers = [Watcher() for _ in range(3)]
        outcomes = await asyncio.gather(*(writer.write(HAND, watcher) for watcher in watchers))
    assert [outcome.source for outcome in outcomes] == ["model"] * 3
    told = [[shown for shown in watcher.shown if isinstance(shown, tuple)] for watcher in watchers]
    assert told == [[], [(1, 3)], [(2, 5), (1, 3)]]


async def test_players_beyond_what_the_server_does_at_once_wait_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy server that works off one after the other, given twice as many: nobody takes it for dead."""
    monkeypatch.setattr(ladder, "FIRST_MIN_S", 0.3)
    monkeypatch.setattr(ladder, "WHOLE_MIN_S", 0.3)
    serial = asyncio.Lock()

    async def queueing(ask: Ask) -> AsyncGenerator[Piece, None]:
        async with serial:
            for _ in range(10):
                await asyncio.sleep(0.02)
                yield Piece("", 1, "考")
            async for piece in good(HAND)(ask):
                yield piece

    engine = FakeEngine(good(HAND))
    async with writing(engine, slots=4, deadline_s=20) as writer:
        engine.script = queueing
        outcomes = await asyncio.gather(*(writer.write(HAND, Watcher()) for _ in range(8)))
        assert writer.fleet.lead.standing.state is ModelState.READY
        assert writer.fleet.lead.queues_inside
    assert [outcome.source for outcome in outcomes] == ["model"] * 8


async def test_a_server_that_is_silent_to_everybody_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "WHOLE_MIN_S", 0.1)

    async def hang(ask: Ask) -> AsyncGenerator[Piece, None]:
        await asyncio.sleep(3600)
        yield Piece("")

    engine = FakeEngine(good(HAND))
    async with writing(engine) as writer:
        engine.script = hang
        assert (await writer.write(HAND)).reason is Reason.TIMEOUT
        assert writer.fleet.lead.standing.state is ModelState.SUSPECT
        assert (await writer.write(HAND)).reason is Reason.TIMEOUT
        assert len(engine.asks) == 2  # the second player was not sent there


def by_hand(game: Game) -> tuple[Table, Hand, Answer]:
    table = Table.of_game(game)
    assert table is not None
    return table, game.poems[0].hand, game.poems[0].answer


@pytest.mark.parametrize("policy", ["table", "auto"])
async def test_what_was_written_by_hand_comes_first_where_it_shall(policy: Policy) -> None:
    table, hand, answer = by_hand(GAME)
    engine = FakeEngine(good(hand))
    async with writing(engine, policy=policy, table=table) as writer:
        outcome = await writer.write(hand)
        assert (outcome.answer, outcome.source, outcome.reason) == (answer, "table", Reason.PREPARED)
        assert len(engine.asks) == 1  # the trial
        assert (await writer.write(HAND)).reason is not Reason.PREPARED
        assert len(engine.asks) > 1


async def test_by_default_the_model_is_asked_whatever_the_table_holds() -> None:
    table, hand, _ = by_hand(GAME)
    async with writing(FakeEngine(good(hand)), table=table) as writer:
        assert (await writer.write(hand)).source == "model"


@pytest.mark.parametrize(("policy", "reason"), [("auto", Reason.BELOW_COMPOSER), ("model", None), ("table", None)])
async def test_a_model_below_the_composer_writes_where_it_is_told_to(policy: Policy, reason: Reason | None) -> None:
    worse = ModelFacts("fake:latest", "sha256:first", Training(verdict=BELOW_COMPOSER))
    async with writing(FakeEngine(good(HAND), worse), policy=policy) as writer:
        assert (await writer.write(HAND)).reason is reason


async def test_the_same_seed_writes_the_same_poem() -> None:
    async with writing(FakeEngine(bad(UnavailableError(Reason.BUSY, "503")))) as writer:
        poems = [(await writer.write(HAND, seed=seed)).answer for seed in (7, 7, 8)]
    assert poems[0] == poems[1] != poems[2]


async def test_other_wordings_of_the_same_cards_have_the_table_s_poem() -> None:
    table, hand, answer = by_hand(GAME)
    other = hand_of(GAME.deck, [(pair.card.id, pair.card.poems[-1].id) for pair in hand.pairs])
    assert other.ids() != hand.ids()
    async with writing(FakeEngine(bad(UnavailableError(Reason.BUSY, "503"))), table=table) as writer:
        outcome = await writer.write(other)
    same_cards = [p.answer for p in GAME.poems if {c for c, _ in p.hand.ids()} == {c for c, _ in other.ids()}]
    assert outcome.source == "composed" or outcome.answer in same_cards
    assert not check(answer, other, GAME.deck.catchphrases) or outcome.source == "composed"
    if not check(answer, other, GAME.deck.catchphrases):
        assert outcome.source == "table"
