"""A hand → its poem, by the ladder: the model's if there is time and luck, else the table's or a composed one."""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal, Protocol

from poem.game import Game
from poem.hand import Hand, draw_candidates
from poem.prompt import Prompt
from poem_service.engine.protocol import Ask, Engine
from poem_service.errors import EngineError, Reason
from poem_service.record.metrics import Metrics
from poem_service.record.outcome import Outcome
from poem_service.request.answer import RuleError, check_answer, read_outline
from poem_service.request.asking import Draft, OnText, draft
from poem_service.request.fallback import Fallback, Lookup, fall_back, look_up
from poem_service.request.growth import Growth
from poem_service.watch.breaker import BreakerState
from poem_service.watch.fleet import Fleet
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import AskModel, FallBack, Situation, Step, Wait, next_step, reserve_s

log = logging.getLogger("poem_service.request.writer")

Policy = Literal["model", "table", "auto"]
POOR = frozenset({Reason.RULES, Reason.MALFORMED, Reason.INCOMPLETE})
"""The server did its part; what the model wrote is no poem."""
_BY_THE_CARDS = frozenset({"giveaway", "copied"})
"""Rules that a stranger's cards can make impossible to keep."""


class Audience(Protocol):
    """Who watches a poem come to be."""

    def wait(self, place: int, seconds: int) -> None: ...

    def grow(self, text: str) -> None: ...

    def withdraw(self, reason: Reason) -> None: ...


@dataclass(slots=True)
class _Course:
    """One request's way down the ladder."""

    hand: Hand
    candidates: tuple[str, ...]
    seed: int
    started: float
    audience: Audience | None
    keeper: Keeper
    """Of the engine that is asked, or would be."""
    on_trial: bool = False
    """Whether this hand tries out a model whose poems kept breaking the rules."""
    attempts: int = 0
    failure: Reason | None = None
    poor: bool = False
    """Whether the model is to blame for the last failure."""
    prompt: Prompt | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def spend(self, stage: str, since: float) -> None:
        self.stages[stage] = self.stages.get(stage, 0.0) + time.monotonic() - since


class Writer:
    """Writes poems; keeps nothing between two requests that a second copy of the service would need."""

    def __init__(
        self,
        game: Game,
        fleet: Fleet,
        table: Lookup | None,
        metrics: Metrics,
        deadline_s: float,
        policy: Policy = "model",
    ) -> None:
        self.game = game
        self.fleet = fleet
        self.metrics = metrics
        self.stopping = False
        self._table = table
        self._deadline_s = deadline_s
        self._policy = policy
        self._at_the_model: set[asyncio.Timeout] = set()

    async def write(self, hand: Hand, audience: Audience | None = None, seed: int | None = None) -> Outcome:
        """A poem for the hand within the deadline. Never raises but for cancellation."""
        course = self._course(hand, audience, seed)
        if self._policy != "model":
            found = look_up(self.game, hand, self._table, by_hand=self._policy == "auto")
            if found is not None:
                course.spend(found.source, course.started)
                return self._end(course, found, Reason.PREPARED)
        try:
            async with self.until_stopped():
                result = await self._ask_by_the_ladder(course)
        except TimeoutError:
            result = Reason.STOPPING
        except Exception:  # a fault of ours must not cost a player the poem
            log.exception("asking the model failed")
            result = Reason.UPSTREAM_ERROR
        return result if isinstance(result, Outcome) else self._fall_back(course, result)

    def without_model(self, hand: Hand, reason: Reason, audience: Audience | None = None) -> Outcome:
        """A poem at once, for a player who asks too often."""
        return self._fall_back(self._course(hand, audience, None), reason)

    def obstacle(self, keeper: Keeper, now: float, *, on_trial: bool = False) -> Reason | None:
        """Why no hand goes to that keeper's model now; None if it does."""
        return Reason.STOPPING if self.stopping else keeper.obstacle(now, on_trial=on_trial)

    def stop(self) -> None:
        """Whoever waits for the model or for its answer has the fallback at once; nobody asks it from now on."""
        self.stopping = True
        for timer in self._at_the_model:
            timer.reschedule(asyncio.get_running_loop().time())
        self._at_the_model.clear()

    @asynccontextmanager
    async def until_stopped(self) -> AsyncIterator[None]:
        """Raises `TimeoutError` in the block once the service stops."""
        async with asyncio.timeout(None) as timer:
            self._at_the_model.add(timer)
            try:
                yield
            finally:
                self._at_the_model.discard(timer)

    def _course(self, hand: Hand, audience: Audience | None, seed: int | None) -> _Course:
        seed, now = secrets.randbelow(2**31) if seed is None else seed, time.monotonic()
        keeper = self.fleet.pick(seed, now) or self.fleet.lead
        return _Course(hand, draw_candidates(self.game.deck, Random(seed)), seed, now, audience, keeper)

    def _next(self, course: _Course, *, holds_slot: bool) -> Step:
        keeper, now = course.keeper, time.monotonic()
        pace = keeper.standing.pace
        at = Situation(
            remaining_s=course.started + self._deadline_s - reserve_s(self._deadline_s) - now,
            obstacle=self.obstacle(keeper, now, on_trial=course.on_trial),
            answer_s=pace.answer_s if pace else 0.0,
            holds_slot=holds_slot,
            ahead=keeper.slots.ahead,
            slots=keeper.slots.size,
            attempts=course.attempts,
            failure=course.failure,
        )
        return next_step(at)

    async def _ask_by_the_ladder(self, course: _Course) -> Outcome | Reason:
        """A model's poem, or why the first that was asked gave none: another ready engine has its turn then."""
        first: Reason | None = None
        tried: list[Keeper] = []
        while True:
            result = await self._ask_one(course)
            if isinstance(result, Outcome):
                return result
            first = first or result
            tried.append(course.keeper)
            another = self.fleet.pick(course.seed, time.monotonic(), tried)
            if another is None or self.stopping or course.failure in POOR:
                return first
            course.keeper, course.failure, course.poor, course.on_trial = another, None, False, False

    async def _ask_one(self, course: _Course) -> Outcome | Reason:
        """The same of one engine."""
        step = self._next(course, holds_slot=False)
        if isinstance(step, Wait):
            since = time.monotonic()
            async with course.keeper.slots.hold(step.limit_s, lambda place: self._tell_place(course, place)) as held:
                course.spend("wait", since)
                step = self._next(course, holds_slot=True) if held else FallBack(Reason.BUSY)
                while isinstance(step, AskModel):
                    try:
                        return await self._ask(course, step.limit_s)
                    except EngineError as error:
                        self._note_failure(course, error)
                    step = self._next(course, holds_slot=True)
        if course.poor:
            course.keeper.quality.fail(time.monotonic())
        assert isinstance(step, FallBack)
        return step.reason

    def _tell_place(self, course: _Course, place: int) -> None:
        if course.audience:
            answer_s = pace.answer_s if (pace := course.keeper.standing.pace) else 0.0
            course.audience.wait(place, math.ceil(answer_s * math.ceil(place / course.keeper.slots.size)))

    async def _ask(self, course: _Course, limit_s: float) -> Outcome:
        """One answer of the model's, checked. Raises `EngineError`."""
        keeper, now = course.keeper, time.monotonic()
        engine, standing = keeper.engine, keeper.standing
        assert engine is not None
        if keeper.quality.state(now) is BreakerState.HALF_OPEN:
            keeper.quality.try_once(now)
            course.on_trial = True
        seed = (course.seed + course.attempts) % 2**31
        course.attempts += 1
        try:
            found = await self._draft(course, engine, seed, limit_s)
        finally:
            course.spend("model", now)
        keeper.learn(found.first_s, found.tokens, found.seconds, found.crowd)
        if found.first_s is not None:
            self.metrics.time_first_piece(found.first_s)
        result = check_answer(found.text, course.hand, course.candidates)
        keeper.breaker.succeed()
        keeper.quality.succeed()
        keeper.poems += 1
        for repair in result.repairs:
            self.metrics.count_repair(repair)
        outcome = self._end(course, Fallback(result.answer, "model"), None)
        outcome.model = standing.facts.name if standing.facts else None
        outcome.engine = engine.name
        outcome.reasoning = found.thoughts or None
        return outcome

    async def _draft(self, course: _Course, engine: Engine, seed: int, limit_s: float) -> Draft:
        """What the model writes for the hand, by an outline of its own first where it was trained so."""
        keeper, audience = course.keeper, course.audience
        stream, on_text = audience is not None, _growing(audience) if audience else None
        if keeper.training.stages == 1:
            ask = Ask.of(self.game, course.hand, course.candidates, seed, stream=stream)
            course.prompt = ask.prompt
            return await draft(keeper, engine.write(ask), limit_s, stream=stream, on_text=on_text)
        first = Ask.for_outline(self.game, course.hand, course.candidates, seed)
        course.prompt = first.prompt
        outlined = await draft(keeper, engine.write(first), limit_s, stream=first.stream)
        outline = read_outline(outlined.text, course.candidates)
        ask = Ask.by_outline(self.game, outline, seed, stream=stream)
        course.prompt = first.prompt.then(ask.prompt)
        left_s = limit_s - outlined.seconds
        found = await draft(keeper, engine.write(ask), left_s, stream=stream, on_text=on_text)
        return found.after(outlined)

    def _note_failure(self, course: _Course, error: EngineError) -> None:
        course.failure, course.poor = error.reason, error.reason in POOR
        log.warning("the model's answer is not used", extra={"seen": {"reason": error.reason, "seen": error.seen}})
        self.metrics.count_failure(error.reason)
        if isinstance(error, RuleError):
            rules = [v.rule for v in error.violations]
            self.metrics.count_violations(rules)
            own = all(self.game.owns(pair.card) for pair in course.hand.pairs)
            course.poor = own or not _BY_THE_CARDS.issuperset(rules)
        course.keeper.note_failure(error)
        if course.audience:
            course.audience.withdraw(error.reason)

    def _fall_back(self, course: _Course, reason: Reason) -> Outcome:
        since = time.monotonic()
        found = fall_back(self.game, course.hand, course.candidates, course.seed, self._table)
        course.spend(found.source, since)
        if course.audience:
            course.audience.withdraw(reason)  # of an answer that was cut by a stop or by a fault of ours
        return self._end(course, found, reason)

    def _end(self, course: _Course, found: Fallback, reason: Reason | None) -> Outcome:
        """The poem is there: counted, shown, and with how it came to be."""
        if found.waived:
            self.metrics.count_waiver()
        if course.audience and reason is not None:
            course.audience.grow(found.answer.poem)
        seconds = time.monotonic() - course.started
        self.metrics.count_poem(found.source, reason, seconds)
        return Outcome(
            course.hand,
            found.answer,
            found.source,
            course.seed,
            seconds,
            reason,
            prompt=course.prompt,
            stages=course.stages,
        )


def _growing(audience: Audience) -> OnText:
    """Shows the poem in the model's JSON as it becomes readable."""
    growth = Growth()

    def show(text: str) -> None:
        if grown := growth.feed(text):
            audience.grow(grown)

    return show
