"""`make image TEACHER=…`: a teacher's name → a game's words, poems to learn from and a table.

Standard library only.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from poem_build.ship import containers

TABLE = "table.json"
"""The poems of the table, beside the teacher's journals."""


@dataclass(frozen=True)
class TeacherChoice:
    """Who is to write, for which phase, how large a table, for how many yen each of the three at the most, and how."""

    teacher: str
    phase: int
    table: int
    max_cost: float | None
    model: str | None = None
    """As its maker calls it; None for the recipe's."""
    batch: bool = False

    @property
    def options(self) -> list[str]:
        """As `poem-build teacher run` takes them."""
        return [
            *("--teacher", self.teacher),
            *(["--model", self.model] if self.model else []),
            *([] if self.max_cost is None else ["--max-cost", str(self.max_cost)]),
            *(["--batch"] if self.batch else []),
        ]


def teach(choice: list[str], tagged: str, asked: TeacherChoice, *, own_game: bool) -> list[str]:
    """Have the teacher write what is missing; what makes `poem-build run` learn from it.

    Words come first, since tables and poems of the composer draw on them. Raises `StackError` where the command does.
    """
    run = ["teacher", "run", *choice, *asked.options]
    if own_game and asked.teacher != "composer":
        containers.poem_build([*run, "--what", "words"])
    containers.poem_build([*run, "--what", "poems", "--phase", str(asked.phase)])
    containers.poem_build([*run, "--what", "table", "--hands", str(asked.table)])
    return ["--taught", str(room(tagged) / "poems")]


def room(tagged: str) -> Path:
    """Where the teacher's work for a model lies, from the root of the checkout."""
    return Path("artifacts") / tagged / "teacher"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line says of a teacher."""
    parser.add_argument("--teacher", help="gemini, openai, anthropic, ollama or composer: who writes first")
    parser.add_argument("--teacher-model", help="as its maker calls it; the recipe's otherwise")
    parser.add_argument("--batch", action="store_true", help="by Gemini's Batch API: half the price, within a day")
    parser.add_argument("--phase", type=int, default=0, help="of its poems: 0 is 100 hands")
    parser.add_argument("--table", type=int, default=1000, help="poems that it writes for the table")
    parser.add_argument("--max-cost", type=float, help="yen for words, poems and table each")


def asked(given: argparse.Namespace) -> TeacherChoice | None:
    """What was said of a teacher; None for nothing."""
    if not given.teacher:
        return None
    return TeacherChoice(given.teacher, given.phase, given.table, given.max_cost, given.teacher_model, given.batch)
