"""Questions → answers that keep the rules, each asked until one does; every step is in the journal before the next."""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from poem_build.errors import TeacherError
from poem_build.teacher.journal import Journal
from poem_build.teacher.money import Price, Purse
from poem_build.teacher.pace import Pace
from poem_build.teacher.patience import patiently
from poem_build.teacher.protocol import Ask, BusyError, FailedError, Said, Teacher, Turn

T = TypeVar("T")
_HALVES = re.compile("[\ud800-\udfff]")
"""Of a character; JSON can say them, no file can hold them."""
_ENDED = {
    "length": "the answer was cut off at the most tokens that it may have; write less",
    "safety": "the answer was withheld by the teacher's safety filter; choose other words",
}


class AnswerError(Exception):
    """An answer that will not do; the text says why, to the teacher."""


@dataclass(frozen=True, slots=True)
class Settled(Generic[T]):
    """What became of a question: the answer, whose it is and what it cost with its tries, or None and why not."""

    ask: Ask
    answer: T | None
    reason: str = ""
    teacher: str = ""
    model: str = ""
    usd: float = 0.0


class Ahead(NamedTuple):
    """What becomes of questions: how many would be asked now, are answered, and are out in a batch."""

    asks: int
    taken: int
    out: int


@dataclass(frozen=True)
class Terms:
    """How a teacher is asked."""

    price: Price
    tries: int
    max_tokens: int
    kept_s: float = 0
    """How long the teacher is asked to keep a fixed prompt; it asks again when half of that is over."""


class Asking(Generic[T]):
    """A teacher, a journal and a purse. `read` makes an answer of a text, or raises `AnswerError`.

    `beside` are journals whose answers count where the teacher's own has none.
    """

    def __init__(
        self,
        teacher: Teacher,
        journal: Journal,
        purse: Purse,
        pace: Pace,
        terms: Terms,
        read: Callable[[Ask, str], T],
        beside: Sequence[Journal] = (),
    ) -> None:
        self.teacher, self.journal, self.purse, self.terms = teacher, journal, purse, terms
        self._beside = beside
        self._pace, self._read = pace, read
        self._kept_since: dict[str, float] = {}
        """When money for keeping a fixed prompt was last put aside."""
        self.out_now: Counter[str] = Counter()
        """By key, how often a question went out now, what the journal had aside."""

    @property
    def asked(self) -> int:
        """Questions that went out now."""
        return self.out_now.total()

    def known(self, ask: Ask) -> Settled[T] | None:
        """What the journals have of the question, if that settles it: the newest of good answers."""
        for journal in (self.journal, *self._beside):
            story, whose = journal.story(ask.key), journal.about
            for said in reversed(story.answers):  # people import poems that they have corrected
                answer, _ = self._judge(ask, said)
                if answer is not None:
                    return Settled(ask, answer, "", whose.teacher, whose.model, story.paid_usd)
        return self._unanswered(ask) if len(self.journal.story(ask.key).answers) >= self.terms.tries else None

    def standing(self, ask: Ask) -> Settled[T]:
        """How the question stands, whether or not it is settled."""
        return self.known(ask) or self._unanswered(ask)

    def ahead(self, groups: Sequence[tuple[Iterator[Ask], int]], out: Set[str] = frozenset()) -> Ahead:
        """What would be asked for so many answers of each group, if none is asked twice; `out` are keys in a batch.

        The groups are looked through side by side, and no further than there is something in the journals: to deal
        5,000 hands takes a minute.
        """
        left = {*out, *(key for one in (self.journal, *self._beside) for key in one.with_answers)}
        missing = [wanted for _, wanted in groups]
        going, found = list(range(len(groups))), Counter[str]()
        while left and (going := [n for n in going if missing[n]]):
            n = max(going, key=lambda n: missing[n] / groups[n][1])
            ask = next(groups[n][0], None)
            if ask is None:
                going.remove(n)
                continue
            left.discard(ask.key)
            known = self.known(ask)
            if known is not None and known.answer is None:
                continue  # put aside, and replaced by the next
            missing[n] -= 1
            found["taken" if known else "out" if ask.key in out else "asks"] += 1
        return Ahead(found["asks"] + sum(missing), found["taken"], found["out"])

    def _unanswered(self, ask: Ask) -> Settled[T]:
        turns = self.turns(ask)
        reason = turns[-1].verdict if turns else "not answered"
        return Settled(ask, None, reason, usd=self.journal.story(ask.key).paid_usd)

    def turns(self, ask: Ask) -> list[Turn]:
        """What was answered so far, and what is to be said about it."""
        return [Turn(said.text, self._judge(ask, said)[1]) for said in self.journal.story(ask.key).answers]

    def take(self, key: str, ask: Ask | None, said: Said, *, batch: bool = False) -> float:
        """Put an answer into the journal, judged if the question is at hand; what it cost."""
        said = replace(said, text=_whole(said.text))
        by_kind = self.terms.price.by_kind(said.usage, batch=batch)
        cost = sum(by_kind.values())
        verdict = "not judged"
        try:
            verdict = self._judge(ask, said)[1] if ask else ""
        finally:  # whatever the judge stumbles over, the answer is paid for
            self.journal.answered(key, said, cost, verdict, self.teacher.model, by_kind)
        return cost

    async def settle(self, ask: Ask) -> Settled[T]:
        """Ask until an answer keeps the rules or the tries are used up, beginning where the journal ends."""
        while (settled := self.known(ask)) is None:
            await self._ask(ask, self.turns(ask))
        return settled

    async def _ask(self, ask: Ask, turns: list[Turn]) -> None:
        """One answer, in the journal; asked again while the teacher is busy or out of order."""
        most = self.terms.price.most(ask, turns, self.terms.max_tokens, kept_s=self._keeping_s(ask))
        await patiently(self.teacher.name, lambda: self._ask_once(ask, turns, most))

    def _keeping_s(self, ask: Ask) -> float:
        """For how long this question may have its fixed prompt kept: the first of them, and one in half that time."""
        now = monotonic()
        if now - self._kept_since.get(ask.system, -math.inf) < self.terms.kept_s / 2:
            return 0.0
        self._kept_since[ask.system] = now
        return self.terms.kept_s

    async def _ask_once(self, ask: Ask, turns: list[Turn], most: float) -> None:
        """One question and its answer. Cancelled once, it waits for the answer, which is paid for; twice, it leaves."""
        await self.purse.take(most)
        try:
            await self._pace.turn()
        except BaseException:
            await self.purse.settle(most, 0)
            raise
        answering = asyncio.ensure_future(self._answer(ask, turns, most))
        try:
            await asyncio.wait([answering])
        except asyncio.CancelledError:
            await asyncio.gather(answering, return_exceptions=True)
            raise
        answering.result()

    async def _answer(self, ask: Ask, turns: list[Turn], most: float) -> None:
        cost = most  # unless we learn that it was less
        try:
            self.journal.asked(ask.key, most)
            self.out_now[ask.key] += 1
            try:
                said = await self.teacher.say(ask, turns)
            except BusyError as error:
                cost = 0
                self.journal.failed(ask.key, str(error))
                self._pace.too_fast(error.seconds)
                raise
            except (FailedError, TeacherError) as error:
                cost = 0
                self.journal.failed(ask.key, str(error))
                raise
            cost = self.take(ask.key, ask, said)
            self._pace.well()
        finally:
            await self.purse.settle(most, cost)

    def _judge(self, ask: Ask, said: Said) -> tuple[T | None, str]:
        if said.ended in _ENDED:
            return None, _ENDED[said.ended]
        try:
            return self._read(ask, said.text), ""
        except AnswerError as error:
            return None, _whole(str(error))


def _whole(text: str) -> str:
    """The text with a mark for each half of a character."""
    return _HALVES.sub("\ufffd", text)


async def settle_all(
    asks: Iterator[Ask],
    wanted: int | None,
    settle: Callable[[Ask], Awaitable[Settled[T]]],
    at_once: int,
    seen: Callable[[Settled[T]], None],
) -> list[Settled[T]]:
    """As many answers as are wanted, or all, in the order of the questions; what is put aside is replaced by the next.

    If one raises, or this is cancelled, nothing more is asked, and what is out is waited for.
    """
    settled: dict[int, Settled[T]] = {}
    out: dict[asyncio.Task[Settled[T]], int] = {}
    good, place, more = 0, 0, True
    try:
        while True:
            while more and len(out) < at_once and (wanted is None or good + len(out) < wanted):
                ask = next(asks, None)
                if more := ask is not None:
                    out[asyncio.ensure_future(settle(ask))] = place
                    place += 1
            if not out:
                break
            done, _ = await asyncio.wait(out, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                one = task.result()
                settled[out.pop(task)] = one
                good += one.answer is not None
                seen(one)
    except BaseException:
        for task in out:
            task.cancel()
        await asyncio.gather(*out, return_exceptions=True)
        raise
    return [settled[n] for n in sorted(settled)]
