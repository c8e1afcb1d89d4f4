"""The engine, watched → how the model stands. Finds it, loads it, warms it up, measures it, notices its loss.

All of it is the service's own doing and independent of any player: a load that takes minutes is finished
however many players come and go, and a model that failed is tried out here before a player meets it again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from random import Random

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem_service.engine.protocol import Ask, Engine, ModelFacts, Training
from poem_service.errors import EngineError, Reason, UnavailableError
from poem_service.watch.breaker import Breaker, BreakerState
from poem_service.watch.ladder import ModelState, reserve_s

log = logging.getLogger("poem_service.watch.keeper")

TRIAL_PIECES = 32
ANSWER_PIECES = 240
"""Tokens of a long answer, until real answers tell."""
WATCH_S = 5.0
RETRY_S = (0.25, 0.5, 1.0, 2.0, 3.0)
TOO_SLOW_RETRY_S = (3.0, 10.0, 30.0, 60.0)
INSPECT_S = 8.0
GONE = frozenset({Reason.UNREACHABLE, Reason.MODEL_MISSING, Reason.TIMEOUT})
"""After one of these the next player would most likely fare the same; other failures are the breaker's."""
_WEIGHT = 0.2
"""Of the newest answer in the running mean."""

Choose = Callable[[], Awaitable[Engine]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the model is."""

    first_s: float
    piece_s: float
    answer_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How the model stands; what `/ready` tells."""

    state: ModelState = ModelState.STARTING
    why_not: Reason | None = Reason.STARTING
    detail: str | None = None
    facts: ModelFacts | None = None
    pace: Pace | None = None


class Keeper:
    """Owns the engine. `run` is a background task; everything else is told to it."""

    def __init__(self, choose: Choose, game: Game, deadline_s: float, breaker: Breaker) -> None:
        self._choose = choose
        self._game = game
        self._deadline_s = deadline_s
        self.breaker = breaker
        self.engine: Engine | None = None
        self.standing = Standing()
        self.cold_s: float | None = None
        """What the last load took, to the first piece of an answer; None if the model was always found loaded."""
        self._nudge = asyncio.Event()
        self._failures = 0
        self._trials = 0
        self._slow_trials = 0

    async def run(self) -> None:
        """Watch for ever; cancel to stop."""
        while True:
            pause_s = await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudge.wait()
            self._nudge.clear()

    def suspect(self, error: EngineError) -> None:
        """A player's request found the model gone or hanging: nobody else is sent there before a look."""
        if error.reason in GONE:
            self._change(replace(self.standing, state=ModelState.ABSENT, why_not=error.reason, detail=error.seen))
            self._nudge.set()

    @property
    def prompt_differs(self) -> bool:
        """Whether the model says it was trained on another prompt than it is asked with."""
        version = self.training.prompt_version
        return version is not None and version != self._game.prompt_version

    @property
    def game_differs(self) -> bool:
        """Whether the model says it was trained on another deck than the one that is dealt."""
        digest = self.training.game_digest
        return digest is not None and digest != self._game.deck.digest

    @property
    def training(self) -> Training:
        """What the model says of its training."""
        return self.standing.facts.training if self.standing.facts else Training()

    def look_now(self) -> None:
        """Look at the engine without waiting out the pause."""
        self._nudge.set()

    def learn(self, first_s: float, tokens: int, seconds: float) -> None:
        """A whole answer came: the pace follows."""
        if (pace := self.standing.pace) is None or tokens < 2:
            return
        now = Pace(first_s, (seconds - first_s) / (tokens - 1), seconds)
        mixed = Pace(
            *(
                (1 - _WEIGHT) * old + _WEIGHT * new
                for old, new in (
                    (pace.first_s, now.first_s),
                    (pace.piece_s, now.piece_s),
                    (pace.answer_s, now.answer_s),
                )
            )
        )
        self.standing = replace(self.standing, pace=mixed)

    async def aclose(self) -> None:
        if self.engine is not None:
            await self.engine.aclose()

    async def _look(self) -> float:
        """One look at the engine, with what follows from it; how long to pause before the next."""
        try:
            if self.engine is None:
                self.engine = await self._choose()
            async with asyncio.timeout(INSPECT_S):
                facts = await self.engine.inspect()
            before = self.standing
            same = before.facts is not None and before.facts.digest == facts.digest
            settled = before.state is ModelState.READY and same and facts.loaded
            if not settled or self.breaker.state(time.monotonic()) is BreakerState.HALF_OPEN:
                await self._make_ready(self.engine, facts)
            else:
                self.standing = replace(before, facts=facts)
            self._failures = 0
            if self.standing.state is ModelState.TOO_SLOW:
                self._slow_trials += 1
                return TOO_SLOW_RETRY_S[min(self._slow_trials, len(TOO_SLOW_RETRY_S)) - 1]
            self._slow_trials = 0
            return self._watch_s()
        except EngineError as error:
            return self._failed(error)
        except TimeoutError:
            return self._failed(UnavailableError(Reason.TIMEOUT, "no answer to a look"))
        except Exception as error:  # a fault of ours: the players have the table, and the watch goes on
            log.exception("looking after the model failed")
            return self._failed(UnavailableError(Reason.UPSTREAM_ERROR, repr(error)))

    def _watch_s(self) -> float:
        """The usual pause, or until an open breaker wants its trial."""
        opened_at = self.breaker.opened_at
        if opened_at is None:
            return WATCH_S
        return min(WATCH_S, max(0.05, opened_at + self.breaker.cooldown_s - time.monotonic()))

    def _failed(self, error: EngineError) -> float:
        pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        facts = self.standing.facts
        self._change(Standing(ModelState.ABSENT, error.reason, error.seen, facts))
        return pause_s

    async def _make_ready(self, engine: Engine, facts: ModelFacts) -> None:
        trial_only = self.standing.state is ModelState.READY and facts.loaded
        if not trial_only:
            self._change(Standing(ModelState.LOADING, Reason.LOADING, None, facts))
        load_s = None
        if not facts.loaded:
            started = time.monotonic()
            await engine.load()
            load_s = time.monotonic() - started
            async with asyncio.timeout(INSPECT_S):
                facts = await engine.inspect()
        pace = await self._pace(engine)
        if load_s is not None:
            self.cold_s = load_s + pace.first_s
        if pace.first_s > self._deadline_s / 4:  # most of that was the fixed part, which is kept from now on
            pace = await self._pace(engine)
        self.breaker.succeed()
        slow = pace.answer_s > self._deadline_s - reserve_s(self._deadline_s)
        state, why = (ModelState.TOO_SLOW, Reason.TOO_SLOW) if slow else (ModelState.READY, None)
        detail = f"an answer takes about {pace.answer_s:.0f} s" if slow else None
        self._change(Standing(state, why, detail, facts, pace))

    async def _pace(self, engine: Engine) -> Pace:
        """Let the model begin an answer that nobody waits for."""
        self._trials += 1
        rng = Random(self._trials)
        ask = Ask.of(self._game, deal(self._game.deck, rng), draw_candidates(self._game.deck, rng), self._trials)
        started = time.monotonic()
        first_s, pieces = 0.0, 0
        try:
            async with asyncio.timeout(2 * self._deadline_s), aclosing(engine.write(ask)) as answer:
                async for piece in answer:
                    if not pieces:
                        first_s = time.monotonic() - started
                    pieces += piece.tokens
                    if pieces >= TRIAL_PIECES:
                        break
        except (EngineError, TimeoutError) as error:
            self._refuse_trial(error, pieces)
        piece_s = (time.monotonic() - started - first_s) / max(1, pieces - 1)
        return Pace(first_s, piece_s, first_s + ANSWER_PIECES * piece_s)

    def _refuse_trial(self, error: EngineError | TimeoutError, pieces: int) -> None:
        """A trial that was cut still tells the pace; one that hardly began tells that the model is out."""
        if pieces >= (TRIAL_PIECES // 4 if isinstance(error, EngineError) else 2):
            return
        self.breaker.fail(time.monotonic())
        if isinstance(error, EngineError):
            raise error
        raise UnavailableError(Reason.TIMEOUT, f"a trial hung after {pieces} pieces") from error

    def _change(self, standing: Standing) -> None:
        differed = self.prompt_differs, self.game_differs
        before, self.standing = self.standing, standing
        if (before.state, before.why_not) != (standing.state, standing.why_not):
            log.info("model %s", standing.state, extra={"seen": _told(standing)})
        if self.prompt_differs and not differed[0]:
            log.warning("the model was trained on another prompt", extra={"seen": _told(standing)})
        if self.game_differs and not differed[1]:
            log.warning("the model was trained on another game", extra={"seen": _told(standing)})


def _told(standing: Standing) -> dict[str, object]:
    facts, pace = standing.facts, standing.pace
    return {
        "reason": standing.why_not,
        "detail": standing.detail,
        "model": facts.name if facts else None,
        "digest": facts.digest if facts else None,
        "prompt_version": facts.training.prompt_version if facts else None,
        "game": facts.training.game if facts else None,
        "tokens_per_s": round(1 / pace.piece_s, 1) if pace and pace.piece_s > 0 else None,
    }
