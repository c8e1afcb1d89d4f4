"""A hand → its poem, by the ladder: the model's if there is time and luck, else the table's or a composed one."""

import asyncio
import logging
import secrets
import sqlite3
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from poem.game import Game
from poem.hand import Answer, Hand, draw_candidates
from poem.prompt import Prompt
from poem_service.engine.protocol import Ask
from poem_service.errors import AnswerError, EngineError, Reason, UnavailableError
from poem_service.record.metrics import Metrics
from poem_service.record.outcome import Outcome, Source
from poem_service.request.answer import RuleError, check_answer
from poem_service.request.fallback import Lookup, fall_back
from poem_service.request.growth import Growth
from poem_service.watch.breaker import BreakerState
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import AskModel, FallBack, Situation, Wait, next_step, patience, reserve_s
from poem_service.watch.slots import Slots

log = logging.getLogger("poem_service.request.writer")


class Audience(Protocol):
    """Who watches a poem grow."""

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
    attempts: int = 0
    failure: Reason | None = None
    prompt: Prompt | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def spend(self, stage: str, since: float) -> None:
        self.stages[stage] = self.stages.get(stage, 0.0) + time.monotonic() - since


class Writer:
    """Writes poems; keeps nothing between two requests that a second copy of the service would need."""

    def __init__(
        self, game: Game, keeper: Keeper, slots: Slots, table: Lookup | None, metrics: Metrics, deadline_s: float
    ) -> None:
        self.game = game
        self.keeper = keeper
        self.slots = slots
        self.metrics = metrics
        self._table = table
        self._deadline_s = deadline_s

    async def write(self, hand: Hand, audience: Audience | None = None) -> Outcome:
        """A poem for the hand within the deadline. Never raises but for cancellation."""
        course = self._course(hand, audience)
        step = next_step(self._situation(course, holds_slot=False))
        if isinstance(step, Wait):
            since = time.monotonic()
            async with self.slots.hold(step.limit_s) as held:
                course.spend("wait", since)
                step = next_step(self._situation(course, holds_slot=True)) if held else FallBack(Reason.BUSY)
                while isinstance(step, AskModel):
                    try:
                        return await self._ask(course, step.limit_s)
                    except EngineError as error:
                        self._note_failure(course, error)
                    except Exception as error:  # a fault of ours must not cost a player the poem
                        log.exception("asking the model failed")
                        self._note_failure(course, AnswerError(Reason.UPSTREAM_ERROR, repr(error)))
                    step = next_step(self._situation(course, holds_slot=True))
        assert isinstance(step, FallBack)
        return self._fall_back(course, step.reason)

    def without_model(self, hand: Hand, reason: Reason, audience: Audience | None = None) -> Outcome:
        """A poem at once, for a player who asks too often."""
        return self._fall_back(self._course(hand, audience), reason)

    def _course(self, hand: Hand, audience: Audience | None) -> _Course:
        seed = secrets.randbelow(2**31)
        return _Course(hand, draw_candidates(self.game.deck, Random(seed)), seed, time.monotonic(), audience)

    def _situation(self, course: _Course, *, holds_slot: bool) -> Situation:
        now, standing = time.monotonic(), self.keeper.standing
        return Situation(
            remaining_s=course.started + self._deadline_s - reserve_s(self._deadline_s) - now,
            model=standing.state,
            why_not=standing.why_not,
            breaker_open=self.keeper.breaker.state(now) is not BreakerState.CLOSED,
            answer_s=standing.pace.answer_s if standing.pace else 0.0,
            holds_slot=holds_slot,
            ahead=self.slots.ahead,
            slots=self.slots.size,
            attempts=course.attempts,
            failure=course.failure,
        )

    async def _ask(self, course: _Course, limit_s: float) -> Outcome:
        """One answer of the model's, checked. Raises `EngineError`."""
        engine, standing = self.keeper.engine, self.keeper.standing
        assert engine is not None
        course.attempts += 1
        ask = Ask.of(self.game, course.hand, course.candidates, (course.seed + course.attempts - 1) % 2**31)
        course.prompt = ask.prompt
        since = time.monotonic()
        try:
            text = await self._text(course, ask, limit_s)
        except TimeoutError as error:
            raise UnavailableError(Reason.TIMEOUT, "no piece, or no end, in time") from error
        finally:
            course.spend("model", since)
        result = check_answer(text, course.hand, course.candidates)
        self.keeper.breaker.succeed()
        for repair in result.repairs:
            self.metrics.count_repair(repair)
        model = standing.facts.name if standing.facts else None
        return self._written(course, result.answer, "model", None, engine.name, model)

    async def _text(self, course: _Course, ask: Ask, limit_s: float) -> str:
        """The pieces of one answer, shown as they come; `TimeoutError` on silence or at the limit."""
        engine, pace = self.keeper.engine, self.keeper.standing.pace
        assert engine is not None
        bear = patience(pace.first_s, pace.piece_s) if pace else patience(1.0, 0.1)
        growth = Growth() if course.audience else None
        loop = asyncio.get_running_loop()
        started = loop.time()
        end = started + limit_s
        texts: list[str] = []
        tokens, first_s = 0, 0.0
        async with asyncio.timeout_at(min(end, started + bear.first_s)) as timer:
            async with aclosing(engine.write(ask)) as answer:
                async for piece in answer:
                    now = loop.time()
                    if not texts:
                        first_s = now - started
                        self.metrics.time_first_piece(first_s)
                    texts.append(piece.text)
                    tokens += piece.tokens
                    timer.reschedule(min(end, now + bear.gap_s))
                    if growth and course.audience and (text := growth.feed(piece.text)):
                        course.audience.grow(text)
        self.keeper.learn(first_s, tokens, loop.time() - started)
        return "".join(texts)

    def _note_failure(self, course: _Course, error: EngineError) -> None:
        course.failure = error.reason
        log.warning("the model's answer is not used", extra={"seen": {"reason": error.reason, "seen": error.seen}})
        self.metrics.count_failure(error.reason)
        if isinstance(error, RuleError):
            self.metrics.count_violations([v.rule for v in error.violations])
        if not isinstance(error, AnswerError) or error.reason is Reason.LOST:
            self.keeper.breaker.fail(time.monotonic())
        self.keeper.suspect(error)
        if course.audience:
            course.audience.withdraw(error.reason)

    def _fall_back(self, course: _Course, reason: Reason) -> Outcome:
        since = time.monotonic()
        try:
            found = fall_back(self.game, course.hand, course.candidates, course.seed, self._table)
        except sqlite3.Error as error:
            log.error("the table cannot be read", extra={"seen": {"error": str(error)}})
            found = fall_back(self.game, course.hand, course.candidates, course.seed, None)
        course.spend(found.source, since)
        if found.waived:
            self.metrics.count_waiver()
        if course.audience:
            course.audience.grow(found.answer.poem)
        return self._written(course, found.answer, found.source, reason, None, None)

    def _written(
        self,
        course: _Course,
        answer: Answer,
        source: Source,
        reason: Reason | None,
        engine: str | None,
        model: str | None,
    ) -> Outcome:
        seconds = time.monotonic() - course.started
        self.metrics.count_poem(source, reason, seconds)
        return Outcome(
            course.hand, answer, source, course.seed, seconds, reason, engine, model, course.prompt, course.stages
        )
