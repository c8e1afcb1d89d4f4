"""A game, a teacher and a purse → settled questions, and what is left of them: poems, a table, a ledger.

What is common to all that a teacher is asked for. Each kind has a journal of its own, so that a larger phase takes
over the answers of a smaller one.
"""

import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from poem.files import read_json
from poem.game import Game
from poem_build.data.taught import FOLDER
from poem_build.errors import TeacherError
from poem_build.progress import bar
from poem_build.recipe.teaching import Teaching
from poem_build.store.digest import digest_of
from poem_build.store.folder import write_text
from poem_build.teacher.asking import Asking, Settled, Terms, settle_all
from poem_build.teacher.batch import settle_in_batches, still_out
from poem_build.teacher.composer import Composer
from poem_build.teacher.ending import orderly
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.journal import About, Journal
from poem_build.teacher.money import FREE, Price, Prices, Purse, ledger
from poem_build.teacher.pace import Pace
from poem_build.teacher.protocol import Ask, Teacher

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", bound=str)
_IN_A_ROW = 20
"""Hands that are put aside one after the other until the teacher is taken to have no poem at all."""
_A_HAND = 2
"""Hands that are put aside for each that is wanted."""
LEDGER = "ledger.json"
"""What all questions cost, by what they ask for, by model, and by kind of token."""


@dataclass(frozen=True)
class Course:
    """Who is asked, in which terms, for which game, and where the answers lie."""

    game: Game
    folder: Path | None
    """The game's; None for the built-in one."""
    room: Path
    teacher: Teacher
    spec: Teaching
    prices: Prices
    price: Price
    most_usd: float | None = None
    batch: bool = False

    @property
    def poems(self) -> Path:
        """Where the splits are left."""
        return self.room.parent / FOLDER

    def journal(self, what: str, prompt: str) -> Journal:
        """The journal of one kind of question. `prompt` is all that every question of it begins with.

        The composer's begins anew each time: its answers cost nothing, and follow words that a person may have mended.
        """
        return Journal.open(*self._named(what, prompt), anew=self._anew)

    def look(self, what: str, prompt: str) -> Journal:
        """The same as it stands, or as it would begin: nothing is made, and nothing can be written to it."""
        path, about = self._named(what, prompt)
        return Journal(path, about) if self._anew else Journal.look(path, about)

    @property
    def _anew(self) -> bool:
        return self.teacher.name == Composer.name

    def _named(self, what: str, prompt: str) -> tuple[Path, About]:
        name = re.sub(r"[^a-z0-9.]+", "-", f"{what}-{self.teacher.name}-{self.teacher.model}".lower()).strip("-")
        about = About(self.game.deck.digest, digest_of(prompt)[:12], self.teacher.name, self.teacher.model)
        return self.room / f"{name}.jsonl", about

    def asking(self, journal: Journal, read: Callable[[Ask, str], T], beside: Sequence[Journal] = ()) -> Asking[T]:
        """The teacher, to be asked with this journal.

        What journals beside it have answered is not asked, nor what the same teacher was paid for with another recipe.
        """
        spec = self.spec
        if isinstance(self.teacher, Gemini):
            self.teacher.note_in(journal)
        if self.price is not FREE:
            beside = [*beside, *journal.elsewhere(journal.name)]
        terms = Terms(self.price, spec.tries, spec.max_tokens, spec.kept_s(batch=self.batch))
        pace = Pace(spec.per_minute if not isinstance(self.teacher, Composer) else 1e9)
        purse = Purse(self.most_usd, journal.spent_usd, self.prices.yen_per_dollar)
        return Asking(self.teacher, journal, purse, pace, terms, read, beside)

    async def settle(self, asking: Asking[T], asks: Iterator[Ask], wanted: int | None, what: str) -> list[Settled[T]]:
        """As many answers as are wanted, or all, with a bar on a terminal."""
        return (await self.settle_groups(asking, {what: (asks, wanted)}))[what]

    async def settle_groups(
        self, asking: Asking[T], groups: Mapping[K, tuple[Iterator[Ask], int | None]]
    ) -> dict[K, list[Settled[T]]]:
        """The same for several groups of questions: one after the other, or all in the same batches.

        Raises `TeacherError` where so many are put aside now that to replace them would go on without an end, and for
        questions that are out in a batch, which would be asked twice.
        """
        if not self.batch and (out := still_out(asking.journal)):
            raise TeacherError(f"{len(out):,} questions are out in a batch; --batch fetches them")
        total = sum(wanted or 0 for _, wanted in groups.values()) or None
        aside = row = 0
        with bar(" ".join(map(str, groups)), total) as advance:

            def seen(one: Settled[T]) -> None:
                nonlocal aside, row
                advance(one.answer is not None or total is None)
                if one.answer is not None:
                    row = 0
                elif total is not None and one.ask.key in asking.out_now:
                    aside, row = aside + 1, row + 1
                    if row >= _IN_A_ROW or aside > max(_IN_A_ROW, _A_HAND * total):
                        raise TeacherError(
                            f"{self.teacher.name}: {aside} hands put aside, {row} of them in a row, the last for: "
                            f"{one.reason}; is the model able to write? What was answered is kept"
                        )

            if self.batch:
                found = await settle_in_batches(asking, list(groups.values()), seen)
                return dict(zip(groups, found, strict=True))
            at_once = self.spec.at_once
            return {
                name: await settle_all(asks, wanted, asking.settle, at_once, seen)
                for name, (asks, wanted) in groups.items()
            }

    def close(self, what: str, journal: Journal) -> dict[str, Any]:
        """Write what one kind of question cost, by all journals; what it cost by this one."""
        journals = [journal, *journal.others(what)]
        paid = [one for each in journals for one in each.paid]
        in_doubt = sum(each.in_doubt_usd for each in journals)
        path = self.room / LEDGER
        everything = {**_sections(path), what: ledger(paid, in_doubt, self.prices)}
        totals = {unit: round(sum(one[unit] for one in everything.values()), 6) for unit in ("usd", "yen")}
        write_text(path, json.dumps(everything | totals, ensure_ascii=False, indent=1) + "\n")
        return ledger(journal.paid, journal.in_doubt_usd, self.prices)

    def put_aside(self, what: str, settled: Sequence[Settled[Any]]) -> None:
        """Write what was put aside of one kind of question, and why."""
        aside = [{"ask": one.ask.key, "reason": one.reason, "question": one.ask.user} for one in settled if one.reason]
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in aside)
        write_text(self.room / f"aside-{what}.jsonl", lines)


def _sections(path: Path) -> dict[str, Any]:
    """What a ledger says of each kind of question; nothing if there is none."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise TeacherError(f"{path}: is no ledger; move it away, what was paid stands in the journals")
    return {what: paid for what, paid in content.items() if isinstance(paid, dict) and "usd" in paid}


def together(work: Coroutine[Any, Any, R], teacher: Teacher) -> R:
    """Run the work to its end and let the teacher go, whatever happens."""

    async def both() -> R:
        try:
            return await work
        finally:
            await teacher.close()

    return orderly(both())
