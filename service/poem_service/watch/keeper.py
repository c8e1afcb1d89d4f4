"""The engine, watched → how the model stands. Finds it, loads it, warms it up, measures it, notices its loss.

All of it is the service's own doing and independent of any player: a load that takes minutes is finished
however many players come and go, and a model that failed is tried out here before a player meets it again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from random import Random

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem.model_keys import BELOW_COMPOSER
from poem.outline import Stages
from poem_service.engine.formats import NOT_UNDERSTOOD
from poem_service.engine.protocol import Ask, Engine, ModelFacts, Training
from poem_service.errors import EngineError, Reason, RefusedError, UnavailableError
from poem_service.watch.breaker import Breaker, BreakerState
from poem_service.watch.ladder import ModelState, reserve_s
from poem_service.watch.pace import Pace, pace_of_trial
from poem_service.watch.pulse import Pulse
from poem_service.watch.slots import Slots
from poem_service.watch.standing import Standing

log = logging.getLogger("poem_service.watch.keeper")

TRIAL_PIECES = 32
WATCH_S = 5.0
RETRY_S = (0.25, 0.5, 1.0, 2.0, 3.0)
TOO_SLOW_RETRY_S = (3.0, 10.0, 30.0, 60.0)
EVICTIONS_BORNE = 2
EVICTION_SPAN_S = 120.0
"""So many evictions within this time are answered by loading again at once; more, with growing pauses."""
EVICTED_RETRY_S = (10.0, 20.0, 40.0, 60.0)
INSPECT_S = 8.0
HUNG_TRIALS = 2
"""After so many in a row without a piece a loaded model is loaded anew, once until a trial goes well: a runner may hang
for ever in a server that answers, and a machine that is too slow gains nothing by another load."""
GONE = frozenset({Reason.UNREACHABLE, Reason.MODEL_MISSING})
"""After one of these the next player would surely fare the same; a silence (timeout) is looked into first."""
QUEUED_TOLD = 3
"""After so many asks in a row that waited inside the server, it is said."""

Choose = Callable[[], Awaitable[Engine]]


class Keeper:
    """Owns the engine. `run` is a background task; everything else is told to it."""

    def __init__(
        self,
        choose: Choose,
        game: Game,
        deadline_s: float,
        slots: Slots,
        label: str = "engine",
        share: float = 0.0,
        *,
        above_composer: bool = False,
    ) -> None:
        self.label = label
        """Which engine, where there are several."""
        self.share = share
        """Of the hands, if it is a canary: an engine with a new model."""
        self.above_composer = above_composer
        """Whether a model that its build found worse than the composer has no hand."""
        self.slots = slots
        self.poems = 0
        """That it wrote."""
        self._choose = choose
        self._game = game
        self._deadline_s = deadline_s
        self.pulse = Pulse()
        self.breaker = Breaker()
        """Of the server: it fails, or it hangs."""
        self.quality = Breaker(threshold=5, cooldown_s=60.0, cooldown_max_s=960.0)
        """Of what it writes: hands in a row for which no answer kept the rules. A player's hand is the trial."""
        self.engine: Engine | None = None
        self.standing = Standing()
        self.cold_s: float | None = None
        """What the last load took, to the first piece of an answer; None if the model was always found loaded."""
        self._nudge = asyncio.Event()
        self._failures = 0
        self._trials = 0
        self._slow_trials = 0
        self._hung_trials = 0
        self._renewed = False
        self._loads: deque[float] = deque(maxlen=EVICTIONS_BORNE + len(EVICTED_RETRY_S))
        self._queued = 0
        self._queues_told = False

    async def run(self) -> None:
        """Watch for ever; cancel to stop."""
        while True:
            pause_s = await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudge.wait()
            self._nudge.clear()

    def obstacle(self, now: float, *, on_trial: bool = False) -> Reason | None:
        """Why no player's hand goes to the model now; None if it does, as the hand that tries the quality out does."""
        if self.standing.state is not ModelState.READY:
            return self.standing.why_not or Reason.STARTING
        if self.breaker.state(now) is not BreakerState.CLOSED:
            return Reason.BREAKER_OPEN
        if on_trial:
            return None
        if self.above_composer and self.below_composer:
            return Reason.BELOW_COMPOSER
        return Reason.QUALITY if self.quality.state(now) is BreakerState.OPEN else None

    def due(self) -> tuple[float, float]:
        """When another ask would be done, by the measured pace, and how busy the engine is."""
        answer_s = self.standing.pace.answer_s if self.standing.pace else 0.0
        return answer_s * (self.slots.ahead // self.slots.size + 1), self.slots.ahead / self.slots.size

    @property
    def below_composer(self) -> bool:
        """Whether the model's build found it worse than the composer."""
        return self.training.verdict == BELOW_COMPOSER

    @property
    def prompt_version_served(self) -> str:
        """Of the prompt that the model is asked with, in as many stages as it was trained in."""
        return self._game.prompt_in(self.training.stages)

    @property
    def prompt_differs(self) -> bool:
        """Whether the model says it was trained on another prompt than it is asked with."""
        version = self.training.prompt_version
        return version is not None and version != self.prompt_version_served

    @property
    def game_differs(self) -> bool:
        """Whether the model says it was trained on another deck than the one that is dealt."""
        digest = self.training.game_digest
        return digest is not None and digest != self._game.deck.digest

    @property
    def training(self) -> Training:
        """What the model says of its training."""
        return self.standing.facts.training if self.standing.facts else Training()

    @property
    def queues_inside(self) -> bool:
        """Whether the server does fewer asks at once than it is given: the others wait in it, unseen."""
        return self._queued >= QUEUED_TOLD

    def suspect(self, error: EngineError) -> None:
        """A player's request found the model gone or silent: nobody else is sent there before a look."""
        if error.reason in GONE:
            self._change(replace(self.standing, state=ModelState.ABSENT, why_not=error.reason, detail=error.seen))
        elif error.reason is Reason.TIMEOUT and self.standing.state is ModelState.READY:
            self._change(replace(self.standing, state=ModelState.SUSPECT, why_not=error.reason, detail=error.seen))
        else:
            return
        self._nudge.set()

    def note_failure(self, error: EngineError) -> None:
        """An ask failed: what is the server's own fault counts against it, and what may be a loss is looked into."""
        if isinstance(error, RefusedError) and error.status in NOT_UNDERSTOOD:
            return  # such as a prompt that is too long: another ask may fare better
        unavailable = isinstance(error, UnavailableError) and error.reason is not Reason.BUSY
        if unavailable or error.reason is Reason.LOST:
            self.breaker.fail(time.monotonic())
        self.suspect(error)

    def look_now(self) -> None:
        """Look at the engine without waiting out the pause."""
        self._nudge.set()

    def learn(self, first_s: float | None, tokens: int, seconds: float, crowd: int) -> None:
        """A whole answer came: the pace follows, and whether it waited inside the server among `crowd` asks."""
        pace = self.standing.pace
        if pace is None:
            return
        if first_s is not None and crowd > 1:
            waited = first_s - pace.alone_first_s
            self._queued = self._queued + 1 if waited > max(0.3, 0.4 * (seconds - first_s)) else 0
            if self.queues_inside and not self._queues_told:
                self._queues_told = True
                log.warning("the server does fewer poems at once than POEM_MAX_ACTIVE: lower it, or raise the server's")
        self.standing = replace(self.standing, pace=pace.mixed(first_s, tokens, seconds))

    async def aclose(self) -> None:
        if self.engine is not None:
            await self.engine.aclose()

    async def look(self) -> float:
        """One look at the engine, with what follows from it; how long to pause before the next."""
        try:
            if self.engine is None:
                self.engine = await self._choose()
            async with asyncio.timeout(INSPECT_S):
                facts = await self.engine.inspect()
            before = self.standing
            same = before.facts is not None and before.facts.digest == facts.digest
            settled = before.state is ModelState.READY and same and facts.loaded
            if settled and self.breaker.state(time.monotonic()) is not BreakerState.HALF_OPEN:
                self.standing = replace(before, facts=facts)
            elif (pause_s := self._eviction_pause_s(facts)) > 0:
                detail = f"another program takes its memory; the next load is in {pause_s:.0f} s at the latest"
                self._change(Standing(ModelState.ABSENT, Reason.EVICTED, detail, facts))
                return min(pause_s, WATCH_S)
            else:
                await self._make_ready(self.engine, facts)
            self._failures = 0
            if self.standing.state is ModelState.TOO_SLOW:
                self._slow_trials += 1
                return TOO_SLOW_RETRY_S[min(self._slow_trials, len(TOO_SLOW_RETRY_S)) - 1]
            self._slow_trials = 0
            return self._watch_s()
        except EngineError as error:
            return self._fail(error)
        except TimeoutError:
            return self._fail(UnavailableError(Reason.TIMEOUT, "no answer to a look"))
        except Exception as error:  # a fault of ours: the players have the table, and the watch goes on
            log.exception("looking after the model failed")
            return self._fail(UnavailableError(Reason.UPSTREAM_ERROR, repr(error)))

    def _watch_s(self) -> float:
        """The usual pause, or until an open breaker wants its trial."""
        opened_at = self.breaker.opened_at
        if opened_at is None:
            return WATCH_S
        return min(WATCH_S, max(0.05, opened_at + self.breaker.pause_s - time.monotonic()))

    def _eviction_pause_s(self, facts: ModelFacts) -> float:
        """How long the next load has to wait; 0 if the model is loaded or was not loaded often of late."""
        if facts.loaded:
            return 0.0
        now = time.monotonic()
        while self._loads and now - self._loads[0] > EVICTION_SPAN_S:
            self._loads.popleft()
        over = len(self._loads) - 1 - EVICTIONS_BORNE  # the first load was no eviction
        return max(0.0, self._loads[-1] + EVICTED_RETRY_S[min(over, 3)] - now) if over >= 0 else 0.0

    def _fail(self, error: EngineError) -> float:
        if error.reason in GONE:
            self._loads.clear()  # whoever comes back without the model has restarted, and evicted nothing
        pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        facts = self.standing.facts
        self._change(Standing(ModelState.ABSENT, error.reason, error.seen, facts))
        return pause_s

    async def _make_ready(self, engine: Engine, facts: ModelFacts) -> None:
        if facts.loaded and self._hung_trials >= HUNG_TRIALS and not self._renewed:
            self._renewed = True
            log.warning("the model hangs in its server: it is loaded anew", extra={"seen": {"engine": self.label}})
            await engine.unload()
            raise UnavailableError(Reason.TIMEOUT, f"{self._hung_trials} trials hung; the model is loaded anew")
        load_s = None
        if not facts.loaded:
            self._change(Standing(ModelState.LOADING, Reason.LOADING, None, facts))
            started = time.monotonic()
            await engine.load()
            self._loads.append(time.monotonic())
            load_s = time.monotonic() - started
            async with asyncio.timeout(INSPECT_S):
                facts = await engine.inspect()
        elif self.standing.state not in (ModelState.READY, ModelState.SUSPECT):
            self._change(Standing(ModelState.TRIAL, Reason.TRIAL, None, facts))
        pace = await self._pace(engine, facts.training.stages)
        if load_s is not None:
            self.cold_s = load_s + pace.first_s
        if pace.first_s > self._deadline_s / 4:  # most of that was the fixed part, which is kept from now on
            pace = await self._pace(engine, facts.training.stages)
        self.breaker.succeed()
        self._hung_trials, self._renewed = 0, False
        if self.standing.facts and self.standing.facts.digest != facts.digest:
            self.quality.succeed()  # another model deserves another chance
        slow = pace.answer_s > self._deadline_s - reserve_s(self._deadline_s)
        state, why = (ModelState.TOO_SLOW, Reason.TOO_SLOW) if slow else (ModelState.READY, None)
        detail = f"an answer takes about {pace.answer_s:.0f} s" if slow else None
        self._change(Standing(state, why, detail, facts, pace))

    async def _pace(self, engine: Engine, stages: Stages) -> Pace:
        """Let the model begin an answer that nobody waits for; it takes its turn among the players."""
        self._trials += 1
        rng = Random(self._trials)
        deck = self._game.deck
        hand, candidates = deal(deck, rng), draw_candidates(deck, rng)
        if stages == 1:
            ask = Ask.of(self._game, hand, candidates, self._trials)
        else:
            ask = replace(Ask.for_outline(self._game, hand, candidates, self._trials), stream=True)
        first_s, tokens = 0.0, 0
        async with self.slots.hold(2 * self._deadline_s) as held:
            if not held:
                raise UnavailableError(Reason.BUSY, "no slot came free for a trial")
            started = time.monotonic()
            try:
                async with asyncio.timeout(2 * self._deadline_s), aclosing(engine.write(ask)) as answer:
                    async for piece in answer:
                        if not tokens:
                            first_s = time.monotonic() - started
                        tokens += piece.tokens
                        if tokens >= TRIAL_PIECES:
                            break
            except (EngineError, TimeoutError) as error:
                self._refuse_trial(error, tokens)
            return pace_of_trial(first_s, tokens, time.monotonic() - started)

    def _refuse_trial(self, error: EngineError | TimeoutError, tokens: int) -> None:
        """A trial that was cut still tells the pace; one that hardly began tells that the model is out."""
        if tokens >= (TRIAL_PIECES // 4 if isinstance(error, EngineError) else 2):
            return
        self.breaker.fail(time.monotonic())
        if isinstance(error, EngineError):
            raise error
        self._hung_trials += tokens == 0
        raise UnavailableError(Reason.TIMEOUT, f"a trial hung after {tokens} pieces") from error

    def _change(self, standing: Standing) -> None:
        differed = self.prompt_differs, self.game_differs
        before, self.standing = self.standing, standing
        if (before.state, before.why_not) != (standing.state, standing.why_not):
            log.info("model %s", standing.state, extra={"seen": {"engine": self.label} | standing.as_json()})
        if self.prompt_differs and not differed[0]:
            log.warning("the model was trained on another prompt", extra={"seen": standing.as_json()})
        if self.game_differs and not differed[1]:
            log.warning("the model was trained on another game", extra={"seen": standing.as_json()})
